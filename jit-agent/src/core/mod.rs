//! The single owner of all state: command, policy, store, datapath, reply.
//!
//! Opening is durable before it is effective, and effective before it is answered; a failure undoes the earlier steps.
//! Closing goes the other way: kernel, store, answer, and is never undone.

mod access;
pub mod handle;
mod recovery;
mod submit;
pub mod view;

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::mpsc;

use self::view::{
    GrantStatus, GrantView, Peer, PortView, Refusal, RequestStatus, RequestView, Revocation, Selection, StatusView,
};
pub use self::{
    access::Access,
    handle::{Command, CoreHandle},
};
use crate::{
    clock::{BootTime, Clock},
    config::Config,
    datapath::{Datapath, DatapathError},
    policy::{Change, GrantId, LiveGrant, PortId, RequestId},
    store::{Ending, GrantRow, GrantState, RequestRow, Store},
};

/// How many requests a listing shows.
const LISTED_REQUESTS: usize = 200;
/// How often the clocks are written down, so that a reboot doesn't lengthen grants.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

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
}

/// The state, and everything that may be done to it.
pub struct Core {
    config: Config,
    access: Access,
    clock: Arc<dyn Clock>,
    boot: Boot,
    datapath: Box<dyn Datapath>,
    store: Result<Store, String>,
    book: crate::policy::Book,
    particulars: HashMap<GrantId, Particulars>,
    /// Closings that are in force but could not be written yet.
    unwritten: Vec<(Vec<GrantId>, Ending)>,
    next_checkpoint: BootTime,
    faults: Vec<String>,
}

impl Core {
    /// A core that knows no grants yet; call [`recover`](Self::recover) next.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, access, clock, boot, datapath, store, faults } = parts;
        Self {
            config,
            access,
            clock,
            boot,
            datapath,
            store,
            book: crate::policy::Book::new(),
            particulars: HashMap::new(),
            unwritten: Vec::new(),
            next_checkpoint: BootTime::default(),
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
        self.note("stopped");
        Ok(())
    }

