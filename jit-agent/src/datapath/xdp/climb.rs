//! Puts the program on one interface, by the first way that the kernel takes.

use aya::programs::{XdpMode, links::FdLink};

use super::{
    netlink::{self, Interface},
    object::{Layer, Object},
    pins::{Pins, remove_pin},
    ways::{self, Way},
};

/// How an interface is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) way: Way,
    /// Id of our program there.
    pub(super) program: u32,
    /// Why not in a better way.
    pub(super) note: Option<String>,
}

/// What attaching takes.
pub(super) struct Kernel<'datapath> {
    pub(super) object: &'datapath mut Object,
    pub(super) pins: &'datapath Pins,
}

impl Kernel<'_> {
    /// The handle of our traffic control filters.
    pub(super) fn handle(&self) -> u32 {
        self.pins.filter_handle()
    }

    /// Attaches: natively, else by TCX before all others, else by a filter, else in generic mode. A link that a
    /// predecessor pinned gets the program in place of its own, so that there is no moment without one.
    pub(super) fn attach(&mut self, interface: &Interface, layer: Layer) -> Result<Attached, String> {
        let mut refusals = Vec::new();
        let taken_over = self.take_over_xdp(interface, layer)?;
        if let Some(way) = taken_over {
            return self.attached_by_xdp(interface, way, layer, None);
        }
        // Asked anew, since what is in place of a stale link of ours may be somebody else's.
        let rival = found(interface.index)?.program;
        match (rival, layer) {
            (Some((id, mode)), _) => {
                refusals.push(format!("XDP program {id} ({mode}) of somebody else is left in place"));
            }
            // Where drivers run XDP at all for these, they make up an Ethernet header for it.
            (None, Layer::Network) => refusals.push("packets have no Ethernet header".to_owned()),
            (None, Layer::Ethernet) => match self.put_xdp(interface, layer, XdpMode::Driver) {
                Ok(()) => return self.attached_by_xdp(interface, Way::Native, layer, None),
                Err(problem) => refusals.push(format!("no native XDP: {problem}")),
            },
        }
        let because = |refusals: &[String]| Some(refusals.join("; "));
        match self.put_tcx(interface, layer) {
            Ok(program) => return Ok(Attached { way: Way::Tcx, program, note: because(&refusals) }),
            Err(problem) => refusals.push(format!("no TCX: {problem}")),
        }
        match self.put_clsact(interface, layer) {
            Ok(program) => return Ok(Attached { way: Way::Clsact, program, note: because(&refusals) }),
            Err(problem) => refusals.push(format!("no filter: {problem}")),
        }
        if rival.is_some() {
            return Err(refusals.join("; "));
        }
        match self.put_xdp(interface, layer, XdpMode::Skb) {
            Ok(()) => self.attached_by_xdp(interface, Way::Generic, layer, because(&refusals)),
            Err(problem) => Err(format!("{}; no generic XDP: {problem}", refusals.join("; "))),
        }
    }

    /// Puts the program before somebody who came before it. The one that is there stays until then.
    pub(super) fn overtake(&mut self, interface: &Interface, layer: Layer) -> Result<Attached, String> {
        if !self.pins.tcx(interface.index).exists() {
            // Filters of one priority come newest first, and ours can only be put there anew.
            ways::detach_clsact(interface, self.handle())?;
            return self.attach(interface, layer);
        }
        // The kernel takes no program twice, so this is another one of the same text and with the same maps.
        let program = self.object.tc(layer).map_err(|error| error.to_string())?;
        program.unload().map_err(|error| error.to_string())?;
        self.attach(interface, layer)
    }

    /// Puts the program on a predecessor's XDP link; `None` if there is none that is of use.
    fn take_over_xdp(&mut self, interface: &Interface, layer: Layer) -> Result<Option<Way>, String> {
        let path = self.pins.xdp(interface.index);
        if !path.exists() {
            return Ok(None);
        }
        let program = self.object.xdp(layer).map_err(|error| error.to_string())?;
        let updated = ways::update_xdp(&path, program);
        let id = self.xdp_id(layer)?;
        let problem = match (updated, found(interface.index)?.program) {
            (Ok(()), Some((found, "generic"))) if found == id => return Ok(Some(Way::Generic)),
            (Ok(()), Some((found, _))) if found == id => return Ok(Some(Way::Native)),
            (Ok(()), _) => "it is for another interface".to_owned(),
            (Err(problem), _) => problem,
        };
        tracing::warn!(name = interface.name, problem, "the pinned link is of no use: attaching anew");
        remove_pin(&path)?;
        Ok(None)
    }

    fn put_xdp(&mut self, interface: &Interface, layer: Layer, mode: XdpMode) -> Result<(), String> {
        let program = self.object.xdp(layer).map_err(|error| error.to_string())?;
        let link = ways::attach_xdp(interface, program, mode)?;
        let path = self.pins.xdp(interface.index);
        link.pin(&path).map_err(|error| format!("the link can't be pinned: {error}"))?;
        let id = self.xdp_id(layer)?;
        if found(interface.index)?.program.is_some_and(|(found, _)| found == id) {
            return Ok(());
        }
        remove_pin(&path)?;
        Err("the kernel does not list the program".to_owned())
    }

    /// It is on by XDP, so what was there instead is to go.
    fn attached_by_xdp(
        &mut self,
        interface: &Interface,
        way: Way,
        layer: Layer,
        note: Option<String>,
    ) -> Result<Attached, String> {
        remove_pin(&self.pins.tcx(interface.index))?;
        ways::detach_clsact(interface, self.handle())?;
        let note = match way {
            Way::Generic => note.or_else(|| Some("a predecessor attached it so".to_owned())),
            _ => note,
        };
        Ok(Attached { way, program: self.xdp_id(layer)?, note })
    }

    fn xdp_id(&mut self, layer: Layer) -> Result<u32, String> {
        let program = self.object.xdp(layer).map_err(|error| error.to_string())?;
        Ok(program.info().map_err(|error| format!("the program's id is unknown: {error}"))?.id())
    }

    /// Attaches by TCX at the head. Returns the program's id.
    fn put_tcx(&mut self, interface: &Interface, layer: Layer) -> Result<u32, String> {
        let program = self.object.tc(layer).map_err(|error| error.to_string())?;
        let id = program.info().map_err(|error| format!("the program's id is unknown: {error}"))?.id();
        let path = self.pins.tcx(interface.index);
        let is_first = || Ok::<_, String>(ways::tcx_order(interface)?.first() == Some(&id));
        // One of ours that is not at the head can't be moved, only replaced, and only by another program.
        let is_behind = path.exists() && !is_first_link(interface, &path)?;
        if path.exists() && !is_behind {
            match ways::update_tcx(&path, program) {
                Ok(()) if is_first()? => return Ok(id),
                Ok(()) => {
                    tracing::warn!(name = interface.name, "the pinned link is for another interface: attaching anew");
                }
                Err(problem) => {
                    tracing::warn!(name = interface.name, problem, "the pinned link is of no use: attaching anew");
                }
            }
            remove_pin(&path)?;
        }
        let link: FdLink = ways::attach_tcx(interface, program)?;
        if !is_first()? {
            return Err("the kernel does not list the program first".to_owned());
        }
        self.pins.replace_tcx(interface.index, link)?;
        ways::detach_clsact(interface, self.handle())?;
        Ok(id)
    }

    /// Attaches a filter. Returns the program's id.
    fn put_clsact(&mut self, interface: &Interface, layer: Layer) -> Result<u32, String> {
        let handle = self.handle();
        let program = self.object.tc(layer).map_err(|error| error.to_string())?;
        let id = program.info().map_err(|error| format!("the program's id is unknown: {error}"))?.id();
        ways::attach_clsact(interface, program, handle)?;
        match ways::filters(interface)?.first() {
            Some(filter) if filter.handle == handle => Ok(id),
            _ => Err("the kernel does not list the filter first".to_owned()),
        }
    }
}

/// Whether the program on a pinned link is the first that sees packets of the interface.
fn is_first_link(interface: &Interface, path: &std::path::Path) -> Result<bool, String> {
    let Some(on_link) = ways::program_of(path) else { return Ok(true) };
    Ok(ways::tcx_order(interface)?.iter().position(|id| *id == on_link).is_none_or(|position| position == 0))
}

/// The interface as it is now.
fn found(index: u32) -> Result<Interface, String> {
    let all = netlink::interfaces().map_err(|error| format!("netlink does not answer: {error}"))?;
    all.into_iter().find(|interface| interface.index == index).ok_or_else(|| "the interface is gone".to_owned())
}
