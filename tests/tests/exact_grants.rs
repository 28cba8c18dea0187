//! Grants are exact: whatever happens to them, in whatever order, packets pass by exactly those that are live.
//!
//! After each single change to the kernel's tables, packets from within, from the edges of and from beyond all prefixes
//! go through the loaded program and through the same sources in memory, and are held against a list of grants.

use std::{cell::RefCell, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use jit_agent::{
    clock::{BootTime, Clock as _, ManualClock, SystemClock},
    config::Config,
    core::{
        Access, Boot, Command, Core, Origin, Parts,
        handle::Opening,
        view::{Extended, Peer, Refusal, Selection, Submission},
    },
    datapath::{Datapath as _, Protection, xdp::XdpDatapath},
    events::EventHub,
    policy::{Book, Change, EntryKey, GrantId, LiveGrant, NewRequest, PortId, Protocol, RequestedPort, Until},
    store::Store,
};
use jit_common::abi::{Mode, Transport};
use jit_tests::{
    Sandbox,
    model::{Twin, frame, probes},
    verdicts::XDP_PASS,
};
use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use tokio::sync::oneshot;

const MINUTE: u64 = 60 * 1_000_000_000;
const START: BootTime = BootTime(1_000 * MINUTE);
const CONFIG: &str = "
    interfaces = ['eth0']
    mode = 'enforce'
    [[port]]
    number = 22
    protocol = 'tcp'
    max_duration = '24h'
    [[port]]
    number = 3389
    protocol = 'any'
    max_duration = '24h'
";
/// The port of most grants, and one beside it.
const PORT: u16 = 3389;
const OTHER_PORT: u16 = 22;

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<IpNet>, PortId, u64),
    /// The index counts the grants there are.
    MoveEnd(prop::sample::Index, u64),
    Revoke(prop::sample::Index),
    RevokeAll,
    /// So many minutes.
    Pass(u64),
    /// Frees what has ended. Nobody says that the agent gets round to it after each passing of time.
    Sweep,
    Restart,
    LoseMaps,
}

/// Prefixes that nest up to five deep, and hosts, in both families.
fn any_source() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u8..16, prop_oneof![Just(0_u8), Just(8), Just(28), 29_u8..=32])
        .prop_map(|(low, length)| format!("192.0.2.{low}/{length}"));
    let v6 = (0_u8..16, prop_oneof![Just(0_u8), Just(32), Just(64), Just(124), 125_u8..=128])
        .prop_map(|(low, length)| format!("2001:db8::{low:x}/{length}"));
    prop_oneof![v4, v6].prop_filter_map("not a prefix", |text| Some(text.parse::<IpNet>().ok()?.trunc()))
}

fn any_port() -> impl Strategy<Value = PortId> {
    let port = |number, protocol| Just(PortId { number, protocol });
    prop_oneof![
        4 => port(PORT, Protocol::Tcp),
        2 => port(PORT, Protocol::Udp),
        2 => port(PORT, Protocol::Any),
        1 => port(OTHER_PORT, Protocol::Tcp),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(any_source(), 1..4), any_port(), 1_u64..30)
            .prop_map(|(sources, port, minutes)| Step::Add(sources, port, minutes)),
        4 => (any::<prop::sample::Index>(), 0_u64..30).prop_map(|(index, minutes)| Step::MoveEnd(index, minutes)),
        4 => any::<prop::sample::Index>().prop_map(Step::Revoke),
        1 => Just(Step::RevokeAll),
        4 => (0_u64..12).prop_map(Step::Pass),
        3 => Just(Step::Sweep),
        1 => Just(Step::Restart),
        1 => Just(Step::LoseMaps),
    ]
}

/// What makes of grants the entries of a datapath: the grant book alone, or the agent's core with a store.
trait Keeper {
    /// Adds grants whose numbers are not known yet, all with the same port and end; returns the numbers.
    fn add(&mut self, grants: &[LiveGrant], now: BootTime) -> Result<Vec<GrantId>>;
    /// Whether it could move the end of a grant.
    fn move_end(&mut self, id: GrantId, end: BootTime) -> Result<bool>;
    fn revoke(&mut self, ids: &[GrantId]) -> Result<()>;
    fn sweep(&mut self, now: BootTime) -> Result<()>;
    /// Begins anew with these grants, or with what it has written down.
    fn restart(&mut self, grants: &[LiveGrant], adopted: bool) -> Result<()>;
}

