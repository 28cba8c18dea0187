//! What drivers say of themselves by generic netlink: which XDP they have, and which offloads are on. Reads only.

use std::io;

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with,
    },
};

const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
/// Of `struct nlmsghdr` and `struct genlmsghdr`.
const HEAD: usize = 16 + 4;
/// Tells the numbers of families by their names.
const CONTROLLER: u16 = 0x10;
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// What a driver can do with XDP, from Linux 6.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpFeatures {
    /// Whether it runs XDP programs itself.
    pub(super) native: bool,
    /// Whether a packet may be in several buffers.
    pub(super) several_buffers: bool,
}

/// What the driver of an interface can do with XDP.
pub(super) fn xdp_features(index: u32) -> io::Result<XdpFeatures> {
    const DEV_GET: u8 = 1;
    const IFINDEX: u16 = 1;
    const XDP_FEATURES: u16 = 3;
    const BASIC: u64 = 1;
    const RX_SG: u64 = 1 << 5;
    let answer = ask(family("netdev")?, DEV_GET, &attribute(IFINDEX, &index.to_ne_bytes()))?;
    let bits = find(&answer, XDP_FEATURES).and_then(|value| value.try_into().ok()).map(u64::from_ne_bytes);
    let bits = bits.ok_or(io::ErrorKind::InvalidData)?;
    Ok(XdpFeatures { native: bits & BASIC != 0, several_buffers: bits & RX_SG != 0 })
}

/// The names of the offloads that are on.
pub(super) fn offloads(index: u32) -> io::Result<Vec<String>> {
    const FEATURES_GET: u8 = 11;
    const HEADER: u16 = 1;
    const HEADER_INDEX: u16 = 1;
    const NESTED: u16 = 1 << 15;
    const ACTIVE: u16 = 4;
    const BITS: u16 = 3;
    const BIT_NAME: u16 = 2;
    let header = attribute(HEADER | NESTED, &attribute(HEADER_INDEX, &index.to_ne_bytes()));
    let answer = ask(family("ethtool")?, FEATURES_GET, &header)?;
    let bits = find(&answer, ACTIVE).and_then(|active| find(active, BITS)).unwrap_or_default();
    let names = attributes(bits).filter_map(|(_, bit)| find(bit, BIT_NAME));
    Ok(names.map(|name| String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()).collect())
}

fn family(name: &str) -> io::Result<u16> {
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    let answer = ask(CONTROLLER, GET_FAMILY, &attribute(FAMILY_NAME, format!("{name}\0").as_bytes()))?;
    let id = find(&answer, FAMILY_ID).and_then(|value| value.try_into().ok()).map(u16::from_ne_bytes);
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sends a question, and returns the attributes of the answer.
fn ask(family: u16, command: u8, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::GENERIC))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    let mut message = Vec::new();
    message.extend(((HEAD + attributes.len()) as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number, port, command, version, reserved.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(attributes);
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = vec![0; 65_536];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    let short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(short)?;
    if kind == NLMSG_ERROR {
        let error = answer.get(16..20).and_then(|error| error.try_into().ok()).map(i32::from_ne_bytes);
        return Err(Errno::from_raw_os_error(error.ok_or_else(short)?.saturating_neg()).into());
    }
    Ok(answer.get(HEAD..).ok_or_else(short)?.to_vec())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::new();
    attribute.extend(((4 + value.len()) as u16).to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// The attributes in a row of them: numbers and values. Ends where they don't fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
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
        // Family, command and attributes are right if it tells what is known of this one everywhere.
        assert!(offloads(1).unwrap().iter().any(|name| name == "loopback"));
    }
}
