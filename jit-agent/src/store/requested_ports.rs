//! The requested ports as text. The text is kept while the request waits for approval, and an approval checks the ports
//! again.

use jiff::Timestamp;
use jit_policy::{NewRequest, Protocol, RequestedPort, Span, Until, parse_source};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct StoredPort {
    number: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    sources: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<Timestamp>,
}

/// The ports of a request as text.
pub(super) fn write(request: &NewRequest) -> String {
    let ports: Vec<StoredPort> = request.ports.iter().map(to_stored).collect();
    // Numbers and strings always serialise.
    serde_json::to_string(&ports).unwrap_or_default()
}

fn to_stored(port: &RequestedPort) -> StoredPort {
    let RequestedPort { number, protocol, sources, until } = port;
    let (duration, end) = match until {
        Until::For(duration) => (Some(Span(*duration)), None),
        Until::Time(end) => (None, Some(*end)),
    };
    StoredPort {
        number: *number,
        protocol: protocol.map(|protocol| protocol.to_string()),
        sources: sources.iter().map(ToString::to_string).collect(),
        duration,
        end,
    }
}

/// Reads the requested ports back; `None`: the text is not in the form that [`write`] writes.
pub(super) fn read(text: &str) -> Option<Vec<RequestedPort>> {
    let ports: Vec<StoredPort> = serde_json::from_str(text).ok()?;
    ports.into_iter().map(from_stored).collect()
}

fn from_stored(asked: StoredPort) -> Option<RequestedPort> {
    let StoredPort { number, protocol, sources, duration, end } = asked;
    let protocol = match protocol {
        Some(name) => Some(name.parse::<Protocol>().ok()?),
        None => None,
    };
    let sources = sources.iter().map(|source| parse_source(source).ok()).collect::<Option<_>>()?;
    let until = match (duration, end) {
        (Some(Span(duration)), None) => Until::For(duration),
        (None, Some(end)) => Until::Time(end),
        _ => return None,
    };
    Some(RequestedPort { number, protocol, sources, until })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_asked_for_is_read_back_as_it_was() {
        let source = |text| vec![parse_source(text).unwrap()];
        let ports = vec![
            RequestedPort {
                number: 22,
                protocol: None,
                sources: source("192.0.2.0/24"),
                until: Until::For(Duration::from_millis(90_500)),
            },
            RequestedPort {
                number: 3389,
                protocol: Some(Protocol::Any),
                sources: source("2001:db8::7"),
                until: Until::Time("2026-03-01T12:00:00.5Z".parse().unwrap()),
            },
        ];
        let request = NewRequest { ports: ports.clone(), justification: String::new() };
        assert_eq!(read(&write(&request)), Some(ports));
        for damaged in ["", "{}", r#"[{"number":22,"sources":["x"],"duration":"PT1S"}]"#, r#"[{"number":22}]"#] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }
}
