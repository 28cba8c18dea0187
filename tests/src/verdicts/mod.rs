//! The packet table, and its judges: the sources run on the host, and the loaded object in the kernel.

pub mod frame;
pub mod table;

use std::{cell::RefCell, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use jit_agent::{
    clock::{BootTime, Clock, SystemClock},
    datapath::{Counter, Datapath, MemoryDatapath, Protection, xdp::XdpDatapath},
};
use jit_common::{
    abi::Mode,
    reason::{Reason, Verdict},
};

use self::table::{Fixture, entries, protection};

/// What the kernel takes a program's answer for, see `enum xdp_action`.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;

/// Says under which reason a frame is counted.
pub trait Judge {
    /// The reason for one frame.
    ///
    /// # Errors
    /// The judge could not run, or its verdict contradicts its reason.
    fn judge(&self, frame: &[u8]) -> Result<Reason>;
}

/// The sources, compiled for the host, over tables in memory.
pub struct HostJudge(MemoryDatapath);

impl HostJudge {
    /// A judge in the table's world.
    ///
    /// # Errors
    /// The world could not be made.
    pub fn new(protection: &Protection) -> Result<Self> {
        let mut datapath = MemoryDatapath::new(Arc::new(SystemClock), usize::from(u16::MAX));
        populate(&mut datapath, protection)?;
        Ok(Self(datapath))
    }
}

impl Judge for HostJudge {
    fn judge(&self, frame: &[u8]) -> Result<Reason> {
        Ok(self.0.judge(frame))
    }
}

/// The object as the kernel runs it.
pub struct KernelJudge {
    datapath: XdpDatapath,
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
        Ok(Self { datapath, mode: protection.mode, counters })
    }

    /// Leaves the maps to a successor.
    ///
    /// # Errors
    /// The maps can't be pinned.
    pub fn keep(&mut self) -> Result<()> {
        Ok(self.datapath.keep()?)
    }

    /// The datapath under test.
    #[must_use]
    pub const fn datapath(&self) -> &XdpDatapath {
        &self.datapath
    }
}

impl Judge for KernelJudge {
    fn judge(&self, frame: &[u8]) -> Result<Reason> {
        let (action, _) = self.datapath.test_run(frame, 1)?;
        let counters = self.datapath.counters()?;
        let (mode, reason) = the_one_counted(&self.counters.replace(counters.clone()), &counters)?;
        ensure!(mode == self.mode, "counted under {mode:?}");
        let expected = match (mode, reason.verdict()) {
            (Mode::Enforce, Verdict::Drop) => XDP_DROP,
            _ => XDP_PASS,
        };
        ensure!(action == expected, "{} was counted, but the program returned {action}", reason.name());
        Ok(reason)
    }
}

fn populate(datapath: &mut impl Datapath, protection: &Protection) -> Result<()> {
    datapath.configure(protection)?;
    let after = SystemClock.boot().after(Duration::from_secs(3600));
    for (entry, deadline) in entries(BootTime(1), after) {
        datapath.set(&entry, deadline).with_context(|| format!("opening {entry}"))?;
    }
    Ok(())
}

/// The single counter that grew, by one.
fn the_one_counted(before: &[Counter], after: &[Counter]) -> Result<(Mode, Reason)> {
    let grown: Vec<_> = before
        .iter()
        .zip(after)
        .filter(|((.., before), (.., after))| before != after)
        .map(|((.., before), (mode, reason, after))| (*mode, *reason, after - before))
        .collect();
    match grown[..] {
        [(mode, reason, 1)] => Ok((mode, reason)),
        _ => anyhow::bail!("one packet was counted as {grown:?}"),
    }
}

/// What a judge says of fixtures against the table, one line for each difference.
pub fn differences(judge: &impl Judge, fixtures: &[Fixture]) -> Vec<String> {
    let difference = |Fixture { name, frame, reason }: &Fixture| match judge.judge(frame) {
        Ok(found) if found == *reason => None,
        Ok(found) => Some(format!("{name}: {} instead of {}", found.name(), reason.name())),
        Err(error) => Some(format!("{name}: {error:#}")),
    };
    fixtures.iter().filter_map(difference).collect()
}

/// In what two judges differ over fixtures that are cut at every byte.
///
/// # Errors
/// A judge could not run.
pub fn differences_when_cut(judge: &impl Judge, other: &impl Judge, fixtures: &[Fixture]) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for Fixture { name, frame, .. } in fixtures {
        // The kernel does not run a program on less than an Ethernet header.
        for length in 14..frame.len() {
            let (found, expected) = (judge.judge(&frame[..length])?, other.judge(&frame[..length])?);
            if found != expected {
                let (found, expected) = (found.name(), expected.name());
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
    /// The world could not be made.
    pub fn enforcing() -> Result<Self> {
        Self::new(&protection(Mode::Enforce, false))
    }
}
