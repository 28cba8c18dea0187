//! Packets: the fate of packets that arrived, and the fate that a packet would have.

use std::net::IpAddr;

use jiff::Timestamp;
use jit_common::{
    abi::{Mode, Transport},
    reason::{Reason, Verdict},
};
use jit_policy::{Given, Packet, Spelled, Violation};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Grant;
use crate::schema;

/// A packet that was reported: one that was dropped, or would have been, or the first of a connection that passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PacketEvent {
    /// When it arrived.
    pub time_utc: Timestamp,
    /// Where it came from; null if the packet does not say.
    #[schema(value_type = Option<schema::Address>)]
    pub source: Option<IpAddr>,
    /// Destination port; null if the packet does not say.
    #[schema(value_type = Option<schema::PortNumber>)]
    pub number: Option<u16>,
    /// `TCP`, `UDP` or `SCTP`; null if the packet does not say.
    #[schema(value_type = Option<schema::Transport>)]
    pub protocol: Option<Given<Transport>>,
    /// Name of the interface.
    pub interface: String,
    /// `pass` or `drop`: what became of it.
    #[schema(value_type = schema::Verdict)]
    pub verdict: Given<Verdict>,
    /// Name of the cause.
    #[schema(value_type = schema::Cause)]
    pub reason: Given<Reason>,
    /// `enforce` or `observe`.
    #[schema(value_type = schema::Mode)]
    pub mode: Given<Mode>,
}

impl PacketEvent {
    /// Whether it was dropped, or would have been.
    #[must_use]
    pub fn is_drop(&self) -> bool {
        self.reason.value().map_or(self.verdict == Verdict::Drop, |reason| reason.verdict() == Verdict::Drop)
    }
}

/// Packets that were dropped, or would have been, and that are not among those shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotShown {
    /// How many.
    pub not_shown: u64,
}

/// The query of `GET /v1/why`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WhyQuery {
    /// Where the packet comes from: an address.
    #[param(value_type = schema::Address)]
    pub source: String,
    /// Destination port.
    #[param(value_type = schema::PortNumber)]
    pub port: String,
    /// `TCP` (the default), `UDP` or `SCTP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Transport>)]
    pub protocol: Option<Given<Transport>>,
    /// Destination address; one of this host's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Address>)]
    pub to: Option<String>,
    /// Name of the interface on which it arrives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

impl WhyQuery {
    /// The packet that is asked about.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(&self) -> Result<Packet, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut violate = |field: &'static str, given: &str, allowed: &str| {
            let (given, allowed) = (given.to_owned(), allowed.to_owned());
            violations.push(Violation { port: String::new(), field, given, allowed });
        };
        let source: Option<IpAddr> = self.source.parse().ok();
        if source.is_none() {
            violate("source", &self.source, "an IPv4 or IPv6 address");
        }
        let number = self.port.parse().ok().filter(|number: &u16| *number > 0);
        if number.is_none() {
            violate("port", &self.port, "1 to 65535");
        }
        let protocol = self.protocol.clone().unwrap_or(Transport::Tcp.into());
        if protocol.value().is_none() {
            violate("protocol", protocol.text(), &Transport::allowed());
        }
        let destination = self.to.as_deref().and_then(|to| to.parse::<IpAddr>().ok());
        let same_family = source.is_none_or(|source| destination.is_none_or(|to| to.is_ipv4() == source.is_ipv4()));
        if let Some(given) = self.to.as_deref().filter(|_| destination.is_none() || !same_family) {
            violate("to", given, "an address of the source's family");
        }
        match (source, number, protocol.value()) {
            (Some(source), Some(number), Some(&transport)) if violations.is_empty() => {
                Ok(Packet { source, number, transport, destination, interface: self.interface.clone() })
            }
            _ => Err(violations),
        }
    }
}

/// What would become of a packet now, and what decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Where the packet comes from.
    #[schema(value_type = schema::Address)]
    pub source: IpAddr,
    /// Destination port.
    #[schema(value_type = schema::PortNumber)]
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    #[schema(value_type = schema::Transport)]
    pub protocol: Given<Transport>,
    /// `pass` or `drop`.
    #[schema(value_type = schema::Verdict)]
    pub verdict: Given<Verdict>,
    /// Name of the cause under which it would be counted; null if the program would not see it.
    #[schema(value_type = Option<schema::Cause>)]
    pub reason: Option<Given<Reason>>,
    /// `enforce` or `observe`.
    #[schema(value_type = schema::Mode)]
    pub mode: Given<Mode>,
    /// What decides, in a sentence.
    pub explanation: String,
    /// What to do about it; null if nothing is to be done.
    pub advice: Option<String>,
    /// The live grants that let it pass.
    pub grants: Vec<Grant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: [(&str, &str); 5]) -> WhyQuery {
        let of = |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        WhyQuery {
            source: of("source").unwrap(),
            port: of("port").unwrap(),
            protocol: of("protocol").map(Given::from),
            to: of("to"),
            interface: of("interface"),
        }
    }

    #[test]
    fn a_whole_query_is_the_packet_it_describes() {
        let pairs =
            [("source", "192.0.2.1"), ("port", "22"), ("protocol", "SCTP"), ("to", "192.0.2.2"), ("interface", "eth0")];
        let expected = Packet {
            source: "192.0.2.1".parse().unwrap(),
            number: 22,
            transport: Transport::Sctp,
            destination: "192.0.2.2".parse().ok(),
            interface: Some("eth0".to_owned()),
        };
        assert_eq!(query(pairs).check(), Ok(expected));
        let short = WhyQuery { source: "::1".to_owned(), port: "65535".to_owned(), ..WhyQuery::default() };
        assert_eq!(short.check().unwrap().transport, Transport::Tcp);
    }

    #[test]
    fn every_value_that_can_not_be_used_is_named() {
        let pairs = [("source", "host"), ("port", "0"), ("protocol", "tcp"), ("to", "x"), ("interface", "")];
        let fields: Vec<_> = query(pairs).check().unwrap_err().into_iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["source", "port", "protocol", "to"]);
        let pairs = [("source", "192.0.2.1"), ("port", "22"), ("protocol", "TCP"), ("to", "2001:db8::1"), ("", "")];
        assert_eq!(query(pairs).check().unwrap_err()[0].allowed, "an address of the source's family");
    }
}
