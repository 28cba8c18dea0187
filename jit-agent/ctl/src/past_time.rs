//! Times in the past, as people write them.

use jiff::{
    Timestamp, Zoned,
    civil::{Date, DateTime, Time},
};
use jit_api::terminal::Surroundings;
use jit_policy::Span;

use super::parse::ParseError;

/// Reads a time in the past: how long ago, RFC 3339, a wall time in the local zone, or a date for the beginning of that
/// day. A wall time without a date is the last time that clocks showed it.
///
/// # Errors
/// The text has another form.
pub(super) fn parse_past(text: &str, surroundings: &Surroundings) -> Result<Timestamp, ParseError> {
    let Surroundings { now, zone, .. } = surroundings;
    let unreadable = || ParseError::PastTime(text.to_owned());
    // Hours, minutes and seconds with colons between them could also be read as a duration.
    if !text.contains(':')
        && let Ok(ago) = Span::above_zero(text)
    {
        return now.checked_sub(ago).map_err(|_| unreadable());
    }
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    // Without this check an offset or zone would be read and ignored.
    if !text.chars().all(|c| c.is_ascii_digit() || "-:T ".contains(c)) {
        return Err(unreadable());
    }
    // If two moments have the same wall time, the first one counts; after a skipped time, the moment to which clocks
    // skipped.
    let moment = |wall: DateTime| zone.to_ambiguous_timestamp(wall).compatible().map_err(|_| unreadable());
    match (text.contains('-'), text.contains(':')) {
        (true, true) => moment(text.parse().map_err(|_| unreadable())?),
        (true, false) => moment(text.parse::<Date>().map_err(|_| unreadable())?.to_datetime(Time::midnight())),
        (false, true) => {
            let time: Time = text.parse().map_err(|_| unreadable())?;
            let today = Zoned::new(*now, zone.clone()).date();
            match moment(today.to_datetime(time))? {
                later if later > *now => moment(today.yesterday().map_err(|_| unreadable())?.to_datetime(time)),
                found => Ok(found),
            }
        }
        (false, false) => Err(unreadable()),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn a_past_time_is_so_long_ago_or_when_clocks_showed_it() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let here = Surroundings { now: "2026-11-22T16:00:00Z".parse().unwrap(), zone, ssh_session: None, ask: None };
        let table = [
            ("2h", "2026-11-22T14:00:00Z"),
            ("7d", "2026-11-15T16:00:00Z"),
            ("PT30M", "2026-11-22T15:30:00Z"),
            ("17:00", "2026-11-22T16:00:00Z"),
            ("17:00:01", "2026-11-21T16:00:01Z"),
            ("2026-11-22", "2026-11-21T23:00:00Z"),
            ("2026-11-20 17:30", "2026-11-20T16:30:00Z"),
            ("2026-11-20T17:30:00-05:00", "2026-11-20T22:30:00Z"),
            ("2030-01-31", "2030-01-30T23:00:00Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ];
        for (text, moment) in table {
            assert_eq!(parse_past(text, &here), Ok(moment.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "17", "25:00", "2026-13-01", "17:30Z", "2h ago", "-2h", "0s", "99999999999d"] {
            assert_eq!(parse_past(text, &here), Err(ParseError::PastTime(text.to_owned())), "{text}");
        }
    }
}
