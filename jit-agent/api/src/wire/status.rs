//! The agent as a whole.

use jit_common::{
    abi::Mode,
    reason::{Reason, Verdict},
};
use jit_policy::{Given, Layer, Way};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Trial;
use crate::schema;

/// The agent as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// `enforce` or `observe`.
    #[schema(value_type = schema::Mode)]
    pub mode: Given<Mode>,
    /// Version of the agent.
    pub version: String,
    /// The interfaces that are to be covered.
    pub interfaces: Vec<Interface>,
    /// The interfaces with an address over which packets come in unseen.
    #[serde(default)]
    pub uncovered: Vec<Uncovered>,
    /// How many grants there are and how many are in force.
    pub grants: GrantCounts,
    /// Packets by mode and reason.
    pub counters: Vec<Counter>,
    /// What is broken; empty when all is well.
    pub faults: Vec<String>,
    /// What is well, but may not be meant so.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The trial that runs; null if none does.
    #[serde(default)]
    pub trial: Option<Trial>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name, or an entry of `interfaces` that stands for none.
    pub name: String,
    /// Its index; null if there is no such interface now.
    pub index: Option<u32>,
    /// `native`, `tcx`, `clsact` or `generic`; null if the program is not attached.
    #[schema(value_type = Option<schema::Attachment>)]
    pub attached: Option<Given<Way>>,
    /// What its packets begin with.
    #[serde(default)]
    #[schema(value_type = Option<schema::Layer>)]
    pub layer: Option<Given<Layer>>,
    /// Why the program is not attached in a better way; null if it is attached in the best one.
    #[serde(default)]
    pub note: Option<String>,
    /// For how many milliseconds it was uncovered when it last became covered, if that was while the agent ran.
    #[serde(default)]
    pub covered_after_ms: Option<u64>,
    /// What is wrong; null if nothing is.
    pub fault: Option<String>,
}

/// An interface over which packets come in unseen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Uncovered {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its addresses with prefix lengths.
    pub addresses: Vec<String>,
    /// Why.
    pub reason: String,
}

/// Live grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantCounts {
    /// By the agent's book.
    pub intended: u64,
    /// With all their kernel entries in place.
    pub enforced: u64,
}

/// Packets counted since the kernel's tables were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counter {
    /// `enforce` or `observe`.
    #[schema(value_type = schema::Mode)]
    pub mode: Given<Mode>,
    /// Name of the cause.
    #[schema(value_type = schema::Cause)]
    pub reason: Given<Reason>,
    /// `pass` or `drop`: what is done to such packets while enforcing.
    #[schema(value_type = schema::Verdict)]
    pub verdict: Given<Verdict>,
    /// How many.
    pub packets: u64,
}
