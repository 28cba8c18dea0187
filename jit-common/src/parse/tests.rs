use super::*;

/// A TCP segment to port 22 from 192.0.2.1 or 2001:db8::1, as the packet of a tunnel.
fn packet(version: u8) -> ([u8; 60], usize) {
    let mut packet = [0; 60];
    packet[0] = version << 4;
    let header = if version == 6 {
        packet[5] = 20;
        packet[6] = TCP;
        packet[8..12].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        packet[23] = 1;
        IPV6_HEADER
    } else {
        packet[0] |= 5;
        packet[3] = 40;
        packet[9] = TCP;
        packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
        IPV4_HEADER
    };
    packet[header + 3] = 22;
    (packet, header + 20)
}

fn flow(source: Source, transport_header: usize) -> Flow {
    Flow { source, port: 22, transport: Transport::Tcp, fragment: false, transport_header }
}

const SOURCE4: Source = Source::V4(0xc000_0201);
const SOURCE6: Source = Source::V6(0x2001_0db8_0000_0000, 1);

#[test]
fn a_packet_without_an_ethernet_header_is_what_its_version_says() {
    for (version, expected) in [
        (4, Ok(flow(SOURCE4, 20))),
        (6, Ok(flow(SOURCE6, 40))),
        (0, Err(Reason::NotIp)),
        (5, Err(Reason::NotIp)),
        (15, Err(Reason::NotIp)),
    ] {
        let (packet, length) = packet(version);
        assert_eq!(parse_network(&packet[..length]), expected, "version {version}");
    }
}

#[test]
fn a_packet_without_an_ethernet_header_is_refused_wherever_it_is_cut() {
    for version in [4, 6] {
        let (packet, length) = packet(version);
        for cut in 0..length {
            assert_eq!(parse_network(&packet[..cut]), Err(Reason::TruncatedIp), "version {version}, {cut} bytes");
        }
    }
}

/// A frame as the entry of the network stack receives it.
struct Stacked<'a> {
    bytes: &'a [u8],
    tag_is_apart: bool,
    is_merged: bool,
}

impl Frame for Stacked<'_> {
    fn holds(&self, length: usize) -> bool {
        self.bytes.holds(length)
    }

    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.bytes.read(offset)
    }

    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        self.bytes.words(offset)
    }

    fn tag_is_apart(&self) -> bool {
        self.tag_is_apart
    }

    fn is_merged(&self) -> bool {
        self.is_merged
    }
}

#[test]
fn the_tag_that_the_kernel_took_out_counts() {
    let (packet, length) = packet(4);
    for tags in 0..=3 {
        let mut frame = [0; 120];
        for tag in 0..tags {
            frame[12 + 4 * tag..14 + 4 * tag].copy_from_slice(&[0x81, 0]);
        }
        let start = 14 + 4 * tags;
        frame[start - 2..start].copy_from_slice(&[8, 0]);
        frame[start..start + length].copy_from_slice(&packet[..length]);
        for tag_is_apart in [false, true] {
            let stacked = Stacked { bytes: &frame[..start + length], tag_is_apart, is_merged: false };
            let expected = if tags + usize::from(tag_is_apart) <= 2 {
                Ok(flow(SOURCE4, start + 20))
            } else {
                Err(Reason::TooManyVlanTags)
            };
            assert_eq!(parse(&stacked), expected, "{tags} tags in the packet, one apart: {tag_is_apart}");
        }
    }
}

#[test]
fn only_a_merged_tcp_packet_may_state_no_length() {
    for (version, length_at, protocol_at, bad) in
        [(4, 3, 9, Reason::BadIpv4HeaderLength), (6, 5, 6, Reason::TruncatedPorts)]
    {
        let (mut packet, length) = packet(version);
        packet[length_at] = 0;
        let judge = |packet: &[u8], is_merged| {
            parse_network(&Stacked { bytes: packet, tag_is_apart: false, is_merged }).map(|flow| flow.port)
        };
        assert_eq!(judge(&packet[..length], true), Ok(22), "version {version}");
        assert_eq!(judge(&packet[..length], false), Err(bad), "version {version}, not merged");
        assert_eq!(judge(&packet[..length - 20], true), Err(Reason::TruncatedPorts), "version {version}, cut");
        packet[protocol_at] = 17;
        assert_eq!(judge(&packet[..length], true), Err(bad), "version {version}, UDP");
    }
}
