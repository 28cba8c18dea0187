//! The two clocks: BOOTTIME, which alone ends grants, and the wall clock, which people read.

use jiff::Timestamp;
use jit_policy::BootTime;

/// A source of both times.
pub trait Clock: Send + Sync {
    /// Returns the time of CLOCK_BOOTTIME now.
    fn boot(&self) -> BootTime;
    /// Returns the time of the wall clock now.
    fn wall(&self) -> Timestamp;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot(&self) -> BootTime {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        BootTime(seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }
}
