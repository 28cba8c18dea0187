//! The ways to put the program on an interface: XDP, TCX, and before Linux 6.6 a filter of traffic control.

use std::{io, path::Path};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, qdisc_add_clsact},
    xdp::{XdpLink, XdpLinkId},
};

use super::{
    netlink::{self, Filter, Interface},
    query,
};
use crate::datapath::with_causes;

/// Before all filters that don't ask for the same.
const FIRST: u16 = 1;

/// How the program is on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// XDP in the driver.
    Native,
    /// A link at the head of what sees packets first after XDP.
    Tcx,
    /// A filter that does the same before Linux 6.6.
    Clsact,
    /// XDP after the driver, on any interface.
    Generic,
}

impl Way {
    /// As people read it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
            Self::Generic => "generic",
        }
    }
}

/// Attaches by XDP; the link ends with its last reference.
pub(super) fn attach_xdp(interface: &Interface, program: &mut Xdp, mode: XdpMode) -> Result<FdLink, String> {
    let id = program.attach_to_if_index(interface.index, mode).map_err(|error| with_causes(&error))?;
    take_xdp(program, id)
}

/// Puts `program` in place of the one on a pinned link.
pub(super) fn update_xdp(path: &Path, program: &mut Xdp) -> Result<(), String> {
    let pinned = PinnedLink::from_pin(path).map_err(|error| with_causes(&error))?;
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| with_causes(&error))?;
    let id = program.attach_to_link(link).map_err(|error| with_causes(&error))?;
    // Dropping our reference leaves the pinned one.
    take_xdp(program, id).map(drop)
}

/// The link as one that can be pinned. aya falls back to an attachment without such a link on old kernels.
fn take_xdp(program: &mut Xdp, id: XdpLinkId) -> Result<FdLink, String> {
    let link = program.take_link(id).map_err(|error| with_causes(&error))?;
    FdLink::try_from(link).map_err(|_| "the kernel has no BPF links for XDP; Linux 5.9 or later is needed".to_owned())
}

/// Attaches before all other TCX programs of the interface.
pub(super) fn attach_tcx(interface: &Interface, program: &mut SchedClassifier) -> Result<FdLink, String> {
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(&interface.name, TcAttachType::Ingress, options);
    let id = id.map_err(|error| with_causes(&error))?;
    let link = program.take_link(id).map_err(|error| with_causes(&error))?;
    FdLink::try_from(link).map_err(|error| with_causes(&error))
}

/// Puts `program` in place of the one on a pinned link.
pub(super) fn update_tcx(path: &Path, program: &mut SchedClassifier) -> Result<(), String> {
    let pinned = PinnedLink::from_pin(path).map_err(|error| with_causes(&error))?;
    let link = SchedClassifierLink::try_from(FdLink::from(pinned)).map_err(|error| with_causes(&error))?;
    let id = program.attach_to_link(link).map_err(|error| with_causes(&error))?;
    program.take_link(id).map(drop).map_err(|error| with_causes(&error))
}

/// Id of the program on a pinned link; `None` if the link can't be read.
pub(super) fn program_of(path: &Path) -> Option<u32> {
    Some(FdLink::from(PinnedLink::from_pin(path).ok()?).info().ok()?.program_id())
}

/// Ids of the TCX programs of an interface, in the order in which they see packets.
pub(super) fn tcx_order(interface: &Interface) -> Result<Vec<u32>, String> {
    query::tcx_programs(interface.index).map_err(|error| format!("the TCX programs can't be listed: {error}"))
}

/// Attaches a filter, or puts `program` in place of the one in our filter.
pub(super) fn attach_clsact(interface: &Interface, program: &mut SchedClassifier, handle: u32) -> Result<(), String> {
    match qdisc_add_clsact(&interface.name) {
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        result => result.map_err(|error| format!("no clsact: {}", with_causes(&error)))?,
    }
    let ours = filters(interface)?.into_iter().find(|filter| filter.handle == handle);
    let id = match ours {
        Some(filter) => {
            clsact_link(interface, &filter).map_err(ProgramError::IOError).and_then(|link| program.attach_to_link(link))
        }
        None => {
            let options = NlOptions { priority: FIRST, handle: handle.into(), classid: None };
            let options = TcAttachOptions::Netlink(options);
            program.attach_with_options(&interface.name, TcAttachType::Ingress, options)
        }
    };
    let link = program.take_link(id.map_err(|error| with_causes(&error))?).map_err(|error| with_causes(&error))?;
    // The filter is to outlive this process; dropped, it would be removed.
    std::mem::forget(link);
    Ok(())
}

/// Removes our filter, if it is there; says whether it was. The queueing discipline stays, since others may use it.
pub(super) fn detach_clsact(interface: &Interface, handle: u32) -> Result<bool, String> {
    let Some(filter) = filters(interface)?.into_iter().find(|filter| filter.handle == handle) else {
        return Ok(false);
    };
    let link = clsact_link(interface, &filter).map_err(|error| error.to_string())?;
    aya::programs::links::Link::detach(link).map_err(|error| with_causes(&error))?;
    Ok(true)
}

/// The filters on what comes in, in the order in which they see packets.
pub(super) fn filters(interface: &Interface) -> Result<Vec<Filter>, String> {
    netlink::ingress_filters(interface.index).map_err(|error| format!("netlink does not answer: {error}"))
}

fn clsact_link(interface: &Interface, filter: &Filter) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(&interface.name, TcAttachType::Ingress, filter.priority, filter.handle.into(), None)
}
