//! Clocks that tests move.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use jit_policy::BootTime;

use crate::clock::Clock;

/// Clocks that stand still until a test moves them.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<(BootTime, Timestamp)>>);

impl ManualClock {
    /// Makes clocks that show these times.
    #[must_use]
    pub fn new(boot: BootTime, wall: Timestamp) -> Self {
        Self(Arc::new(Mutex::new((boot, wall))))
    }

    /// Advances both clocks.
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
