//! The obstacles to covering the interfaces, found without changing anything.

use std::{fs, path::Path};

use jit_policy::{Interfaces, Layer};

use super::{
    error::{Obstacle, QueryError, Rival},
    genetlink,
    netlink::{self, Interface},
    object::Object,
    selection::{self, Selected, Selection},
    ways,
};
use crate::datapath::error::with_causes;

/// The largest MTU whose packets surely fit one buffer: a page without headroom, Ethernet header and tail.
const ONE_BUFFER: u32 = 3498;

/// Says whether this host can enforce on these interfaces, with pins in `directory`: what is well, and what is not.
/// Changes nothing.
#[must_use]
pub fn probe(interfaces: &Interfaces, directory: &Path) -> (Vec<String>, Vec<String>) {
    let (mut well, mut problems) = (Vec::new(), Vec::new());
    match Object::load(None) {
        Ok(object) => well.push(format!("the kernel accepts the program {}", object.xdp_name(Layer::Ethernet))),
        Err(error) => problems.push(with_causes(&error)),
    }
    let all = netlink::interfaces().unwrap_or_else(|error| {
        problems.push(with_causes(&QueryError::Netlink(error)));
        Vec::new()
    });
    let selection = Selection::of(&all, interfaces);
    for Selected { interface, layer } in &selection.selected {
        match layer {
            Ok(layer) => well.push(describe(interface, *layer, &all, directory)),
            Err(error) => problems.push(format!("interface {}: {error}", interface.name)),
        }
    }
    for (name, unmatched) in &selection.unmatched {
        problems.push(format!("interface {name}: {unmatched}"));
    }
    let will_be_covered = |index: u32| {
        let is = |selected: &Selected| selected.interface.index == index && selected.layer.is_ok();
        selection.selected.iter().any(is)
    };
    for selection::Uncovered { interface, reason, .. } in selection::uncovered(&all, &selection, will_be_covered) {
        let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
        let name = &interface.name;
        well.push(format!(
            "warning: packets to {} come in over interface {name} unseen: {reason}",
            addresses.join(", ")
        ));
    }
    (well, problems)
}

/// The interface, the way in which it would be attached, and why no better way would do.
fn describe(interface: &Interface, layer: Layer, all: &[Interface], directory: &Path) -> String {
    let obstacles = obstacles(interface, layer, all, directory);
    let fallback = if ways::has_tcx(interface) { "TCX" } else { "a clsact filter, else generic XDP" };
    let way = match obstacles {
        Obstacles::None => "native XDP".to_owned(),
        Obstacles::Unsure(reasons) => {
            format!("native XDP, or {fallback} if the driver refuses that, which may be: {}", reasons.join("; "))
        }
        Obstacles::Sure(reason) => format!("{fallback}, not native XDP: {reason}"),
    };
    let Interface { name, index, mtu, .. } = interface;
    format!("interface {name} (index {index}, {}, MTU {mtu}): {way}", driver(interface))
}

/// The obstacles to native XDP.
enum Obstacles {
    None,
    Unsure(Vec<String>),
    Sure(String),
}

fn obstacles(interface: &Interface, layer: Layer, all: &[Interface], directory: &Path) -> Obstacles {
    let is_ours = |id: u32| ways::pinned_xdp_program(directory, interface.index) == Some(id);
    if let Some(rival) = interface.xdp.filter(|found| !is_ours(found.id)) {
        return Obstacles::Sure(Obstacle::Rival(Rival::Xdp(rival)).to_string());
    }
    if layer == Layer::Network {
        return Obstacles::Sure(Obstacle::NoEthernetHeader.to_string());
    }
    let master = all.iter().find(|other| Some(other.index) == interface.master);
    if let Some((master, program)) = master.and_then(|master| Some((master, master.xdp?))) {
        return Obstacles::Sure(format!("{}, to which it belongs, has XDP program {}", master.name, program.id));
    }
    let mut reasons = Vec::new();
    match genetlink::xdp_features(interface.index) {
        Ok(features) if !features.native => return Obstacles::Sure("the driver has none".to_owned()),
        Ok(features) if interface.mtu > ONE_BUFFER && !features.several_buffers => {
            reasons.push(format!("MTU {} is more than fits one buffer, and the driver takes no more", interface.mtu));
        }
        Ok(_) => {}
        Err(_) if interface.mtu > ONE_BUFFER => {
            reasons.push(format!("MTU {} is more than {ONE_BUFFER}, which fits one buffer", interface.mtu));
        }
        // Before Linux 6.3, only an attempt to attach would tell.
        Err(_) => {}
    }
    let offloads = genetlink::offloads(interface.index).unwrap_or_default();
    for offload in offloads.iter().filter(|name| matches!(name.as_str(), "rx-lro" | "rx-gro-hw")) {
        reasons.push(format!("{offload} is on, which some drivers want off for it (`ethtool -K {}`)", interface.name));
    }
    if reasons.is_empty() { Obstacles::None } else { Obstacles::Unsure(reasons) }
}

/// The driver of the interface, or its kind if it is virtual.
fn driver(interface: &Interface) -> String {
    if !interface.kind.is_empty() {
        return interface.kind.clone();
    }
    let link = fs::read_link(format!("/sys/class/net/{}/device/driver", interface.name));
    let name = link.ok().and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
    name.map_or_else(|| "driver unknown".to_owned(), |name| format!("driver {name}"))
}
