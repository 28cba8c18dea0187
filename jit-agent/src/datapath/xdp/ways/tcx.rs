//! TCX: a link at the head of the programs that see packets first after XDP, from Linux 6.6.

use std::{fs, path::Path};

use aya::programs::{
    LinkOrder, SchedClassifier, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::{SchedClassifierLink, TcAttachOptions},
};
use jit_policy::Way;

use super::{Hook, Kernel, Target, id_of, program_of};
use crate::datapath::{
    error::{PinError, PinProblem, with_causes},
    xdp::{
        error::{AttachError, NotFirst, QueryError, Rival},
        netlink::Interface,
        pins::{Pins, remove_pin},
        query,
    },
};

/// The name of the pins of links.
const PIN: &str = "tcx";
/// The name of the pin of a new link, until this pin takes the place of another one.
const NEW_PIN: &str = "new-tcx";

/// The head of the TCX programs.
pub(super) struct Tcx;

impl Hook for Tcx {
    fn name(&self) -> &'static str {
        "TCX"
    }

    fn pin_names(&self) -> &'static [&'static str] {
        &[PIN, NEW_PIN]
    }

    fn adopt(
        &self,
        kernel: &mut Kernel<'_>,
        Target { interface, layer }: Target<'_>,
    ) -> Result<Option<(Way, u32)>, AttachError> {
        let path = kernel.pins.link(PIN, interface.index);
        // A link that is not at the head can't be moved, only replaced, and only by another program.
        if !path.exists() || !is_first_link(interface, &path)? {
            return Ok(None);
        }
        let program = kernel.object.tc(layer)?;
        let id = id_of(program.info())?;
        match replace_program(&path, program) {
            Ok(()) if order(interface)?.first() == Some(&id) => return Ok(Some((Way::Tcx, id))),
            Ok(()) => {
                tracing::warn!(name = interface.name, "the pinned link is for another interface: attaching anew");
            }
            Err(error) => {
                let problem = with_causes(&error);
                tracing::warn!(name = interface.name, problem, "the pinned link is of no use: attaching anew");
            }
        }
        remove_pin(&path)?;
        Ok(None)
    }

    fn attach(&self, kernel: &mut Kernel<'_>, Target { interface, layer }: Target<'_>) -> Result<u32, AttachError> {
        let program = kernel.object.tc(layer)?;
        let id = id_of(program.info())?;
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options(&interface.name, TcAttachType::Ingress, options)?;
        let link = FdLink::try_from(program.take_link(link)?)?;
        if order(interface)?.first() != Some(&id) {
            return Err(AttachError::NotListedFirst("program"));
        }
        replace_pin(kernel.pins, interface.index, link)?;
        Ok(id)
    }

    fn prepare_overtaking(&self, kernel: &mut Kernel<'_>, target: Target<'_>) -> Result<(), AttachError> {
        // The kernel attaches no program twice, so the next program is a second one with the same text and the same
        // maps. The attached program stays until the next one replaces it.
        Ok(kernel.object.tc(target.layer)?.unload()?)
    }

    fn detach(&self, interface: &Interface, pins: &Pins) -> Result<bool, AttachError> {
        Ok(remove_pin(&pins.link(PIN, interface.index))?)
    }

    fn is_first(&self, interface: &Interface, program: u32, _: &Pins) -> Result<(), NotFirst> {
        let order = order(interface)?;
        match order.first() {
            Some(id) if *id == program => Ok(()),
            Some(id) if order.contains(&program) => Err(NotFirst::Overtaken(Rival::Tcx(*id))),
            _ => Err(NotFirst::Detached),
        }
    }
}

/// Whether a TCX link of ours is pinned for the interface.
pub(crate) fn is_pinned(pins: &Pins, index: u32) -> bool {
    pins.link(PIN, index).exists()
}

/// Whether the kernel has TCX.
pub(crate) fn is_supported(interface: &Interface) -> bool {
    order(interface).is_ok()
}

/// The ids of the TCX programs of an interface, in the order in which they see packets.
fn order(interface: &Interface) -> Result<Vec<u32>, QueryError> {
    query::tcx_programs(interface.index).map_err(QueryError::Tcx)
}

/// Whether the program on a pinned link is the first that sees packets of the interface.
fn is_first_link(interface: &Interface, path: &Path) -> Result<bool, QueryError> {
    let Some(on_link) = program_of(path) else { return Ok(true) };
    Ok(order(interface)?.iter().position(|id| *id == on_link).is_none_or(|position| position == 0))
}

/// Replaces the program on a pinned link by `program`.
fn replace_program(path: &Path, program: &mut SchedClassifier) -> Result<(), AttachError> {
    let link = SchedClassifierLink::try_from(FdLink::from(PinnedLink::from_pin(path)?))?;
    let id = program.attach_to_link(link)?;
    Ok(program.take_link(id).map(drop)?)
}

/// Pins a link. Replaces an earlier pin, if there is one.
fn replace_pin(pins: &Pins, index: u32, link: FdLink) -> Result<(), AttachError> {
    let (new, path) = (pins.link(NEW_PIN, index), pins.link(PIN, index));
    remove_pin(&new)?;
    link.pin(&new).map_err(AttachError::Pin)?;
    let renamed = fs::rename(&new, &path);
    Ok(renamed.map_err(|source| PinError::new(&new, PinProblem::Rename { to: path, source }))?)
}
