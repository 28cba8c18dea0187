//! The ports that somebody asked for, as the log lists them.

use std::iter::zip;

use serde_json::{Value, json};

use super::field::Field;
use crate::{RequestedPort, Until};

/// How many sources of one port the log lists before it only counts the rest.
const LISTED_SOURCES: usize = 16;
/// How many sources of one request the log lists, all ports together.
const LISTED_IN_ALL: usize = 64;

/// Ports that somebody asked for, with as many of their sources as the log lists. Who asks does not decide how much the
/// log has of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedPorts {
    ports: Vec<RequestedPort>,
    /// The number of sources of each port.
    counts: Vec<usize>,
}

impl AskedPorts {
    /// About how many bytes a row has of the ports.
    pub(super) fn length(&self) -> usize {
        self.ports.iter().map(|port| 60 + 48 * port.sources.len()).sum()
    }

    /// Lists these ports.
    #[must_use]
    pub fn of(ports: &[RequestedPort]) -> Self {
        let mut left = LISTED_IN_ALL;
        let listed = ports.iter().map(|port| {
            let RequestedPort { number, protocol, ref sources, until } = *port;
            let sources: Vec<_> = sources.iter().copied().take(LISTED_SOURCES.min(left)).collect();
            left -= sources.len();
            RequestedPort { number, protocol, sources, until }
        });
        Self { ports: listed.collect(), counts: ports.iter().map(|port| port.sources.len()).collect() }
    }
}

impl Field for AskedPorts {
    fn value(&self) -> Value {
        zip(&self.ports, &self.counts).map(|(port, count)| value(port, *count)).collect()
    }
}

fn value(port: &RequestedPort, count: usize) -> Value {
    let RequestedPort { number, protocol, sources, until } = port;
    let listed: Vec<Value> = sources.iter().map(Field::value).collect();
    let mut shown = json!({ "number": number, "sources": listed });
    if let Some(protocol) = protocol {
        shown["protocol"] = protocol.to_string().into();
    }
    if count > sources.len() {
        shown["source_count"] = count.into();
    }
    match until {
        Until::For(length) => shown["seconds"] = length.value(),
        Until::Time(end) => shown["end"] = end.value(),
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::parse_source;

    #[test]
    fn a_row_lists_few_sources_and_counts_all() {
        let sources = (0..200).map(|last| parse_source(&format!("192.0.2.{last}")).unwrap()).collect();
        let port = RequestedPort { number: 22, protocol: None, sources, until: Until::For(Duration::from_secs(60)) };
        let few = RequestedPort { sources: port.sources[..2].to_vec(), ..port.clone() };
        let listed = AskedPorts::of(&[vec![few], vec![port; 63]].concat()).value();
        let listed = listed.as_array().unwrap();
        let sources = |port: &Value| port["sources"].as_array().unwrap().len();
        assert_eq!((listed.len(), listed.iter().map(sources).sum::<usize>()), (64, 64));
        assert_eq!((&listed[0]["source_count"], &listed[1]["source_count"]), (&Value::Null, &json!(200)));
        assert_eq!((sources(&listed[1]), sources(&listed[63])), (16, 0));
        assert_eq!(listed[63]["source_count"], 200);
    }
}
