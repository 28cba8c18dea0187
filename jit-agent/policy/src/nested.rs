//! The prefix entries of one port and transport.
//!
//! The kernel looks among the prefixes only once, for the longest that matches; the kernel never falls back to an outer
//! one. So an entry's effective expiry is the latest end of all grants for its prefix and for every prefix around that
//! one, and a change to one prefix is a change to the prefixes within it.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::{Prefix, PrefixMap};

use super::grant::GrantId;
use crate::BootTime;

/// The ends of the grants that share an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends(BTreeSet<(BootTime, GrantId)>);

impl Ends {
    /// The latest end; `None` if there is no grant.
    pub(super) fn latest(&self) -> Option<BootTime> {
        self.0.last().map(|(end, _)| *end)
    }

    /// Removes the end `old` and adds the end `new`.
    pub(super) fn replace(&mut self, id: GrantId, old: Option<BootTime>, new: Option<BootTime>) {
        if let Some(old) = old {
            self.0.remove(&(old, id));
        }
        if let Some(new) = new {
            self.0.insert((new, id));
        }
    }
}

/// A change to a prefix entry of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PrefixChange {
    /// The entry is new or has another deadline.
    Set(IpNet, BootTime),
    /// The entry is removed. The time is the effective expiry of the next outer entry.
    Remove(IpNet, Option<BootTime>),
}

/// The prefix entries of both address families.
#[derive(Clone, Debug, Default)]
pub(super) struct NestedPrefixes {
    v4: PrefixMap<Ipv4Net, Node>,
    v6: PrefixMap<Ipv6Net, Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// The grants for exactly this prefix.
    ends: Ends,
    /// The deadline that the kernel got last; `None` for a node that the kernel does not know yet.
    effective: Option<BootTime>,
}

impl NestedPrefixes {
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Moves the end of one grant for `source`: the grant is new if `old` is `None`, and goes if `new` is `None`.
    /// Returns what changes in the kernel, inner entries before outer ones.
    pub(super) fn move_end(
        &mut self,
        source: IpNet,
        id: GrantId,
        old: Option<BootTime>,
        new: Option<BootTime>,
    ) -> Vec<PrefixChange> {
        match source {
            IpNet::V4(prefix) => move_end(&mut self.v4, prefix, id, old, new),
            IpNet::V6(prefix) => move_end(&mut self.v6, prefix, id, old, new),
        }
    }

    /// The effective expiry of an entry; `None` if there is no such entry.
    pub(super) fn effective(&self, source: &IpNet) -> Option<BootTime> {
        match source {
            IpNet::V4(prefix) => self.v4.get(prefix)?.effective,
            IpNet::V6(prefix) => self.v6.get(prefix)?.effective,
        }
    }

    /// The effective expiry of the longest prefix around `source`, other than `source` itself.
    pub(super) fn enclosing(&self, source: &IpNet) -> Option<BootTime> {
        match source {
            IpNet::V4(prefix) => enclosing(&self.v4, prefix),
            IpNet::V6(prefix) => enclosing(&self.v6, prefix),
        }
    }

    /// All entries with their effective expiries.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, BootTime)> {
        let v4 = self.v4.iter().map(|(prefix, node)| (IpNet::V4(*prefix), node.effective));
        let v6 = self.v6.iter().map(|(prefix, node)| (IpNet::V6(*prefix), node.effective));
        v4.chain(v6).filter_map(|(prefix, effective)| Some((prefix, effective?)))
    }
}

fn enclosing<P: Prefix + PartialEq>(map: &PrefixMap<P, Node>, prefix: &P) -> Option<BootTime> {
    // An effective expiry includes those of all outer entries, so the expiry of the nearest outer entry is the latest.
    map.cover(prefix).filter(|(outer, _)| *outer != prefix).filter_map(|(_, node)| node.effective).last()
}

fn move_end<P>(
    map: &mut PrefixMap<P, Node>,
    prefix: P,
    id: GrantId,
    old: Option<BootTime>,
    new: Option<BootTime>,
) -> Vec<PrefixChange>
where
    P: Prefix + PartialEq + Copy + Into<IpNet>,
{
    map.entry(prefix).or_default().ends.replace(id, old, new);
    let outer = enclosing(map, &prefix);
    // The prefixes on the way from `prefix` to the present one, with their expiries.
    let mut path: Vec<(P, Option<BootTime>)> = Vec::new();
    let (mut changes, mut empty) = (Vec::new(), false);
    for (inner, node) in map.children_mut(&prefix) {
        while path.pop_if(|(last, _)| !last.contains(inner)).is_some() {}
        let inherited = path.last().map_or(outer, |(_, effective)| *effective);
        let own = node.ends.latest();
        let effective = inherited.max(own);
        path.push((*inner, effective));
        match (own, effective) {
            (Some(_), Some(deadline)) if node.effective != effective => {
                node.effective = effective;
                changes.push(PrefixChange::Set((*inner).into(), deadline));
            }
            (None, _) => {
                empty = true;
                changes.push(PrefixChange::Remove((*inner).into(), outer));
            }
            _ => {}
        }
    }
    if empty {
        map.remove(&prefix);
    }
    changes.reverse();
    changes
}
