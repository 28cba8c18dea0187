//! The SSH session of whoever runs this program.

#[cfg(target_os = "linux")]
mod ancestors;

use std::{env, net::IpAddr};

use super::Surroundings;
use crate::wire::Session;

/// The names of the variables in which sshd leaves the session, the fuller one first.
const NAMES: [&str; 2] = ["SSH_CONNECTION", "SSH_CLIENT"];

/// `SSH_CONNECTION` or `SSH_CLIENT` of this process, or else of the nearest ancestor that has such a variable and lets
/// us see it: `sudo` and `su` remove these variables. Only Linux shows the environment of an ancestor.
pub(super) fn of_process() -> Option<String> {
    let own = NAMES.into_iter().find_map(|name| env::var(name).ok());
    #[cfg(target_os = "linux")]
    let own = own.or_else(ancestors::session);
    own
}

/// The SSH connection over which the user of this program works, if there is one: its source and the port here.
#[must_use]
pub fn ssh_session(surroundings: &Surroundings) -> Option<Session> {
    let session = surroundings.ssh_session.as_deref()?;
    let source = session.split_whitespace().next()?.parse::<IpAddr>().ok()?.to_canonical();
    let port = session.split_whitespace().next_back()?.parse().ok()?;
    Some(Session { source: source.to_string(), port })
}
