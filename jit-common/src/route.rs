//! The fields of a packet that a route look-up needs.

use crate::{
    frame::Frame,
    parse::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ip_version, network_header},
};

/// The fields of an IP header by which the kernel would route the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// IPv4; addresses in network order.
    V4 {
        /// Type of service.
        tos: u8,
        /// Protocol.
        protocol: u8,
        /// Source address.
        source: [u8; 4],
        /// Destination address.
        destination: [u8; 4],
    },
    /// IPv6; addresses in network order.
    V6 {
        /// Version, traffic class and flow label.
        flow_information: [u8; 4],
        /// Next header.
        protocol: u8,
        /// Source address.
        source: [u8; 16],
        /// Destination address.
        destination: [u8; 16],
    },
}

/// Reads the fields of a packet that was parsed before. `None` if the packet does not look like IP.
#[inline(always)]
#[must_use]
pub fn route<F: Frame + ?Sized>(frame: &F) -> Option<Route> {
    let (ethertype, start) = network_header(frame).ok()?;
    match ethertype {
        ETHERTYPE_IPV4 => route4(frame, start),
        ETHERTYPE_IPV6 => route6(frame, start),
        _ => None,
    }
}

/// Like [`route`], for a packet that starts with its IP header.
#[inline(always)]
#[must_use]
pub fn route_of_network<F: Frame + ?Sized>(frame: &F) -> Option<Route> {
    match ip_version(frame)? {
        4 => route4(frame, 0),
        6 => route6(frame, 0),
        _ => None,
    }
}

#[inline(always)]
fn route4<F: Frame + ?Sized>(frame: &F, start: usize) -> Option<Route> {
    let [_, tos, ..] = frame.read::<4>(start)?;
    let [protocol] = frame.read(start + 9)?;
    Some(Route::V4 { tos, protocol, source: frame.read(start + 12)?, destination: frame.read(start + 16)? })
}

#[inline(always)]
fn route6<F: Frame + ?Sized>(frame: &F, start: usize) -> Option<Route> {
    let [protocol] = frame.read(start + 6)?;
    Some(Route::V6 {
        flow_information: frame.read(start)?,
        protocol,
        source: frame.read(start + 8)?,
        destination: frame.read(start + 24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame whose bytes behind the Ethernet header and its tags are 0, 1, 2 …
    fn frame<const N: usize>(tags: usize, ethertype: u16) -> [u8; N] {
        let mut frame = [0; N];
        for tag in 0..tags {
            frame[12 + 4 * tag..14 + 4 * tag].copy_from_slice(&[0x81, 0]);
        }
        let start = 14 + 4 * tags;
        frame[start - 2..start].copy_from_slice(&ethertype.to_be_bytes());
        for (number, byte) in frame[start..].iter_mut().enumerate() {
            *byte = number as u8;
        }
        frame
    }

    #[test]
    fn the_fields_are_those_of_the_ip_header_behind_the_tags() {
        let v4 = Route::V4 { tos: 1, protocol: 9, source: [12, 13, 14, 15], destination: [16, 17, 18, 19] };
        for tags in 0..=2 {
            assert_eq!(route(&frame::<64>(tags, 0x0800)[..]), Some(v4), "{tags} tags");
        }
        let v6 = route(&frame::<54>(0, 0x86dd)[..]);
        let source = core::array::from_fn(|index| 8 + index as u8);
        let destination = core::array::from_fn(|index| 24 + index as u8);
        assert_eq!(v6, Some(Route::V6 { flow_information: [0, 1, 2, 3], protocol: 6, source, destination }));
    }

    #[test]
    fn without_an_ethernet_header_the_fields_are_those_of_the_family_that_the_version_says() {
        let mut packet: [u8; 40] = core::array::from_fn(|index| index as u8);
        assert_eq!(route_of_network(&packet[..]), None);
        packet[0] = 0x45;
        let v4 = Route::V4 { tos: 1, protocol: 9, source: [12, 13, 14, 15], destination: [16, 17, 18, 19] };
        assert_eq!(route_of_network(&packet[..]), Some(v4));
        packet[0] = 0x60;
        let source = core::array::from_fn(|index| 8 + index as u8);
        let destination = core::array::from_fn(|index| 24 + index as u8);
        let v6 = Route::V6 { flow_information: [0x60, 1, 2, 3], protocol: 6, source, destination };
        assert_eq!(route_of_network(&packet[..]), Some(v6));
        assert_eq!(route_of_network(&packet[..39]), None);
    }

    #[test]
    fn what_is_no_ip_or_is_cut_short_has_no_route() {
        assert_eq!(route(&frame::<64>(0, 0x0806)[..]), None);
        assert_eq!(route(&frame::<33>(0, 0x0800)[..]), None);
        assert_eq!(route(&frame::<53>(0, 0x86dd)[..]), None);
    }
}
