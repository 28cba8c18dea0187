//! The daemon's user and capabilities.

use std::{panic, thread};

use anyhow::{Context as _, Result};
use rustix::{
    process::{Gid, Uid},
    thread::{
        CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

/// The capabilities without which the daemon can't work.
pub const LEAST: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN);
/// The capabilities of the service.
pub const SERVICE: CapabilitySet = LEAST.union(CapabilitySet::PERFMON);

/// A user and group id, any but root's.
const ID: u32 = 65_534;

/// Runs `act` in a thread of a user whose only privileges are these capabilities.
///
/// # Errors
/// This process may not give up its privileges in that way.
pub fn with_only<T: Send>(capabilities: CapabilitySet, act: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(move || give_up_all_but(capabilities).map(|()| act()));
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn give_up_all_but(capabilities: CapabilitySet) -> Result<()> {
    let (user, group) = (Uid::from_raw(ID), Gid::from_raw(ID));
    set_keep_capabilities(true).context("capabilities can't be kept")?;
    set_thread_groups(&[]).context("groups can't be left")?;
    set_thread_res_gid(group, group, group).context("the group can't be changed")?;
    set_thread_res_uid(user, user, user).context("the user can't be changed")?;
    let sets = CapabilitySets { effective: capabilities, permitted: capabilities, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("capabilities can't be given up")
}
