//! The single owner of all state. A command passes policy, store and datapath before its reply.
//!
//! An opening is written to the store before it is in force, and is in force before it is answered. If a step fails,
//! the earlier steps are undone. A closing takes the order kernel, store, answer, and is never undone.

mod access;
pub mod answer;
mod backlog;
pub mod change;
mod connections;
mod coverage;
mod deciding;
mod denials;
mod enforce;
mod enforcement;
pub mod handle;
mod held;
mod opening;
pub mod peer;
mod planning;
mod policies;
pub mod presence;
mod reconfigure;
mod recovery;
pub mod refusal;
mod report;
mod revoke;
mod sockets;
mod start;
mod sweep;
mod traffic;
mod trial;
mod why;

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use jit_api::wire::EnforcementChange;
use jit_policy::{
    Book, BootTime, EntryKey, GrantId, LiveGrant, PortPolicy, RequestId, Right, Selection, audit::Attempt,
};
use tokio::sync::mpsc;

use self::{
    backlog::Closing,
    connections::BreakGlassUse,
    denials::Denials,
    enforcement::Enforcement,
    held::{Held, WaitingRequests},
    refusal::Refusal,
};
use crate::{
    clock::Clock,
    config::{Config, edit::Edit},
    datapath::Datapath,
    events::EventHub,
    store::{Connections, Store},
    warnings::Warn,
};

pub use self::{
    access::Access,
    change::Origin,
    handle::{Command, CoreHandle},
    sockets::{ConnectedTo, connected_to},
    start::{Start, configuration_at},
    trial::{Over, Trial},
};
pub use jit_policy::{CHANGE_TRIAL, LONGEST_TRIAL, SHORTEST_TRIAL};

/// The largest number of commands in a batch. All openings of a batch share one wait for the disk.
const BATCH: usize = 256;
/// How often the clocks are written to the store, so that a reboot doesn't lengthen grants.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// How often the datapath's periodic work is done.
const TENDING_INTERVAL: Duration = Duration::from_secs(1);
/// How often expired keys and old records are removed from the store.
const CLEANING_INTERVAL: Duration = Duration::from_secs(600);
/// How often the core checks that the interfaces are still covered, even if netlink notified no change.
const COVERAGE_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait before a write that the store or the kernel refused is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The boot and the machine on which the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The content of `/etc/machine-id`.
    pub machine_id: String,
    /// The content of `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// The parts from which a core is made.
pub struct Parts {
    /// The configuration in force.
    pub config: Config,
    /// The roles of the configuration.
    pub access: Access,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The boot in which the core runs.
    pub boot: Boot,
    /// The datapath that enforces.
    pub datapath: Box<dyn Datapath>,
    /// The hub to which packets are reported.
    pub events: EventHub,
    /// The store, or why the store can't be used. Without a store nothing is opened, but grants in the kernel end as
    /// they should.
    pub store: Result<Store, String>,
    /// What else is broken at the start.
    pub faults: Vec<String>,
    /// The source of the configuration.
    pub origin: Origin,
    /// The function that finds who is connected.
    pub connected_to: ConnectedTo,
    /// The function that finds settings to warn about.
    pub warnings: Warn,
}

/// The facts about a live grant that people read and the book doesn't need.
#[derive(Clone, Debug)]
struct Particulars {
    request: RequestId,
    requestor: String,
    /// The user id of the sender of the request.
    uid: u32,
    start: Timestamp,
    end: Timestamp,
    /// When the grant was made, in this boot's time.
    opened: BootTime,
    /// Whether the grant's first connection is in the audit log.
    connected: bool,
}

/// A grant that was removed from the book and from the kernel.
struct Ended {
    grant: LiveGrant,
    particulars: Particulars,
    connections: Option<Connections>,
}

