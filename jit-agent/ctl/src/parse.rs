//! Ports, sources and times as people write them. Every error says what to write instead.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::{
    Timestamp, Zoned,
    civil::{self, DateTime},
    tz::{AmbiguousOffset, TimeZone},
};
use jit_api::terminal::Surroundings;
use jit_common::abi::Transport;
use jit_policy::{PolicyError, PortId, SourceError, parse_source, single_address};

use super::args::RequestedPort;

/// Why an argument can't be used, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// The port's number or protocol can't be used.
    #[error(transparent)]
    Port(#[from] PolicyError),
    /// The source can't be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The text is not a protocol that a packet can have: tcp, udp or sctp.
    #[error("`{0}` is not the protocol of a packet to a port; use tcp, udp or sctp")]
    PacketProtocol(String),
    /// The text is a prefix, but a packet has exactly one source address.
    #[error("`{0}` is a prefix; a packet comes from one address, so write one")]
    Prefix(String),
    /// A zone was given.
    #[error("`{0}` has a zone, which no packet carries; use an address that is valid beyond the link")]
    Zone(String),
    /// The session has no client address.
    #[error(
        "`me` is the address your SSH session comes from, but SSH_CONNECTION and SSH_CLIENT are not set (sudo and su \
         remove them); write the address itself, like --from 192.0.2.7"
    )]
    NoSession,
    /// The session's client address is not a source.
    #[error("`me` is `{address}` by SSH_CONNECTION: {error}")]
    Session {
        /// What the session says.
        address: String,
        /// What is wrong with it.
        error: Box<Self>,
    },
    /// The text is not a time.
    #[error("`{0}` is not a time; write one like 17:30, \"2030-01-31 17:30\" or 2030-01-31T17:30:00Z")]
    Time(String),
    /// The text is not a time in the past.
    #[error(
        "`{0}` is not a time; write how long ago, like 2h or 7d, or when, like 17:30, 2026-01-31, \"2026-01-31 17:30\" or \
         2026-01-31T17:30:00Z"
    )]
    PastTime(String),
    /// The time is skipped when clocks go forward.
    #[error("`{0}` does not exist here: clocks go forward over it; write another time, or one with an offset")]
    Gap(String),
    /// The time is over.
    #[error("`{0}` is in the past; write a time to come")]
    Past(String),
}

/// Reads `22` or `22/tcp`.
///
/// # Errors
/// The number is out of range, or the protocol is unknown.
pub(super) fn port(text: &str) -> Result<RequestedPort, ParseError> {
    let (number, protocol) = match text.split_once('/') {
        Some((number, protocol)) => (number, Some(protocol)),
        None => (text, None),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let checked = number.parse().ok().filter(|number| digits && *number > 0);
    let number = checked.ok_or_else(|| PolicyError::Number(format!("`{number}`")))?;
    Ok(match protocol {
        Some(protocol) => RequestedPort::Exact(PortId { number, protocol: protocol.parse()? }),
        None => RequestedPort::Number(number),
    })
}

/// Reads `22`, `22/tcp`, `22/udp` or `22/sctp`: the port of one packet.
///
/// # Errors
/// The number is out of range, or the protocol is unknown.
pub(super) fn packet_port(text: &str) -> Result<(u16, Transport), ParseError> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let transport = Transport::ALL.into_iter().find(|transport| transport.name() == protocol);
    let transport = transport.ok_or_else(|| ParseError::PacketProtocol(protocol.to_owned()))?;
    match port(number)? {
        RequestedPort::Number(number) | RequestedPort::Exact(PortId { number, .. }) => Ok((number, transport)),
    }
}

/// Reads an address, or `me`.
///
/// # Errors
/// The text is a prefix, or can't be read as in [`source`].
pub(super) fn address_of_one(text: &str, surroundings: &Surroundings) -> Result<IpAddr, ParseError> {
    single_address(&source(text, surroundings)?).ok_or_else(|| ParseError::Prefix(text.to_owned()))
}

