//! XDP: in the driver, or after it.

use std::path::Path;

use aya::programs::{
    self,
    links::{FdLink, PinnedLink},
    xdp::{XdpLink, XdpLinkId},
};
use jit_policy::Way;

use super::{Hook, Kernel, Target, id_of, program_of};
use crate::datapath::{
    error::with_causes,
    xdp::{
        error::{AttachError, NotFirst, QueryError, Rival},
        netlink::{self, Interface, XdpMode, XdpProgram},
        pins::{Pins, remove_pin},
    },
};

/// The name of the pins of links.
const PIN: &str = "link";

/// XDP in the driver.
pub(super) const NATIVE: Xdp = Xdp(programs::XdpMode::Driver);
/// XDP after the driver.
pub(super) const GENERIC: Xdp = Xdp(programs::XdpMode::Skb);

/// XDP in a mode. An adopted link keeps its own mode.
pub(super) struct Xdp(programs::XdpMode);

impl Hook for Xdp {
    fn name(&self) -> &'static str {
        if self.0 == NATIVE.0 { "native XDP" } else { "generic XDP" }
    }

    fn pin_names(&self) -> &'static [&'static str] {
        &[PIN]
    }

    fn adopt(
        &self,
        kernel: &mut Kernel<'_>,
        Target { interface, layer }: Target<'_>,
    ) -> Result<Option<(Way, u32)>, AttachError> {
        let path = kernel.pins.link(PIN, interface.index);
        if !path.exists() {
            return Ok(None);
        }
        let replaced = replace_program(&path, kernel.object.xdp(layer)?);
        let id = id_of(kernel.object.xdp(layer)?.info())?;
        let problem = match (replaced, program_on(interface.index)?) {
            (Ok(()), Some(found)) if found.id == id => {
                let way = if found.mode == XdpMode::Generic { Way::Generic } else { Way::Native };
                return Ok(Some((way, id)));
            }
            (Ok(()), _) => "it is for another interface".to_owned(),
            (Err(error), _) => with_causes(&error),
        };
        tracing::warn!(name = interface.name, problem, "the pinned link is of no use: attaching anew");
        remove_pin(&path)?;
        Ok(None)
    }

    fn attach(&self, kernel: &mut Kernel<'_>, Target { interface, layer }: Target<'_>) -> Result<u32, AttachError> {
        let program = kernel.object.xdp(layer)?;
        let id = program.attach_to_if_index(interface.index, self.0)?;
        let path = kernel.pins.link(PIN, interface.index);
        take_link(program, id)?.pin(&path).map_err(AttachError::Pin)?;
        let id = id_of(kernel.object.xdp(layer)?.info())?;
        if program_on(interface.index)?.is_some_and(|found| found.id == id) {
            return Ok(id);
        }
        remove_pin(&path)?;
        Err(AttachError::NotListed)
    }

    fn prepare_overtaking(&self, _: &mut Kernel<'_>, _: Target<'_>) -> Result<(), AttachError> {
        // Nothing sees packets before this hook, and the hook takes only one program.
        Ok(())
    }

    fn detach(&self, interface: &Interface, pins: &Pins) -> Result<bool, AttachError> {
        Ok(remove_pin(&pins.link(PIN, interface.index))?)
    }

    fn is_first(&self, interface: &Interface, program: u32, _: &Pins) -> Result<(), NotFirst> {
        match interface.xdp {
            Some(found) if found.id == program => Ok(()),
            Some(found) => Err(NotFirst::Replaced(Rival::Xdp(found))),
            None => Err(NotFirst::Detached),
        }
    }
}

/// The XDP program on an interface now, whoever attached it.
pub(crate) fn program_on(index: u32) -> Result<Option<XdpProgram>, AttachError> {
    let all = netlink::interfaces().map_err(QueryError::Netlink)?;
    let found = all.into_iter().find(|interface| interface.index == index);
    Ok(found.ok_or(AttachError::InterfaceGone)?.xdp)
}

/// The id of the program on an interface's link that is pinned in this directory.
pub(crate) fn pinned_program(directory: &Path, index: u32) -> Option<u32> {
    program_of(&Pins::link_in(directory, PIN, index))
}

/// Replaces the program on a pinned link by `program`.
fn replace_program(path: &Path, program: &mut programs::Xdp) -> Result<(), AttachError> {
    let link = XdpLink::try_from(FdLink::from(PinnedLink::from_pin(path)?))?;
    let id = program.attach_to_link(link)?;
    // Dropping our reference leaves the pinned one.
    take_link(program, id).map(drop)
}

/// The link in a form that can be pinned. On old kernels, aya falls back to an attachment without such a link.
fn take_link(program: &mut programs::Xdp, id: XdpLinkId) -> Result<FdLink, AttachError> {
    let link = program.take_link(id)?;
    FdLink::try_from(link).map_err(|_| AttachError::NoXdpLinks)
}
