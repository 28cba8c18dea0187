//! What the kernel reports of the interfaces, and of the programs on them.

use std::{collections::HashMap, fmt, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Nla as _};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    tc::{TcAttribute, TcHandle, TcMessage, TcOption},
};
use rustix::io::Errno;

use super::socket::{NetlinkError, NetlinkSocket};

/// An interface as netlink reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// The kind of a virtual interface, like `vlan`; empty for hardware.
    pub(super) kind: String,
    /// The link type (ARPHRD_*), which says which header packets have.
    pub(super) link_type: u16,
    pub(super) is_up: bool,
    pub(super) is_loopback: bool,
    /// The index of the bond, bridge or the like that this interface belongs to.
    pub(super) master: Option<u32>,
    /// The index of the interface below this one, if the lower interface is in this network namespace.
    pub(super) lower: Option<u32>,
    pub(super) mtu: u32,
    pub(super) addresses: Vec<IpNet>,
    pub(super) xdp: Option<XdpProgram>,
}

/// The XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpProgram {
    pub(super) id: u32,
    pub(super) mode: XdpMode,
}

/// Where the program of an interface runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XdpMode {
    /// The program runs in the driver.
    Native,
    /// The program runs after the driver.
    Generic,
    /// The program runs on the card.
    Offloaded,
    /// Several programs run in different places.
    Several,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Offloaded => "offloaded",
            Self::Several => "in several modes",
        })
    }
}

/// All interfaces of this network namespace.
pub(super) fn interfaces() -> Result<Vec<Interface>, NetlinkError> {
    let mut socket = socket()?;
    let links = socket.dump(&RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    let mut addresses: HashMap<u32, Vec<IpNet>> = HashMap::new();
    for message in socket.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()))? {
        if let RouteNetlinkMessage::NewAddress(message) = message {
            addresses.entry(message.header.index).or_default().extend(address(&message));
        }
    }
    let links = links.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewLink(message) => Some(interface(message)),
        _ => None,
    });
    let with_addresses = |interface: Interface| {
        let addresses = addresses.remove(&interface.index).unwrap_or_default();
        Interface { addresses, ..interface }
    };
    Ok(links.map(with_addresses).collect())
}

/// Whether there is no interface of that index. The question to the kernel names this index alone.
pub(super) fn is_deleted(index: u32) -> Result<bool, NetlinkError> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    match socket()?.ask(RouteNetlinkMessage::GetLink(question)) {
        Ok(_) => Ok(false),
        Err(NetlinkError::Refused(Errno::NODEV)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// A filter on incoming packets of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) handle: u32,
    pub(super) priority: u16,
    /// The program's name and id, if the filter is a BPF filter.
    pub(super) name: String,
    pub(super) program: Option<u32>,
}

/// The filters on incoming packets of an interface, in the order in which they see packets.
pub(super) fn ingress_filters(index: u32) -> Result<Vec<Filter>, NetlinkError> {
    let mut question = TcMessage::default();
    question.header.index = i32::try_from(index).map_err(|_| Errno::RANGE)?;
    question.header.parent = TcHandle { major: 0xffff, minor: TcHandle::MIN_INGRESS };
    let filters = match socket()?.dump(&RouteNetlinkMessage::GetTrafficFilter(question)) {
        // The interface has no such queueing discipline.
        Err(NetlinkError::Refused(_)) => return Ok(Vec::new()),
        filters => filters?,
    };
    let all = filters.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewTrafficFilter(message) => filter(&message),
        _ => None,
    });
    Ok(all.collect())
}

/// The filter that a message is about; `None` for the head of a chain.
fn filter(message: &TcMessage) -> Option<Filter> {
    const TCA_BPF_NAME: u16 = 7;
    const TCA_BPF_ID: u16 = 11;
    let handle = u32::from(message.header.handle);
    let mut filter = Filter { handle, priority: (message.header.info >> 16) as u16, ..Filter::default() };
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    for option in options.flatten() {
        let TcOption::Other(option) = option else { continue };
        match (option.kind(), value(option)) {
            (TCA_BPF_NAME, name) => {
                filter.name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
            }
            (TCA_BPF_ID, id) => filter.program = id.try_into().ok().map(u32::from_ne_bytes),
            _ => {}
        }
    }
    (handle != 0).then_some(filter)
}

