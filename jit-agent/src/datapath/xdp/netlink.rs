//! What the kernel says of the interfaces, and of the programs on them.

use std::{collections::HashMap, future::Future, io, net::IpAddr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_core::{DefaultNla, Nla as _},
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
        route::{RouteAttribute, RouteMessage, RouteType},
        tc::{TcAttribute, TcMessage, TcOption},
    },
};

/// An interface as netlink reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// What made it, like `vlan`; empty for hardware.
    pub(super) kind: String,
    /// ARPHRD_*: which header its packets have.
    pub(super) link_type: u16,
    pub(super) is_up: bool,
    pub(super) is_loopback: bool,
    /// Index of the bond, bridge or the like that it belongs to.
    pub(super) master: Option<u32>,
    /// Index of the interface that it is made upon, if that one is in this network namespace.
    pub(super) lower: Option<u32>,
    pub(super) mtu: u32,
    pub(super) addresses: Vec<IpNet>,
    /// Id of the XDP program, and how it is attached.
    pub(super) program: Option<(u32, &'static str)>,
}

/// All interfaces of this network namespace.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    ask(async |handle| {
        let mut messages = handle.link().get().execute();
        let mut all = Vec::new();
        while let Some(message) = messages.try_next().await.map_err(io::Error::other)? {
            all.push(interface(message));
        }
        let mut addresses: HashMap<u32, Vec<IpNet>> = HashMap::new();
        let mut messages = handle.address().get().execute();
        while let Some(message) = messages.try_next().await.map_err(io::Error::other)? {
            addresses.entry(message.header.index).or_default().extend(address(&message));
        }
        for interface in &mut all {
            interface.addresses = addresses.remove(&interface.index).unwrap_or_default();
        }
        Ok(all)
    })
}

/// A filter on what comes in over an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) handle: u32,
    pub(super) priority: u16,
    /// Of a BPF filter: the program's name and id.
    pub(super) name: String,
    pub(super) program: Option<u32>,
}

/// The filters on what comes in over an interface, in the order in which they see packets.
pub(super) fn ingress_filters(index: u32) -> io::Result<Vec<Filter>> {
    ask(async move |handle| {
        let index = i32::try_from(index).map_err(io::Error::other)?;
        let mut messages = handle.traffic_filter(index).get().ingress().execute();
        let mut all = Vec::new();
        loop {
            match messages.try_next().await {
                Ok(Some(message)) => all.extend(filter(&message)),
                Ok(None) => return Ok(all),
                // There is no such queueing discipline.
                Err(rtnetlink::Error::NetlinkError(_)) => return Ok(all),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    })
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
pub(super) fn forwards(interface: &str, source: IpAddr, destination: IpAddr) -> io::Result<bool> {
    let index = rustix::net::netdevice::name_to_index(
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM, None)?,
        interface,
    )?;
    let mut query = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .source_prefix(source, 32)
            .destination_prefix(destination, 32)
            .build(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .source_prefix(source, 128)
            .destination_prefix(destination, 128)
            .build(),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "source and destination are of two families")),
    };
    query.attributes.push(RouteAttribute::Iif(index));
    ask(async move |handle| {
        let mut routes = handle.route().get(query).execute();
        match routes.try_next().await {
            Ok(route) => Ok(route.is_some_and(|route: RouteMessage| route.header.kind == RouteType::Unicast)),
            // No route, or not from there: the kernel would drop it.
            Err(rtnetlink::Error::NetlinkError(_)) => Ok(false),
            Err(error) => Err(io::Error::other(error)),
        }
    })
}

/// Asks the kernel something and waits for the answer.
fn ask<T, F: Future<Output = io::Result<T>>>(question: impl FnOnce(Handle) -> F) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let answer = question(handle).await;
        connection.abort();
        answer
    })
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
            LinkAttribute::Xdp(xdp) => interface.program = program(&xdp),
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

/// The address on the interface; of a pair of ends, that is not the other one.
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

fn program(attributes: &[LinkXdp]) -> Option<(u32, &'static str)> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some("native"),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some("generic"),
        LinkXdp::Attached(XdpAttached::Hardware) => Some("offloaded"),
        LinkXdp::Attached(XdpAttached::Multiple) => Some("in several modes"),
        _ => None,
    })?;
    let id = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    });
    Some((id.unwrap_or_default(), mode))
}
