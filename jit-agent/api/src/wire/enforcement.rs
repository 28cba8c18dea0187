//! Bodies and answers for turning enforcement on and off.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use jit_common::abi::Mode;
use jit_policy::{
    EnableAsked, Given, GrantId, LONGEST_MAXIMUM, LONGEST_TRIAL, SHORTEST_TRIAL, Session as Seen, Span, TrialKind,
    Violation,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Grant, body::Faults, whole_seconds};
use crate::schema;

/// The duration of a trial if the request names no duration.
const USUAL_TRIAL: Duration = Duration::from_secs(600);

/// The header that names the session of the person who asks for a change.
pub const SESSION_HEADER: &str = "jit-session";

/// The same for the document.
#[derive(Clone, Debug, IntoParams)]
#[into_params(parameter_in = Header)]
pub struct SessionHeader {
    /// Source and port of the TCP connection over which you work, like `192.0.2.7 22`. A change that would cut it off is
    /// put on trial.
    #[param(rename = "JIT-Session", required = false, inline, value_type = schema::Connection)]
    pub session: Option<String>,
}

/// Body of `POST /v1/enforcement/enable`; may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enable {
    /// How long to wait for the confirmation, ISO 8601, `PT10S` to `PT1H`; absent: `PT10M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Duration>)]
    pub trial: Option<String>,
    /// The connection over which the operator works; its source is let in for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// For how long, ISO 8601; absent: as long as the port's policy allows, at most `PT1H`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Duration>)]
    pub grant: Option<String>,
    /// Whether someone can reach this host's console, which is a way back.
    #[serde(default)]
    pub console: bool,
}

/// A TCP connection to a port of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Session {
    /// Where it comes from.
    #[schema(value_type = schema::Address)]
    pub source: String,
    /// The port.
    #[schema(value_type = schema::PortNumber)]
    pub port: i64,
}

impl Session {
    /// Reads a session from a header: the source and the port, with a blank between.
    ///
    /// # Errors
    /// A part of the header can't be used.
    pub fn of_header(text: &str) -> Result<Seen, Vec<Violation>> {
        let (source, port) = text.split_once(' ').unwrap_or((text, ""));
        // A number has only one spelling here, as the document has it.
        let number = port.parse().ok().filter(|number: &u16| number.to_string() == port);
        let session = Self { source: source.to_owned(), port: number.unwrap_or_default().into() };
        let mut faults = Faults::default();
        let seen = session.check(&mut faults);
        faults.into_result(seen)
    }

    fn check(&self, faults: &mut Faults) -> Seen {
        let source = self.source.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        if source.is_none() {
            faults.add("", "session.source", &self.source, "an IPv4 or IPv6 address");
        }
        let port = u16::try_from(self.port).ok().filter(|port| *port > 0);
        if port.is_none() {
            faults.add("", "session.port", self.port.to_string(), "1 to 65535");
        }
        Seen { source: source.unwrap_or(IpAddr::from([0, 0, 0, 0])), port: port.unwrap_or_default() }
    }
}

impl Enable {
    /// Translates the body for the core.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(self) -> Result<EnableAsked, Vec<Violation>> {
        let Self { trial, session, grant, console } = self;
        let mut faults = Faults::default();
        let mut duration = |field, given: Option<String>, range: (Duration, Duration), allowed| {
            let given = given?;
            let parsed =
                Span::of_iso(&given).map(|span| span.0).filter(|duration| (range.0..=range.1).contains(duration));
            if parsed.is_none() {
                faults.add("", field, given, allowed);
            }
            parsed
        };
        let trial = duration("trial", trial, (SHORTEST_TRIAL, LONGEST_TRIAL), "PT10S to PT1H").unwrap_or(USUAL_TRIAL);
        let grant = duration("grant", grant, (Duration::from_secs(60), LONGEST_MAXIMUM), "PT1M to PT24H");
        let session = session.map(|session| session.check(&mut faults));
        faults.into_result(EnableAsked { trial, session, grant, console })
    }
}

