//! Which interfaces to cover, from what netlink says of all of them. Pure.

use jit_policy::{Interfaces, Pattern};

use super::{netlink::Interface, object::Layer};

/// ARPHRD_*: what the packets of an interface begin with.
mod link_type {
    pub(super) const ETHERNET: u16 = 1;
    pub(super) const PPP: u16 = 512;
    pub(super) const RAW_IP: u16 = 519;
    pub(super) const TUNNEL: u16 = 768;
    pub(super) const TUNNEL6: u16 = 769;
    pub(super) const LOOPBACK: u16 = 772;
    pub(super) const SIT: u16 = 776;
    pub(super) const GRE: u16 = 778;
    pub(super) const GRE6: u16 = 823;
    pub(super) const NONE: u16 = 0xfffe;
}

/// An interface to be covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) interface: Interface,
    /// What its packets begin with, or why they can't be read.
    pub(super) layer: Result<Layer, String>,
}

/// What a list of patterns comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) chosen: Vec<Chosen>,
    /// The entries that stand for nothing, each with what is wrong.
    pub(super) missing: Vec<(String, String)>,
}

/// An interface with an address over which packets come in unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uncovered<'a> {
    pub(super) interface: &'a Interface,
    pub(super) reason: String,
    /// Whether it was to be covered; else the owner left it out.
    pub(super) is_chosen: bool,
}

/// Chooses.
pub(super) fn select(all: &[Interface], patterns: &Interfaces) -> Selection {
    let is_chosen = |interface: &&Interface| patterns.iter().any(|pattern| chooses(pattern, interface, all));
    let of = |interface: &Interface| Chosen { interface: interface.clone(), layer: layer(interface) };
    let chosen: Vec<Chosen> = all.iter().filter(is_chosen).map(of).collect();
    let missing = patterns.iter().filter_map(|pattern| match pattern {
        Pattern::Name(name) if !all.iter().any(|interface| interface.name == *name) => {
            let problem = "there is no such interface; it is covered when it appears, else correct `interfaces`";
            Some((name.clone(), problem.to_owned()))
        }
        Pattern::Auto | Pattern::Glob(_) if chosen.is_empty() => {
            let problem = "this stands for no interface now, so nothing is covered; interfaces are covered when they \
                           appear, else correct `interfaces`";
            Some((pattern.to_string(), problem.to_owned()))
        }
        _ => None,
    });
    Selection { missing: missing.collect(), chosen }
}

/// Whether the pattern stands for the interface, or for a bond of which it is a member: a bond itself would refuse
/// further members if it had a program.
fn chooses(pattern: &Pattern, interface: &Interface, all: &[Interface]) -> bool {
    if is_bond(interface) {
        return false;
    }
    let is_named = |interface: &Interface| match pattern {
        Pattern::Auto => false,
        Pattern::Name(name) => *name == interface.name,
        // Nobody who writes `*` thinks of loopback.
        Pattern::Glob(glob) => !interface.is_loopback && glob.matches(&interface.name),
    };
    let bond = master(interface, all).filter(|master| is_bond(master));
    is_named(interface) || bond.is_some_and(is_named) || (*pattern == Pattern::Auto && is_lowest(interface))
}

/// Whether packets come in here that no other interface of this host has seen in a form that the program can read.
fn is_lowest(interface: &Interface) -> bool {
    if interface.is_loopback {
        return false;
    }
    match interface.kind.as_str() {
        // What comes in there came through members or ports.
        "bridge" | "vrf" => false,
        // The program reads tags, so it sees these packets on the interface below, if that one is here.
        "vlan" => interface.lower.is_none(),
        // Nothing comes in there, whatever its address is good for.
        "dummy" | "ifb" | "nlmon" | "vcan" | "vsockmon" => !interface.addresses.is_empty(),
        // Those that every host has for its tunnel modules are down.
        _ if is_tunnel(interface) => interface.is_up || !interface.addresses.is_empty() || interface.master.is_some(),
        // Of macvlan and ipvlan: siblings reach it without the interface below.
        _ => true,
    }
}

