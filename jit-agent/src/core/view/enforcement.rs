//! Enforcement, trials and who is connected.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jit_policy::{GrantId, PortId, Session, TrialKind};

use super::GrantView;

/// A trial that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialView {
    /// What is tried.
    pub kind: TrialKind,
    /// When it ends, by the wall clock.
    pub until: Timestamp,
    /// How long it still runs.
    pub remaining: Duration,
}

/// What lets a session in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// A source that always gets in.
    BreakGlass,
    /// A live grant.
    Grant(GrantId),
}

/// A session that is there now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Whose.
    pub session: Session,
    /// What lets it in; `None`: enforcement cuts it off.
    pub covered: Option<Cover>,
}

/// Enforcement, who is connected, and which ways back there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnforcementView {
    /// `enforce` or `observe`.
    pub mode: &'static str,
    /// The trial that runs.
    pub trial: Option<TrialView>,
    /// Who removed all enforcement by hand, and when.
    pub unloaded: Option<String>,
    /// The ports that are shut when it is on.
    pub ports: Vec<PortId>,
    /// Who is connected to them by TCP.
    pub sessions: Vec<SessionView>,
    /// Why that is not known.
    pub sessions_fault: Option<String>,
    /// The sources that always get in.
    pub break_glass: Vec<IpNet>,
    /// The names of the delegates that are connected.
    pub delegates: Vec<String>,
}

/// The answer to who turns enforcement on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enabled {
    /// Enforcement now.
    pub enforcement: EnforcementView,
    /// The grant for the session of who asked.
    pub grant: Option<GrantView>,
    /// Whether all of it is written.
    pub durable: bool,
}
