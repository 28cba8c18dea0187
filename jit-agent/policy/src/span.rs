//! Spans of time as people and programs write them.

use std::{fmt, time::Duration};

use jiff::{SignedDuration, SpanRelativeTo, fmt::temporal::SpanParser};

/// Units from the largest on, each with its length in nanoseconds. Days count from two of them on, so that the longest grant
/// lasts `24 h`.
const UNITS: [(u128, &str); 7] = [
    (24 * 3_600_000_000_000, "days"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "min"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1000, "µs"),
    (1, "ns"),
];

/// A duration that is shown exactly, like `1 h 30 min`, `25 h` or `7 days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// The duration without what is below the unit after its largest one, like `29 min 50 s` or `2 h 5 min`.
    #[must_use]
    pub fn brief(self) -> Self {
        let nanoseconds = self.0.as_nanos();
        let smallest =
            UNITS.iter().skip(self.largest() + 1).chain(UNITS.last()).next().map_or(1, |(length, _)| *length);
        let rest = nanoseconds % smallest;
        Self(self.0.saturating_sub(Duration::from_nanos(u64::try_from(rest).unwrap_or(0))))
    }

    /// The place of the largest unit that it is counted in.
    fn largest(self) -> usize {
        let nanoseconds = self.0.as_nanos();
        let fits = |(place, (length, _)): &(usize, &(u128, &str))| nanoseconds / length > u128::from(*place == 0);
        UNITS.iter().enumerate().find(fits).map_or(UNITS.len() - 1, |(place, _)| place)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return formatter.write_str("0 s");
        }
        let mut rest = self.0.as_nanos();
        let mut space = "";
        for (length, unit) in UNITS.iter().skip(self.largest()) {
            let count = rest / length;
            rest %= length;
            if count > 0 {
                write!(formatter, "{space}{count} {unit}")?;
                space = " ";
            }
        }
        Ok(())
    }
}

/// Why a text is no span of time to open something for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// Not a span.
    #[error("`{0}` is not a duration; write one like 90s, 30m, 3h or 1h30m")]
    Syntax(String),
    /// A span of zero.
    #[error("a duration of zero opens nothing; write one like 90s, 30m, 3h or 1h30m")]
    Zero,
}

/// Reads `90s`, `30m`, `3h`, `1h30m`, `1d` (24 h) or ISO 8601.
///
/// # Errors
/// Another form, zero.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let parsed = short_duration(text).or_else(|| parse_iso_span(text));
    match parsed {
        None => Err(SpanError::Syntax(text.to_owned())),
        Some(Duration::ZERO) => Err(SpanError::Zero),
        Some(duration) => Ok(duration),
    }
}

/// Numbers with units, each unit smaller than the one before.
fn short_duration(text: &str) -> Option<Duration> {
    let mut units = [('d', 86_400_u64), ('h', 3600), ('m', 60), ('s', 1)].into_iter();
    let mut seconds = 0_u64;
    let mut rest = text;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest.get(..digits)?.parse().ok()?;
        let unit = rest.get(digits..)?.chars().next()?;
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        seconds = seconds.checked_add(number.checked_mul(factor)?)?;
        rest = rest.get(digits + unit.len_utf8()..)?;
        if rest.is_empty() {
            return Some(Duration::from_secs(seconds));
        }
    }
}

/// Reads an ISO 8601 duration of days (of 24 h), hours, minutes and seconds; `None` if it is none or negative.
#[must_use]
pub fn parse_iso_span(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text).ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(duration).ok()
}

/// A span as ISO 8601 has it, like `PT1H30M`.
#[must_use]
pub fn iso_span(span: Duration) -> String {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_shown_exactly_and_in_units_that_people_use() {
        for (duration, shown) in [
            (Duration::ZERO, "0 s"),
            (Duration::from_secs(59), "59 s"),
            (Duration::from_secs(90), "1 min 30 s"),
            (Duration::from_secs(3600), "1 h"),
            (Duration::from_secs(3605), "1 h 5 s"),
            (Duration::from_secs(24 * 3600), "24 h"),
            (Duration::from_secs(25 * 3600), "25 h"),
            (Duration::from_secs(48 * 3600 - 1), "47 h 59 min 59 s"),
            (Duration::from_secs(48 * 3600), "2 days"),
            (Duration::from_secs(7 * 24 * 3600 + 1800), "7 days 30 min"),
            (Duration::from_millis(1500), "1 s 500 ms"),
            (Duration::new(1, 1), "1 s 1 ns"),
            (Duration::from_micros(20), "20 µs"),
        ] {
            assert_eq!(Span(duration).to_string(), shown);
        }
        assert!(Span(Duration::MAX).to_string().starts_with("213503982334601 days 7 h"));
    }

    #[test]
    fn a_brief_duration_has_its_two_largest_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (45, "45 s"),
            (60, "1 min"),
            (1790, "29 min 50 s"),
            (3600, "1 h"),
            (3605, "1 h"),
            (7500, "2 h 5 min"),
            (7501, "2 h 5 min"),
            (86_400, "24 h"),
            (7 * 86_400 + 3601, "7 days 1 h"),
        ] {
            assert_eq!(Span(Duration::from_secs(seconds)).brief().to_string(), shown);
        }
        assert_eq!(Span(Duration::new(5, 999_999_999)).brief().to_string(), "5 s 999 ms");
        assert_eq!(Span(Duration::from_nanos(7)).brief(), Span(Duration::from_nanos(7)));
        assert!(Span(Duration::MAX).brief() <= Span(Duration::MAX));
    }

    #[test]
    fn durations_are_numbers_with_units() {
        let table = [
            ("90s", 90),
            ("30m", 1800),
            ("3h", 10_800),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("1h0m5s", 3605),
            ("PT3H", 10_800),
        ];
        for (text, seconds) in table {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "30",
            "1h30",
            "30m1h",
            "1m1m",
            "h",
            "",
            "-5m",
            "1.5h",
            "5 m",
            "3H",
            "99999999999999999999s",
            "9999999999999999h",
            "5µ",
        ] {
            assert_eq!(parse_span(text), Err(SpanError::Syntax(text.to_owned())), "{text}");
        }
        for text in ["0s", "0h0m", "PT0S"] {
            assert_eq!(parse_span(text), Err(SpanError::Zero), "{text}");
        }
    }

    #[test]
    fn durations_are_iso_8601() {
        let table = [
            ("PT1H", Some(3600)),
            ("PT1H30M", Some(5400)),
            ("PT90S", Some(90)),
            ("P1D", Some(86_400)),
            ("P1DT1H", Some(90_000)),
            ("PT0S", Some(0)),
            ("-PT1H", None),
            ("P1M", None),
            ("P1Y", None),
            ("1h", None),
            ("3600", None),
            ("PT", None),
            ("", None),
            ("PT1H\0", None),
            ("PT99999999999999999999H", None),
        ];
        for (text, seconds) in table {
            assert_eq!(parse_iso_span(text), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
