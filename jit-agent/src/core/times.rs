//! The two clocks, in the boot in which the core runs.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use jit_policy::BootTime;

use crate::{
    clock::Clock,
    store::{Checkpoint, Deadline},
};

/// How long to wait before work that the store or the kernel refused is tried again.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// By how much the wall clock may run ahead of BOOTTIME before it counts. Corrections of a clock that is right are
/// smaller.
const AHEAD: Duration = Duration::from_secs(60);

/// The boot and the machine on which the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// The content of `/etc/machine-id`.
    pub machine_id: String,
    /// The content of `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// The clocks and the boot. Each group of the core's state has a copy.
#[derive(Clone)]
pub(super) struct Times {
    clock: Arc<dyn Clock>,
    boot: Boot,
}

impl Times {
    pub(super) fn new(clock: Arc<dyn Clock>, boot: Boot) -> Self {
        Self { clock, boot }
    }

    /// Returns this boot's time now.
    pub(super) fn now(&self) -> BootTime {
        self.clock.boot()
    }

    /// Returns the wall clock's time now.
    pub(super) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// Returns the wall clock's time at a moment of this boot that is still to come, if nobody sets the clock.
    pub(super) fn wall_at(&self, moment: BootTime) -> Timestamp {
        self.wall().saturating_add(moment.since(self.now())).unwrap_or(Timestamp::MAX)
    }

    /// Returns when something ends whose end was this moment of both clocks. That is earlier in this boot's time if the
    /// wall clock has run ahead since: the machine was paused or restored, or the clock was set. Nothing lasts longer.
    pub(super) fn end_of(&self, end: Deadline) -> BootTime {
        let (now, wall) = (self.now(), self.wall());
        // The difference is negative when the end has passed, and then is not a Duration.
        let by_wall = Duration::try_from(end.wall.duration_since(wall)).unwrap_or_default();
        if end.boot.since(now) > by_wall.saturating_add(AHEAD) { now.after(by_wall) } else { end.boot }
    }

    /// Returns when the host booted, by the wall clock as it is now.
    pub(super) fn booted(&self) -> Timestamp {
        self.wall().saturating_sub(self.now().since(BootTime::default())).unwrap_or(Timestamp::MIN)
    }

    /// Returns a moment that lies `length` from now.
    pub(super) fn after(&self, length: Duration) -> BootTime {
        self.now().after(length)
    }

    /// The boot in which the core runs.
    pub(super) const fn boot(&self) -> &Boot {
        &self.boot
    }

    /// Returns both clocks now, as the store records them.
    pub(super) fn both(&self) -> Checkpoint {
        Checkpoint {
            machine_id: self.boot.machine_id.clone(),
            boot_id: self.boot.boot_id.clone(),
            boot: self.now(),
            wall: self.wall(),
        }
    }
}
