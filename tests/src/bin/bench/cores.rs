//! The assignment of processors, so that a flood and the work next to the flood don't change places.

use anyhow::{Context, Result};
use rustix::{
    process::{getpriority_process, setpriority_process},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Two processors, or the same one twice if there is only one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// The processor that sends and receives the flood.
    pub(crate) flood: usize,
    /// The processor that runs everything else.
    pub(crate) other: usize,
}

impl Cores {
    /// Finds the first two processors that this process may use.
    ///
    /// # Errors
    /// The kernel doesn't report the processors.
    pub(crate) fn find() -> Result<Self> {
        let usable = sched_getaffinity(None).context("cannot tell which processors may be used")?;
        let mut numbers = (0..CpuSet::MAX_CPU).filter(|number| usable.is_set(*number));
        let flood = numbers.next().context("no processor may be used")?;
        Ok(Self { flood, other: numbers.next().unwrap_or(flood) })
    }
}

/// The highest priority: next to nothing is left for other processes, whose work would be attributed to the filter.
const FIRST: i32 = -20;

/// Binds the calling thread, and the threads that it creates from now on, to one processor, with the highest priority.
///
/// # Errors
/// The kernel refuses the binding or the priority.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on processor {core}"))?;
    setpriority_process(None, FIRST).context("cannot raise the priority")
}

/// Runs `body` on this thread, which meanwhile stays on one processor, with the highest priority.
///
/// # Errors
/// The kernel refuses the binding or the priority.
pub(crate) fn pinned<T>(core: usize, body: impl FnOnce() -> T) -> Result<T> {
    let before = sched_getaffinity(None).context("cannot tell which processors may be used")?;
    let priority = getpriority_process(None).context("cannot tell the priority")?;
    pin(core)?;
    let result = body();
    sched_setaffinity(None, &before).with_context(|| format!("cannot leave processor {core}"))?;
    setpriority_process(None, priority).context("cannot take back the priority")?;
    Ok(result)
}
