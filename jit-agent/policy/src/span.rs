//! Spans of time as people and programs write them.

use std::time::Duration;

use jiff::{SignedDuration, SpanRelativeTo, fmt::temporal::SpanParser};

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
