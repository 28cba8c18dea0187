//! Enforcement turned on and off, and configuration on trial.

use std::{net::IpAddr, time::Duration};

use super::words::words;

/// The duration of the shortest trial.
pub const SHORTEST_TRIAL: Duration = Duration::from_secs(10);
/// The duration of the longest trial.
pub const LONGEST_TRIAL: Duration = Duration::from_secs(3600);
/// How long a trial of a change lasts.
pub const CHANGE_TRIAL: Duration = Duration::from_secs(600);

words! {
    /// The subject of a trial.
    pub enum TrialKind {
        /// Enforcement is tried.
        Enable = "enable",
        /// A change of a port policy is tried, which is not in the files yet.
        Ports = "ports",
        /// Files that were edited by hand are tried.
        Reload = "reload",
    }
}

/// Someone's connection to a TCP port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The source address of the connection.
    pub source: IpAddr,
    /// The port.
    pub port: u16,
}

/// A request to turn enforcement on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnableAsked {
    /// How long the trial lasts.
    pub trial: Duration,
    /// The session of the person who asks.
    pub session: Option<Session>,
    /// How long the session's source is to be let in; `None` means the longest time that is allowed.
    pub grant: Option<Duration>,
    /// Whether someone can reach the console.
    pub console: bool,
}

/// A request to read the files again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// What the reload may leave unprotected, in the words of the effects of a change.
    pub allow_open: Vec<String>,
    /// What the agent itself set and is to be as in the owner's files again: `mode`, or ports like `22/tcp`.
    pub reset: Vec<String>,
    /// Whether to reload even if that ends or shortens grants.
    pub confirm: bool,
    /// The session of the person who asks, which the reload must not cut off for good.
    pub session: Option<Session>,
}
