//! `watch`.

use jit_api::wire::PacketEvent;
use jit_common::reason::Reason;

use super::{super::table, *};

#[test]
fn columns_of_packets_line_up_for_every_cause_and_address() {
    let heading = table::event_heading();
    let places = ["time", "verdict", "reason", "port", "source", "interface"].map(|name| heading.find(name).unwrap());
    for reason in Reason::ALL {
        let packet = PacketEvent {
            time_utc: surroundings().now,
            source: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().ok(),
            number: Some(65_535),
            protocol: Some("SCTP".to_owned()),
            interface: "eth0".to_owned(),
            verdict: "pass".to_owned(),
            reason: reason.name().to_owned(),
            mode: "observe".to_owned(),
        };
        let line = table::event(&packet, &surroundings());
        for place in places {
            assert!(!line[place..].starts_with(' '), "{place} of {heading}{line}");
            assert!(place == 0 || line[..place].ends_with("  "), "{place} of {heading}{line}");
        }
    }
}
