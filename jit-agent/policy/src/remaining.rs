//! What remains of a grant after a reboot, when BOOTTIME has started again and only the wall clock goes on.

use std::time::Duration;

use jiff::Timestamp;

use crate::BootTime;

/// How long a grant of an earlier boot still lasts; `None` if it is over.
///
/// It is bounded by the end on the wall clock and by what remained at the last checkpoint (both clocks, read at once)
/// of that earlier boot, so that neither a wrong wall clock nor an old snapshot of a virtual machine lengthens a grant.
/// A wall clock before the checkpoint can't be trusted to tell how much time has passed, and a copy of the state on
/// another machine was never granted anything there: both end the grant.
///
/// `end_boot` and the checkpoint must come from the same boot.
#[must_use]
pub fn remaining_after_reboot(
    end_wall: Timestamp,
    end_boot: BootTime,
    checkpoint: (BootTime, Timestamp),
    now_wall: Timestamp,
    same_machine: bool,
) -> Option<Duration> {
    let (checkpoint_boot, checkpoint_wall) = checkpoint;
    if !same_machine || now_wall < checkpoint_wall {
        return None;
    }
    // The difference is negative when the end has passed, and then is not a Duration.
    let by_wall = Duration::try_from(end_wall.duration_since(now_wall)).ok()?;
    let remaining = by_wall.min(end_boot.since(checkpoint_boot));
    (!remaining.is_zero()).then_some(remaining)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What remains of a grant, in seconds of either clock. The checkpoint is at 1000 s by the wall clock and 500 s
    /// after boot.
    fn remaining(end_wall: i64, end_boot: u64, now_wall: i64, same_machine: bool) -> Option<u64> {
        let wall = |seconds| Timestamp::from_second(seconds).unwrap();
        let boot = |seconds: u64| BootTime(seconds * 1_000_000_000);
        let checkpoint = (boot(500), wall(1000));
        remaining_after_reboot(wall(end_wall), boot(end_boot), checkpoint, wall(now_wall), same_machine)
            .map(|remaining| remaining.as_secs())
    }

    #[test]
    fn the_shorter_of_both_clocks_remains() {
        for (name, end_wall, end_boot, now_wall, expected) in [
            ("both clocks agree and 100 s have passed", 1600, 1100, 1100, Some(500)),
            ("the wall clock ran ahead before the reboot", 1300, 1100, 1000, Some(300)),
            ("the wall clock was set back in the earlier boot", 9000, 1100, 1100, Some(600)),
            ("no time has passed", 1600, 1100, 1000, Some(600)),
            ("it ended while the machine was down", 1600, 1100, 1601, None),
            ("it ends this moment", 1600, 1100, 1600, None),
            ("it had ended by the checkpoint", 1600, 400, 1100, None),
            ("it ended at the checkpoint", 1600, 500, 1100, None),
        ] {
            assert_eq!(remaining(end_wall, end_boot, now_wall, true), expected, "{name}");
        }
    }

    #[test]
    fn a_wall_clock_before_the_checkpoint_ends_the_grant() {
        assert_eq!(remaining(1600, 1100, 999, true), None);
    }

    #[test]
    fn another_machine_ends_the_grant() {
        assert_eq!(remaining(1600, 1100, 1100, false), None);
    }
}
