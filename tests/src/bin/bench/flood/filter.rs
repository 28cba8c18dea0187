//! The filters that a flood meets: the agent, its peers, and the ends of the scale.

use std::{fmt::Write as _, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow};
use jit_agent::datapath::xdp::XdpDatapath;
use jit_policy::Interfaces;
use jit_tests::{Namespace, Program};

use super::traffic::Traffic;
use crate::{
    bpf::{self, Link},
    grants::{self, Opener},
    instructions::BARE_DROP,
};

/// Host and prefix grants on the flooded port in [`Filter::AgentGranted`].
const HOSTS: u16 = 10_000;
const PREFIXES: u16 = 1000;

/// The time limit for a command of a peer, which usually takes milliseconds.
const WITHIN: Duration = Duration::from_secs(20);

/// The filter before the flooded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// No filter: the kernel answers, since nobody listens.
    Nothing,
    /// A program of two instructions that drops every packet.
    BareDrop,
    /// The xdp-filter of xdp-tools, as loaded by default.
    XdpTools,
    /// The smallest build of xdp-filter that knows the protocol.
    XdpToolsLean,
    /// nftables on the device, before the network stack.
    NftablesIngress,
    /// nftables in the input hook, which packets for this host pass.
    NftablesInput,
    /// iptables and ipset in the input chain.
    Ipset,
    /// The agent's program without a grant for the port.
    AgentLocked,
    /// The agent's program with grants for other sources.
    AgentGranted,
}

/// How far the packets of a flood get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The packets reach TCP or UDP, which finds their checksums right and nobody listening.
    Answered,
    /// The packets are dropped after IP has seen them.
    DroppedByInput,
    /// The packets are dropped before IP sees them.
    DroppedByDevice,
}

/// The handle that keeps a filter in place.
pub(crate) enum Installed {
    /// Rules, which live as long as their network namespace.
    Rules,
    /// The bare program.
    Bare(#[expect(dead_code, reason = "held so that the program stays attached")] Link),
    /// The agent's program, whose counters are read.
    Agent(Box<XdpDatapath>),
}

impl Filter {
    /// All filters, in the order of a table.
    pub(crate) const ALL: [Self; 9] = [
        Self::Nothing,
        Self::BareDrop,
        Self::XdpTools,
        Self::XdpToolsLean,
        Self::NftablesIngress,
        Self::NftablesInput,
        Self::Ipset,
        Self::AgentLocked,
        Self::AgentGranted,
    ];

