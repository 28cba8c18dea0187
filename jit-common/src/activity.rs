//! The use of grants: what packets that pass say about connections.

use crate::{
    abi::{ACTIVITY_INTERVAL, Activity, DATAGRAM_PAUSE, Transport},
    frame::Frame,
    parse::Flow,
};

const TCP_FLAGS: usize = 13;
const TCP_SYN: u8 = 0x02;
const TCP_ACK: u8 = 0x10;
const SCTP_FIRST_CHUNK: usize = 12;
const SCTP_INIT: u8 = 1;

/// Whether the packet opens a connection. `None` if the transport does not mark the first packet, as UDP does not.
#[inline(always)]
#[must_use]
pub fn opens_connection<F: Frame + ?Sized>(frame: &F, flow: &Flow) -> Option<bool> {
    let byte = |offset| frame.read::<1>(flow.transport_header + offset).map_or(0, |[byte]| byte);
    match flow.transport {
        Transport::Tcp => Some(byte(TCP_FLAGS) & (TCP_SYN | TCP_ACK) == TCP_SYN),
        Transport::Sctp => Some(byte(SCTP_FIRST_CHUNK) == SCTP_INIT),
        Transport::Udp => None,
    }
}

/// What a packet changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Whether the [`Activity`] has changed and must be written.
    pub changed: bool,
    /// Whether a new connection was noted.
    pub connection: bool,
}

impl Activity {
    /// Notes a packet that passed at `now`.
    #[inline(always)]
    pub fn note(&mut self, now: u64, opens_connection: Option<bool>) -> Noted {
        let due = |last: u64| last == 0 || now.wrapping_sub(last) >= ACTIVITY_INTERVAL;
        let opens = match opens_connection {
            Some(opens) => opens,
            None => self.last_packet == 0 || now.wrapping_sub(self.last_packet) >= DATAGRAM_PAUSE,
        };
        let noted = Noted { changed: due(self.last_packet), connection: opens && due(self.last_connection) };
        if noted.changed {
            self.last_packet = now;
        }
        if noted.connection {
            self.last_connection = now;
            if self.first_connection == 0 {
                self.first_connection = now;
            }
        }
        Noted { changed: noted.changed || noted.connection, ..noted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::Source;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_use_is_noted_at_most_once_a_second() {
        let mut activity = Activity::default();
        assert_eq!(activity.note(100 * SECOND, Some(true)), Noted { changed: true, connection: true });
        assert_eq!(activity.note(100 * SECOND + 1, Some(true)), Noted { changed: false, connection: false });
        assert_eq!(activity.note(101 * SECOND - 1, Some(false)), Noted { changed: false, connection: false });
        assert_eq!(activity.note(101 * SECOND, Some(false)), Noted { changed: true, connection: false });
        assert_eq!(activity.note(102 * SECOND, Some(true)), Noted { changed: true, connection: true });
        let expected =
            Activity { first_connection: 100 * SECOND, last_connection: 102 * SECOND, last_packet: 102 * SECOND };
        assert_eq!(activity, expected);
    }

    #[test]
    fn a_connection_is_noted_though_another_packet_was_noted_just_before() {
        let mut activity = Activity { last_packet: 100 * SECOND, ..Activity::default() };
        assert_eq!(activity.note(100 * SECOND + 5, Some(true)), Noted { changed: true, connection: true });
        assert_eq!(activity.last_packet, 100 * SECOND, "written at most once a second");
    }

    #[test]
    fn datagrams_after_a_pause_are_a_new_connection() {
        let mut activity = Activity::default();
        assert!(activity.note(SECOND, None).connection);
        assert!(!activity.note(30 * SECOND, None).connection);
        assert!(!activity.note(59 * SECOND, None).connection);
        assert!(activity.note(89 * SECOND, None).connection);
    }

    #[test]
    fn only_the_opening_packet_of_a_transport_opens_a_connection() {
        let opens = |transport, offset: usize, byte| {
            let mut frame = [0; 34];
            frame[14 + offset] = byte;
            let flow = Flow { source: Source::V4(0), port: 22, transport, fragment: false, transport_header: 14 };
            opens_connection(&frame[..], &flow)
        };
        for (transport, offset, byte, expected) in [
            (Transport::Tcp, TCP_FLAGS, 0x02, Some(true)),
            (Transport::Tcp, TCP_FLAGS, 0xc2, Some(true)),
            (Transport::Tcp, TCP_FLAGS, 0x12, Some(false)),
            (Transport::Tcp, TCP_FLAGS, 0x10, Some(false)),
            (Transport::Tcp, TCP_FLAGS, 0x00, Some(false)),
            (Transport::Sctp, SCTP_FIRST_CHUNK, 1, Some(true)),
            (Transport::Sctp, SCTP_FIRST_CHUNK, 0, Some(false)),
            (Transport::Udp, 0, 0, None),
        ] {
            assert_eq!(opens(transport, offset, byte), expected, "{transport:?} {byte:#x}");
        }
        let flow =
            Flow { source: Source::V4(0), port: 22, transport: Transport::Tcp, fragment: false, transport_header: 14 };
        assert_eq!(opens_connection(&[0; 20][..], &flow), Some(false), "flags beyond the packet");
    }
}
