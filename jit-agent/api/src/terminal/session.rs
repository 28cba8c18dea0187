//! The SSH session of whoever runs this program.

#[cfg(target_os = "linux")]
mod ancestors;

use std::{env, net::IpAddr};

use super::Surroundings;
use crate::wire::Session;

/// The names under which sshd leaves it, the fuller one first.
const NAMES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];

/// `SSH_CONNECTION` or `SSH_CLIENT` of this process, or else of the nearest ancestor that has one and lets us see it:
/// `sudo` and `su` take them away. Only Linux shows the environment of an ancestor.
pub(super) fn of_process() -> Option<String> {
    let own = NAMES.into_iter().find_map(|name| env::var(name).ok());
    #[cfg(target_os = "linux")]
    let own = own.or_else(ancestors::session);
    own
}

/// The connection over which whoever runs this works, if it is one over SSH: its source and the port here.
#[must_use]
pub fn ssh_session(surroundings: &Surroundings) -> Option<Session> {
    let session = surroundings.ssh_session.as_deref()?;
    let source = session.split_whitespace().next()?.parse::<IpAddr>().ok()?.to_canonical();
    let port = session.split_whitespace().next_back()?.parse().ok()?;
    Some(Session { source: source.to_string(), port })
}
