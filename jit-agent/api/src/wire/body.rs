//! Bodies that are sent to the agent, and their translation into the core's types.

use std::collections::HashSet;

use jiff::Timestamp;
use jit_policy::{
    self, Given, GrantId, IdempotencyKey, Protocol, Selection, Span, Submission, Until, Violation, parse_sources, text,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{MOST_VIOLATIONS, excerpt, object, schema, whole};

/// Most ports in one request.
pub const MOST_PORTS: usize = 64;
/// Most sources in one request, all ports together.
pub const MOST_SOURCES: usize = 16_384;
/// Most grants named in one revocation.
pub const MOST_IDS: usize = 1024;
/// Longest justification or reason, in characters.
pub const LONGEST_TEXT: usize = 1000;
/// Longest name of a requestor whom a delegate names, in characters.
pub const LONGEST_REQUESTOR: usize = 128;
/// Longest user name, in characters.
pub const LONGEST_NAME: usize = 256;

/// Body of `POST /v1/requests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "ports": [{"number": 22, "allowedSourceAddressPrefix": "192.0.2.7", "duration": "PT1H"}], "justification": "restore",
}))]
pub struct NewRequest {
    /// What to open; 1 to 64.
    #[serde(deserialize_with = "object::list")]
    #[schema(min_items = 1, max_items = 64)]
    pub ports: Vec<RequestedPort>,
    /// Why; at most 1000 characters, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(value_type = schema::Line)]
    pub justification: String,
    /// In whose name, 1 to 128 printable characters; for delegates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Requestor>)]
    pub requestor: Option<String>,
}

/// One port of a request. Exactly one of the two source fields, and exactly one of `duration` and `endTimeUtc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestedPort {
    /// 1 to 65535.
    #[serde(deserialize_with = "whole::number")]
    #[schema(value_type = schema::PortNumber)]
    pub number: i64,
    /// `TCP`, `UDP` or `*`; absent: the port policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Protocol>)]
    pub protocol: Option<Given<Protocol>>,
    /// Sources to let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Source>>, min_items = 1, max_items = 16384)]
    pub allowed_source_address_prefixes: Option<Vec<String>>,
    /// The one source to let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Source>)]
    pub allowed_source_address_prefix: Option<String>,
    /// For how long from approval, ISO 8601, like `PT1H30M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Duration>)]
    pub duration: Option<String>,
    /// Until when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Time>)]
    pub end_time_utc: Option<String>,
}

/// Body of `POST /v1/grants/revoke`. Exactly one of `ids`, `user` and `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"ids": [1], "reason": "done"}))]
pub struct Revoke {
    /// These grants; all must exist.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole::numbers")]
    #[schema(min_items = 1, max_items = 1024)]
    pub ids: Option<Vec<i64>>,
    /// All grants of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::User>)]
    pub user: Option<String>,
    /// True: all grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::True>)]
    pub all: Option<bool>,
    /// Why; at most 1000 characters, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(value_type = schema::Line)]
    pub reason: String,
}

/// A collection of violations.
#[derive(Default)]
pub(super) struct Faults(Vec<Violation>);

impl Faults {
    pub(super) fn add(
        &mut self,
        port: &str,
        field: &'static str,
        given: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let (given, allowed) = (given.into(), allowed.into());
        // One more than an answer lists shows that there are more.
        if self.0.len() <= MOST_VIOLATIONS {
            self.0.push(Violation { port: port.to_owned(), field, given: excerpt(&given), allowed });
        }
    }

    /// Reads sources, and adds a violation for each source that can't be used.
    fn sources(&mut self, port: &str, sources: &[String]) -> Vec<ipnet::IpNet> {
        parse_sources(sources, &mut |given, allowed| self.add(port, "allowedSourceAddressPrefixes", given, allowed))
    }