/// The model, and those who have to keep to it.
struct World<K> {
    twin: Twin,
    clock: ManualClock,
    grants: Vec<LiveGrant>,
    keeper: K,
}

impl<K: Keeper> World<K> {
    fn take(&mut self, step: &Step) -> Result<()> {
        let now = self.clock.boot();
        let end_after = |minutes: u64| BootTime(now.0 + minutes * MINUTE);
        let mut after = self.grants.clone();
        match step {
            Step::Add(sources, port, minutes) => {
                let mut sources = sources.clone();
                sources.sort_unstable();
                sources.dedup();
                let unnumbered = |source: &IpNet| LiveGrant {
                    id: GrantId(0),
                    port: *port,
                    source: *source,
                    end: end_after(*minutes),
                };
                let mut added: Vec<LiveGrant> = sources.iter().map(unnumbered).collect();
                self.twin.begin(&self.grants, &[after.clone(), added.clone()].concat());
                let ids = self.keeper.add(&added, now)?;
                ensure!(ids.len() == added.len(), "{} grants were asked for, but {ids:?} made", added.len());
                added.iter_mut().zip(ids).for_each(|(grant, id)| grant.id = id);
                after.extend(added);
            }
            Step::MoveEnd(index, minutes) if !after.is_empty() => {
                let grant = &mut after[index.index(self.grants.len())];
                grant.end = end_after(*minutes);
                let moved = *grant;
                self.twin.begin(&self.grants, &after);
                if !self.keeper.move_end(moved.id, moved.end)? {
                    self.twin.begin(&self.grants, &self.grants);
                    after.clone_from(&self.grants);
                }
            }
            Step::Revoke(index) if !after.is_empty() => {
                let grant = after.swap_remove(index.index(self.grants.len()));
                self.twin.begin(&self.grants, &after);
                self.keeper.revoke(&[grant.id])?;
            }
            Step::RevokeAll => {
                let ids: Vec<GrantId> = after.drain(..).map(|grant| grant.id).collect();
                self.twin.begin(&self.grants, &after);
                self.keeper.revoke(&ids)?;
            }
            Step::Pass(minutes) => self.twin.pass(end_after(*minutes))?,
            Step::Sweep => self.keeper.sweep(now)?,
            Step::Restart => {
                self.twin.restart()?;
                self.keeper.restart(&self.grants, true)?;
            }
            Step::LoseMaps => {
                // Until the tables are filled again, packets may be dropped, but none may pass that is not admitted.
                self.twin.begin(&[], &self.grants);
                self.twin.lose_maps()?;
                self.keeper.restart(&self.grants, false)?;
            }
            Step::MoveEnd(..) | Step::Revoke(_) => {}
        }
        if matches!(step, Step::Sweep | Step::Restart | Step::LoseMaps) {
            after.retain(|grant| grant.end > now);
        }
        self.grants = after;
        self.twin.end()
    }
}

/// The book, with its changes carried out as they come.
struct BookKeeper {
    twin: Twin,
    book: Book,
    next_id: i64,
}

impl BookKeeper {
    fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
        for change in changes {
            match change {
                Change::Set { entry, deadline } => self.twin.set(&entry, deadline)?,
                Change::Remove { entry, covered_until } => self.twin.remove(&entry, covered_until)?,
            }
        }
        Ok(())
    }
}

impl Keeper for BookKeeper {
    fn add(&mut self, grants: &[LiveGrant], _: BootTime) -> Result<Vec<GrantId>> {
        let mut ids = Vec::new();
        for grant in grants {
            let id = GrantId(self.next_id);
            self.next_id += 1;
            let changes = self.book.insert(LiveGrant { id, ..*grant })?;
            self.apply(changes)?;
            ids.push(id);
        }
        Ok(ids)
    }

    fn move_end(&mut self, id: GrantId, end: BootTime) -> Result<bool> {
        let changes = self.book.set_end(id, end).context("the grant is unknown")?;
        self.apply(changes).map(|()| true)
    }

