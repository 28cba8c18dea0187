//! Grants are exact: whatever happens to grants, in whatever order, exactly the packets pass that a live grant admits.
//!
//! After each single change to the kernel's tables, test packets go through the loaded program and through the same
//! sources in memory. They come from within, from the edges of and from beyond all prefixes. Both verdicts are compared
//! with a list of grants.

mod history;

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use jit_agent::{
    accounts::Numbers,
    clock::{Clock as _, SystemClock},
    config::{Config, Places},
    core::{
        Boot, Core, CoreHandle, Origin, Parts,
        answer::Extended,
        connected_to,
        names::Named,
        peer::Peer,
        refusal::{Refusal, StoreFault},
    },
    datapath::{Datapath as _, xdp::XdpDatapath},
    events::EventHub,
    store::Store,
    testing::asking,
    warnings,
};
use jit_common::abi::{EnforceUntil, Transport};
use jit_policy::{
    Book, BootTime, Change, EntryKey, GrantId, LiveGrant, NewRequest, ProtectedPort, Protection, RequestedPort,
    Selection, Submission, Until,
};
use jit_tests::{
    Sandbox,
    model::{Twin, frame},
    verdicts::XDP_PASS,
};

use self::history::{Keeper, check_histories};

/// The configuration that all histories use.
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
/// The port of most grants, and a second port.
const PORT: u16 = 3389;
const OTHER_PORT: u16 = 22;

/// The grant book, whose changes are applied as soon as the book returns them.
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
    fn ask<T>(&mut self, ask: impl AsyncFnOnce(CoreHandle, Peer) -> Result<T, Refusal>) -> Result<T> {
        let root = Peer { uid: 0, groups: vec![0], name: "root".to_owned(), login: None, login_unknown: None };
        let core = self.core.as_mut().context("no core")?;
        Ok(asking::ask(core, async |core| ask(core, root).await)?)
    }

    fn expect_no_fault(&mut self) -> Result<()> {
        let faults = self.ask(async |core, peer| core.status(peer).await)?.faults;
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
        let made = self.ask(async |core, peer| core.submit(peer, submission).await)?.request.grants;
        let number = |grant: &LiveGrant| made.iter().find(|made| made.source == grant.source).map(|made| made.id);
        Ok(grants.iter().filter_map(number).collect())
    }

    /// Extends a grant. The core never shortens a grant on request.
    fn move_end(&mut self, id: GrantId, end: BootTime) -> Result<bool> {
        let duration = end.since(self.twin.clock().boot());
        if duration.is_zero() {
            return Ok(false);
        }
        let extended = self.ask(async |core, peer| core.extend(peer, id, duration).await);
        self.expect_no_fault()?;
        match extended {
            Ok(extended) => {
                Ok(matches!(extended, Extended::Grant(grant) if grant.remaining_seconds == duration.as_secs()))
            }
            // It has ended, and waits to be swept.
            Err(error) if matches!(error.downcast_ref(), Some(Refusal::NotFound { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn revoke(&mut self, ids: &[GrantId]) -> Result<()> {
        let selection = Selection::Ids(ids.to_vec());
        let done = self.ask(async |core, peer| core.revoke(peer, selection, "over".to_owned()).await)?;
        ensure!(done.durable && done.revoked.len() == ids.len(), "{done:?}");
        self.expect_no_fault()
    }

    fn sweep(&mut self, _: BootTime) -> Result<()> {
        self.core.as_mut().context("no core")?.sweep();
        self.expect_no_fault()
    }

    fn restart(&mut self, _: &[LiveGrant], adopted: bool) -> Result<()> {
        // The store has one owner at a time, so the old core must be dropped first.
        drop(self.core.take());
        let places = Places { state: self.store.clone(), ..self.config.places.clone() };
        let mut core = Core::new(Parts {
            config: Config { places, ..self.config.clone() },
            named: Named::default(),
            numbers: Numbers::default(),
            look_ups: mpsc::channel().0,
            clock: Arc::new(self.twin.clock()),
            boot: Boot { machine_id: "machine".to_owned(), boot_id: "boot".to_owned() },
            datapath: Box::new(self.twin.clone()),
            events: EventHub::new(Arc::new(self.twin.clock())),
            store: Store::open(&self.store).map_err(|error| StoreFault::NotOpened(error.into())),
            faults: Vec::new(),
            origin: Origin::default(),
            connected_to,
            warnings: warnings::all,
        });
        core.recover(adopted);
        self.core = Some(core);
        self.expect_no_fault()
    }
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
    let ports = vec![ProtectedPort::new(OTHER_PORT, Transport::Tcp)];
    datapath.configure(&Protection { ports, enforce_until: EnforceUntil::ENFORCE, ..Protection::default() })?;
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
