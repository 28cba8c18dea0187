//! Removes all enforcement, without a daemon.

use std::{fs, path::Path, sync::Arc};

use super::{
    netlink,
    pins::{Pins, is_on_bpffs, remove_tree},
    ways,
};
use crate::{
    config::trust,
    datapath::error::{DatapathError, PinError, PinProblem},
};

/// The errors of an incomplete unload, and what was removed nevertheless.
#[derive(Debug)]
pub struct Incomplete {
    /// What was removed.
    pub removed: Vec<String>,
    /// One error for each thing that is still there.
    pub errors: Vec<DatapathError>,
}

/// Removes all enforcement whose pins are in `directory`. The interfaces are then as without an agent. Returns what was
/// removed. This works without configuration, store and daemon. A running daemon notices the removal and reports it.
///
/// # Errors
/// Something could not be removed; the rest is removed all the same.
pub fn unload(directory: &Path) -> Result<Vec<String>, Incomplete> {
    // What stands in the directory is removed without following links. So it matters only who could have put something
    // else in the directory's place.
    let done = trust::with_rights_to(directory, || {
        let pins = Pins::unlocked(directory);
        let (mut removed, mut errors) = (Vec::new(), Vec::new());
        remove_all(&pins, &mut removed, &mut errors);
        (removed, errors)
    });
    let (removed, errors) = done.unwrap_or_else(|error| {
        let error = PinError::new(directory, PinProblem::Distrusted(format!("{error:#}")));
        (Vec::new(), vec![error.into()])
    });
    if errors.is_empty() { Ok(removed) } else { Err(Incomplete { removed, errors }) }
}

fn remove_all(pins: &Pins, removed: &mut Vec<String>, errors: &mut Vec<DatapathError>) {
    let directory = pins.directory();
    let exists = directory.exists();
    if exists {
        match is_on_bpffs(directory) {
            Ok(true) => {}
            Ok(false) => return errors.push(PinError::new(directory, PinProblem::NobodysPins).into()),
            Err(error) => return errors.push(error.into()),
        }
        unpin_links(pins, removed, errors);
    }
    // Programs without pins outlive the directory.
    detach_unpinned(pins, removed, errors);
    if !exists {
        return;
    }
    for tree in [pins.maps(), pins.new_maps()] {
        let existed = tree.exists();
        match remove_tree(&tree) {
            Ok(()) if existed => removed.push(tree.display().to_string()),
            Ok(()) => {}
            Err(error) => errors.push(error.into()),
        }
    }
    if let Err(error) = fs::remove_dir(directory) {
        errors.push(PinError::new(directory, PinProblem::file("removed", error)).into());
    }
}

fn unpin_links(pins: &Pins, removed: &mut Vec<String>, errors: &mut Vec<DatapathError>) {
    // Links are removed first: a program without its maps' pins is merely unmanageable, but maps without links do
    // nothing.
    match ways::links(pins) {
        Ok(links) => {
            for (_, path) in links {
                match fs::remove_file(&path) {
                    Ok(()) => removed.push(path.display().to_string()),
                    Err(error) => errors.push(PinError::new(&path, PinProblem::file("removed", error)).into()),
                }
            }
        }
        Err(error) => errors.push(error.into()),
    }
}

/// Detaches the program from the interfaces on which it is attached without a pin.
fn detach_unpinned(pins: &Pins, removed: &mut Vec<String>, errors: &mut Vec<DatapathError>) {
    let interfaces = match netlink::interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return errors.push(DatapathError::kernel("asking netlink for the interfaces", error)),
    };
    for interface in interfaces {
        match ways::detach_unpinned(&interface, pins) {
            Ok(detached) => removed.extend(
                detached.iter().map(|way| format!("the filter on what comes in over {} ({way})", interface.name)),
            ),
            Err(error) => errors.push(DatapathError::Interface { name: interface.name, fault: Arc::new(error) }),
        }
    }
}
