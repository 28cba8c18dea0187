//! Enforcement turned on and off, and configuration on trial.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// The shortest trial.
pub const SHORTEST_TRIAL: Duration = Duration::from_secs(10);
/// The longest one.
pub const LONGEST_TRIAL: Duration = Duration::from_secs(3600);
/// How long a trial of a change lasts.
pub const CHANGE_TRIAL: Duration = Duration::from_secs(600);
/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialKind {
    /// Enforcement.
    Enable,
    /// A change of a port policy, which is not in the files yet.
    Ports,
    /// Files that were edited by hand.
    Reload,
}

/// Someone's connection to a TCP port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where it comes from.
    pub source: IpAddr,
    /// The port.
    pub port: u16,
}

/// A wish to have enforcement turned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnableAsked {
    /// How long the trial lasts.
    pub trial: Duration,
    /// The session of who asks.
    pub session: Option<Session>,
    /// How long its source is to be let in; `None`: as long as may be.
    pub grant: Option<Duration>,
    /// Whether someone can reach the console.
    pub console: bool,
}

/// A wish to have the files read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// What may be unprotected by it, as the effects of a change name it.
    pub allow_open: Vec<String>,
    /// Whether to do it even if it ends or shortens grants.
    pub confirm: bool,
    /// The session of who asks, which must not be cut off for good by it.
    pub session: Option<Session>,
}
