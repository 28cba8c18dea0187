//! The single owner of all state. A command passes policy, store and datapath before its reply.
//!
//! An opening is written to the store before it is in force, and is in force before it is answered. If a step fails,
//! the earlier steps are undone. A closing takes the order kernel, store, answer, and is never undone.

mod access;
mod admission;
pub mod answer;
pub mod change;
mod command;
mod coverage;
mod deciding;
mod enable;
mod enforcement;
pub mod handle;
mod live;
pub mod names;
mod opening;
mod origin;
pub mod peer;
mod planning;
mod policies;
pub mod presence;
mod reconfigure;
mod records;
mod recovery;
pub mod refusal;
mod report;
mod revoke;
mod settings;
mod shared_access;
mod sockets;
mod start;
mod sweep;
mod times;
mod trial;
mod upkeep;
mod usage;
mod waiting;
mod why;

use std::{
    sync::{Arc, mpsc},
    time::Instant,
};

use jit_policy::{Right, audit::Attempt};
use tokio::sync::mpsc::Receiver;

use self::{
    enforcement::Enforcement,
    live::LiveGrants,
    names::{LookUps, Named, Names},
    opening::Openings,
    peer::Peer,
    records::{Attempted, Records},
    refusal::{Refusal, StoreFault},
    settings::Settings,
    times::Times,
    upkeep::Upkeep,
    waiting::WaitingRequests,
};
use crate::{
    accounts::Numbers, clock::Clock, config::Config, datapath::Datapath, events::EventHub, store::Store, warnings::Warn,
};

pub use self::{
    admission::Admitted,
    command::Command,
    handle::CoreHandle,
    origin::{EndedTrial, Origin, Trial},
    shared_access::SharedAccess,
    sockets::{ConnectedTo, connected_to},
    start::{Start, configuration_at},
    times::Boot,
};
pub use jit_policy::{CHANGE_TRIAL, LONGEST_TRIAL, SHORTEST_TRIAL};

/// The largest number of commands in a batch. All openings of a batch share one wait for the disk.
const BATCH: usize = 256;

/// The parts from which a core is made.
pub struct Parts {
    /// The configuration in force.
    pub config: Config,
    /// The names that have roles, and who is one person.
    pub named: Named,
    /// What is known about these names.
    pub numbers: Numbers,
    /// The channel for the names that are to be looked up.
    pub look_ups: mpsc::Sender<LookUps>,
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
    pub store: Result<Store, StoreFault>,
    /// What else is broken at the start.
    pub faults: Vec<String>,
    /// The source of the configuration.
    pub origin: Origin,
    /// The function that finds who is connected.
    pub connected_to: ConnectedTo,
    /// The function that finds settings to warn about.
    pub warnings: Warn,
}

/// The state of the agent, in groups that change together. The methods only combine the groups.
pub struct Core {
    times: Times,
    settings: Settings,
    live: LiveGrants,
    waiting: WaitingRequests,
    records: Records,
    enforcement: Enforcement,
    upkeep: Upkeep,
    events: EventHub,
}

impl Core {
    /// Makes a core that knows no grants yet. Call [`recover`](Self::recover) next.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, named, numbers, look_ups, clock, boot, .. } = parts;
        let Parts { datapath, events, store, faults, mut origin, connected_to, warnings, .. } = parts;
        let times = Times::new(clock, boot);
        let mut names = Names::new(times.clone(), named, numbers, look_ups);
        names.set_tried(Named::of(&config));
        let trials = (origin.trial.take(), origin.ended_trial.take());
        Self {
            live: LiveGrants::new(times.clone(), datapath),
            waiting: WaitingRequests::new(times.clone()),
            records: Records::new(times.clone(), store),
            enforcement: Enforcement::new(times.clone(), &config.places.state, trials, connected_to),
            upkeep: Upkeep::new(times.clone(), &config.places.state),
            settings: Settings::new(config, names, origin, faults, warnings),
            times,
            events,
        }
    }

    /// Carries out commands until the command to stop, and meanwhile ends grants on time. The loop runs on a thread of
    /// its own, because the core waits for store and kernel.
    ///
    /// # Errors
    /// The timer can't be created.
    pub fn run(mut self, mut commands: Receiver<Command>) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        loop {
            let wait = self.until_next_sweep();
            // Only the wait is asynchronous. Commands run outside the runtime.
            let mut batch = Vec::new();
            let received =
                runtime.block_on(async { tokio::time::timeout(wait, commands.recv_many(&mut batch, BATCH)).await });
            let stops = received == Ok(0) || batch.iter().any(|command| matches!(command, Command::Stop));
            self.carry_out(batch);
            if stops {
                break;
            }
            self.sweep();
        }
        self.wind_up();
        Ok(())
    }

    /// Carries out and answers commands that came in together: closings first, and openings as one batch. What is over
    /// ends before, however long the commands had to wait.
    pub(crate) fn carry_out(&mut self, mut batch: Vec<Command>) {
        self.catch_up();
        batch.sort_by_key(|command| !matches!(command, Command::Close(_)));
        let mut openings = Vec::new();
        for command in batch {
            match command {
                Command::Open(opening) => openings.push(*opening),
                Command::Close(work) | Command::Work(work) => work(self),
                Command::Ping(reply) => drop(reply.send(Ok(()))),
                Command::Stop => {}
            }
        }
        self.openings().open_all(openings);
    }

    /// Returns the groups that openings read and change.
    fn openings(&mut self) -> Openings<'_> {
        let Self { times, settings, live, waiting, records, .. } = self;
        Openings { times, settings, live, waiting, records }
    }

    /// Carries out a command, and records in the audit log if the command is refused.
    fn noting_refusal<T>(
        &mut self,
        peer: &Peer,
        attempt: Attempt,
        command: impl FnOnce(&mut Self) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        command(self).inspect_err(|refusal| {
            let attempted = Attempted::new(peer, self.settings.has(peer, Right::Look), attempt);
            self.records.note_refusal(attempted, refusal);
        })
    }

    /// Reconciles the attachments with the interfaces. `notified` is when netlink notified a change.
    fn keep_covered(&mut self, notified: Option<Instant>) {
        self.upkeep.note_coverage_check();
        self.enforcement.keep_covered(&mut self.live, &mut self.records, notified);
    }
}

#[cfg(test)]
mod tests;
