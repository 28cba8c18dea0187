//! A datapath that makes each change in memory and in the kernel, and shows both the same packets after each of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use jit_agent::{
    clock::{Clock, SystemClock},
    datapath::{
        CoverageChange, Datapath, DatapathError, InterfaceView, PortCounts, Trace, UncoveredView,
        xdp::{XdpDatapath, unload},
    },
    testing::{ManualClock, MemoryDatapath},
};
use jit_common::{abi::Activity, reason::Verdict};
use jit_policy::{BootTime, EntryKey, Interfaces, LiveGrant, Packet, Protection};

use super::{Probe, admits};
use crate::verdicts::XDP_PASS;

/// The twin datapaths. Clones share both: the agent under test has one clone, the test another.
///
/// Memory uses a clock that the test moves. The kernel's clock can't be moved, so each deadline in the kernel is as far
/// ahead of the kernel's clock as it should be ahead of the test's. When time passes for the test, the kernel's
/// deadlines are moved closer by the same amount. Times are whole minutes, and a test takes much less than a minute
/// between two moves.
#[derive(Clone)]
pub struct Twin(Arc<Mutex<State>>);

struct State {
    directory: PathBuf,
    protection: Protection,
    clock: ManualClock,
    /// A moment of the test's clock, and the moment of the kernel's clock that represents it.
    anchor: (BootTime, BootTime),
    memory: MemoryDatapath,
    /// `None` between two lives of the agent.
    kernel: Option<XdpDatapath>,
    probes: Vec<Probe>,
    before: Vec<LiveGrant>,
    after: Vec<LiveGrant>,
    violation: Option<String>,
}

