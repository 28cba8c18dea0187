//! The selection of interfaces to cover, from what netlink reports of all interfaces. No function here asks the kernel.

use jit_policy::{Interfaces, Layer, Pattern};

use super::{
    error::{UnknownLinkType, Unmatched},
    netlink::Interface,
};

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

/// An interface that is to be covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) interface: Interface,
    /// The header with which the interface's packets begin.
    pub(super) layer: Result<Layer, UnknownLinkType>,
}

/// The interfaces that a list of patterns selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) selected: Vec<Selected>,
    /// The entries that stand for nothing.
    pub(super) unmatched: Vec<(String, Unmatched)>,
}

/// An interface with an address over which packets come in unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uncovered<'a> {
    pub(super) interface: &'a Interface,
    pub(super) reason: String,
    /// Whether the interface was to be covered; if not, the owner left it out.
    pub(super) is_selected: bool,
}

impl Selection {
    /// Selects the interfaces to cover.
    pub(super) fn of(all: &[Interface], patterns: &Interfaces) -> Self {
        let is_selected = |interface: &&Interface| patterns.iter().any(|pattern| selects(pattern, interface, all));
        let of = |interface: &Interface| Selected { interface: interface.clone(), layer: layer(interface) };
        let selected: Vec<Selected> = all.iter().filter(is_selected).map(of).collect();
        let unmatched = patterns.iter().filter_map(|pattern| match pattern {
            Pattern::Name(name) if !all.iter().any(|interface| interface.name == *name) => {
                Some((name.clone(), Unmatched::Name))
            }
            Pattern::Auto | Pattern::Glob(_) if selected.is_empty() => Some((pattern.to_string(), Unmatched::Pattern)),
            _ => None,
        });
        Self { unmatched: unmatched.collect(), selected }
    }

    /// Whether the interface of this index is to be covered.
    pub(super) fn contains(&self, index: u32) -> bool {
        self.selected.iter().any(|selected| selected.interface.index == index)
    }
}

/// Whether the pattern stands for the interface, or for a bond of which it is a member: a bond itself would refuse
/// further members if it had a program.
fn selects(pattern: &Pattern, interface: &Interface, all: &[Interface]) -> bool {
    if is_bond(interface) {
        return false;
    }
    let is_named = |interface: &Interface| match pattern {
        Pattern::Auto => false,
        Pattern::Name(name) => *name == interface.name,
        // Whoever writes `*` does not mean loopback.
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
        // Packets that come in over these interfaces came through members or ports.
        "bridge" | "vrf" => false,
        // The program reads tags, so it sees these packets on the interface below, if that interface is in this
        // namespace.
        "vlan" => interface.lower.is_none(),
        // No packets come in over these interfaces, whatever their addresses are good for.
        "dummy" | "ifb" | "nlmon" | "vcan" | "vsockmon" => !interface.addresses.is_empty(),
        // The interfaces that every host has for its tunnel modules are down.
        _ if is_tunnel(interface) => interface.is_up || !interface.addresses.is_empty() || interface.master.is_some(),
        // Siblings reach a macvlan or ipvlan interface without the interface below.
        _ => true,
    }
}

fn is_bond(interface: &Interface) -> bool {
    matches!(interface.kind.as_str(), "bond" | "team")
}

/// The kinds of tunnels, and tap.
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

/// Whether the interface is of a kind on which packets to be forwarded never matter here: bridges, veth, tap, tunnels.
pub(super) fn is_always_local(interface: &Interface) -> bool {
    matches!(interface.kind.as_str(), "bridge" | "veth" | "netkit") || TUNNELS.contains(&interface.kind.as_str())
}

/// The header with which the interface's packets begin.
fn layer(interface: &Interface) -> Result<Layer, UnknownLinkType> {
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
        other => Err(UnknownLinkType(other)),
    }
}

fn master<'a>(interface: &Interface, all: &'a [Interface]) -> Option<&'a Interface> {
    all.iter().find(|other| Some(other.index) == interface.master)
}

/// The interfaces with an address that are covered neither themselves nor through the interfaces below them.
/// `has_program` tells whether the program is on an interface.
pub(super) fn uncovered<'a>(
    all: &'a [Interface],
    selection: &Selection,
    has_program: impl Fn(u32) -> bool,
) -> Vec<Uncovered<'a>> {
    let with_address = all.iter().filter(|interface| !interface.is_loopback && !interface.addresses.is_empty());
    let reason = |interface: &'a Interface| {
        let entry = unseen_entry(interface, all, &has_program, all.len())?;
        let is_selected = selection.contains(entry.index);
        let what = if is_selected { "could not be covered" } else { "is left out by `interfaces`" };
        let reason =
            if entry.index == interface.index { what.to_owned() } else { format!("{} below it {what}", entry.name) };
        Some(Uncovered { interface, reason, is_selected })
    };
    with_address.filter_map(reason).collect()
}

/// The interface over which packets get unseen to this one: itself, or one below it. `depth` bounds the search, since
/// interfaces may change while they are listed.
fn unseen_entry<'a>(
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
            all.iter().filter(|other| is_below(other)).find_map(|below| unseen_entry(below, all, has_program, depth))
        }
        _ => Some(interface),
    }
}

#[cfg(test)]
mod tests;
