//! The wall clock as far as it has settled: it tells which records are old. A clock that jumps must not remove any.

use std::{path::Path, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::checksummed;

const NAME: &str = "settled-clock.json";
/// Smaller differences are corrections of a clock that is right.
const CORRECTION: SignedDuration = SignedDuration::from_secs(60);
/// How long an agent must run beside a clock that doesn't jump until that clock is believed.
const SETTLING: Duration = Duration::from_secs(7 * 86_400);

/// A time that goes on as CLOCK_BOOTTIME does while an agent runs, and follows the wall clock only once that has run for
/// a week without a jump. It lags by the time in which no agent ran, so it rather keeps records for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SettledClock {
    time: Timestamp,
    /// By how much the wall clock is ahead.
    ahead: SignedDuration,
    /// For how long the wall clock has been ahead by that much.
    steady: Duration,
}

impl SettledClock {
    /// A clock that believes the wall clock.
    pub(crate) const fn at(wall: Timestamp) -> Self {
        Self { time: wall, ahead: SignedDuration::ZERO, steady: Duration::ZERO }
    }

    /// The clock after an agent has run for this long.
    #[must_use]
    pub(crate) fn after(self, elapsed: Duration, wall: Timestamp) -> Self {
        let time = self.time.saturating_add(elapsed).unwrap_or(Timestamp::MAX);
        let ahead = wall.duration_since(time);
        let is_steady = (ahead.saturating_sub(self.ahead)).abs() <= CORRECTION;
        let steady = if is_steady { self.steady.saturating_add(elapsed) } else { Duration::ZERO };
        if ahead.abs() <= CORRECTION || steady >= SETTLING { Self::at(wall) } else { Self { time, ahead, steady } }
    }

    /// The earlier of this clock and the wall clock.
    pub(crate) fn or(self, wall: Timestamp) -> Timestamp {
        self.time.min(wall)
    }
}

/// Keeps the clock for a successor.
pub(crate) fn keep(state: &Path, clock: &SettledClock) -> anyhow::Result<()> {
    checksummed::write(state, NAME, &serde_json::to_string(clock)?)
}

/// The clock that was kept last.
pub(crate) fn recall(state: &Path) -> anyhow::Result<SettledClock> {
    Ok(serde_json::from_str(&checksummed::read(state, NAME)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn wall(days: i64) -> Timestamp {
        Timestamp::from_second(days * DAY as i64).unwrap()
    }

    /// Lets the clock run for some days, an hour at a time, beside a wall clock that is ahead by some days.
    fn run(clock: &mut SettledClock, now: &mut i64, days: i64, ahead: i64) {
        for hour in 1..=days * 24 {
            let wall = wall(*now + ahead).saturating_add(SignedDuration::from_hours(hour)).unwrap();
            *clock = clock.after(Duration::from_secs(3600), wall);
        }
        *now += days;
    }

    #[test]
    fn a_jump_is_believed_only_after_a_week_without_another_one() {
        let (mut clock, mut now) = (SettledClock::at(wall(1000)), 1000);
        run(&mut clock, &mut now, 6, 401);
        assert_eq!((clock.time, clock.or(wall(1407))), (wall(1006), wall(1006)));
        run(&mut clock, &mut now, 6, 500);
        assert_eq!(clock.time, wall(1012));
        run(&mut clock, &mut now, 1, 0);
        assert_eq!(clock, SettledClock::at(wall(1013)), "the clock is right again");
        run(&mut clock, &mut now, 8, 30);
        assert_eq!(clock, SettledClock::at(wall(1051)), "as after a month without an agent");
        run(&mut clock, &mut now, 8, 0);
        assert_eq!(clock, SettledClock::at(wall(1029)), "a clock that was ahead and is set right");
    }

    #[test]
    fn nothing_is_later_than_the_wall_clock_says() {
        let clock = SettledClock::at(wall(1000)).after(Duration::from_secs(DAY), wall(10));
        assert_eq!((clock.time, clock.or(wall(10))), (wall(1001), wall(10)));
    }

    #[test]
    fn a_clock_is_found_as_it_was_kept() {
        let state = tempfile::tempdir().unwrap();
        assert!(recall(state.path()).is_err());
        let clock = SettledClock::at(wall(1000)).after(Duration::from_secs(DAY), wall(10));
        keep(state.path(), &clock).unwrap();
        assert_eq!(recall(state.path()).unwrap(), clock);
    }
}