/// Reads an address, a prefix, or `me`: the client's address of the SSH session.
///
/// # Errors
/// The text can't be read as in [`parse_source`], or is `me` without a session.
pub(super) fn source(text: &str, surroundings: &Surroundings) -> Result<IpNet, ParseError> {
    if text != "me" {
        return address(text);
    }
    let session = surroundings.ssh_session.as_deref().and_then(|session| session.split_whitespace().next());
    let client = session.ok_or(ParseError::NoSession)?;
    address(client).map_err(|error| ParseError::Session { address: client.to_owned(), error: Box::new(error) })
}

fn address(text: &str) -> Result<IpNet, ParseError> {
    if text.contains('%') {
        return Err(ParseError::Zone(text.to_owned()));
    }
    Ok(parse_source(text)?)
}

/// Reads a moment: RFC 3339, or a wall time in the local zone. Without a date, the moment is the next occurrence of
/// that time.
///
/// # Errors
/// The text has another form, the moment is over, or the wall time does not exist.
pub(super) fn until(text: &str, surroundings: &Surroundings) -> Result<Timestamp, ParseError> {
    let now = surroundings.now;
    let unreadable = || ParseError::Time(text.to_owned());
    let past = || ParseError::Past(text.to_owned());
    if let Ok(moment) = text.parse::<Timestamp>() {
        return if moment > now { Ok(moment) } else { Err(past()) };
    }
    // Without this check an offset or zone would be read and ignored.
    let wall = text.contains(':') && text.chars().all(|c| c.is_ascii_digit() || "-:T ".contains(c));
    if !wall {
        return Err(unreadable());
    }
    let zone = &surroundings.zone;
    // A date and a time could also be read as a time, and then the date would be ignored.
    if let Some(time) = text.parse::<civil::Time>().ok().filter(|_| !text.contains('-')) {
        let today = Zoned::new(now, zone.clone()).date();
        let tomorrow = today.tomorrow().map_err(|_| unreadable())?;
        return match next(today.to_datetime(time), zone, now, text) {
            Err(ParseError::Past(_)) => next(tomorrow.to_datetime(time), zone, now, text),
            found => found,
        };
    }
    next(text.parse().map_err(|_| unreadable())?, zone, now, text)
}

