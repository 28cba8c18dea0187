//! The ways to attach the program to an interface. Each way has a file of its own.

mod clsact;
mod tcx;
mod xdp;

use std::path::{Path, PathBuf};

use aya::programs::{
    ProgramError, ProgramInfo,
    links::{FdLink, PinnedLink},
};
use jit_policy::{Layer, Way};

pub(super) use self::{
    tcx::{is_pinned as has_tcx_pin, is_supported as has_tcx},
    xdp::{pinned_program as pinned_xdp_program, program_on as xdp_program_on},
};
use super::{
    error::{AttachError, NotFirst},
    netlink::Interface,
    object::Object,
    pins::Pins,
};
use crate::datapath::error::PinError;

/// The parts of the datapath that attaching needs.
pub(super) struct Kernel<'datapath> {
    pub(super) object: &'datapath mut Object,
    pub(super) pins: &'datapath Pins,
}

/// Where the program is to be attached.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) interface: &'a Interface,
    pub(super) layer: Layer,
}

/// A place in the kernel where packets meet the program.
pub(super) trait Hook {
    /// The name of the hook, for people: a message says that an interface lacks this hook if the kernel refuses it.
    fn name(&self) -> &'static str;

    /// The names of the pins of links, each followed by the interface's index. If the list is empty, no pin tells of
    /// the program.
    fn pin_names(&self) -> &'static [&'static str];

    /// Replaces a predecessor's program, so that there is no moment without a program. Returns the way in which the new
    /// program is attached, and that program's id; `None` if there is no usable program of a predecessor.
    fn adopt(&self, kernel: &mut Kernel<'_>, target: Target<'_>) -> Result<Option<(Way, u32)>, AttachError>;

    /// Attaches the program anew. Returns the program's id.
    fn attach(&self, kernel: &mut Kernel<'_>, target: Target<'_>) -> Result<u32, AttachError>;

    /// Prepares to attach the program once more, before all others, after another program overtook it.
    fn prepare_overtaking(&self, kernel: &mut Kernel<'_>, target: Target<'_>) -> Result<(), AttachError>;

    /// Takes our program off the interface, if it is there. Returns whether it was there.
    fn detach(&self, interface: &Interface, pins: &Pins) -> Result<bool, AttachError>;

    /// Asks the kernel whether the program is on the interface and sees packets first.
    fn is_first(&self, interface: &Interface, program: u32, pins: &Pins) -> Result<(), NotFirst>;
}

/// The hook of a way.
pub(super) fn hook(way: Way) -> &'static dyn Hook {
    match way {
        Way::Native => &xdp::NATIVE,
        Way::Tcx => &tcx::Tcx,
        Way::Clsact => &clsact::Clsact,
        Way::Generic => &xdp::GENERIC,
    }
}

/// The pinned links, by interface index.
pub(super) fn links(pins: &Pins) -> Result<Vec<(u32, PathBuf)>, PinError> {
    let is_link = |name: &str| Way::ALL.iter().any(|way| hook(*way).pin_names().contains(&name));
    let links = pins.numbered()?.into_iter().filter(|(name, ..)| is_link(name));
    Ok(links.map(|(_, index, path)| (index, path)).collect())
}

/// Whether programs that are attached in this way have no pin.
pub(super) fn is_unpinned(way: Way) -> bool {
    hook(way).pin_names().is_empty()
}

/// Takes our program off the interface in each way that has no pins. Returns the ways in which it was attached.
pub(super) fn detach_unpinned(interface: &Interface, pins: &Pins) -> Result<Vec<Way>, AttachError> {
    let mut detached = Vec::new();
    for way in Way::ALL.iter().copied().filter(|way| is_unpinned(*way)) {
        if hook(way).detach(interface, pins)? {
            detached.push(way);
        }
    }
    Ok(detached)
}

/// The id of a loaded program.
fn id_of(info: Result<ProgramInfo, ProgramError>) -> Result<u32, AttachError> {
    Ok(info.map_err(AttachError::ProgramId)?.id())
}

/// The id of the program on a pinned link; `None` if the link can't be read.
fn program_of(path: &Path) -> Option<u32> {
    Some(FdLink::from(PinnedLink::from_pin(path).ok()?).info().ok()?.program_id())
}
