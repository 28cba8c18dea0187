//! What the kernel says of an interface and the XDP program on it.

use std::io;

use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

/// An interface as netlink reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// Id of the XDP program, and how it is attached.
    pub(super) program: Option<(u32, &'static str)>,
}

/// All interfaces of this network namespace.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let mut messages = handle.link().get().execute();
        let mut all = Vec::new();
        while let Some(message) = futures_util::TryStreamExt::try_next(&mut messages).await.map_err(io::Error::other)? {
            all.push(interface(message));
        }
        connection.abort();
        Ok(all)
    })
}

fn interface(message: LinkMessage) -> Interface {
    let mut interface = Interface { index: message.header.index, name: String::new(), program: None };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name = name,
            LinkAttribute::Xdp(xdp) => interface.program = program(&xdp),
            _ => {}
        }
    }
    interface
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
