//! On clocks that stand still, tables in memory and a real store.

mod approval;
mod closing;
mod crash;
mod delegation;
mod denials;
mod extension;
mod host;
mod idempotency;
mod model;
mod opening;
mod permission;
mod policies;
mod recovery;
mod shortening;
mod traffic;
mod trial;
mod trial_change;
mod trial_crash;
mod trouble;

use std::net::IpAddr;

use jiff::Timestamp;
use jit_common::{abi::Transport, reason::Verdict};
use jit_policy::{
    GrantFilter, NewRequest, PortId, RequestFilter, RequestedPort, Role, Selection, Submission, Until, parse_source,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{
    handle::Opening,
    view::{Extended, Peer, RequestView, Revocation},
    *,
};
use crate::{clock::ManualClock, datapath::MemoryDatapath, store::RequestState};

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

/// A moment of the wall clock, some seconds after the first one of these tests.
fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_772_366_400 + seconds).unwrap()
}

fn peer(uid: u32, name: &str) -> Peer {
    Peer { uid, groups: vec![uid], name: name.to_owned(), login: None }
}

fn root() -> Peer {
    peer(0, "root")
}

// User ids that no host gives to anybody, so that none has a role by its groups.
const ALICE: u32 = 4_000_000_001;
const BOB: u32 = 4_000_000_002;
const CAROL: u32 = 4_000_000_003;
const PUSHER: u32 = 4_000_000_004;
const VIEWER: u32 = 4_000_000_005;

/// alice and bob request, bob and carol approve, a pusher delegates, a viewer views.
fn people() -> Access {
    Access::of_users(&[
        (Role::Requester, ALICE),
        (Role::Requester, BOB),
        (Role::Approver, BOB),
        (Role::Approver, CAROL),
        (Role::Delegate, PUSHER),
        (Role::Viewer, VIEWER),
    ])
}

fn alice() -> Peer {
    peer(ALICE, "alice")
}

fn bob() -> Peer {
    peer(BOB, "bob")
}

fn carol() -> Peer {
    peer(CAROL, "carol")
}

/// Someone who became this user after another had logged in.
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

/// A host, its kernel and the agent's files. Dropping the core kills the agent.
struct World {
    dir: TempDir,
    clock: ManualClock,
    kernel: MemoryDatapath,
    boot: Boot,
    config: Config,
    access: Access,
    origin: Origin,
    core: Option<Core>,
}

impl World {
    /// 1000 s after boot, at the first moment of the wall clock.
    fn new() -> Self {
        let clock = ManualClock::new(BootTime(1000 * 1_000_000_000), wall(0));
        let config = Config::parse(CONFIG, "config.toml").unwrap();
        let mut world = Self {
            dir: TempDir::new().unwrap(),
            kernel: MemoryDatapath::new(Arc::new(clock.clone()), 20_000),
            clock,
            boot: Boot { machine_id: "machine".to_owned(), boot_id: "boot-1".to_owned() },
            config,
            access: people(),
            origin: Origin::default(),
            core: None,
        };
        world.start(false);
        world
    }

    fn start(&mut self, adopted: bool) {
        let kernel = self.kernel.clone();
        self.start_on(Box::new(kernel), adopted);
    }

    fn start_on(&mut self, mut datapath: Box<dyn Datapath>, adopted: bool) {
        // The store has one owner at a time.
        drop(self.core.take());
        let tried = self.origin.trial.as_ref().map(|trial| trial.protection(&self.config));
        datapath.configure(&tried.unwrap_or_else(|| self.config.protection())).unwrap();
        let mut core = Core::new(Parts {
            config: self.config.clone(),
            access: self.access.clone(),
            clock: Arc::new(self.clock.clone()),
            boot: self.boot.clone(),
            datapath,
            events: EventHub::new(Arc::new(self.clock.clone())),
            store: Store::open(self.dir.path()).map_err(|error| error.to_string()),
            faults: Vec::new(),
            origin: self.origin.clone(),
        });
        core.recover(adopted);
        self.core = Some(core);
    }

    fn restart(&mut self) {
        self.start(true);
    }

    /// Another boot, at this moment of the wall clock; tables and BOOTTIME start anew.
    fn reboot(&mut self, now: Timestamp) {
        self.renew(now);
        self.start(false);
    }

    /// Clock, tables and boot as a reboot at this moment leaves them.
    fn renew(&mut self, now: Timestamp) {
        self.clock = ManualClock::new(BootTime(10 * 1_000_000_000), now);
        self.kernel = MemoryDatapath::new(Arc::new(self.clock.clone()), 20_000);
        self.boot.boot_id.push('+');
    }

    fn core(&mut self) -> &mut Core {
        self.core.as_mut().unwrap()
    }