impl Twin {
    /// Creates empty twins. The kernel's twin pins its maps in `directory`.
    ///
    /// # Errors
    /// The kernel refuses the object.
    pub fn new(directory: &Path, protection: &Protection, probes: Vec<Probe>, clock: ManualClock) -> Result<Self> {
        let mut state = State {
            directory: directory.to_owned(),
            protection: protection.clone(),
            anchor: (clock.boot(), SystemClock.boot()),
            memory: MemoryDatapath::new(Arc::new(clock.clone()), usize::from(u16::MAX)),
            clock,
            kernel: None,
            probes,
            before: Vec::new(),
            after: Vec::new(),
            violation: None,
        };
        state.load()?;
        Ok(Self(Arc::new(Mutex::new(state))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock that the datapath in memory uses.
    #[must_use]
    pub fn clock(&self) -> ManualClock {
        self.state().clock.clone()
    }

    /// Removes all entries, and forgets all violations.
    ///
    /// # Errors
    /// The kernel refuses to remove an entry.
    pub fn clear(&self) -> Result<()> {
        let mut state = self.state();
        if state.kernel.is_none() {
            state.load()?;
        }
        for (entry, _) in state.kernel()?.entries()? {
            state.kernel()?.remove(&entry, None)?;
        }
        state.memory = MemoryDatapath::new(Arc::new(state.clock.clone()), usize::from(u16::MAX));
        let protection = state.protection.clone();
        state.memory.configure(&protection)?;
        (state.before, state.after, state.violation) = (Vec::new(), Vec::new(), None);
        state.anchor = (state.clock.boot(), SystemClock.boot());
        Ok(())
    }

    /// From here to [`end`](Self::end), packets that both lists admit must pass, and packets that neither list admits
    /// must not.
    pub fn begin(&self, before: &[LiveGrant], after: &[LiveGrant]) {
        let mut state = self.state();
        (state.before, state.after) = (before.to_vec(), after.to_vec());
    }

    /// From here on, exactly the packets pass that the later list of [`begin`](Self::begin) admits.
    ///
    /// # Errors
    /// A packet did or does not pass as it should, or the kernel's entries differ from those in memory.
    pub fn end(&self) -> Result<()> {
        let mut state = self.state();
        state.before = state.after.clone();
        state.check(true);
        if let Some(violation) = &state.violation {
            bail!("{violation}");
        }
        let now = state.clock.boot();
        // The age of a past deadline is lost if the machine has run for less than that, so past deadlines count as now.
        let ahead = |entries: Vec<(EntryKey, BootTime)>| -> BTreeMap<EntryKey, BootTime> {
            entries.into_iter().map(|(entry, deadline)| (entry, deadline.max(now))).collect()
        };
        let (memory, kernel) = (ahead(state.memory.entries()?), ahead(state.entries()?));
        ensure!(memory == kernel, "the kernel's entries are {kernel:?}, those in memory {memory:?}");
        Ok(())
    }

    /// Lets time pass, and checks both sides of each moment at which a grant ends.
    ///
    /// # Errors
    /// A deadline can't be moved.
    pub fn pass(&self, until: BootTime) -> Result<()> {
        let mut state = self.state();
        let mut ends: Vec<BootTime> = state.after.iter().map(|grant| grant.end).collect();
        ends.sort_unstable();
        ends.dedup();
        let now = state.clock.boot();
        for end in ends.into_iter().filter(|end| now < *end && *end <= until) {
            for moment in [BootTime(end.0 - 1), end] {
                state.advance(moment);
                state.check(false);
            }
        }
        state.advance(until);
        state.anchor = (until, SystemClock.boot());
        for (entry, deadline) in state.memory.entries()? {
            let deadline = state.for_kernel(deadline);
            state.kernel()?.set(&entry, deadline)?;
        }
        Ok(())
    }

    /// Ends one life of the agent and begins another, which adopts the pinned maps.
    ///
    /// # Errors
    /// The maps can't be loaded, or they are not adopted.
    pub fn restart(&self) -> Result<()> {
        let mut state = self.state();
        state.kernel = None;
        state.load()?;
        ensure!(state.kernel()?.adopted(), "the pinned maps were not taken over");
        Ok(())
    }

    /// Like [`restart`](Self::restart), but the pinned maps are lost in between.
    ///
    /// # Errors
    /// The object can't be loaded, or there are maps to adopt.
    pub fn lose_maps(&self) -> Result<()> {
        let mut state = self.state();
        state.kernel = None;
        unload(&state.directory).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        state.load()?;
        ensure!(!state.kernel()?.adopted(), "there were maps to take over");
        state.memory = MemoryDatapath::new(Arc::new(state.clock.clone()), usize::from(u16::MAX));
        let protection = state.protection.clone();
        Ok(state.memory.configure(&protection)?)
    }
}

impl State {
    fn load(&mut self) -> Result<()> {
        let mut kernel = XdpDatapath::load(&self.directory).context("loading the object")?;
        kernel.configure(&self.protection)?;
        self.memory.configure(&self.protection)?;
        self.kernel = Some(kernel);
        Ok(())
    }

    fn kernel(&mut self) -> Result<&mut XdpDatapath, DatapathError> {
        self.kernel.as_mut().ok_or_else(|| no_kernel(&self.directory))
    }

    fn for_kernel(&self, deadline: BootTime) -> BootTime {
        let (test, kernel) = self.anchor;
        BootTime((kernel.0 + deadline.0).saturating_sub(test.0))
    }

    fn for_test(&self, deadline: BootTime) -> BootTime {
        let (test, kernel) = self.anchor;
        BootTime((test.0 + deadline.0).saturating_sub(kernel.0))
    }

    fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError> {
        let kernel = self.kernel.as_ref().ok_or_else(|| no_kernel(&self.directory))?;
        let entries = kernel.entries()?.into_iter();
        Ok(entries.map(|(entry, deadline)| (entry, self.for_test(deadline))).collect())
    }

    fn advance(&self, until: BootTime) {
        self.clock.advance(until.since(self.clock.boot()));
    }

    /// Records an error of a change that was made in both datapaths, and checks both.
    fn changed(&mut self, what: &str, in_memory: &Result<(), DatapathError>, in_kernel: &Result<(), DatapathError>) {
        if let Some(error) = in_memory.as_ref().err().or(in_kernel.as_ref().err()) {
            self.record_violation(&format!("{what}: {error}"));
        }
        self.check(true);
    }

    fn check(&mut self, kernel: bool) {
        let probes = std::mem::take(&mut self.probes);
        for probe in &probes {
            if let Err(error) = self.check_one(probe, kernel) {
                self.record_violation(&format!(
                    "{} to {}/{:?}: {error:#}",
                    probe.address, probe.number, probe.transport
                ));
            }
        }
        self.probes = probes;
    }

    fn check_one(&mut self, probe: &Probe, kernel: bool) -> Result<()> {
        let now = self.clock.boot();
        let (before, after) = (admits(&self.before, probe, now), admits(&self.after, probe, now));
        let reason = self.memory.judge(&probe.frame);
        let passes = reason.verdict() == Verdict::Pass;
        if kernel {
            let (action, _) = self.kernel()?.test_run(&probe.frame, 1)?;
            ensure!((action == XDP_PASS) == passes, "in memory {}, but the kernel says {action}", reason.name());
        }
        let right = if before == after { passes == after } else { true };
        ensure!(right, "{} at {now}, admitted before: {before}, after: {after}", reason.name());
        Ok(())
    }

    /// Keeps the first violation: most of the others follow from it.
    fn record_violation(&mut self, violation: &str) {
        let grants = (&self.before, &self.after);
        self.violation.get_or_insert_with(|| format!("{violation}\nbefore: {:?}\nafter: {:?}", grants.0, grants.1));
    }
}

fn no_kernel(directory: &Path) -> DatapathError {
    DatapathError::kernel(format!("using the pins in {}", directory.display()), "no datapath is loaded")
}

impl Datapath for Twin {
    fn configure(&mut self, protection: &Protection) -> Result<(), DatapathError> {
        let mut state = self.state();
        state.memory.configure(protection)?;
        state.kernel()?.configure(protection)
    }

    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError> {
        let mut state = self.state();
        let in_memory = state.memory.set(entry, deadline);
        let deadline = state.for_kernel(deadline);
        let in_kernel = state.kernel()?.set(entry, deadline);
        state.changed(&format!("setting {entry}"), &in_memory, &in_kernel);
        in_kernel
    }

    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError> {
        let mut state = self.state();
        let in_memory = state.memory.remove(entry, covered_until);
        let covered_until = covered_until.map(|until| state.for_kernel(until));
        let in_kernel = state.kernel()?.remove(entry, covered_until);
        state.changed(&format!("removing {entry}"), &in_memory, &in_kernel);
        in_kernel
    }

    fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError> {
        self.state().entries()
    }

    fn activity(&self, entry: &EntryKey) -> Activity {
        self.state().memory.activity(entry)
    }

    fn break_glass(&self) -> Vec<(ipnet::IpNet, Activity)> {
        self.state().memory.break_glass()
    }

    fn port_counts(&self) -> Result<Vec<PortCounts>, DatapathError> {
        self.state().memory.port_counts()
    }

    fn trace(&self, packet: &Packet) -> Result<Trace, DatapathError> {
        self.state().memory.trace(packet)
    }

    fn tend(&mut self) -> Result<(), DatapathError> {
        self.state().kernel()?.tend()
    }

    fn keep(&mut self) -> Result<(), DatapathError> {
        self.state().kernel()?.keep()
    }

    fn cover(&mut self, _: &Interfaces) -> Result<(), Vec<DatapathError>> {
        Ok(())
    }

    fn reconcile(&mut self, _: Option<Instant>) -> Vec<CoverageChange> {
        Vec::new()
    }

    fn left_out(&self, _: &Interfaces) -> Vec<String> {
        Vec::new()
    }

    fn interfaces(&self) -> Vec<InterfaceView> {
        Vec::new()
    }

    fn uncovered(&self) -> Vec<UncoveredView> {
        Vec::new()
    }
}
