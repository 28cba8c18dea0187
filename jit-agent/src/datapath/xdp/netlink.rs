//! What the kernel says of an interface and the XDP program on it.

use std::{future::Future, io, net::IpAddr};

use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached},
        route::{RouteAttribute, RouteMessage, RouteType},
    },
};

/// An interface as netlink reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// Id of the XDP program, and how it is attached.
    pub(super) program: Option<(u32, &'static str)>,
    /// Whether its kind is one on which packets to be forwarded are nobody's business here: bridges, veth, tap, tunnels.
    pub(super) is_always_local: bool,
}

/// All interfaces of this network namespace.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    ask(async |handle| {
        let mut messages = handle.link().get().execute();
        let mut all = Vec::new();
        while let Some(message) = futures_util::TryStreamExt::try_next(&mut messages).await.map_err(io::Error::other)? {
            all.push(interface(message));
        }
        Ok(all)
    })
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
        match futures_util::TryStreamExt::try_next(&mut routes).await {
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
    let mut interface =
        Interface { index: message.header.index, name: String::new(), program: None, is_always_local: false };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::Xdp(xdp) => interface.program = program(&xdp),
            LinkAttribute::LinkInfo(info) => interface.is_always_local = info.iter().any(is_local_kind),
            _ => {}
        }
    }
    interface
}

fn is_local_kind(info: &LinkInfo) -> bool {
    let LinkInfo::Kind(kind) = info else { return false };
    match kind {
        InfoKind::Bridge
        | InfoKind::Veth
        | InfoKind::Tun
        | InfoKind::Wireguard
        | InfoKind::Vxlan
        | InfoKind::IpIp
        | InfoKind::Ip6Tnl
        | InfoKind::SitTun
        | InfoKind::GreTun
        | InfoKind::GreTap
        | InfoKind::GreTun6
        | InfoKind::GreTap6
        | InfoKind::Vti => true,
        InfoKind::Other(name) => matches!(name.as_str(), "tun" | "geneve" | "vti6" | "erspan" | "ip6erspan" | "netkit"),
        _ => false,
    }
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
