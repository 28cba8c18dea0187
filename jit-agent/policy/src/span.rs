//! Spans of time as people and programs write them.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use jiff::{SignedDuration, SpanRelativeTo, fmt::temporal::SpanParser};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use super::{schema, words::Spelled};

/// Units from the largest on, each with its length in nanoseconds, in the spelling for people and in the spelling of
/// files. A duration is counted in days from two days on, so that the longest grant lasts `24 h`.
const UNITS: [(u128, &str, &str); 7] = [
    (24 * 3_600_000_000_000, "days", "d"),
    (3_600_000_000_000, "h", "h"),
    (60_000_000_000, "min", "m"),
    (1_000_000_000, "s", "s"),
    (1_000_000, "ms", "ms"),
    (1000, "µs", "us"),
    (1, "ns", "ns"),
];

/// A duration as text.
///
/// People see the duration exactly, like `1 h 30 min`, `25 h` or `7 days`. They may write `90s`, `90min`, `1h30m`, `1h
/// 30m`, `7d` or ISO 8601 wherever people write durations: in a file, in arguments, in imported files. A day has 24
/// hours. The API has ISO 8601 only, and so has serde.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// The duration without what is below the unit after its largest one, like `29 min 50 s` or `2 h 5 min`.
    #[must_use]
    pub fn brief(self) -> Self {
        let nanoseconds = self.0.as_nanos();
        let smallest = UNITS.iter().skip(self.largest() + 1).chain(UNITS.last()).next().map_or(1, |unit| unit.0);
        let rest = nanoseconds % smallest;
        Self(self.0.saturating_sub(Duration::from_nanos(u64::try_from(rest).unwrap_or(0))))
    }

    /// The duration in ISO 8601, like `PT1H30M`.
    #[must_use]
    pub fn iso(self) -> String {
        SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX).to_string()
    }

    /// Reads ISO 8601 with days, hours, minutes and seconds; `None` if the text is something else or negative.
    #[must_use]
    pub fn of_iso(text: &str) -> Option<Self> {
        SpanParser::new().parse_span(text).ok().and_then(Self::of_units)
    }

    /// The duration as files have it, in hours and smaller units, like `3h`, `1h30m` or `168h`.
    #[must_use]
    pub fn in_file(self) -> String {
        let text: String = self.counts(1).map(|(count, (_, _, unit))| format!("{count}{unit}")).collect();
        if text.is_empty() { "0s".to_owned() } else { text }
    }

    /// Reads the duration for which something is to be opened, or to wait.
    ///
    /// # Errors
    /// The text is not a duration, or the duration is zero.
    pub fn above_zero(text: &str) -> Result<Duration, SpanError> {
        match text.parse()? {
            Self(Duration::ZERO) => Err(SpanError::Zero),
            Self(duration) => Ok(duration),
        }
    }

    /// The duration of calendar units; `None` for months and years, which have no fixed length, and before zero.
    fn of_units(units: jiff::Span) -> Option<Self> {
        let duration = units.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(duration).ok().map(Self)
    }

    /// The index of the largest unit in which the duration is counted.
    fn largest(self) -> usize {
        let nanoseconds = self.0.as_nanos();
        let fits = |(place, unit): &(usize, &(u128, &str, &str))| nanoseconds / unit.0 > u128::from(*place == 0);
        UNITS.iter().enumerate().find(fits).map_or(UNITS.len() - 1, |(place, _)| place)
    }

    /// How often each unit fits into what the larger ones leave, from the unit at `largest` on. Zeros are left out.
    fn counts(self, largest: usize) -> impl Iterator<Item = (u128, &'static (u128, &'static str, &'static str))> {
        let mut rest = self.0.as_nanos();
        let counts = UNITS.iter().skip(largest).map(move |unit| {
            let count = rest / unit.0;
            rest %= unit.0;
            (count, unit)
        });
        counts.filter(|(count, _)| *count > 0)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return formatter.write_str("0 s");
        }
        let mut space = "";
        for (count, (_, unit, _)) in self.counts(self.largest()) {
            write!(formatter, "{space}{count} {unit}")?;
            space = " ";
        }
        Ok(())
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let units = text.parse::<jiff::Span>().ok();
        units.and_then(Self::of_units).ok_or_else(|| SpanError::Syntax(text.to_owned()))
    }
}

impl Spelled for Span {
    fn spelled(&self) -> Cow<'static, str> {
        self.iso().into()
    }

    fn of_text(text: &str) -> Option<Self> {
        Self::of_iso(text)
    }

    fn allowed() -> String {
        "a time in ISO 8601, like PT30M or PT1H30M".to_owned()
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.iso())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::of_iso(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a duration in ISO 8601")))
    }
}

impl ToSchema for Span {
    fn name() -> Cow<'static, str> {
        "Duration".into()
    }
}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        schema::text("An ISO 8601 duration.", "duration", "PT1H30M")
    }
}

/// Why a text is not a span of time to open something for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// The text is not a span.
    #[error("`{0}` is not a duration; write one like 90s, 30m, 3h or 1h30m")]
    Syntax(String),
    /// The span is zero.
    #[error("a duration of zero opens nothing; write one like 90s, 30m, 3h or 1h30m")]
    Zero,
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
    fn durations_are_written_in_one_way_wherever_people_write_them() {
        let table = [
            ("90s", 90),
            ("30m", 1800),
            ("90min", 5400),
            ("3h", 10_800),
            ("1h30m", 5400),
            ("1h 30m", 5400),
            ("1 hour, 30 minutes", 5400),
            ("1.5h", 5400),
            ("1h0m5s", 3605),
            ("1d", 86_400),
            ("7d", 604_800),
            ("7 days 1 h", 608_400),
            ("PT3H", 10_800),
            ("P1DT1H", 90_000),
            ("0s", 0),
        ];
        for (text, seconds) in table {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        for text in [
            "",
            "h",
            "30",
            "-5m",
            "5m ago",
            "1h30",
            "30m1h",
            "1m1m",
            "1 year",
            "1mo",
            "99999999999999999999s",
            "9999999999999999h",
            "5µ",
            "1h\0",
        ] {
            assert_eq!(text.parse::<Span>(), Err(SpanError::Syntax(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_opens_something_lasts_longer_than_no_time() {
        assert_eq!(Span::above_zero("90s"), Ok(Duration::from_secs(90)));
        for text in ["0s", "0h0m", "PT0S"] {
            assert_eq!(Span::above_zero(text), Err(SpanError::Zero), "{text}");
        }
    }

    #[test]
    fn what_is_shown_or_written_is_read_back() {
        for duration in [
            Duration::ZERO,
            Duration::from_secs(5400),
            Duration::from_secs(604_801),
            Duration::from_millis(90_500),
            Duration::new(3, 1_002_003),
        ] {
            let span = Span(duration);
            assert_eq!(span.to_string().parse(), Ok(span));
            assert_eq!(span.in_file().parse(), Ok(span));
            assert_eq!(Span::of_iso(&span.iso()), Some(span));
            assert_eq!(serde_json::from_str::<Span>(&serde_json::to_string(&span).unwrap()).unwrap(), span);
        }
        assert_eq!(Span(Duration::from_secs(7 * 86_400 + 90)).in_file(), "168h1m30s");
    }

    #[test]
    fn the_api_has_durations_in_iso_8601() {
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
            assert_eq!(Span::of_iso(text).map(|span| span.0), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