fn is_bond(interface: &Interface) -> bool {
    matches!(interface.kind.as_str(), "bond" | "team")
}

/// Tunnels, and tap.
const TUNNELS: [&str; 19] = [
    "tun",
    "wireguard",
    "vxlan",
    "geneve",
    "bareudp",
    "ipip",
    "ip6tnl",
    "sit",
    "gre",
    "ip6gre",
    "gretap",
    "ip6gretap",
    "erspan",
    "ip6erspan",
    "vti",
    "vti6",
    "xfrm",
    "l2tpeth",
    "gtp",
];

fn is_tunnel(interface: &Interface) -> bool {
    layer(interface) == Ok(Layer::Network) || TUNNELS.contains(&interface.kind.as_str())
}

/// Whether its kind is one on which packets to be forwarded are nobody's business here: bridges, veth, tap, tunnels.
pub(super) fn is_always_local(interface: &Interface) -> bool {
    matches!(interface.kind.as_str(), "bridge" | "veth" | "netkit") || TUNNELS.contains(&interface.kind.as_str())
}

/// What packets begin with.
fn layer(interface: &Interface) -> Result<Layer, String> {
    match interface.link_type {
        link_type::ETHERNET | link_type::LOOPBACK => Ok(Layer::Ethernet),
        link_type::NONE
        | link_type::PPP
        | link_type::RAW_IP
        | link_type::TUNNEL
        | link_type::TUNNEL6
        | link_type::SIT
        | link_type::GRE
        | link_type::GRE6 => Ok(Layer::Network),
        other => Err(format!("the program can't read packets of link type {other}, but only Ethernet and plain IP")),
    }
}

fn master<'a>(interface: &Interface, all: &'a [Interface]) -> Option<&'a Interface> {
    all.iter().find(|other| Some(other.index) == interface.master)
}

/// The interfaces with an address that are covered neither themselves nor through those below them. `has_program`
/// knows those on which the program is.
pub(super) fn uncovered<'a>(
    all: &'a [Interface],
    selection: &Selection,
    has_program: impl Fn(u32) -> bool,
) -> Vec<Uncovered<'a>> {
    let with_address = all.iter().filter(|interface| !interface.is_loopback && !interface.addresses.is_empty());
    let reason = |interface: &'a Interface| {
        let hole = hole(interface, all, &has_program, all.len())?;
        let is_chosen = selection.chosen.iter().any(|chosen| chosen.interface.index == hole.index);
        let what = if is_chosen { "could not be covered" } else { "is left out by `interfaces`" };
        let reason =
            if hole.index == interface.index { what.to_owned() } else { format!("{} below it {what}", hole.name) };
        Some(Uncovered { interface, reason, is_chosen })
    };
    with_address.filter_map(reason).collect()
}

/// The interface over which packets get unseen to this one: itself, or one below it. `depth` bounds the search, since
/// interfaces may change while they are listed.
fn hole<'a>(
    interface: &'a Interface,
    all: &'a [Interface],
    has_program: &impl Fn(u32) -> bool,
    depth: usize,
) -> Option<&'a Interface> {
    if has_program(interface.index) {
        return None;
    }
    let is_below = |other: &Interface| match interface.kind.as_str() {
        "vlan" => Some(other.index) == interface.lower,
        _ => other.master == Some(interface.index),
    };
    match interface.kind.as_str() {
        "vlan" if interface.lower.is_none() => Some(interface),
        "bond" | "team" | "bridge" | "vrf" | "vlan" => {
            let depth = depth.checked_sub(1)?;
            all.iter().filter(|other| is_below(other)).find_map(|below| hole(below, all, has_program, depth))
        }
        _ => Some(interface),
    }
}

#[cfg(test)]
mod tests;
