//! Which interfaces the program is on.

use std::{collections::HashMap, io};

use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::{XdpLink, XdpLinkId},
};

use super::{
    netlink::{self, Interface},
    pins::Pins,
    scope::LocalInterfaces,
    settings::KernelSettings,
};
use crate::{
    core::view::InterfaceView,
    datapath::{DatapathError, with_causes},
};

/// What is wrong, and what to do.
pub(super) const NO_SUCH_INTERFACE: &str = "there is no such interface; correct `interfaces`, or create it";

/// The configured interfaces, and what became of each.
#[derive(Debug, Default)]
pub(super) struct Attachments {
    program_id: u32,
    /// By name: why the program is not there, if it is not.
    faults: Vec<(String, Option<String>)>,
}

impl Attachments {
    /// Puts `program` on exactly these interfaces. A link that a predecessor pinned gets the program in place of its
    /// own, so that there is no moment without one.
    pub(super) fn cover(
        &mut self,
        names: &[String],
        program: &mut Xdp,
        pins: &Pins,
        local: &mut LocalInterfaces,
        settings: &KernelSettings,
    ) -> Vec<DatapathError> {
        let (interfaces, program_id, pinned) = match look_around(program, pins) {
            Ok(found) => found,
            Err(error) => {
                self.faults = names.iter().map(|name| (name.clone(), Some(error.to_string()))).collect();
                return vec![error];
            }
        };
        self.program_id = program_id;
        let mut errors = Vec::new();
        self.faults.clear();
        // Before the program is there: on an interface that forwards, it must not drop what is for others.
        local.set_covered(interfaces.iter().filter(|interface| names.contains(&interface.name)));
        errors.extend(local.refresh(settings).err());
        for name in names {
            let result = match interfaces.iter().find(|interface| interface.name == *name) {
                Some(interface) => cover_one(interface, program, program_id, pins),
                None => Err(NO_SUCH_INTERFACE.to_owned()),
            };
            if let Err(problem) = &result {
                errors.push(DatapathError::Interface { name: name.clone(), problem: problem.clone() });
            }
            self.faults.push((name.clone(), result.err()));
        }
        let wanted =
            |index| interfaces.iter().any(|interface| interface.index == index && names.contains(&interface.name));
        for (index, path) in pinned {
            if wanted(index) {
                continue;
            }
            tracing::info!(index, "interface is no longer configured: detaching");
            if let Err(error) = std::fs::remove_file(&path) {
                errors.push(DatapathError::Pins { path, problem: format!("can't be removed: {error}") });
            }
        }
        errors
    }

    /// Whether the program got onto none of the interfaces.
    pub(super) fn cover_nothing(&self) -> bool {
        self.faults.iter().all(|(_, fault)| fault.is_some())
    }

    /// How each configured interface is attached now, by the kernel's word.
    pub(super) fn view(&self) -> Vec<InterfaceView> {
        let interfaces = netlink::interfaces();
        let view = |(name, fault): &(String, Option<String>)| {
            let mut view = InterfaceView { name: name.clone(), index: None, attached: None, fault: fault.clone() };
            match &interfaces {
                Ok(interfaces) => {
                    let found = interfaces.iter().find(|interface| interface.name == *name);
                    view.index = found.map(|interface| interface.index);
                    view.attached = match found.and_then(|interface| interface.program) {
                        Some((id, mode)) if id == self.program_id => Some(mode),
                        _ => None,
                    };
                    if view.attached.is_none() && view.fault.is_none() {
                        view.fault = Some(match found {
                            Some(_) => {
                                "the program is no longer attached; restart jit-agent to attach it again".to_owned()
                            }
                            None => "the interface is gone".to_owned(),
                        });
                    }
                }
                Err(error) => view.fault = Some(format!("netlink does not answer: {error}")),
            }
            view
        };
        self.faults.iter().map(view).collect()
    }
}

type Surroundings = (Vec<Interface>, u32, HashMap<u32, std::path::PathBuf>);

fn look_around(program: &Xdp, pins: &Pins) -> Result<Surroundings, DatapathError> {
    let interfaces =
        netlink::interfaces().map_err(|error| DatapathError::kernel("asking netlink for the interfaces", error))?;
    let info = program.info().map_err(|error| DatapathError::kernel("asking for the program's id", error))?;
    Ok((interfaces, info.id(), pins.links()?.into_iter().collect()))
}

fn cover_one(interface: &Interface, program: &mut Xdp, program_id: u32, pins: &Pins) -> Result<(), String> {
    let path = pins.link(interface.index);
    if path.exists() {
        match update_link(&path, program) {
            Ok(()) if is_on(interface.index, program_id)? => return Ok(()),
            Ok(()) => tracing::warn!(name = interface.name, "the pinned link is for another interface: attaching anew"),
            Err(reason) => {
                tracing::warn!(name = interface.name, reason, "the pinned link is of no use: attaching anew");
            }
        }
        std::fs::remove_file(&path).map_err(|error| format!("{} can't be removed: {error}", path.display()))?;
    } else if let Some((id, mode)) = interface.program {
        return Err(format!(
            "another XDP program (id {id}, {mode}) is attached; detach it with `ip link set dev {} xdp off`, or see \
             `bpftool prog show id {id}` for whose it is",
            interface.name
        ));
    }
    attach(interface, program)?.pin(&path).map_err(|error| format!("the link can't be pinned: {error}"))?;
    if is_on(interface.index, program_id)? { Ok(()) } else { Err("the kernel does not list the program".to_owned()) }
}

fn update_link(path: &std::path::Path, program: &mut Xdp) -> Result<(), String> {
    let pinned = PinnedLink::from_pin(path).map_err(|error| with_causes(&error))?;
    let link = XdpLink::try_from(FdLink::from(pinned)).map_err(|error| with_causes(&error))?;
    let id = program.attach_to_link(link).map_err(|error| with_causes(&error))?;
    // Dropping our reference leaves the pinned one.
    take(program, id).map(drop)
}

fn attach(interface: &Interface, program: &mut Xdp) -> Result<FdLink, String> {
    let id = match program.attach_to_if_index(interface.index, XdpMode::Driver) {
        Err(error) if is_unsupported(&error) => {
            tracing::warn!(
                name = interface.name,
                "the driver has no native XDP: attaching in generic mode, which is slower"
            );
            program.attach_to_if_index(interface.index, XdpMode::Skb)
        }
        result => result,
    };
    take(program, id.map_err(|error| format!("the kernel refuses the program: {}", with_causes(&error)))?)
}

/// The link as one that can be pinned. aya falls back to an attachment without such a link on old kernels.
fn take(program: &mut Xdp, id: XdpLinkId) -> Result<FdLink, String> {
    let link = program.take_link(id).map_err(|error| with_causes(&error))?;
    FdLink::try_from(link).map_err(|_| "the kernel has no BPF links for XDP; Linux 5.9 or later is needed".to_owned())
}

fn is_unsupported(error: &aya::programs::ProgramError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<io::Error>() {
            return error.raw_os_error() == Some(libc::EOPNOTSUPP);
        }
        cause = current.source();
    }
    false
}

fn is_on(index: u32, program_id: u32) -> Result<bool, String> {
    let interfaces = netlink::interfaces().map_err(|error| format!("netlink does not answer: {error}"))?;
    Ok(interfaces
        .iter()
        .any(|interface| interface.index == index && interface.program.is_some_and(|(id, _)| id == program_id)))
}
