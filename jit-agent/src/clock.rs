//! The two clocks: BOOTTIME, which alone ends grants, and the wall clock, which people read.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use jit_policy::BootTime;

/// Source of time.
pub trait Clock: Send + Sync {
    /// CLOCK_BOOTTIME now.
    fn boot(&self) -> BootTime;
    /// The wall clock now.
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

/// Clocks that stand still until they are told otherwise, for tests.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<(BootTime, Timestamp)>>);

impl ManualClock {
    /// Clocks that show these times.
    #[must_use]
    pub fn new(boot: BootTime, wall: Timestamp) -> Self {
        Self(Arc::new(Mutex::new((boot, wall))))
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, duration: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *times = (times.0.after(duration), times.1.saturating_add(duration).unwrap_or(Timestamp::MAX));
    }

    /// Sets the wall clock, as an administrator or a time server does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = wall;
    }
}

impl Clock for ManualClock {
    fn boot(&self) -> BootTime {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn wall(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}