    /// The filter's name for programs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::BareDrop => "bare-drop",
            Self::XdpTools => "xdp-filter",
            Self::XdpToolsLean => "xdp-filter-lean",
            Self::NftablesIngress => "nftables-ingress",
            Self::NftablesInput => "nftables-input",
            Self::Ipset => "iptables-ipset",
            Self::AgentLocked => "agent-locked",
            Self::AgentGranted => "agent-granted",
        }
    }

    /// The filter's name for people.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::BareDrop => "bare XDP_DROP",
            Self::XdpTools => "xdp-filter",
            Self::XdpToolsLean => "xdp-filter, one protocol",
            Self::NftablesIngress => "nftables ingress",
            Self::NftablesInput => "nftables input, timeout set",
            Self::Ipset => "iptables with ipset",
            Self::AgentLocked => "agent (a): no grant",
            Self::AgentGranted => "agent (b): 10,000 hosts, 1,000 prefixes",
        }
    }

    /// Whether the filter is another project's, which this machine may not be able to run.
    pub(crate) const fn is_peer(self) -> bool {
        matches!(self, Self::XdpTools | Self::XdpToolsLean | Self::NftablesIngress | Self::NftablesInput | Self::Ipset)
    }

    /// How far a flood should get.
    pub(crate) const fn fate(self) -> Fate {
        match self {
            Self::Nothing => Fate::Answered,
            Self::NftablesInput | Self::Ipset => Fate::DroppedByInput,
            Self::BareDrop
            | Self::XdpTools
            | Self::XdpToolsLean
            | Self::NftablesIngress
            | Self::AgentLocked
            | Self::AgentGranted => Fate::DroppedByDevice,
        }
    }

    /// Installs the filter before the port that `traffic` floods, on a device of a namespace. `pins` is the path of a
    /// new directory on a BPF file system.
    ///
    /// # Errors
    /// This machine lacks the filter or refuses to install it.
    pub(crate) fn install(
        self,
        traffic: Traffic,
        namespace: &Namespace,
        (device, index): (&str, u32),
        pins: &Path,
    ) -> Result<Installed> {
        let (port, protocol) = (traffic.port(), traffic.protocol());
        match self {
            Self::Nothing => {}
            Self::BareDrop => {
                let program = bpf::Program::load(&BARE_DROP)?;
                return Ok(Installed::Bare(namespace.enter(|| program.attach(index))??));
            }
            Self::XdpTools | Self::XdpToolsLean => {
                let features = if self == Self::XdpTools { "all" } else { protocol };
                run(namespace, "xdp-filter", &format!("load --mode native --features {features} {device}"))?;
                run(namespace, "xdp-filter", &format!("port --mode dst --proto {protocol} {port}"))?;
            }
            Self::NftablesIngress => {
                let hook = format!("ingress device {device}");
                nftables(namespace, "netdev", &hook, "", traffic)?;
            }
            Self::NftablesInput => nftables(namespace, "inet", "input", "flags timeout;", traffic)?,
            Self::Ipset => {
                let (iptables, family) = if traffic.is_ipv6() { ("ip6tables", "inet6") } else { ("iptables", "inet") };
                // The name of an ipset is private to its namespace, and the timeout is the default of the set's
                // entries.
                run(namespace, "ipset", &format!("create granted hash:ip family {family} timeout 3600"))?;
                let unless = "-m set ! --match-set granted src";
                run(namespace, iptables, &format!("-A INPUT -p {protocol} --dport {port} {unless} -j DROP"))?;
            }
            Self::AgentLocked | Self::AgentGranted => {
                let datapath = self.agent(traffic, namespace, device, pins)?;
                return Ok(Installed::Agent(Box::new(datapath)));
            }
        }
        Ok(Installed::Rules)
    }

    fn agent(self, traffic: Traffic, namespace: &Namespace, device: &str, pins: &Path) -> Result<XdpDatapath> {
        let mut datapath = XdpDatapath::load(pins).context("loading the program")?;
        let (port, transport) = (traffic.port(), traffic.transport());
        grants::protect(&mut datapath, &[(port, transport)])?;
        if self == Self::AgentGranted {
            let mut opener = Opener::new(&mut datapath, port, transport);
            if traffic.is_ipv6() {
                opener.open_all(grants::hosts6(HOSTS).chain(grants::prefixes6(PREFIXES)))?;
            } else {
                opener.open_all(grants::hosts4(HOSTS).chain(grants::prefixes4(PREFIXES)))?;
            }
        }
        let interfaces = Interfaces::parse(&[device]).map_err(anyhow::Error::msg)?;
        let attached = namespace.enter(|| datapath.attach(&interfaces))?;
        attached.map_err(|errors| {
            let text = errors.iter().fold(String::new(), |mut text, error| {
                // Writing to a String can't fail.
                let _ = write!(text, "{error}; ");
                text
            });
            anyhow!("{text}on the device that the flood reaches")
        })?;
        Ok(datapath)
    }
}

fn nftables(namespace: &Namespace, family: &str, hook: &str, flags: &str, traffic: Traffic) -> Result<()> {
    let (port, protocol) = (traffic.port(), traffic.protocol());
    let (ip, kind) = if traffic.is_ipv6() { ("ip6", "ipv6_addr") } else { ("ip", "ipv4_addr") };
    for command in [
        format!("add table {family} locked"),
        format!("add set {family} locked granted {{ type {kind}; {flags} }}"),
        format!("add chain {family} locked locked {{ type filter hook {hook} priority 0; policy accept; }}"),
        format!("add rule {family} locked locked {protocol} dport {port} {ip} saddr != @granted drop"),
    ] {
        run(namespace, "nft", &command)?;
    }
    Ok(())
}

/// Runs a tool; `arguments` are separated by spaces.
fn run(namespace: &Namespace, tool: &str, arguments: &str) -> Result<()> {
    // An ordinary user's PATH, which sudo may keep, often lacks the directories of these tools.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let program = Program::new(tool).env("PATH", path).args(arguments.split_whitespace());
    program.run_in(namespace, WITHIN)?.success()?;
    Ok(())
}