    fn revoke(&mut self, ids: &[GrantId]) -> Result<()> {
        for id in ids {
            let (_, changes) = self.book.remove(*id).context("the grant is unknown")?;
            self.apply(changes)?;
        }
        Ok(())
    }

    fn sweep(&mut self, now: BootTime) -> Result<()> {
        let ended = self.book.ended(now);
        self.revoke(&ended)
    }

    fn restart(&mut self, grants: &[LiveGrant], adopted: bool) -> Result<()> {
        let now = self.twin.clock().boot();
        let known: Vec<EntryKey> = self.twin.entries()?.into_iter().map(|(entry, _)| entry).collect();
        self.book = Book::new();
        for grant in grants.iter().filter(|grant| grant.end > now) {
            let changes = self.book.insert(*grant)?;
            if !adopted {
                self.apply(changes)?;
            }
        }
        let gone = known.into_iter().filter(|entry| self.book.effective(entry).is_none());
        let gone: Vec<Change> =
            gone.map(|entry| Change::Remove { entry, covered_until: self.book.covered_until(&entry) }).collect();
        self.apply(gone)?;
        self.twin.keep().map_err(Into::into)
    }
}

/// The agent's core: policies, store, book and recovery.
struct CoreKeeper {
    twin: Twin,
    config: Config,
    store: PathBuf,
    core: Option<Core>,
}

impl CoreKeeper {
    fn ask<T>(&mut self, command: impl FnOnce(Peer, oneshot::Sender<Result<T, Refusal>>) -> Command) -> Result<T> {
        let (reply, mut answer) = oneshot::channel();
        let root = Peer { uid: 0, groups: vec![0], name: "root".to_owned(), login: None };
        self.core.as_mut().context("no core")?.handle(command(root, reply));
        Ok(answer.try_recv()??)
    }

    fn expect_no_fault(&mut self) -> Result<()> {
        let faults = self.ask(Command::Status)?.faults;
        ensure!(faults.is_empty(), "{faults:?}");
        Ok(())
    }
}

impl Keeper for CoreKeeper {
    fn add(&mut self, grants: &[LiveGrant], now: BootTime) -> Result<Vec<GrantId>> {
        let LiveGrant { port, end, .. } = *grants.first().context("nothing to add")?;
        let asked = RequestedPort {
            number: port.number.into(),
            protocol: Some(port.protocol),
            sources: grants.iter().map(|grant| grant.source).collect(),
            until: Until::For(end.since(now)),
        };
        let request = NewRequest { ports: vec![asked], justification: "ticket 7".to_owned() };
        let submission = Submission { request, named: None, key: None };
        let submit = |peer, reply| Command::Open(Opening::Submit(peer, submission, reply));
        let made = self.ask(submit)?.request.grants;
        let number = |grant: &LiveGrant| made.iter().find(|made| made.source == grant.source).map(|made| made.id);
        Ok(grants.iter().filter_map(number).collect())
    }