/// The first moment after `now` at which clocks show `wall`; there are two such moments when clocks go back over
/// `wall`.
fn next(wall: DateTime, zone: &TimeZone, now: Timestamp, text: &str) -> Result<Timestamp, ParseError> {
    let ambiguous = zone.to_ambiguous_timestamp(wall);
    let candidates = match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => return Err(ParseError::Gap(text.to_owned())),
        AmbiguousOffset::Unambiguous { offset } => [offset, offset],
        AmbiguousOffset::Fold { before, after } => [before, after],
    };
    candidates
        .into_iter()
        .filter_map(|offset| offset.to_timestamp(wall).ok())
        .find(|moment| *moment > now)
        .ok_or_else(|| ParseError::Past(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_policy::Protocol;

    fn surroundings(now: &str, ssh: Option<&str>) -> Surroundings {
        Surroundings {
            now: now.parse().unwrap(),
            zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
            ssh_session: ssh.map(str::to_owned),
            ask: None,
        }
    }

    #[test]
    fn ports_are_numbers_with_or_without_a_protocol() {
        assert_eq!(port("22"), Ok(RequestedPort::Number(22)));
        assert_eq!(port("65535"), Ok(RequestedPort::Number(65535)));
        let exact = |number, protocol| Ok(RequestedPort::Exact(PortId { number, protocol }));
        assert_eq!(port("22/tcp"), exact(22, Protocol::Tcp));
        assert_eq!(port("53/UDP"), exact(53, Protocol::Udp));
        assert_eq!(port("3389/any"), exact(3389, Protocol::Any));
        let table = [
            ("0", "port number `0` is out of range; use 1 to 65535"),
            ("65536", "port number `65536` is out of range; use 1 to 65535"),
            ("-1", "port number `-1` is out of range; use 1 to 65535"),
            ("+22", "port number `+22` is out of range; use 1 to 65535"),
            ("ssh", "port number `ssh` is out of range; use 1 to 65535"),
            ("/tcp", "port number `` is out of range; use 1 to 65535"),
            ("22/", "unknown protocol ``; use tcp, udp or any"),
            ("22/icmp", "unknown protocol `icmp`; use tcp, udp or any"),
            ("22/tcp/udp", "unknown protocol `tcp/udp`; use tcp, udp or any"),
        ];
        for (text, error) in table {
            assert_eq!(port(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn a_time_without_a_date_is_its_next_occurrence() {
        let table = [
            ("2026-11-22T16:00:00Z", "17:30", "2026-11-22T16:30:00Z"),
            ("2026-11-22T16:00:00Z", "17:30:15", "2026-11-22T16:30:15Z"),
            ("2026-11-22T16:00:00Z", "17:00", "2026-11-23T16:00:00Z"),
            ("2026-11-22T16:00:00Z", "00:10", "2026-11-22T23:10:00Z"),
            ("2026-11-22T16:00:00Z", "2026-11-22 17:30", "2026-11-22T16:30:00Z"),
            ("2026-11-22T16:00:00Z", "2026-11-22T17:30", "2026-11-22T16:30:00Z"),
            ("2026-11-22T16:00:00Z", "2026-11-22T17:30:00Z", "2026-11-22T17:30:00Z"),
            ("2026-11-22T16:00:00Z", "2026-11-22T17:30:00-05:00", "2026-11-22T22:30:00Z"),
            ("2026-11-22T16:00:00Z", "2026-11-22 17:30+01:00", "2026-11-22T16:30:00Z"),
            // Clocks go back at 03:00 CEST, so 02:30 comes twice.
            ("2026-10-25T00:00:00Z", "02:30", "2026-10-25T00:30:00Z"),
            ("2026-10-25T00:45:00Z", "02:30", "2026-10-25T01:30:00Z"),
            ("2026-10-25T01:45:00Z", "02:30", "2026-10-26T01:30:00Z"),
        ];
        for (now, text, moment) in table {
            assert_eq!(until(text, &surroundings(now, None)), Ok(moment.parse().unwrap()), "{text} at {now}");
        }
    }

    #[test]
    fn a_time_that_is_none_or_over_or_skipped_is_refused() {
        let here = surroundings("2026-03-28T12:00:00Z", None);
        for text in ["", "5pm", "25:00", "2026-11-22", "17", "17:30Z", "17:30+01:00", "1h", "tomorrow 17:30"] {
            assert_eq!(until(text, &here), Err(ParseError::Time(text.to_owned())), "{text}");
        }
        for text in ["2026-03-28 12:59", "2026-03-28T12:00:00Z", "1970-01-01T00:00:00Z"] {
            assert_eq!(until(text, &here), Err(ParseError::Past(text.to_owned())), "{text}");
        }
        for text in ["02:30", "2026-03-29 02:30"] {
            let here = surroundings("2026-03-28T23:30:00Z", None);
            assert_eq!(until(text, &here), Err(ParseError::Gap(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn me_is_where_the_ssh_session_comes_from() {
        let now = "2026-11-22T16:00:00Z";
        let session = surroundings(now, Some("2001:db8::7 51234 2001:db8::1 22"));
        assert_eq!(source("me", &session).unwrap().to_string(), "2001:db8::7/128");
        assert_eq!(source("192.0.2.0/24", &session).unwrap().to_string(), "192.0.2.0/24");
        for nothing in [None, Some(""), Some(" ")] {
            assert_eq!(source("me", &surroundings(now, nothing)), Err(ParseError::NoSession));
        }
        let table = [
            (
                "fe80::1%eth0 51234 fe80::2%eth0 22",
                "`me` is `fe80::1%eth0` by SSH_CONNECTION: `fe80::1%eth0` has a zone, which no packet carries; use an \
                 address that is valid beyond the link",
            ),
            (
                "UNKNOWN 65535 UNKNOWN 65535",
                "`me` is `UNKNOWN` by SSH_CONNECTION: `UNKNOWN` is not an IPv4 or IPv6 address or prefix; write one \
                 like 192.0.2.7 or 2001:db8::/64",
            ),
        ];
        for (session, error) in table {
            assert_eq!(source("me", &surroundings(now, Some(session))).unwrap_err().to_string(), error);
        }
    }
}