/// The state of the agent. Its methods are the only way to change the state.
pub struct Core {
    config: Config,
    access: Access,
    clock: Arc<dyn Clock>,
    boot: Boot,
    datapath: Box<dyn Datapath>,
    events: EventHub,
    store: Result<Store, String>,
    book: Book,
    particulars: HashMap<GrantId, Particulars>,
    held: Held,
    waiting: WaitingRequests,
    denials: Denials,
    break_glass_use: BreakGlassUse,
    /// When the host booted, by the wall clock. Times in this boot are converted to the wall clock from this moment.
    booted: Cell<Timestamp>,
    /// Entries that are closed because the kernel refused to change them as the book requires, with the kernel's error.
    refused: BTreeMap<EntryKey, String>,
    /// Closings that are in force but could not be written yet, and why the last attempt failed.
    backlog: VecDeque<Closing>,
    backlog_problem: Option<String>,
    next_retry: BootTime,
    next_checkpoint: BootTime,
    checkpoint_fault: Option<String>,
    next_cleaning: BootTime,
    next_coverage: BootTime,
    /// The number of the last head of the audit log that was sent to the journal.
    announced_head: i64,
    next_tending: BootTime,
    tending_fault: Option<String>,
    /// How many events could not be written to the audit log.
    lost_events: u64,
    /// What was broken at the start.
    faults: Vec<String>,
    origin: Origin,
    enforcement: Enforcement,
    warnings: Warn,
}

