//! A filter of traffic control, which does before Linux 6.6 what TCX does from then on.

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    links::Link as _,
    tc::{NlOptions, SchedClassifierLink, SchedClassifierLinkId, TcAttachOptions, TcError, qdisc_add_clsact},
};
use jit_policy::Way;
use sha2::{Digest as _, Sha256};

use super::{Hook, Kernel, Target, id_of};
use crate::datapath::xdp::{
    error::{AttachError, NotFirst, QueryError, Rival},
    netlink::{self, Filter, Interface},
    pins::Pins,
};

/// The first priority: our filter comes before all filters that don't ask for the same priority.
const FIRST: u16 = 1;

/// The first filter on incoming packets.
pub(super) struct Clsact;

impl Hook for Clsact {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn pin_names(&self) -> &'static [&'static str] {
        &[]
    }

    fn adopt(
        &self,
        kernel: &mut Kernel<'_>,
        Target { interface, layer }: Target<'_>,
    ) -> Result<Option<(Way, u32)>, AttachError> {
        let handle = handle(kernel.pins);
        let program = kernel.object.tc(layer)?;
        let Some(filter) = own_filter(interface, handle)? else { return Ok(None) };
        let id = program.attach_to_link(link(interface, &filter)?)?;
        Ok(Some((Way::Clsact, persist(program, id, interface, handle)?)))
    }

    fn attach(&self, kernel: &mut Kernel<'_>, Target { interface, layer }: Target<'_>) -> Result<u32, AttachError> {
        let handle = handle(kernel.pins);
        let program = kernel.object.tc(layer)?;
        match qdisc_add_clsact(&interface.name) {
            Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
            result => result.map_err(AttachError::Clsact)?,
        }
        let options = NlOptions { priority: FIRST, handle: handle.into(), classid: None };
        let options = TcAttachOptions::Netlink(options);
        let id = program.attach_with_options(&interface.name, TcAttachType::Ingress, options)?;
        persist(program, id, interface, handle)
    }

    fn prepare_overtaking(&self, kernel: &mut Kernel<'_>, target: Target<'_>) -> Result<(), AttachError> {
        // Among filters of one priority the newest comes first, so our filter must be attached anew.
        self.detach(target.interface, kernel.pins).map(drop)
    }

    fn detach(&self, interface: &Interface, pins: &Pins) -> Result<bool, AttachError> {
        // The queueing discipline stays, since others may use it.
        let Some(filter) = own_filter(interface, handle(pins))? else { return Ok(false) };
        link(interface, &filter)?.detach()?;
        Ok(true)
    }

    fn is_first(&self, interface: &Interface, program: u32, pins: &Pins) -> Result<(), NotFirst> {
        let handle = handle(pins);
        let filters = filters(interface)?;
        let is_ours = |filter: &Filter| filter.handle == handle && filter.program.is_none_or(|id| id == program);
        match filters.first() {
            Some(filter) if is_ours(filter) => Ok(()),
            Some(Filter { priority, name, .. }) if filters.iter().any(is_ours) => {
                Err(NotFirst::Overtaken(Rival::Filter { priority: *priority, name: name.clone() }))
            }
            _ => Err(NotFirst::Detached),
        }
    }
}

/// The handle of our filters, which can't be pinned. Each directory of pins has another handle, so that each agent
/// finds its own filters.
fn handle(pins: &Pins) -> u32 {
    let digest = Sha256::digest(pins.directory().as_os_str().as_encoded_bytes());
    digest.iter().take(4).fold(0, |handle, byte| handle << 8 | u32::from(*byte)) >> 1 | 1
}

/// The filters on incoming packets, in the order in which they see packets.
fn filters(interface: &Interface) -> Result<Vec<Filter>, QueryError> {
    netlink::ingress_filters(interface.index).map_err(QueryError::Netlink)
}

fn own_filter(interface: &Interface, handle: u32) -> Result<Option<Filter>, QueryError> {
    Ok(filters(interface)?.into_iter().find(|filter| filter.handle == handle))
}

fn link(interface: &Interface, filter: &Filter) -> Result<SchedClassifierLink, AttachError> {
    SchedClassifierLink::attached(&interface.name, TcAttachType::Ingress, filter.priority, filter.handle.into(), None)
        .map_err(|error| ProgramError::IOError(error).into())
}

/// Leaves the filter in place when this process ends. Returns the program's id, if it comes first.
fn persist(
    program: &mut SchedClassifier,
    id: SchedClassifierLinkId,
    interface: &Interface,
    handle: u32,
) -> Result<u32, AttachError> {
    // Dropping the link would remove the filter.
    std::mem::forget(program.take_link(id)?);
    match filters(interface)?.first() {
        Some(filter) if filter.handle == handle => id_of(program.info()),
        _ => Err(AttachError::NotListedFirst("filter")),
    }
}
