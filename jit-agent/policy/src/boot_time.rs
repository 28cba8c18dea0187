//! Moments of CLOCK_BOOTTIME, the only clock that ends grants.

use std::{fmt, time::Duration};

use jit_common::abi::EnforceUntil;

/// A moment on CLOCK_BOOTTIME, in nanoseconds since boot, suspend included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// The moment `duration` later; the last possible moment if the sum would overflow.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long it takes from `earlier` until this moment; zero if this moment is not later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl From<BootTime> for EnforceUntil {
    /// Enforcement that ends at this moment.
    fn from(end: BootTime) -> Self {
        Self(end.0)
    }
}

impl fmt::Display for BootTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} after boot", Duration::from_nanos(self.0))
    }
}