impl Core {
    /// Makes a core that knows no grants yet. Call [`recover`](Self::recover) next.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, access, clock, boot, datapath, events, store, faults, mut origin, connected_to, warnings } =
            parts;
        let enforcement = Enforcement::new(origin.trial.take(), origin.over.take(), connected_to);
        Self {
            config,
            access,
            clock,
            boot,
            datapath,
            events,
            store,
            book: Book::new(),
            particulars: HashMap::new(),
            held: Held::default(),
            waiting: WaitingRequests::default(),
            denials: Denials::default(),
            break_glass_use: BreakGlassUse::default(),
            booted: Cell::new(Timestamp::MIN),
            refused: BTreeMap::new(),
            backlog: VecDeque::new(),
            backlog_problem: None,
            next_retry: BootTime::default(),
            next_checkpoint: BootTime::default(),
            checkpoint_fault: None,
            next_cleaning: BootTime::default(),
            next_coverage: BootTime::default(),
            announced_head: 0,
            next_tending: BootTime::default(),
            tending_fault: None,
            lost_events: 0,
            faults,
            origin,
            enforcement,
            warnings,
        }
    }

    /// Carries out commands until the command to stop, and meanwhile ends grants on time. The loop runs on a thread of
    /// its own, because the core waits for store and kernel.
    ///
    /// # Errors
    /// The timer can't be created.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        loop {
            let wait = self.until_next_sweep();
            // Only the wait is asynchronous. Commands run outside the runtime.
            let mut batch = Vec::new();
            let received =
                runtime.block_on(async { tokio::time::timeout(wait, commands.recv_many(&mut batch, BATCH)).await });
            let stops = received == Ok(0) || batch.iter().any(|command| matches!(command, Command::Stop));
            self.handle_all(batch);
            if stops {
                break;
            }
            self.sweep();
        }
        self.wind_up();
        Ok(())
    }

    /// Carries out and answers commands that came in together: closings first, and openings as one batch.
    fn handle_all(&mut self, mut batch: Vec<Command>) {
        batch.sort_by_key(|command| !command.closes());
        let mut openings = Vec::new();
        for command in batch {
            match command {
                Command::Open(opening) => openings.push(opening),
                command => self.handle(command),
            }
        }
        self.open_all(openings);
    }

    /// Carries out one command and answers it.
    pub fn handle(&mut self, command: Command) {
        // The client may have gone away meanwhile. The command is carried out nevertheless.
        match command {
            Command::Status(peer, reply) => drop(reply.send(self.status(&peer))),
            Command::Ports(peer, reply) => drop(reply.send(self.port_list(&peer))),
            Command::ChangePort(peer, edit, reply) => {
                let changed = self.change_port(&peer, &edit);
                let (Edit::Set(PortPolicy { id, .. }) | Edit::Remove(id)) = &edit.edit;
                self.note_refused_command(&peer, Attempt::Change(id.number), changed.as_ref().err());
                drop(reply.send(changed));
            }
            Command::Reconcile(notified, reply) => {
                self.keep_covered(Some(notified));
                // The thread that notified the change may have ended.
                let _ = reply.send(());
            }
            Command::Reload(peer, asked, reply) => drop(reply.send(self.reload(peer.as_ref(), &asked))),
            Command::Open(opening) => self.open_all(vec![opening]),
            Command::Deny(peer, id, reason, reply) => {
                let denied = self.deny(&peer, id, &reason);
                self.note_refused_command(&peer, Attempt::Deny(id), denied.as_ref().err());
                drop(reply.send(denied));
            }
            Command::Cancel(peer, id, reason, reply) => {
                let cancelled = self.cancel(&peer, id, &reason);
                self.note_refused_command(&peer, Attempt::Cancel(id), cancelled.as_ref().err());
                drop(reply.send(cancelled));
            }
            Command::Requests(peer, filter, reply) => drop(reply.send(self.requests(&peer, filter))),
            Command::Request(peer, id, reply) => drop(reply.send(self.request(&peer, id))),
            Command::Grants(peer, filter, reply) => drop(reply.send(self.grants(&peer, filter))),
            Command::Revoke(peer, selection, reason, reply) => {
                let revoked = self.revoke(&peer, &selection, &reason);
                let first = match &selection {
                    Selection::Ids(ids) => ids.first().copied().unwrap_or_default(),
                    Selection::User(_) | Selection::All => GrantId::default(),
                };
                self.note_refused_command(&peer, Attempt::Revoke(first), revoked.as_ref().err());
                drop(reply.send(revoked));
            }
            Command::Why(peer, packet, reply) => drop(reply.send(self.why(&peer, &packet))),
            Command::Watch(peer, reply) => drop(reply.send(self.watch(&peer))),
            Command::Audit(peer, reply) => drop(reply.send(self.audit(&peer))),
            Command::Metrics(peer, reply) => drop(reply.send(self.metrics(peer.as_ref()))),
            Command::Enforcement(peer, connected, reply) => drop(reply.send(self.enforcement(&peer, &connected))),
            Command::Enable(peer, asked, connected, reply) => {
                let enabled = self.enable(&peer, &asked, &connected);
                self.note_refused_command(&peer, Attempt::Enable, enabled.as_ref().err());
                drop(reply.send(enabled));
            }
            Command::Confirm(peer, connected, reply) => {
                let confirmed = self.confirm_trial(&peer);
                self.note_refused_command(&peer, Attempt::Confirm, confirmed.as_ref().err());
                let view = confirmed.and_then(|durable| {
                    let enforcement = self.enforcement(&peer, &connected)?;
                    Ok(EnforcementChange { enforcement, grant: None, durable })
                });
                drop(reply.send(view));
            }
            Command::Disable(peer, connected, reply) => {
                let disabled = self.disable(&peer, &connected);
                self.note_refused_command(&peer, Attempt::Disable, disabled.as_ref().err());
                drop(reply.send(disabled));
            }
            Command::Permit(peer, reply) => drop(reply.send(self.access.check(&peer, Right::Look))),
            Command::Ping(reply) => drop(reply.send(Ok(()))),
            Command::Stop => {}
        }
    }

    /// Removes a grant from the book and from the kernel.
    fn take_out(&mut self, id: GrantId) -> Option<Ended> {
        let opened = self.particulars.get(&id)?.opened;
        // The connections are read first, because the kernel forgets them with the entry.
        let connections = self.connections(self.book.get(id)?, opened);
        let (grant, changes) = self.book.remove(id)?;
        self.enforce(&changes);
        let particulars = self.particulars.remove(&id)?;
        self.held.remove(particulars.uid, grant.port);
        Some(Ended { grant, particulars, connections })
    }

    fn store(&mut self) -> Result<&mut Store, Refusal> {
        self.store.as_mut().map_err(|problem| Refusal::Unavailable(problem.clone()))
    }
}

#[cfg(test)]
mod tests;
