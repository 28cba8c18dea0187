//! The packet table and its judges: the sources, run on the host, and the object, loaded into the kernel.

mod comparison;
pub mod frame;
mod generator;
pub mod instructions;
pub mod invariants;
mod random;
pub mod table;
mod world;

use std::{cell::RefCell, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use jit_agent::{
    clock::{Clock, SystemClock},
    datapath::{
        Counter, Datapath,
        xdp::{Entry, XdpDatapath},
    },
    testing::MemoryDatapath,
};
use jit_common::{
    abi::Mode,
    reason::{Reason, Verdict},
};
use jit_policy::{BootTime, Protection};

use self::table::Fixture;
pub use self::{
    comparison::{Buffers, Comparison, Extent, Tally},
    generator::{Generator, ONE_BUFFER, SHORTEST},
    random::Random,
    world::{entries, protection},
};

/// The answer of an XDP program that drops the packet, see `enum xdp_action`.
const XDP_DROP: u32 = 1;
/// The answer of a program that lets a packet go on to the kernel.
pub const XDP_PASS: u32 = 2;
/// The answer of a classifier that drops the packet, see `TC_ACT_SHOT`.
const TC_DROP: u32 = 2;
/// The answer of a classifier that leaves the decision to the next one, see `TCX_NEXT`.
const TC_PASS: u32 = -1_i32 as u32;

/// Names the reason under which a frame is counted.
pub trait Judge {
    /// The reason for one frame.
    ///
    /// # Errors
    /// The judge could not run, or its verdict contradicts its reason.
    fn judge(&self, frame: &[u8]) -> Result<Reason>;

    /// Whether the judge can be asked about this frame.
    fn takes(&self, _frame: &[u8]) -> bool {
        true
    }
}

/// The sources, compiled for the host, over tables in memory.
pub struct HostJudge {
    datapath: MemoryDatapath,
    entry: Entry,
}

impl HostJudge {
    /// A judge in the table's world.
    ///
    /// # Errors
    /// The world could not be created.
    pub fn new(protection: &Protection) -> Result<Self> {
        let mut datapath = MemoryDatapath::new(Arc::new(SystemClock), usize::from(u16::MAX));
        populate(&mut datapath, protection)?;
        Ok(Self { datapath, entry: Entry::Xdp })
    }

    /// The same judge, for packets in the form that the program of `entry` gets.
    #[must_use]
    pub fn of(self, entry: Entry) -> Self {
        Self { entry, ..self }
    }
}

impl Judge for HostJudge {
    fn judge(&self, frame: &[u8]) -> Result<Reason> {
        Ok(if self.entry.is_network() { self.datapath.judge_network(frame) } else { self.datapath.judge(frame) })
    }
}

/// The object as the kernel runs it.
pub struct KernelJudge {
    datapath: XdpDatapath,
    entry: Entry,
    mode: Mode,
    /// The counters after the last frame.
    counters: RefCell<Vec<Counter>>,
}

impl KernelJudge {
    /// A judge in the table's world, with maps pinned in `directory` on a BPF file system.
    ///
    /// # Errors
    /// The kernel refuses the object.
    pub fn new(directory: &Path, protection: &Protection) -> Result<Self> {
        let mut datapath = XdpDatapath::load(directory).context("loading the object")?;
        populate(&mut datapath, protection)?;
        let counters = RefCell::new(datapath.counters()?);
        Ok(Self { datapath, entry: Entry::Xdp, mode: protection.enforce_until.mode(|| 0), counters })
    }

    /// The same judge, which uses the program of `entry`.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn of(mut self, entry: Entry) -> Result<Self> {
        self.datapath.load_entry(entry)?;
        Ok(Self { entry, ..self })
    }

    /// Leaves the maps to a successor.
    ///
    /// # Errors
    /// The maps can't be pinned.
    pub fn keep(&mut self) -> Result<()> {
        Ok(self.datapath.keep()?)
    }

    /// Checks that the program counts every one of these frames once and under this reason. Each frame comes with the
    /// size of its first buffer. This is much faster than asking for the reason of each frame.
    ///
    /// # Errors
    /// The program counts a frame otherwise, or the judge could not run.
    pub fn judges_all_as<'a>(
        &self,
        reason: Reason,
        frames: impl ExactSizeIterator<Item = (&'a [u8], usize)>,
    ) -> Result<()> {
        let count = frames.len() as u64;
        let wanted = self.action(reason);
        for (frame, first_buffer) in frames {
            let action = self.run(frame, first_buffer)?;
            ensure!(action == wanted, "the program returned {action} for {}", reason.name());
        }
        let grown = self.grown()?;
        let expected = if count == 0 { Vec::new() } else { vec![(self.mode, reason, count)] };
        ensure!(grown == expected, "{count} packets of {} were counted as {grown:?}", reason.name());
        Ok(())
    }

    /// The reason for one frame of which so many bytes are in the first buffer.
    ///
    /// # Errors
    /// The errors of [`Judge::judge`].
    pub fn judge_split(&self, frame: &[u8], first_buffer: usize) -> Result<Reason> {
        // The growth of the counters before this run is ignored.
        self.grown()?;
        let action = self.run(frame, first_buffer)?;
        let grown = self.grown()?;
        let [(mode, reason, 1)] = grown[..] else { bail!("one packet was counted as {grown:?}") };
        ensure!(mode == self.mode, "counted under {mode:?}");
        ensure!(action == self.action(reason), "{} was counted, but the program returned {action}", reason.name());
        Ok(reason)
    }

    /// The reason why no frame can be judged in several buffers here, except for frames that are too large for the
    /// first.
    #[must_use]
    pub fn cannot_split(&self) -> Option<String> {
        self.judge_split(&[0; SHORTEST], 0).err().map(|error| format!("{error:#}; Linux 6.18 is needed"))
    }

    fn run(&self, frame: &[u8], first_buffer: usize) -> Result<u32> {
        if first_buffer < frame.len() {
            return Ok(self.datapath.test_run_split(frame, first_buffer)?);
        }
        Ok(self.datapath.test_run_of(self.entry, frame, 1)?.0)
    }

    /// The answer that the program must return for a reason.
    fn action(&self, reason: Reason) -> u32 {
        let drops = self.mode == Mode::Enforce && reason.verdict() == Verdict::Drop;
        match (self.entry.is_tc(), drops) {
            (false, true) => XDP_DROP,
            (false, false) => XDP_PASS,
            (true, true) => TC_DROP,
            (true, false) => TC_PASS,
        }
    }

    /// The growth of each counter since the last call, without counters that have not grown.
    fn grown(&self) -> Result<Vec<Counter>> {
        let after = self.datapath.counters()?;
        let before = self.counters.replace(after.clone());
        let pairs = before.into_iter().zip(after);
        let growth = pairs.map(|((.., before), (mode, reason, after))| (mode, reason, after - before));
        Ok(growth.filter(|(.., growth)| *growth != 0).collect())
    }

    /// The datapath under test.
    #[must_use]
    pub const fn datapath(&self) -> &XdpDatapath {
        &self.datapath
    }
}

