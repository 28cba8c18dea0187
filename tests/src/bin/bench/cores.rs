//! Which processor does what, so that a flood and what stands beside it don't change places.

use anyhow::{Context, Result};
use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two processors, or twice the same where there is one only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// Sends the flood and receives it.
    pub(crate) flood: usize,
    /// Runs all else.
    pub(crate) other: usize,
}

impl Cores {
    /// The first two that this process may use.
    ///
    /// # Errors
    /// The kernel doesn't tell.
    pub(crate) fn find() -> Result<Self> {
        let usable = sched_getaffinity(None).context("cannot tell which processors may be used")?;
        let mut numbers = (0..CpuSet::MAX_CPU).filter(|number| usable.is_set(*number));
        let flood = numbers.next().context("no processor may be used")?;
        Ok(Self { flood, other: numbers.next().unwrap_or(flood) })
    }
}

/// The highest priority: next to nothing is left for others, whose work would be taken for the filter's.
const FIRST: i32 = -20;

/// Binds the calling thread, and those that it makes from now on, to one processor, before others' threads.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on processor {core}"))?;
    setpriority_process(None, FIRST).context("cannot raise the priority")
}

/// Runs `body` on this thread, which meanwhile stays on one processor, before others' threads.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn pinned<T>(core: usize, body: impl FnOnce() -> T) -> Result<T> {
    let before = sched_getaffinity(None).context("cannot tell which processors may be used")?;
    let priority = getpriority_process(None).context("cannot tell the priority")?;
    pin(core)?;
    let result = body();
    sched_setaffinity(None, &before).with_context(|| format!("cannot leave processor {core}"))?;
    setpriority_process(None, priority).context("cannot take back the priority")?;
    Ok(result)
}
