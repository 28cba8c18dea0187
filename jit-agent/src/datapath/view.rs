//! How the interfaces are covered, as values.

use std::time::Duration;

use ipnet::IpNet;
use jit_policy::{Layer, Way};

/// How an interface is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceView {
    /// The name of the interface, or an entry of `interfaces` that matches no interface.
    pub name: String,
    /// The interface's index; `None` if there is no such interface now.
    pub index: Option<u32>,
    /// How the program is attached; `None` if it is not attached, and then the fault says why.
    pub attached: Option<Way>,
    /// The header with which packets begin; `None` if that header is unknown, or the program can't read it.
    pub layer: Option<Layer>,
    /// Why the program is not attached in a better way.
    pub note: Option<String>,
    /// How long the interface was uncovered before it last became covered, if that was while the agent ran.
    pub covered_after: Option<Duration>,
    /// What is wrong with the interface.
    pub fault: Option<String>,
}

/// An interface with an address over which packets come in unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncoveredView {
    /// The interface's name.
    pub name: String,
    /// The interface's index.
    pub index: u32,
    /// The interface's addresses.
    pub addresses: Vec<IpNet>,
    /// Why packets come in unseen.
    pub reason: String,
    /// Whether the interface was to be covered; if not, the owner left it out.
    pub is_chosen: bool,
}
