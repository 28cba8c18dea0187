//! Whether our program is on an interface, and sees packets first, by the kernel's word.

use super::{
    climb::Attached,
    netlink::{self, Interface},
    ways::{self, Way},
};

/// What keeps an interface from being covered as it was.
pub(super) enum Lack {
    /// The program is not there.
    Gone(String),
    /// Somebody sees packets before it.
    Overtaken(String),
    /// The kernel does not tell.
    Unknown(String),
}

/// Whether our program is on the interface, and sees packets first.
pub(super) fn verify(interface: &Interface, attached: &Attached, handle: u32) -> Result<(), Lack> {
    let gone = || Lack::Gone("somebody took the program off; it is attached again within seconds".to_owned());
    match attached.way {
        Way::Native | Way::Generic => match interface.program {
            Some((id, _)) if id == attached.program => Ok(()),
            Some((id, mode)) => Err(Lack::Gone(format!("XDP program {id} ({mode}) of somebody else is in its place"))),
            None => Err(gone()),
        },
        Way::Tcx => {
            let order = ways::tcx_order(interface).map_err(Lack::Unknown)?;
            match order.first() {
                Some(id) if *id == attached.program => Ok(()),
                Some(id) if order.contains(&attached.program) => {
                    Err(Lack::Overtaken(format!("TCX program {id} of somebody else sees packets first")))
                }
                _ => Err(gone()),
            }
        }
        Way::Clsact => {
            let filters = ways::filters(interface).map_err(Lack::Unknown)?;
            let is_ours = |filter: &&netlink::Filter| {
                filter.handle == handle && filter.program.is_none_or(|id| id == attached.program)
            };
            match filters.first() {
                Some(filter) if is_ours(&filter) => Ok(()),
                Some(filter) if filters.iter().any(|filter| is_ours(&filter)) => Err(Lack::Overtaken(format!(
                    "a filter of somebody else (priority {}, {}) sees packets first",
                    filter.priority,
                    if filter.name.is_empty() { "no BPF" } else { &filter.name }
                ))),
                _ => Err(gone()),
            }
        }
    }
}
