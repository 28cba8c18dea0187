//! Tests that kill the agent at each step and check what its successor makes of the state.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Instant,
};

use jit_common::abi::Activity;
use jit_policy::{Interfaces, Packet, Protection};

use super::*;
use crate::datapath::{CoverageChange, DatapathError, InterfaceView, PortCounts, Trace, UncoveredView};

/// A datapath that kills the agent at a change to the kernel, before or after the change is made.
pub(super) struct Deadly {
    kernel: MemoryDatapath,
    changes_left: usize,
    after: bool,
}

impl Deadly {
    /// Makes a datapath that kills the agent only at the steps of [`crate::crash`].
    pub(super) fn at_steps(kernel: MemoryDatapath) -> Self {
        Self { kernel, changes_left: usize::MAX, after: false }
    }

    fn around<T>(&mut self, change: impl FnOnce(&mut MemoryDatapath) -> T) -> T {
        crate::crash::step();
        let dies = self.changes_left == 0;
        self.changes_left = self.changes_left.wrapping_sub(1);
        // `resume_unwind` prints no panic message, because this is no failure.
        let die = || resume_unwind(Box::new("killed"));
        if dies && !self.after {
            die();
        }
        let done = change(&mut self.kernel);
        if dies {
            die();
        }
        done
    }
}

impl Datapath for Deadly {
    fn configure(&mut self, protection: &Protection) -> Result<(), DatapathError> {
        crate::crash::step();
        self.kernel.configure(protection)
    }

    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError> {
        self.around(|kernel| kernel.set(entry, deadline))
    }

    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError> {
        self.around(|kernel| kernel.remove(entry, covered_until))
    }

    fn keep(&mut self) -> Result<(), DatapathError> {
        self.kernel.keep()
    }

    fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError> {
        self.kernel.entries()
    }

    fn tend(&mut self) -> Result<(), DatapathError> {
        self.kernel.tend()
    }

    fn activity(&self, entry: &EntryKey) -> Activity {
        self.kernel.activity(entry)
    }

    fn break_glass(&self) -> Vec<(ipnet::IpNet, Activity)> {
        self.kernel.break_glass()
    }

    fn port_counts(&self) -> Result<Vec<PortCounts>, DatapathError> {
        self.kernel.port_counts()
    }

    fn trace(&self, packet: &Packet) -> Result<Trace, DatapathError> {
        self.kernel.trace(packet)
    }

    fn cover(&mut self, interfaces: &Interfaces) -> Result<(), Vec<DatapathError>> {
        crate::crash::step();
        self.kernel.cover(interfaces)
    }

    fn reconcile(&mut self, notified: Option<Instant>) -> Vec<CoverageChange> {
        self.kernel.reconcile(notified)
    }

    fn left_out(&self, interfaces: &Interfaces) -> Vec<String> {
        self.kernel.left_out(interfaces)
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        self.kernel.interfaces()
    }

    fn uncovered(&self) -> Vec<UncoveredView> {
        self.kernel.uncovered()
    }
}

/// Does `work` until the change to the kernel after the first `changes` changes kills the agent. Returns whether `work`
/// reached that change.
fn kill_within(world: &mut World, changes: usize, after: bool, work: impl FnOnce(&mut World)) -> bool {
    let kernel = world.kernel.clone();
    world.start_on(Box::new(Deadly { kernel, changes_left: changes, after }), true);
    catch_unwind(AssertUnwindSafe(|| work(world))).is_err()
}

fn asked() -> Vec<RequestedPort> {
    vec![port(22, &["192.0.2.1", "10.0.0.0/8"], 1000), port(3389, &["192.0.2.1"], 600)]
}

#[test]
fn an_unanswered_request_is_wholly_absent_wherever_the_agent_is_killed() {
    for (changes, after) in (0..5).flat_map(|changes| [(changes, false), (changes, true)]) {
        let mut world = World::new();
        let killed = kill_within(&mut world, changes, after, |world| drop(world.submit(asked())));
        assert!(killed, "{changes} {after}");
        assert_eq!(world.states(), ["opening"; 3]);
        world.restart();
        assert_eq!((world.entries(), world.live()), (Vec::new(), Vec::new()), "{changes} {after}");
        assert_eq!((world.states(), world.statuses()), (vec!["ended".to_owned(); 3], vec!["failed".to_owned()]));
        assert_eq!((world.count("granted"), world.count("failed"), world.count("ended")), (3, 1, 3));
        drop(world.core.take());
        Store::open(world.dir.path()).unwrap().verify_audit().unwrap();
    }
}

#[test]
fn a_request_that_is_recorded_as_live_is_wholly_live_though_unanswered() {
    let mut world = World::new();
    assert!(!kill_within(&mut world, 5, false, |world| drop(world.submit(asked()))));
    let before = world.entries();
    world.restart();
    assert_eq!((world.entries(), world.live()), (before, vec![1, 2, 3]));
    assert_eq!(world.states(), ["live"; 3]);
}

#[test]
fn each_grant_of_an_unanswered_revocation_is_ended_or_live_in_store_and_kernel_alike() {
    for (changes, after) in (0..5).flat_map(|changes| [(changes, false), (changes, true)]) {
        let mut world = World::new();
        world.submit(asked()).unwrap();
        assert!(kill_within(&mut world, changes, after, |world| drop(world.revoke(&Selection::All))));
        world.restart();
        let live = world.states().iter().filter(|state| *state == "live").count();
        let status = world.core().status(&root()).unwrap();
        assert_eq!(
            (status.grants.intended, status.grants.enforced, status.faults),
            (live as u64, live as u64, Vec::new())
        );
        let closed = changes + usize::from(after);
        assert_eq!(live < 3, closed > 0, "what was closed stays closed: {changes} {after}");
        let needed: std::collections::BTreeSet<_> =
            world.core().live.iter().flat_map(|(grant, _)| grant.entries()).collect();
        assert_eq!(world.entries().len(), needed.len());
    }
}

#[test]
fn an_agent_that_is_killed_while_it_takes_over_is_followed_by_one_that_finishes() {
    for (changes, after) in (0..3).flat_map(|changes| [(changes, false), (changes, true)]) {
        let mut world = World::new();
        world.submit(vec![port(22, &["192.0.2.1", "192.0.2.2"], 1000)]).unwrap();
        let stray = entry(22, "192.0.2.99");
        world.kernel.set(&stray, BootTime(u64::MAX)).unwrap();
        world.kernel.set(&entry(22, "192.0.2.1"), BootTime(u64::MAX)).unwrap();
        let killed = catch_unwind(AssertUnwindSafe(|| kill_within(&mut world, changes, after, |_| ()))).is_err();
        assert_eq!(killed, changes < 2, "{changes} {after}");
        world.restart();
        assert_eq!(world.live(), [1, 2]);
        let end = BootTime(2000 * 1_000_000_000);
        assert_eq!(world.entries(), [(entry(22, "192.0.2.1"), end), (entry(22, "192.0.2.2"), end)]);
    }
}