    pub(super) fn check_text(&mut self, field: &'static str, text: &str) {
        let length = text.chars().count();
        if length > LONGEST_TEXT {
            self.add("", field, format!("{length} characters"), format!("at most {LONGEST_TEXT} characters"));
        }
        if text.chars().any(char::is_control) {
            self.add("", field, text.escape_debug().to_string(), "text on one line, without control characters");
        }
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, Vec<Violation>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

impl NewRequest {
    /// Translates the body for the core, which checks it against the port policies.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(self, key: Option<IdempotencyKey>) -> Result<Submission, Vec<Violation>> {
        let Self { ports, justification, requestor } = self;
        let mut faults = Faults::default();
        faults.check_text("justification", &justification);
        if let Some(named) = &requestor {
            let length = named.chars().count();
            // Spaces at the ends, and invisible characters, would make one name look like another.
            let printable = |c: char| !c.is_control() && (c == ' ' || !c.is_whitespace()) && !text::is_invisible(c);
            if !(1..=LONGEST_REQUESTOR).contains(&length) || !named.chars().all(printable) || named.trim() != named {
                let given = named.escape_debug().to_string();
                faults.add("", "requestor", given, format!("1 to {LONGEST_REQUESTOR} printable characters"));
            }
        }
        let mut requested = Vec::new();
        if ports.is_empty() || ports.len() > MOST_PORTS {
            faults.add("", "ports", format!("{} ports", ports.len()), format!("1 to {MOST_PORTS} ports"));
        } else {
            let sources: usize =
                ports.iter().filter_map(|port| port.allowed_source_address_prefixes.as_ref()).map(Vec::len).sum();
            let countable = sources <= MOST_SOURCES;
            if !countable {
                let allowed = format!("at most {MOST_SOURCES} sources in one request");
                faults.add("", "allowedSourceAddressPrefixes", format!("{sources} sources"), allowed);
            }
            requested.extend(ports.into_iter().filter_map(|port| port.check(countable, &mut faults)));
        }
        let request = jit_policy::NewRequest { ports: requested, justification }.normalised();
        faults.into_result(Submission { request, named: requestor, key })
    }
}

impl RequestedPort {
    /// Checks the port. Adds violations to `faults`; returns `None` only if there is a violation.
    fn check(self, check_sources: bool, faults: &mut Faults) -> Option<jit_policy::RequestedPort> {
        let Self {
            number,
            protocol,
            allowed_source_address_prefixes: sources,
            allowed_source_address_prefix: source,
            duration,
            end_time_utc: end,
        } = self;
        let port = number.to_string();
        let checked_number = u16::try_from(number).ok().filter(|number| *number > 0);
        if checked_number.is_none() {
            faults.add(&port, "number", &port, "1 to 65535");
        }
        let protocol = protocol.and_then(|given| {
            if given.value().is_none() {
                faults.add(&port, "protocol", given.text(), "TCP, UDP or *");
            }
            given.value().copied()
        });
        let sources = match (sources, source) {
            (Some(sources), None) if !sources.is_empty() => sources,
            (None, Some(source)) => vec![source],
            (Some(_), Some(_)) => {
                let allowed = "one of allowedSourceAddressPrefixes and allowedSourceAddressPrefix";
                faults.add(&port, "allowedSourceAddressPrefixes", "both", allowed);
                Vec::new()
            }
            (Some(_) | None, None) => {
                let allowed = "at least one source, like the address that you connect from (jitctl: --from me)";
                faults.add(&port, "allowedSourceAddressPrefixes", "nothing", allowed);
                Vec::new()
            }
        };
        let sources = if check_sources { faults.sources(&port, &sources) } else { Vec::new() };
        let until = parse_until(&port, duration, end, faults);
        Some(jit_policy::RequestedPort { number: u32::from(checked_number?), protocol, sources, until: until? })
    }
}

/// Reads for how long, or until when, a port is asked for. Exactly one of the two must be given.
pub(super) fn parse_until(
    port: &str,
    duration: Option<String>,
    end: Option<String>,
    faults: &mut Faults,
) -> Option<Until> {
    match (duration, end) {
        (Some(duration), None) => {
            let parsed = Span::of_iso(&duration).filter(|span| !span.0.is_zero());
            if parsed.is_none() {
                faults.add(port, "duration", duration, "a time above zero in ISO 8601, like PT30M or PT1H30M");
            }
            parsed.map(|span| Until::For(span.0))
        }
        (None, Some(end)) => {
            let parsed = end.parse::<Timestamp>().ok();
            if parsed.is_none() {
                faults.add(port, "endTimeUtc", end, "a time in RFC 3339, like 2030-01-31T17:30:00Z");
            }
            parsed.map(Until::Time)
        }
        (Some(_), Some(_)) => {
            faults.add(port, "duration", "both", "one of duration and endTimeUtc");
            None
        }
        (None, None) => {
            faults.add(port, "duration", "nothing", "one of duration and endTimeUtc");
            None
        }
    }
}

impl Revoke {
    /// Translates the body for the core: which grants, and why.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(self) -> Result<(Selection, String), Vec<Violation>> {
        let Self { ids, user, all, reason } = self;
        let mut faults = Faults::default();
        faults.check_text("reason", &reason);
        let selection = match (ids, user, all) {
            (Some(ids), None, None) => {
                if ids.is_empty() || ids.len() > MOST_IDS {
                    faults.add("", "ids", format!("{} grants", ids.len()), format!("1 to {MOST_IDS} grants"));
                }
                let mut seen = HashSet::new();
                Selection::Ids(ids.into_iter().filter(|id| seen.insert(*id)).map(GrantId).collect())
            }
            (None, Some(user), None) => {
                if user.is_empty() || user.chars().count() > LONGEST_NAME || user.chars().any(char::is_control) {
                    faults.add("", "user", user.escape_debug().to_string(), "the name of a user");
                }
                Selection::User(user)
            }
            (None, None, Some(all)) => {
                if !all {
                    faults.add("", "all", "false", "true, or ids or user in its place");
                }
                Selection::All
            }
            (ids, user, all) => {
                let given = [(ids.is_some(), "ids"), (user.is_some(), "user"), (all.is_some(), "all")]
                    .into_iter()
                    .filter_map(|(given, name)| given.then_some(name))
                    .collect::<Vec<_>>()
                    .join(" and ");
                let given = if given.is_empty() { "nothing".to_owned() } else { given };
                faults.add("", "ids", given, "exactly one of ids, user and all");
                Selection::Ids(Vec::new())
            }
        };
        faults.into_result((selection, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_have_a_fraction_of_zero_as_json_schema_has_it() {
        let read = |number: &str| {
            let text = format!(r#"{{"number":{number},"duration":"PT1H"}}"#);
            serde_json::from_str::<RequestedPort>(&text).map(|port| port.number).map_err(|error| error.to_string())
        };
        assert_eq!(read("22.0"), Ok(22));
        assert_eq!(read("-1e3"), Ok(-1000));
        for refused in ["22.5", "1e300", "18446744073709551615", "\"22\"", "null"] {
            assert!(read(refused).unwrap_err().contains("expected a whole number"), "{refused}");
        }
        let ids = |text: &str| serde_json::from_str::<Revoke>(text).map(|body| body.ids).ok();
        assert_eq!(ids(r#"{"ids":[1,2.0]}"#), Some(Some(vec![1, 2])));
        assert_eq!(ids(r#"{"ids":null}"#), Some(None));
        assert_eq!(ids(r#"{"ids":[1.5]}"#), None);
    }

    #[test]
    fn a_grant_that_is_named_twice_is_ended_once_and_costs_no_more() {
        let body = Revoke { ids: Some([vec![7; 1000], vec![5, 7]].concat()), ..Revoke::default() };
        let (selection, _) = body.check().unwrap();
        assert_eq!(selection, Selection::Ids(vec![GrantId(7), GrantId(5)]));
    }

    #[test]
    fn what_the_client_writes_is_what_the_agent_reads() {
        let body = NewRequest {
            ports: vec![RequestedPort {
                number: 22,
                allowed_source_address_prefix: Some("192.0.2.7".to_owned()),
                duration: Some("PT1H".to_owned()),
                ..RequestedPort::default()
            }],
            justification: String::new(),
            requestor: None,
        };
        let text = serde_json::to_string(&body).unwrap();
        assert_eq!(text, r#"{"ports":[{"number":22,"allowedSourceAddressPrefix":"192.0.2.7","duration":"PT1H"}]}"#);
        assert_eq!(serde_json::from_str::<NewRequest>(&text).unwrap(), body);
    }
}
