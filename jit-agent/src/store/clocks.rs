//! Times by both clocks, and the form in which the store keeps them.

use jiff::Timestamp;
use jit_policy::BootTime;

/// A moment on both clocks: the clock of this boot, and the wall clock, which continues after a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The moment on BOOTTIME.
    pub boot: BootTime,
    /// The moment by the wall clock.
    pub wall: Timestamp,
}

/// Both clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The content of /etc/machine-id.
    pub machine_id: String,
    /// The boot in which `boot` counts.
    pub boot_id: String,
    /// The time of CLOCK_BOOTTIME.
    pub boot: BootTime,
    /// The time of the wall clock.
    pub wall: Timestamp,
}

/// The stored form of a wall-clock time. Times after the year 2262 are stored as the largest value.
pub(super) fn wall_column(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The stored form of a BOOTTIME. Times after 292 years are stored as the largest value.
pub(super) fn boot_column(time: BootTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
