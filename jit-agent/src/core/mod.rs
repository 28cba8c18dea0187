//! The single owner of all state: command, policy, store, datapath, reply.
//!
//! Opening is durable before it is effective, and effective before it is answered; a failure undoes the earlier steps.
//! Closing goes the other way: kernel, store, answer, and is never undone.

mod access;
mod backlog;
mod enforce;
pub mod handle;
mod recovery;
mod report;
mod revoke;
mod submit;
mod sweep;
mod traffic;
pub mod view;
mod why;

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::mpsc;

pub use self::{
    access::Access,
    handle::{Command, CoreHandle},
};
use self::{backlog::Closing, view::Refusal};
use crate::{
    clock::{BootTime, Clock},
    config::Config,
    datapath::Datapath,
    events::EventHub,
    policy::{Book, EntryKey, GrantId, LiveGrant, PortId, RequestId},
    store::Store,
};

/// How many requests a listing shows.
const LISTED_REQUESTS: usize = 200;
/// How often the clocks are written down, so that a reboot doesn't lengthen grants.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
/// How often the datapath is tended.
const TENDING_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait before what store or kernel refused is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// Which boot of which machine this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// /etc/machine-id.
    pub machine_id: String,
    /// /proc/sys/kernel/random/boot_id.
    pub boot_id: String,
}

/// What the core is made of.
pub struct Parts {
    /// The configuration in force.
    pub config: Config,
    /// Its roles.
    pub access: Access,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// This boot.
    pub boot: Boot,
    /// What enforces.
    pub datapath: Box<dyn Datapath>,
    /// Where packets are reported.
    pub events: EventHub,
    /// The store, or why there is none: then nothing is opened, but grants in the kernel end as they should.
    pub store: Result<Store, String>,
    /// What else is broken.
    pub faults: Vec<String>,
}

/// What people want to know of a live grant beyond what the book needs.
#[derive(Clone, Debug)]
struct Particulars {
    request: RequestId,
    requestor: String,
    start: Timestamp,
    end: Timestamp,
    /// When it was made, in this boot.
    opened: BootTime,
}

/// The state, and everything that may be done to it.
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
    /// The last connection of grants that ended since the agent's start, by port.
    past_connections: HashMap<PortId, Timestamp>,
    /// When the host booted by the wall clock, for telling when things happened.
    booted: Cell<Timestamp>,
    /// Entries that the kernel has shut, but refused to change as the book would have it, with its words.
    refused: BTreeMap<EntryKey, String>,
    /// Closings that are in force but could not be written yet, and why the last one could not.
    backlog: VecDeque<Closing>,
    backlog_problem: Option<String>,
    next_retry: BootTime,
    next_checkpoint: BootTime,
    checkpoint_fault: Option<String>,
    next_tending: BootTime,
    tending_fault: Option<String>,
    /// How many events could not be written to the audit log.
    lost_events: u64,
    /// What was broken at the start.
    faults: Vec<String>,
}

impl Core {
    /// A core that knows no grants yet; call [`recover`](Self::recover) next.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, access, clock, boot, datapath, events, store, faults } = parts;
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
            past_connections: HashMap::new(),
            booted: Cell::new(Timestamp::MIN),
            refused: BTreeMap::new(),
            backlog: VecDeque::new(),
            backlog_problem: None,
            next_retry: BootTime::default(),
            next_checkpoint: BootTime::default(),
            checkpoint_fault: None,
            next_tending: BootTime::default(),
            tending_fault: None,
            lost_events: 0,
            faults,
        }
    }

    /// Carries out commands until told to stop, and ends grants on time meanwhile. Runs on a thread of its own, since
    /// store and kernel are waited for.
    ///
    /// # Errors
    /// No timer can be had.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        loop {
            let wait = self.until_next_sweep();
            // Only the wait is asynchronous; commands run outside the runtime.
            let command = runtime.block_on(async { tokio::time::timeout(wait, commands.recv()).await });
            match command {
                Ok(Some(Command::Stop) | None) => break,
                Ok(Some(command)) => self.handle(command),
                Err(_) => {}
            }
            self.sweep();
        }
        self.wind_up();
        Ok(())
    }

    /// Carries out one command and answers it.
    pub fn handle(&mut self, command: Command) {
        // Whoever asked may have gone away meanwhile; the command is carried out all the same.
        match command {
            Command::Status(peer, reply) => drop(reply.send(self.status(&peer))),
            Command::Ports(peer, reply) => drop(reply.send(self.ports(&peer))),
            Command::Submit(peer, request, reply) => drop(reply.send(self.submit(&peer, &request))),
            Command::Requests(peer, reply) => drop(reply.send(self.requests(&peer))),
            Command::Request(peer, id, reply) => drop(reply.send(self.request(&peer, id))),
            Command::Grants(peer, reply) => drop(reply.send(self.grants(&peer))),
            Command::Revoke(peer, selection, reason, reply) => {
                drop(reply.send(self.revoke(&peer, &selection, &reason)));
            }
            Command::Why(peer, packet, reply) => drop(reply.send(self.why(&peer, packet))),
            Command::Watch(peer, reply) => drop(reply.send(self.watch(&peer))),
            Command::Metrics(peer, reply) => drop(reply.send(self.metrics(peer.as_ref()))),
            Command::Stop => {}
        }
    }

    /// Takes a grant out of book and kernel.
    fn take_out(&mut self, id: GrantId) -> Option<(LiveGrant, Particulars)> {
        if let Some(grant) = self.book.get(id).copied() {
            self.keep_last_connection(&grant);
        }
        let (grant, changes) = self.book.remove(id)?;
        self.enforce(&changes);
        Some((grant, self.particulars.remove(&id)?))
    }

    fn store(&mut self) -> Result<&mut Store, Refusal> {
        self.store.as_mut().map_err(|problem| Refusal::Unavailable(problem.clone()))
    }
}

#[cfg(test)]
mod tests;
