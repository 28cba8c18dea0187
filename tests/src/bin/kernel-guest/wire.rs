//! Checks with devices and protocols that the kernels of build hosts often lack: 802.1Q, 802.1ad and SCTP.

use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use jit_agent::datapath::{
    Datapath as _,
    xdp::{XdpDatapath, unload},
};
use jit_common::abi::Mode;
use jit_policy::{Interfaces, Way};
use jit_tests::{
    Link, Namespace, PATIENCE, Reach, SILENCE, TcpServer,
    rights::{SERVICE, with_only},
    tcp_connects,
    verdicts::{populate, protection},
};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, listen, socket_with, sockopt},
    thread::CapabilitySet,
};

use crate::BPFFS;

/// A source that has live grants for 22/tcp and 3389/sctp in the packet table's world.
pub(crate) const GRANTED: &str = "192.0.2.10";
/// A source that has no grant in the packet table's world.
pub(crate) const STRANGER: &str = "192.0.2.12";

/// A veth with the program on the server's end.
pub(crate) struct Wire {
    pub(crate) server: Namespace,
    pub(crate) client: Namespace,
    pub(crate) datapath: XdpDatapath,
}

/// The directory of the programs and tables of a check.
pub(crate) fn pins() -> PathBuf {
    Path::new(BPFFS).join("jit-agent")
}

/// Loads the programs with the packet table's world, and covers these interfaces of the current namespace.
pub(crate) fn cover(interfaces: &[&str]) -> Result<XdpDatapath> {
    let mut datapath = XdpDatapath::load(&pins())?;
    populate(&mut datapath, &protection(Mode::Enforce, false))?;
    choose(&mut datapath, interfaces)?;
    Ok(datapath)
}

/// Covers these interfaces from now on.
pub(crate) fn choose(datapath: &mut XdpDatapath, interfaces: &[&str]) -> Result<()> {
    let interfaces = Interfaces::parse(interfaces).map_err(anyhow::Error::msg)?;
    datapath.attach(&interfaces).map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

/// Removes the pins that an earlier check left.
pub(crate) fn clean() -> Result<()> {
    unload(&pins()).map(drop).map_err(|left| anyhow::anyhow!("{left:?}"))
}

impl Wire {
    pub(crate) fn new() -> Result<Self> {
        Self::made_under(None)
    }

    /// Creates a wire whose program is attached with these capabilities, or with those of root.
    fn made_under(rights: Option<CapabilitySet>) -> Result<Self> {
        let (server, client) = (Namespace::new("server")?, Namespace::new("client")?);
        Link::new(&server, "srv0", &client, "cli0").up()?;
        clean()?;
        let datapath = server.enter(|| match rights {
            None => cover(&["srv0"]),
            Some(rights) => with_only(rights, || cover(&["srv0"]))?,
        })??;
        let view = server.enter(|| datapath.interfaces())?;
        ensure!(view.iter().all(|view| view.attached == Some(Way::Native)), "not attached natively: {view:?}");
        Ok(Self { server, client, datapath })
    }

    /// Stacks VLAN devices, given by protocol and number, outermost first, on both ends, and addresses the innermost.
    fn address(&self, tags: &[(&str, u16)]) -> Result<()> {
        for (namespace, device, addresses) in
            [(&self.server, "srv0", &["192.0.2.1"][..]), (&self.client, "cli0", &[GRANTED, STRANGER])]
        {
            let mut device = device.to_owned();
            for (protocol, id) in tags {
                let name = format!("vlan{id}");
                namespace.ip(&format!("link add link {device} name {name} type vlan proto {protocol} id {id}"))?;
                namespace.ip(&format!("link set {name} up"))?;
                device = name;
            }
            for address in addresses {
                namespace.ip(&format!("address add {address}/24 dev {device}"))?;
            }
        }
        Ok(())
    }

    fn connections_need_a_grant(&self) -> Result<()> {
        connections_need_a_grant(&self.server, &self.client)
    }
}

/// Expects that connections to the server's 192.0.2.1 need a grant.
pub(crate) fn connections_need_a_grant(server: &Namespace, client: &Namespace) -> Result<()> {
    let _server = TcpServer::echo(server, "192.0.2.1:22")?;
    let unprotected = TcpServer::echo(server, "192.0.2.1:80")?;
    let reach = |from, port, within| tcp_connects(client, from, &format!("192.0.2.1:{port}"), within);
    // The route works in both directions, so silence means a drop.
    is(reach(STRANGER, 80, PATIENCE)?, Reach::Open, "a stranger at an unprotected port")?;
    is(reach(STRANGER, 22, SILENCE)?, Reach::Silent, "a stranger")?;
    is(reach(GRANTED, 22, PATIENCE)?, Reach::Open, "a granted host")?;
    drop(unprotected);
    Ok(())
}

pub(crate) fn is(found: Reach, expected: Reach, who: &str) -> Result<()> {
    ensure!(found == expected, "{who}: {found:?} instead of {expected:?}");
    Ok(())
}

pub(crate) fn tagged_connections_need_a_grant() -> Result<()> {
    let wire = Wire::new()?;
    wire.address(&[("802.1Q", 5)])?;
    wire.connections_need_a_grant()
}

pub(crate) fn connections_need_a_grant_under_the_services_rights() -> Result<()> {
    let wire = Wire::made_under(Some(SERVICE))?;
    wire.address(&[])?;
    wire.connections_need_a_grant()
}

/// A veth carries the outer tag beside the packet, while the inner tag stands in the packet.
pub(crate) fn doubly_tagged_connections_need_a_grant() -> Result<()> {
    let wire = Wire::new()?;
    wire.address(&[("802.1ad", 7), ("802.1Q", 5)])?;
    wire.connections_need_a_grant()
}

pub(crate) fn sctp_associations_need_a_grant() -> Result<()> {
    let wire = Wire::new()?;
    wire.address(&[])?;
    let listener = wire.server.enter(|| sctp_socket("192.0.2.1:3389"))??;
    listen(&listener, 8)?;
    let reach = |from: &str, within| wire.client.enter(|| associates(&format!("{from}:0"), within));
    is(reach(STRANGER, SILENCE)??, Reach::Silent, "a stranger")?;
    is(reach(GRANTED, PATIENCE)??, Reach::Open, "a granted host")
}

fn sctp_socket(at: &str) -> Result<OwnedFd> {
    let at: SocketAddr = at.parse()?;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::SCTP))
        .context("cannot make an SCTP socket")?;
    // An endpoint that is bound to one address names no other addresses to its peer.
    bind(&socket, &at).with_context(|| format!("cannot bind {at}"))?;
    Ok(socket)
}

fn associates(from: &str, within: Duration) -> Result<Reach> {
    let socket = sctp_socket(from)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(within))?;
    match connect(&socket, &"192.0.2.1:3389".parse::<SocketAddr>()?) {
        Ok(()) => Ok(Reach::Open),
        Err(Errno::CONNREFUSED) => Ok(Reach::Refused),
        Err(Errno::INPROGRESS | Errno::TIMEDOUT) => Ok(Reach::Silent),
        Err(error) => bail!("cannot associate from {from}: {error}"),
    }
}
