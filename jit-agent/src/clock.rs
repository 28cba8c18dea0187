//! The two clocks: BOOTTIME, which alone ends grants, and the wall clock, which people read.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;

/// A moment on CLOCK_BOOTTIME, in nanoseconds since boot, suspend included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// The moment `duration` later; the last one there is where that would overflow.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long it takes from `earlier` until this moment; zero if this is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for BootTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} after boot", Duration::from_nanos(self.0))
    }
}

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
