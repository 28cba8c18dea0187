//! Interfaces of local scope, on which the program lets packets pass that the kernel would forward.

use std::{collections::BTreeSet, fs};

use aya::maps::{HashMap, MapData};
use jit_policy::Scope;

use super::{netlink::Interface, selection::is_always_local, settings::KernelSettings};
use crate::datapath::DatapathError;

/// The program's set of interfaces of local scope.
pub(super) struct LocalInterfaces {
    map: HashMap<MapData, u32, u32>,
    scope: Scope,
    /// The covered interfaces: index, name, and whether their scope is local whatever the configuration says.
    covered: Vec<(u32, String, bool)>,
    present: BTreeSet<u32>,
}

impl LocalInterfaces {
    /// An empty set.
    pub(super) const fn new(map: HashMap<MapData, u32, u32>) -> Self {
        Self { map, scope: Scope::All, covered: Vec::new(), present: BTreeSet::new() }
    }

    /// Sets the scope of all interfaces whose kind does not decide their scope.
    pub(super) const fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Sets the interfaces that are covered.
    pub(super) fn set_covered<'a>(&mut self, interfaces: impl Iterator<Item = &'a Interface>) {
        let of = |interface: &Interface| (interface.index, interface.name.clone(), is_always_local(interface));
        self.covered = interfaces.map(of).collect();
    }

    /// Whether the interface is in the set now.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.covered.iter().any(|(index, covered, _)| covered == name && self.present.contains(index))
    }

    /// Updates the program's set. An interface on which the host forwards nothing is left out: all packets that arrive
    /// there are for this host, and the program is spared the route look-up.
    pub(super) fn refresh(&mut self, settings: &KernelSettings) -> Result<(), DatapathError> {
        let local =
            self.covered.iter().filter(|(_, name, always)| (*always || self.scope == Scope::Local) && forwards(name));
        let wanted: BTreeSet<u32> = local.map(|(index, ..)| *index).collect();
        for index in wanted.difference(&self.present) {
            self.map.insert(index, 0, 0).map_err(|error| failed("adding to", error))?;
        }
        settings.set_local_scope(!wanted.is_empty());
        for index in self.present.difference(&wanted) {
            self.map.remove(index).map_err(|error| failed("removing from", error))?;
        }
        self.present = wanted;
        Ok(())
    }
}

fn failed(what: &str, error: aya::maps::MapError) -> DatapathError {
    DatapathError::kernel(format!("{what} map LOCAL_INTERFACES"), error)
}

/// Whether the host forwards packets from this interface, of either family.
fn forwards(name: &str) -> bool {
    ["ipv4", "ipv6"].iter().any(|family| {
        let setting = fs::read_to_string(format!("/proc/sys/net/{family}/conf/{name}/forwarding"));
        setting.is_ok_and(|value| value.trim() != "0")
    })
}
