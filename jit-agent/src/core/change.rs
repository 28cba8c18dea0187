//! Changes of port policies as values: the change that is asked for, and its result.

use jit_api::wire::{self, Effects, Port};
use jit_policy::Session;

use crate::config::own::Edit;

/// All port policies, and the version of this list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList {
    /// The policies.
    pub ports: Vec<Port>,
    /// The version of the list, which changes with every policy and with every file that was loaded.
    pub version: String,
}

/// A change to one port policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEdit {
    /// The edit of the policy.
    pub edit: Edit,
    /// The version of the list on which the client decided.
    pub version: String,
    /// Whether to make the change even if the change opens something or ends grants.
    pub confirm: bool,
    /// The session of the person who asks. The change must not cut this session off for good.
    pub session: Option<Session>,
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The port's policy now. `None`: the port has no policy, or the change was not about one port.
    pub port: Option<Port>,
    /// The ports whose policies changed, like `22/tcp`.
    pub changed: Vec<String>,
    /// The change's effects on packets and grants.
    pub effects: Effects,
    /// Whether all of the change is written. If not, the change is in force nevertheless.
    pub durable: bool,
    /// The present version of the list.
    pub version: String,
    /// The trial, if the change is only on trial because the change cuts off the person who asked.
    pub trial: Option<wire::Trial>,
}
