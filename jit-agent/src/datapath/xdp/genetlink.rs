//! What drivers report by generic netlink: their XDP features, and the offloads that are on. This module only reads.

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable as _, NLA_F_NESTED, NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, NlasIterator,
};
use rustix::net::netlink::GENERIC;

use super::socket::{NetlinkError, NetlinkSocket};

/// Bytes of `struct genlmsghdr`.
const HEAD: usize = 4;
/// The family that gives the numbers of families by their names.
const CONTROLLER: u16 = 0x10;

/// What a driver can do with XDP, from Linux 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpFeatures {
    /// Whether the driver runs XDP programs itself.
    pub(super) native: bool,
    /// Whether a packet may be in several buffers.
    pub(super) several_buffers: bool,
}

/// What the driver of an interface can do with XDP.
pub(super) fn xdp_features(index: u32) -> Result<XdpFeatures, NetlinkError> {
    const DEV_GET: u8 = 1;
    const IFINDEX: u16 = 1;
    const XDP_FEATURES: u16 = 3;
    const BASIC: u64 = 1;
    const RX_SG: u64 = 1 << 5;
    let answer = ask(family("netdev")?, DEV_GET, &attribute(IFINDEX, &index.to_ne_bytes()))?;
    let bits = find(&answer, XDP_FEATURES).and_then(|value| value.try_into().ok()).map(u64::from_ne_bytes);
    let bits = bits.ok_or(NetlinkError::Unreadable)?;
    Ok(XdpFeatures { native: bits & BASIC != 0, several_buffers: bits & RX_SG != 0 })
}

/// The names of the offloads that are on.
pub(super) fn offloads(index: u32) -> Result<Vec<String>, NetlinkError> {
    const FEATURES_GET: u8 = 11;
    const HEADER: u16 = 1;
    const HEADER_INDEX: u16 = 1;
    const ACTIVE: u16 = 4;
    const BITS: u16 = 3;
    const BIT_NAME: u16 = 2;
    let header = attribute(HEADER | NLA_F_NESTED, &attribute(HEADER_INDEX, &index.to_ne_bytes()));
    let answer = ask(family("ethtool")?, FEATURES_GET, &header)?;
    let bits = find(&answer, ACTIVE).and_then(|active| find(active, BITS)).unwrap_or_default();
    let names = attributes(bits).filter_map(|(_, bit)| find(bit, BIT_NAME));
    Ok(names.map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()).collect())
}

fn family(name: &str) -> Result<u16, NetlinkError> {
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    let answer = ask(CONTROLLER, GET_FAMILY, &attribute(FAMILY_NAME, format!("{name}\0").as_bytes()))?;
    let id = find(&answer, FAMILY_ID).and_then(|value| value.try_into().ok()).map(u16::from_ne_bytes);
    id.ok_or(NetlinkError::Unreadable)
}

/// Sends a question, and returns the attributes of the answer.
fn ask(family: u16, command: u8, attributes: &[u8]) -> Result<Vec<u8>, NetlinkError> {
    let question = Generic { family, command, attributes: attributes.to_vec() };
    Ok(NetlinkSocket::open(Some(GENERIC), 0)?.ask(question)?.attributes)
}

/// A message of generic netlink.
struct Generic {
    family: u16,
    command: u8,
    attributes: Vec<u8>,
}

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        HEAD + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        // The version is 1, and two bytes are reserved.
        buffer.copy_from_slice(&[&[self.command, 1, 0, 0], &self.attributes[..]].concat());
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let ([command, ..], attributes) =
            payload.split_first_chunk::<HEAD>().ok_or_else(|| DecodeError::from("the head is cut off"))?;
        Ok(Self { family: header.message_type, command: *command, attributes: attributes.to_vec() })
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = DefaultNla::new(kind, value.to_vec());
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}

/// The attributes in a sequence of bytes: numbers and values. The iteration ends at an attribute that does not fit.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(|attribute| {
        let attribute = attribute.ok()?;
        let (kind, end) = (attribute.kind(), usize::from(attribute.length()));
        Some((kind, attribute.into_inner().get(NLA_HEADER_SIZE..end)?))
    })
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_are_written_and_broken_ones_end_the_row() {
        let row = [attribute(1, b"abc"), attribute(0x8002, b""), attribute(3, &[7; 5])].concat();
        let read: Vec<_> = attributes(&row).collect();
        assert_eq!(read, [(1, &b"abc"[..]), (2, b""), (3, &[7; 5])]);
        assert_eq!(find(&row, 3), Some(&[7; 5][..]));
        assert_eq!((find(&row, 9), find(&row[..row.len() - 4], 3)), (None, None));
        assert_eq!(attributes(&[1, 0, 0, 0]).count(), 0, "shorter than its own head");
    }

    #[test]
    fn the_kernel_answers_for_loopback() {
        // Every host has this offload on the interface of index 1, so the answer shows that family, command and
        // attributes are right.
        assert!(offloads(1).unwrap().iter().any(|name| name == "loopback"));
    }
}
