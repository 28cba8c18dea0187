//! Tests of the core, with clocks that stand still, tables in memory and a real store.

mod approval;
mod clocks;
mod closing;
mod crash;
mod delegation;
mod denials;
mod events;
mod extension;
mod host;
mod idempotency;
mod model;
mod opening;
mod own;
mod permission;
mod policies;
mod recovery;
mod role_names;
mod shortening;
mod start;
mod traffic;
mod trial;
mod trial_change;
mod trial_crash;
mod trouble;

use std::{
    net::IpAddr,
    ops::{Deref, DerefMut},
    time::Duration,
};

use jiff::Timestamp;
use jit_api::wire::{Request, RequestState, Revocation};
use jit_common::{abi::Transport, reason::Verdict};
use jit_policy::{
    BootTime, EntryKey, GrantFilter, GrantId, NewRequest, PortId, RequestFilter, RequestId, RequestedPort, Role,
    Selection, Submission, Until, parse_source,
};
use tokio::sync::oneshot;

use super::{answer::Extended, command::Opening, *};
use crate::store::RequestPage;
use crate::testing::{
    MemoryDatapath, asking,
    machine::{Machine, full_disk},
    people::{ALICE, BOB, CAROL, PUSHER, VIEWER, alice, bob, carol, peer, root},
};

const CONFIG: &str = "
    interfaces = ['eth0']
    mode = 'enforce'
    [[port]]
    number = 22
    protocol = 'tcp'
    allowed_sources = ['192.0.2.0/24', '10.0.0.0/8', '2001:db8::/32']
    max_duration = '3h'
    quota = 20_000
    [[port]]
    number = 5986
    protocol = 'tcp'
    max_duration = '2h'
    approval = 'required'
    approval_timeout = '10min'
    justification = 'optional'
    quota = 3
    [[port]]
    number = 3389
    protocol = 'any'
    max_duration = '1h'
    quota = 20_000
    justification = 'optional'
";

const LATEST: RequestFilter = RequestFilter { pending: false, before: None, limit: 50 };
const ALL: GrantFilter = GrantFilter { after: None, limit: usize::MAX };

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Returns a moment of the wall clock, some seconds after the first moment of these tests.
fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_366_400 + seconds).unwrap()
}

/// Makes a peer who became this user after logging in as another user.
fn after_login(peer: Peer, uid: u32, name: &str) -> Peer {
    Peer { login: Some((uid, name.to_owned())), ..peer }
}

fn port(number: u32, sources: &[&str], seconds: u64) -> RequestedPort {
    let sources = sources.iter().map(|source| parse_source(source).unwrap()).collect();
    RequestedPort { number, protocol: None, sources, until: Until::For(secs(seconds)) }
}

fn request(ports: Vec<RequestedPort>) -> NewRequest {
    NewRequest { ports, justification: "ticket 7".to_owned() }
}

/// A machine and its agent. Dropping the core kills the agent.
struct World {
    machine: Machine,
    core: Option<Core>,
}

impl Deref for World {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }
}

impl World {
    /// Makes a world at the first moment of the wall clock.
    fn new() -> Self {
        let mut world = Self { machine: Machine::new(CONFIG, wall(0)), core: None };
        world.start(false);
        world
    }

    fn start(&mut self, adopted: bool) {
        let kernel = self.kernel.clone();
        self.start_on(Box::new(kernel), adopted);
    }

    fn start_on(&mut self, datapath: Box<dyn Datapath>, adopted: bool) {
        // A store has only one owner at a time.
        drop(self.core.take());
        self.core = Some(self.machine.start_on(datapath, adopted));
    }

    fn restart(&mut self) {
        self.start(true);
    }

    /// Starts the agent in another boot, at this moment of the wall clock. Tables and BOOTTIME start anew.
    fn reboot(&mut self, now: Timestamp) {
        self.renew(now);
        self.start(false);
    }

    fn core(&mut self) -> &mut Core {
        self.core.as_mut().unwrap()
    }

    fn submit(&mut self, ports: Vec<RequestedPort>) -> Result<Request, Refusal> {
        self.submit_as(&root(), request(ports))
    }

    fn submit_as(&mut self, peer: &Peer, request: NewRequest) -> Result<Request, Refusal> {
        let submission = Submission { request, named: None, key: None };
        self.ask(async |core| core.submit(peer.clone(), submission).await).map(|submitted| submitted.request)
    }

    fn approve(&mut self, peer: &Peer, id: RequestId) -> Result<Request, Refusal> {
        self.ask(async |core| core.approve(peer.clone(), id, Ok(Vec::new())).await)
    }

    fn extend(&mut self, peer: &Peer, id: i64, seconds: u64) -> Result<Extended, Refusal> {
        self.ask(async |core| core.extend(peer.clone(), GrantId(id), secs(seconds)).await)
    }

    /// Makes a request of alice's that waits for approval.
    fn wait(&mut self) -> RequestId {
        let made = self.submit_as(&alice(), request(vec![port(5986, &["192.0.2.7"], 3600)])).unwrap();
        assert_eq!((made.status, made.grants.len()), (RequestState::Pending.into(), 0));
        made.id
    }

    /// Sends one command, lets the core carry it out, and returns the answer.
    fn ask<T>(&mut self, ask: impl AsyncFnOnce(CoreHandle) -> Result<T, Refusal>) -> Result<T, Refusal> {
        asking::ask(self.core(), ask)
    }

    fn revoke(&mut self, selection: &Selection) -> Revocation {
        self.core().revoke(&root(), selection, "over").unwrap()
    }

    /// Advances the clocks, then sweeps.
    fn pass(&mut self, seconds: u64) {
        self.clock.advance(secs(seconds));
        self.core().sweep();
    }

    fn faults(&mut self) -> Vec<String> {
        self.core().status(&root()).unwrap().faults
    }

    /// Returns the requests that a user sees, newest first.
    fn requests(&mut self, peer: &Peer) -> Vec<Request> {
        let (reader, of) = self.core().request_reader(peer).unwrap();
        let page = RequestPage { of, limit: 50, bytes: usize::MAX, ..RequestPage::default() };
        let (rows, _) = reader.page(&page).unwrap();
        report::request_views(rows, self.core()).unwrap()
    }

    /// Returns the ids of the live grants.
    fn live(&mut self) -> Vec<i64> {
        let mut ids: Vec<i64> =
            self.core().grants(&root(), ALL).unwrap().value.iter().map(|grant| grant.id.0).collect();
        ids.sort_unstable();
        ids
    }
}

/// Makes an entry for TCP.
fn entry(number: u16, source: &str) -> EntryKey {
    EntryKey { number, transport: Transport::Tcp, source: parse_source(source).unwrap() }
}