    fn until_next_sweep(&self) -> Duration {
        let until_end = self.book.next_end().map(|end| end.since(self.clock.boot()));
        until_end.unwrap_or(CHECKPOINT_INTERVAL).min(CHECKPOINT_INTERVAL)
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
            Command::Stop => {}
        }
    }

    /// Ends the grants whose time is over, writes what could not be written before, and notes the clocks.
    pub fn sweep(&mut self) {
        let ended = self.book.ended(self.clock.boot());
        if !ended.is_empty() {
            for id in &ended {
                self.take_out(*id);
            }
            let ending = self.ending(GrantState::Expired, None, "");
            self.write_ending(ended, ending);
        }
        for (ids, ending) in std::mem::take(&mut self.unwritten) {
            self.write_ending(ids, ending);
        }
        self.checkpoint();
    }

    fn checkpoint(&mut self) {
        let (boot, wall) = (self.clock.boot(), self.clock.wall());
        if boot < self.next_checkpoint {
            return;
        }
        self.next_checkpoint = boot.after(CHECKPOINT_INTERVAL);
        if let Ok(store) = &mut self.store
            && let Err(error) = store.checkpoint(&self.boot.machine_id, &self.boot.boot_id, boot, wall)
        {
            tracing::error!(%error, "the clocks could not be noted; a reboot now would end grants earlier");
        }
    }

    fn note(&mut self, event: &str) {
        let wall = self.clock.wall();
        if let Ok(store) = &mut self.store
            && let Err(error) = store.record_event(wall, event, &serde_json::json!({}))
        {
            tracing::error!(%error, event, "an event could not be written to the audit log");
        }
    }

    /// Takes a grant out of book and kernel. Failures are logged: the deadline in the kernel was zeroed first.
    fn take_out(&mut self, id: GrantId) -> Option<(LiveGrant, Particulars)> {
        let (grant, changes) = self.book.remove(id)?;
        for change in &changes {
            if let Err(error) = self.apply(change) {
                tracing::error!(%error, grant = %id, "a closed entry could not be removed from the kernel's tables");
            }
        }
        Some((grant, self.particulars.remove(&id)?))
    }

    fn apply(&mut self, change: &Change) -> Result<(), DatapathError> {
        match change {
            Change::Set { entry, deadline } => self.datapath.set(entry, *deadline),
            Change::Remove { entry, covered_until } => self.datapath.remove(entry, *covered_until),
        }
    }

    fn ending(&self, state: GrantState, by: Option<&Peer>, reason: &str) -> Ending {
        Ending {
            state,
            wall: self.clock.wall(),
            by: by.map(|peer| (peer.uid, peer.name.clone())),
            reason: reason.to_owned(),
        }
    }

    /// Writes closings that are in force. What can't be written now is tried again at the next sweep.
    fn write_ending(&mut self, ids: Vec<GrantId>, ending: Ending) -> bool {
        let written = match &mut self.store {
            Ok(store) => store.end_grants(&ids, &ending).map_err(|error| error.to_string()),
            Err(problem) => Err(problem.clone()),
        };
        if let Err(problem) = &written {
            tracing::error!(problem, "closings are in force but could not be written");
            self.unwritten.push((ids, ending));
        }
        written.is_ok()
    }

    fn store(&mut self) -> Result<&mut Store, Refusal> {
        self.store.as_mut().map_err(|problem| Refusal::Unavailable(problem.clone()))
    }

    fn status(&self, peer: &Peer) -> Result<StatusView, Refusal> {
        self.access.check(peer)?;
        let mut faults = self.faults.clone();
        if let Err(problem) = &self.store {
            faults.push(problem.clone());
        }
        if !self.unwritten.is_empty() {
            faults.push("some closings are in force but not written; see the log for why".to_owned());
        }
        let mut unreadable = |error: DatapathError| faults.push(error.to_string());
        let entries: HashMap<_, _> =
            self.datapath.entries().map_err(&mut unreadable).unwrap_or_default().into_iter().collect();
        let counters = self.datapath.counters().map_err(&mut unreadable).unwrap_or_default();
        let enforced = |grant: &&LiveGrant| {
            grant.entries().all(|entry| entries.get(&entry).is_some_and(|deadline| *deadline >= grant.end))
        };
        let enforced_grants = self.book.iter().filter(enforced).count();
        let interfaces = self.datapath.interfaces();
        faults.extend(interfaces.iter().filter_map(|interface| {
            interface.fault.as_ref().map(|fault| format!("interface {}: {fault}", interface.name))
        }));
        Ok(StatusView {
            mode: mode_name(self.config.mode),
            version: env!("CARGO_PKG_VERSION"),
            interfaces,
            intended_grants: self.book.len(),
            enforced_grants,
            counters: counters.into_iter().map(|(mode, reason, packets)| (mode_name(mode), reason, packets)).collect(),
            faults,
        })
    }

    fn ports(&self, peer: &Peer) -> Result<Vec<PortView>, Refusal> {
        self.access.check(peer)?;
        let live = |port: PortId| self.book.iter().filter(|grant| port_holds(port, grant.port)).count();
        let view =
            |policy: &crate::policy::PortPolicy| PortView { policy: policy.clone(), live_grants: live(policy.id) };
        Ok(self.config.ports.iter().map(view).collect())
    }

    fn requests(&mut self, peer: &Peer) -> Result<Vec<RequestView>, Refusal> {
        self.access.check(peer)?;
        let rows = self.store()?.requests(LISTED_REQUESTS).map_err(|error| unavailable(&error))?;
        Ok(rows.into_iter().map(|row| self.request_view(row)).collect())
    }

    fn request(&mut self, peer: &Peer, id: RequestId) -> Result<RequestView, Refusal> {
        self.access.check(peer)?;
        let row = self.store()?.request(id).map_err(|error| unavailable(&error))?;
        let row = row.ok_or(Refusal::NotFound { what: "request", id: id.0 })?;
        Ok(self.request_view(row))
    }

    fn grants(&self, peer: &Peer) -> Result<Vec<GrantView>, Refusal> {
        self.access.check(peer)?;
        let now = self.clock.boot();
        let live = self.book.iter().filter(|grant| grant.end > now);
        Ok(live.filter_map(|grant| Some(self.live_view(grant, self.particulars.get(&grant.id)?))).collect())
    }

    fn revoke(&mut self, peer: &Peer, selection: &Selection, reason: &str) -> Result<Revocation, Refusal> {
        self.access.check(peer)?;
        let ids: Vec<GrantId> = match selection {
            Selection::All => {
                self.close_unknown_entries();
                self.book.iter().map(|grant| grant.id).collect()
            }
            Selection::User(name) => {
                let theirs =
                    |(id, particulars): (&GrantId, &Particulars)| (particulars.requestor == *name).then_some(*id);
                self.particulars.iter().filter_map(theirs).collect()
            }
            Selection::Ids(ids) => self.known(ids)?,
        };
        let mut revoked: Vec<GrantView> = Vec::new();
        for id in &ids {
            if let Some((grant, particulars)) = self.take_out(*id) {
                let mut view = self.live_view(&grant, &particulars);
                (view.status, view.remaining, view.end) = (GrantStatus::Revoked, Duration::ZERO, self.clock.wall());
                view.status_reason = (!reason.is_empty()).then(|| reason.to_owned());
                revoked.push(view);
            }
        }
        let ids: Vec<GrantId> = revoked.iter().map(|grant| grant.id).collect();
        let ending = self.ending(GrantState::Revoked, Some(peer), reason);
        let durable = ids.is_empty() || self.write_ending(ids, ending);
        Ok(Revocation { revoked, durable })
    }

    /// The grants among `ids` that are live; an error if one never was.
    fn known(&mut self, ids: &[GrantId]) -> Result<Vec<GrantId>, Refusal> {
        let (live, others): (Vec<_>, Vec<_>) = ids.iter().partition(|id| self.book.get(**id).is_some());
        for id in others {
            if self.store()?.grant(id).map_err(|error| unavailable(&error))?.is_none() {
                return Err(Refusal::NotFound { what: "grant", id: id.0 });
            }
        }
        Ok(live)
    }

    /// Closes what is open in the kernel without being in the book, which happens only while the store is unusable.
    fn close_unknown_entries(&mut self) {
        let entries = self.datapath.entries().unwrap_or_else(|error| {
            tracing::error!(%error, "the kernel's tables can't be read");
            Vec::new()
        });
        for (entry, _) in entries {
            if self.book.effective(&entry).is_none()
                && let Err(error) = self.datapath.remove(&entry, None)
            {
                tracing::error!(%error, %entry, "a closed entry could not be removed from the kernel's tables");
            }
        }
    }

    fn live_view(&self, grant: &LiveGrant, particulars: &Particulars) -> GrantView {
        let Particulars { request, requestor, start, end } = particulars.clone();
        let remaining = grant.end.since(self.clock.boot());
        // People read the wall clock, but only BOOTTIME counts: if the wall clock was set, show when it really ends.
        let end = self.clock.wall().saturating_add(remaining).unwrap_or(end);
        GrantView {
            id: grant.id,
            request,
            port: grant.port,
            source: grant.source,
            requestor,
            start,
            end,
            remaining,
            status: GrantStatus::Live,
            status_reason: None,
        }
    }

    fn request_view(&self, row: RequestRow) -> RequestView {
        let RequestRow { id, uid, requestor, justification, start, status, status_reason, grants } = row;
        let grants = grants.into_iter().map(|grant| self.stored_view(grant, &requestor)).collect();
        let status = if status.is_approved() { RequestStatus::Approved } else { RequestStatus::Failed };
        RequestView { id, requestor, uid, justification, start, status, status_reason, grants }
    }

    fn stored_view(&self, row: GrantRow, requestor: &str) -> GrantView {
        if let (Some(grant), Some(particulars)) = (self.book.get(row.id), self.particulars.get(&row.id))
            && grant.end > self.clock.boot()
        {
            return self.live_view(grant, particulars);
        }
        let status = match row.state {
            GrantState::Opening | GrantState::Live | GrantState::Expired => GrantStatus::Expired,
            GrantState::Revoked => GrantStatus::Revoked,
            GrantState::Ended => GrantStatus::Ended,
        };
        GrantView {
            id: row.id,
            request: row.request,
            port: row.port,
            source: row.source,
            requestor: requestor.to_owned(),
            start: row.start,
            end: row.ended.unwrap_or(row.end_wall),
            remaining: Duration::ZERO,
            status,
            status_reason: row.ended_reason,
        }
    }
}

fn port_holds(policy: PortId, grant: PortId) -> bool {
    policy.number == grant.number && policy.protocol.includes(grant.protocol)
}

const fn mode_name(mode: jit_common::abi::Mode) -> &'static str {
    match mode {
        jit_common::abi::Mode::Observe => "observe",
        jit_common::abi::Mode::Enforce => "enforce",
    }
}

fn unavailable(error: &crate::store::StoreError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}