fn value(attribute: &DefaultNla) -> Vec<u8> {
    let mut value = vec![0; attribute.value_len()];
    attribute.emit_value(&mut value);
    value
}

/// Whether a packet that arrives on an interface would be forwarded to another host.
pub(super) fn forwards(interface: &str, source: IpAddr, destination: IpAddr) -> Result<bool, NetlinkError> {
    let index = rustix::net::netdevice::name_to_index(
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)?,
        interface,
    )?;
    let mut question = RouteMessage::default();
    let (family, bits, source, destination) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (AddressFamily::Inet, 32, RouteAddress::Inet(source), RouteAddress::Inet(destination))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (AddressFamily::Inet6, 128, RouteAddress::Inet6(source), RouteAddress::Inet6(destination))
        }
        _ => return Err(NetlinkError::Families),
    };
    question.header.address_family = family;
    question.header.source_prefix_length = bits;
    question.header.destination_prefix_length = bits;
    question.attributes =
        vec![RouteAttribute::Source(source), RouteAttribute::Destination(destination), RouteAttribute::Iif(index)];
    match socket()?.ask(RouteNetlinkMessage::GetRoute(question)) {
        Ok(RouteNetlinkMessage::NewRoute(route)) => Ok(route.header.kind == RouteType::Unicast),
        Ok(_) => Err(NetlinkError::Unreadable),
        // There is no route, or no route from this source: the kernel would drop the packet.
        Err(NetlinkError::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn socket() -> Result<NetlinkSocket, NetlinkError> {
    Ok(NetlinkSocket::open(None, 0)?)
}

fn interface(message: LinkMessage) -> Interface {
    let flags = message.header.flags;
    let mut interface = Interface {
        index: message.header.index,
        link_type: message.header.link_layer_type.into(),
        is_up: flags.contains(LinkFlags::Up),
        is_loopback: flags.contains(LinkFlags::Loopback),
        ..Interface::default()
    };
    let mut is_elsewhere = false;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
            LinkAttribute::Controller(index) => interface.master = Some(index).filter(|index| *index != 0),
            LinkAttribute::Link(index) => interface.lower = Some(index).filter(|index| *index != 0),
            LinkAttribute::LinkNetNsId(_) => is_elsewhere = true,
            LinkAttribute::Xdp(xdp) => interface.xdp = xdp_program(&xdp),
            LinkAttribute::LinkInfo(info) => {
                let kind = info.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(InfoKind::to_string(kind)),
                    _ => None,
                });
                interface.kind = kind.unwrap_or_default();
            }
            _ => {}
        }
    }
    if is_elsewhere {
        interface.lower = None;
    }
    interface
}

/// The interface's own address. On a point-to-point link, that is not the address of the other end.
fn address(message: &AddressMessage) -> Option<IpNet> {
    let of = |is_local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if is_local => Some(*address),
            AddressAttribute::Address(address) if !is_local => Some(*address),
            _ => None,
        })
    };
    IpNet::new(of(true).or_else(|| of(false))?, message.header.prefix_len).ok()
}

fn xdp_program(attributes: &[LinkXdp]) -> Option<XdpProgram> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpMode::Offloaded),
        LinkXdp::Attached(XdpAttached::Multiple) => Some(XdpMode::Several),
        _ => None,
    })?;
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some(XdpProgram { id: id.unwrap_or_default(), mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed_and_not_gone() {
        let all = interfaces().unwrap();
        let loopback = all.iter().find(|interface| interface.is_loopback).unwrap();
        assert_eq!((loopback.name.as_str(), is_deleted(loopback.index).unwrap()), ("lo", false));
        assert!(is_deleted(i32::MAX as u32).unwrap());
        assert_eq!(ingress_filters(loopback.index).unwrap(), []);
    }
}
