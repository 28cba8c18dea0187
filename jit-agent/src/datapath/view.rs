//! How the interfaces are covered, as values.

use std::time::Duration;

use ipnet::IpNet;
use jit_policy::{Layer, Way};

/// How an interface is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceView {
    /// Name of the interface, or an entry of `interfaces` that stands for none.
    pub name: String,
    /// Its index; `None` if there is no such interface now.
    pub index: Option<u32>,
    /// How the program is attached; `None` if it is not, and the fault says why.
    pub attached: Option<Way>,
    /// What its packets begin with; `None` if that is unknown, or the program can't read them.
    pub layer: Option<Layer>,
    /// Why not in a better way.
    pub note: Option<String>,
    /// For how long it was uncovered when it last became covered, if that was while the agent ran.
    pub covered_after: Option<Duration>,
    /// What is wrong.
    pub fault: Option<String>,
}

/// An interface with an address over which packets come in unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncoveredView {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Why packets come in unseen.
    pub reason: String,
    /// Whether it was to be covered; else the owner left it out.
    pub is_chosen: bool,
}