    fn submit(&mut self, ports: Vec<RequestedPort>) -> Result<RequestView, Refusal> {
        self.submit_as(&root(), request(ports))
    }

    fn submit_as(&mut self, peer: &Peer, request: NewRequest) -> Result<RequestView, Refusal> {
        let submission = Submission { request, named: None, key: None };
        let open = |reply| Command::Open(Opening::Submit(peer.clone(), submission, reply));
        self.ask(open).map(|submitted| submitted.request)
    }

    fn approve(&mut self, peer: &Peer, id: RequestId) -> Result<RequestView, Refusal> {
        self.ask(|reply| Command::Open(Opening::Approve(peer.clone(), id, reply)))
    }

    fn extend(&mut self, peer: &Peer, id: i64, seconds: u64) -> Result<Extended, Refusal> {
        self.ask(|reply| Command::Open(Opening::Extend(peer.clone(), GrantId(id), secs(seconds), reply)))
    }

    /// A request of alice's that waits.
    fn wait(&mut self) -> RequestId {
        let made = self.submit_as(&alice(), request(vec![port(5986, &["192.0.2.7"], 3600)])).unwrap();
        assert_eq!((made.status, made.grants.len()), (RequestState::Pending, 0));
        made.id
    }

    /// The detail of the last event of a kind.
    fn last(&self, event: &str) -> serde_json::Value {
        let select = "SELECT detail FROM audit WHERE event = ? ORDER BY seq DESC LIMIT 1";
        let detail: String = self.sql().query_row(select, [event], |row| row.get(0)).unwrap();
        serde_json::from_str(&detail).unwrap()
    }

    fn ask<T>(&mut self, command: impl FnOnce(handle::Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, mut answer) = oneshot::channel();
        self.core().handle(command(reply));
        answer.try_recv().unwrap()
    }

    fn revoke(&mut self, selection: &Selection) -> Revocation {
        self.core().revoke(&root(), selection, "over").unwrap()
    }

    /// Lets time pass, with a sweep at the end.
    fn pass(&mut self, seconds: u64) {
        self.clock.advance(secs(seconds));
        self.core().sweep();
    }

    fn faults(&mut self) -> Vec<String> {
        self.core().status(&root()).unwrap().faults
    }

    /// The numbers of the live grants.
    fn live(&mut self) -> Vec<i64> {
        let mut ids: Vec<i64> =
            self.core().grants(&root(), ALL).unwrap().value.iter().map(|grant| grant.id.0).collect();
        ids.sort_unstable();
        ids
    }

    fn entries(&self) -> Vec<(EntryKey, BootTime)> {
        self.kernel.entries().unwrap()
    }

    /// Whether a TCP packet passes.
    fn admits(&self, port: u16, source: &str) -> bool {
        self.kernel.judge(&frame(source.parse().unwrap(), port)).verdict() == Verdict::Pass
    }

    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("jit-agent.sqlite")).unwrap()
    }

    /// Lets the store fail wherever it does this, for example `UPDATE ON grants WHEN NEW.state = 'live'`.
    fn forbid(&self, action: &str) {
        let name = format!("forbid_{}", action.chars().filter(char::is_ascii_alphanumeric).collect::<String>());
        let trigger = format!("CREATE TRIGGER {name} BEFORE {action} BEGIN SELECT RAISE(ABORT, 'made to fail'); END");
        self.sql().execute_batch(&trigger).unwrap();
    }

    fn allow_all(&self) {
        let sql = self.sql();
        for name in texts(&sql, "SELECT name FROM sqlite_schema WHERE type = 'trigger'") {
            sql.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
    }

    /// The states of all grants in the store, in order.
    fn states(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT state FROM grants ORDER BY id")
    }

    fn statuses(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT status FROM requests ORDER BY id")
    }

    fn reasons(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT coalesce(ended_reason, '') FROM grants ORDER BY id")
    }

    fn events(&self) -> Vec<String> {
        texts(&self.sql(), "SELECT event FROM audit ORDER BY seq")
    }

    fn count(&self, event: &str) -> usize {
        self.events().iter().filter(|found| *found == event).count()
    }
}

fn texts(sql: &rusqlite::Connection, select: &str) -> Vec<String> {
    let mut statement = sql.prepare(select).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// A TCP SYN from `source` in an Ethernet frame.
fn frame(source: IpAddr, port: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    match source {
        IpAddr::V4(source) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
            frame.extend(source.octets());
            frame.extend([198, 51, 100, 1]);
        }
        IpAddr::V6(source) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
            frame.extend(source.octets());
            frame.extend([0; 16]);
        }
    }
    frame.extend([0x80, 0x00]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]);
    frame
}

/// An entry for TCP.
fn entry(number: u16, source: &str) -> EntryKey {
    EntryKey { number, transport: Transport::Tcp, source: parse_source(source).unwrap() }
}