/// Enforcement, who is connected, and which ways back there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enforcement {
    /// `enforce` or `observe`.
    #[schema(value_type = schema::Mode)]
    pub mode: Given<Mode>,
    /// The trial that runs; null if none does.
    pub trial: Option<Trial>,
    /// Who removed all enforcement by hand, and when; null if nobody did.
    pub unloaded: Option<String>,
    /// The ports that are shut when it is on, like `22/tcp`.
    pub ports: Vec<String>,
    /// Who is connected to these ports by TCP.
    pub connected: Vec<Connected>,
    /// Why that is not known; null if it is.
    pub connected_fault: Option<String>,
    /// Ways in if what is shut turns out to be needed.
    pub ways_back: WaysBack,
}

/// A trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// What is tried: `enable`, `ports` (a change of a port policy) or `reload` (of edited files).
    #[schema(value_type = String)]
    pub kind: Given<TrialKind>,
    /// When it ends unless it is confirmed.
    #[schema(value_type = schema::Time)]
    pub until_utc: Timestamp,
    /// How long that is from now, ISO 8601.
    #[schema(value_type = schema::Duration)]
    pub remaining: String,
}

impl Trial {
    /// A trial that ends so much later than the moment at which it is shown.
    #[must_use]
    pub fn new(kind: TrialKind, until_utc: Timestamp, remaining: Duration) -> Self {
        // Whole seconds are exact enough for people and programs; a running trial has at least one second left.
        let remaining = Span(Duration::from_secs(whole_seconds(remaining))).iso();
        Self { kind: kind.into(), until_utc, remaining }
    }
}

/// A source that is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// Where from.
    #[schema(value_type = schema::Address)]
    pub source: IpAddr,
    /// To which port.
    #[schema(value_type = schema::PortNumber)]
    pub port: u16,
    /// Whether it is always let in.
    pub break_glass: bool,
    /// Number of the grant that lets it in; null with `breakGlass` false: enforcement cuts it off.
    #[schema(value_type = Option<i64>)]
    pub grant: Option<GrantId>,
}

/// Ways in that need nobody at this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaysBack {
    /// Sources that are always let in.
    pub break_glass: Vec<String>,
    /// Delegates that are connected to the socket now.
    pub delegates: Vec<String>,
}

/// Answer to a change of enforcement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnforcementChange {
    /// Enforcement now.
    pub enforcement: Enforcement,
    /// The grant for the operator's session; null if none was made.
    pub grant: Option<Grant>,
    /// Whether all of it is written; if not, it is in force all the same.
    pub durable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_can_not_be_used_is_named() {
        let session = Session { source: "host".to_owned(), port: 0 };
        let asked = Enable {
            trial: Some("PT9S".to_owned()),
            session: Some(session),
            grant: Some("PT25H".to_owned()),
            console: false,
        };
        let fields: Vec<&str> = asked.check().unwrap_err().iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["trial", "grant", "session.source", "session.port"]);
        let usual = Enable::default().check().unwrap();
        assert_eq!((usual.trial, usual.session, usual.console), (USUAL_TRIAL, None, false));
    }

    #[test]
    fn a_session_in_a_header_is_a_source_and_a_port() {
        let seen = |source: &str, port| Seen { source: source.parse().unwrap(), port };
        assert_eq!(Session::of_header("192.0.2.7 22"), Ok(seen("192.0.2.7", 22)));
        assert_eq!(Session::of_header("::ffff:192.0.2.7 22"), Ok(seen("192.0.2.7", 22)));
        for wrong in ["", "192.0.2.7", "192.0.2.7 0", "192.0.2.7 65536", "host 22", "192.0.2.7 22 x"] {
            assert!(Session::of_header(wrong).is_err(), "{wrong}");
        }
    }
}
