//! Links between namespaces: veth pairs with addresses.

use std::{os::fd::OwnedFd, time::Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::{
    AddressFamily, RecvFlags, SocketType, bind, netlink, recv, socket,
    sockopt::{Timeout, set_socket_timeout},
};

use crate::{Namespace, Outcome, PATIENCE, Program, Sandbox};

impl Namespace {
    /// Runs the `ip` tool in this namespace; `arguments` are separated by spaces.
    ///
    /// # Errors
    /// The tool is missing or fails.
    pub fn ip(&self, arguments: &str) -> Result<Outcome> {
        let program = Program::new("ip").args(arguments.split_whitespace());
        let outcome = program.run_in(self, PATIENCE).context("the package iproute2 is needed")?;
        outcome.success().with_context(|| format!("in the network namespace '{}'", self.name()))
    }
}

/// A veth pair that will join two namespaces.
pub struct Link<'a> {
    ends: [End<'a>; 2],
    mtu: Option<u32>,
}

struct End<'a> {
    namespace: &'a Namespace,
    device: &'a str,
    addresses: Vec<&'a str>,
}

impl<'a> Link<'a> {
    /// A pair whose ends are `device_a` in `a` and `device_b` in `b`.
    #[must_use]
    pub fn new(a: &'a Namespace, device_a: &'a str, b: &'a Namespace, device_b: &'a str) -> Self {
        let end = |namespace, device| End { namespace, device, addresses: Vec::new() };
        Self { ends: [end(a, device_a), end(b, device_b)], mtu: None }
    }

    /// Adds an address with prefix length to the first end.
    #[must_use]
    pub fn address_a(mut self, address: &'a str) -> Self {
        self.ends[0].addresses.push(address);
        self
    }

    /// Adds an address with prefix length to the second end.
    #[must_use]
    pub fn address_b(mut self, address: &'a str) -> Self {
        self.ends[1].addresses.push(address);
        self
    }

    /// Sets the MTU of both ends.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Creates the pair, and returns when both ends have a carrier and usable addresses.
    ///
    /// # Errors
    /// The `ip` tool fails, or an end doesn't come up.
    pub fn up(self) -> Result<()> {
        let [a, b] = &self.ends;
        let mtu = self.mtu.map(|mtu| format!("mtu {mtu}")).unwrap_or_default();
        a.namespace.ip(&format!(
            "link add {} {mtu} type veth peer name {} {mtu} netns {}",
            a.device,
            b.device,
            b.namespace.path().display()
        ))?;
        for end in &self.ends {
            for address in &end.addresses {
                // Duplicate address detection would delay an IPv6 address by a second.
                let nodad = if address.contains(':') { "nodad" } else { "" };
                end.namespace.ip(&format!("address add {address} dev {} {nodad}", end.device))?;
            }
        }
        let news = [a.link_news()?, b.link_news()?];
        for end in &self.ends {
            end.namespace.ip(&format!("link set {} up", end.device))?;
        }
        self.ends.iter().zip(&news).try_for_each(|(end, news)| end.wait_for_carrier(news))
    }
}

impl End<'_> {
    /// A socket that receives a message whenever a device of the namespace changes.
    fn link_news(&self) -> Result<OwnedFd> {
        const RTMGRP_LINK: u32 = 1;
        let open = || -> rustix::io::Result<OwnedFd> {
            // NETLINK_ROUTE is protocol 0.
            let news = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
            bind(&news, &netlink::SocketAddrNetlink::new(0, RTMGRP_LINK))?;
            Ok(news)
        };
        self.namespace.enter(open)?.context("cannot subscribe to netlink's link messages")
    }

    /// The kernel hands packets to a device only after it has processed the carrier, up to a second after "up".
    fn wait_for_carrier(&self, news: &OwnedFd) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let shown = self.namespace.ip(&format!("-oneline link show dev {}", self.device))?;
            if shown.stdout.contains(" state UP ") {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{} did not come up in {PATIENCE:?}: {}", self.device, shown.stdout);
            set_socket_timeout(news, Timeout::Recv, Some(left))?;
            // Neither the message nor a lost one matters: the state is read again.
            let _ = recv(news, &mut [0; 16], RecvFlags::TRUNC);
        }
    }
}

/// The usual setup: a sandbox, and a server and a client joined by a veth.
///
/// The server has 192.0.2.1, 2001:db8::1 and 2001:db8:1::1; the client 192.0.2.10, 192.0.2.11, 2001:db8::10,
/// 2001:db8::11 and 2001:db8:1::10, in a /24 and two /64 (documentation prefixes, RFC 5737 and RFC 3849).
pub struct Topology {
    /// The private mounts.
    pub sandbox: Sandbox,
    /// The namespace of the agent and the services.
    pub server: Namespace,
    /// The namespace from which probes are sent.
    pub client: Namespace,
    /// The server's network device, `srv0`.
    pub server_device: String,
    /// The client's network device, `cli0`.
    pub client_device: String,
}

impl Topology {
    /// Creates the sandbox, the namespaces and the link.
    ///
    /// # Errors
    /// The process is not root, or a part can't be created.
    pub fn new() -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let (server, client) = (Namespace::new("server")?, Namespace::new("client")?);
        Link::new(&server, "srv0", &client, "cli0")
            .address_a("192.0.2.1/24")
            .address_a("2001:db8::1/64")
            .address_a("2001:db8:1::1/64")
            .address_b("192.0.2.10/24")
            .address_b("192.0.2.11/24")
            .address_b("2001:db8::10/64")
            .address_b("2001:db8::11/64")
            .address_b("2001:db8:1::10/64")
            .up()?;
        sandbox.show_sysfs_of(&server)?;
        Ok(Self { sandbox, server, client, server_device: "srv0".to_owned(), client_device: "cli0".to_owned() })
    }
}