impl Judge for KernelJudge {
    /// Linux 6.18 refuses two kinds of frames for classifiers: frames that do not fit into one buffer, and IP packets
    /// without a whole header. Earlier versions run on the latter.
    fn takes(&self, frame: &[u8]) -> bool {
        let header = match frame.get(12..14) {
            Some([0x08, 0x00]) => 20,
            Some([0x86, 0xdd]) => 40,
            _ => 0,
        };
        let is_usual = (SHORTEST + header..=ONE_BUFFER).contains(&frame.len());
        is_usual || !self.entry.is_tc() || (self.run(frame, frame.len()).is_ok() && self.grown().is_ok())
    }

    fn judge(&self, frame: &[u8]) -> Result<Reason> {
        self.judge_split(frame, frame.len())
    }
}

/// Writes the world's entries to a datapath.
///
/// # Errors
/// A table can't be written.
pub fn populate(datapath: &mut impl Datapath, protection: &Protection) -> Result<()> {
    datapath.configure(protection)?;
    let after = SystemClock.boot().after(Duration::from_secs(3600));
    for (entry, deadline) in entries(BootTime(1), after) {
        datapath.set(&entry, deadline).with_context(|| format!("opening {entry}"))?;
    }
    Ok(())
}

/// The differences between a judge and the table, one line for each.
pub fn differences(judge: &impl Judge, fixtures: &[Fixture]) -> Vec<String> {
    let difference = |Fixture { name, frame, reason }: &Fixture| match judge.judge(frame) {
        Ok(found) if found == *reason => None,
        Ok(found) => Some(format!("{name}: {} instead of {}", found.name(), reason.name())),
        Err(error) => Some(format!("{name}: {error:#}")),
    };
    fixtures.iter().filter(|fixture| judge.takes(&fixture.frame)).filter_map(difference).collect()
}

/// The differences between the object and the sources over fixtures that are cut at every byte.
///
/// # Errors
/// A judge could not run.
pub fn differences_when_cut(kernel: &KernelJudge, host: &HostJudge, fixtures: &[Fixture]) -> Result<Vec<String>> {
    let mut alike: [Vec<(&str, &[u8])>; Reason::COUNT] = Default::default();
    for Fixture { name, frame, .. } in fixtures {
        for cut in (SHORTEST..frame.len()).map(|length| &frame[..length]).filter(|cut| kernel.takes(cut)) {
            alike[host.judge(cut)? as usize].push((name, cut));
        }
    }
    let mut differences = Vec::new();
    for (reason, frames) in Reason::ALL.iter().zip(alike) {
        if kernel.judges_all_as(*reason, frames.iter().map(|(_, frame)| (*frame, frame.len()))).is_ok() {
            continue;
        }
        for (name, frame) in frames {
            let found = kernel.judge(frame)?;
            if found != *reason {
                let (found, expected, length) = (found.name(), reason.name(), frame.len());
                differences.push(format!("{name}, cut to {length} bytes: {found} instead of {expected}"));
            }
        }
    }
    Ok(differences)
}

impl HostJudge {
    /// A judge that enforces and lets later fragments pass.
    ///
    /// # Errors
    /// The world could not be created.
    pub fn enforcing() -> Result<Self> {
        Self::new(&protection(Mode::Enforce, false))
    }
}