    /// The core lets grants end later, and never earlier.
    fn move_end(&mut self, id: GrantId, end: BootTime) -> Result<bool> {
        let duration = end.since(self.twin.clock().boot());
        if duration.is_zero() {
            return Ok(false);
        }
        let extended = self.ask(|peer, reply| Command::Open(Opening::Extend(peer, id, duration, reply)));
        self.expect_no_fault()?;
        match extended {
            Ok(extended) => Ok(matches!(extended, Extended::Grant(grant) if grant.remaining == duration)),
            // It has ended, and waits to be swept.
            Err(error) if matches!(error.downcast_ref(), Some(Refusal::NotFound { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn revoke(&mut self, ids: &[GrantId]) -> Result<()> {
        let selection = Selection::Ids(ids.to_vec());
        let done = self.ask(|peer, reply| Command::Revoke(peer, selection, "over".to_owned(), reply))?;
        ensure!(done.durable && done.revoked.len() == ids.len(), "{done:?}");
        self.expect_no_fault()
    }

    fn sweep(&mut self, _: BootTime) -> Result<()> {
        self.core.as_mut().context("no core")?.sweep();
        self.expect_no_fault()
    }

    fn restart(&mut self, _: &[LiveGrant], adopted: bool) -> Result<()> {
        // The store has one owner at a time.
        drop(self.core.take());
        let mut core = Core::new(Parts {
            config: self.config.clone(),
            access: Access::default(),
            clock: Arc::new(self.twin.clock()),
            boot: Boot { machine_id: "machine".to_owned(), boot_id: "boot".to_owned() },
            datapath: Box::new(self.twin.clone()),
            events: EventHub::new(Arc::new(self.twin.clock())),
            store: Store::open(&self.store).map_err(|error| error.to_string()),
            faults: Vec::new(),
            origin: Origin::default(),
        });
        core.recover(adopted);
        self.core = Some(core);
        self.expect_no_fault()
    }
}

/// Random histories, each in a world without grants.
fn check_histories<K: Keeper>(cases: u32, keeper: impl Fn(&Sandbox, &Twin) -> Result<K>) -> Result<()> {
    let sandbox = Sandbox::new()?;
    let ports = Transport::ALL.map(|transport| (PORT, transport)).into_iter().chain([(OTHER_PORT, Transport::Tcp)]);
    let probes = probes(&ports.collect::<Vec<_>>())?;
    let clock = ManualClock::new(START, SystemClock.wall());
    let twin = RefCell::new(Twin::new(
        &sandbox.bpffs().join("jit-agent"),
        &Config::parse(CONFIG, "config.toml")?.protection(),
        probes,
        clock.clone(),
    )?);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let case = |steps: &[Step]| -> Result<()> {
        let twin = twin.borrow();
        twin.clear()?;
        let mut keeper = keeper(&sandbox, &twin)?;
        keeper.restart(&[], true)?;
        let mut world = World { twin: twin.clone(), clock: clock.clone(), grants: Vec::new(), keeper };
        steps.iter().try_for_each(|step| world.take(step).with_context(|| format!("in {step:?}")))
    };
    TestRunner::new(config)
        .run(&prop::collection::vec(any_step(), 1..25), |steps| {
            case(&steps).map_err(|error| TestCaseError::fail(format!("{error:#}")))
        })
        .map_err(|failure| anyhow::anyhow!("{failure}"))?;
    Ok(())
}

#[test]
fn packets_pass_by_the_union_of_the_live_grants_after_each_change_that_the_book_makes() -> Result<()> {
    check_histories(24, |_, twin| Ok(BookKeeper { twin: twin.clone(), book: Book::new(), next_id: 1 }))
}

#[test]
fn packets_pass_by_the_union_of_the_live_grants_after_each_change_that_the_agent_makes() -> Result<()> {
    let config = Config::parse(CONFIG, "config.toml")?;
    check_histories(24, |sandbox, twin| {
        let store = sandbox.path("store");
        if store.exists() {
            std::fs::remove_dir_all(&store)?;
        }
        std::fs::create_dir(&store)?;
        Ok(CoreKeeper { twin: twin.clone(), config: config.clone(), store, core: None })
    })
}

#[test]
fn the_kernel_ends_a_grant_at_its_deadline_neither_earlier_nor_later() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let mut datapath = XdpDatapath::load(&sandbox.bpffs().join("jit-agent"))?;
    let ports = vec![(OTHER_PORT, Transport::Tcp)];
    datapath.configure(&Protection { ports, mode: Mode::Enforce, ..Protection::default() })?;
    for source in ["192.0.2.7/32", "192.0.2.0/24", "2001:db8::7/128", "2001:db8::/64"] {
        let source: IpNet = source.parse()?;
        let entry = EntryKey { number: OTHER_PORT, transport: Transport::Tcp, source };
        let frame = frame(source.addr(), OTHER_PORT, Transport::Tcp);
        for _ in 0..50 {
            let deadline = SystemClock.boot().after(Duration::from_millis(1));
            datapath.set(&entry, deadline)?;
            loop {
                let before = SystemClock.boot();
                let (action, _) = datapath.test_run(&frame, 1)?;
                let after = SystemClock.boot();
                if action != XDP_PASS {
                    ensure!(after >= deadline, "{source} was dropped at {after}, before {deadline}");
                    break;
                }
                ensure!(before < deadline, "{source} passed at {before}, after {deadline}");
            }
        }
    }
    Ok(())
}
