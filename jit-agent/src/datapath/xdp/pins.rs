//! What outlives the agent: maps and links pinned on a BPF file system.
//!
//! `maps/NAME` for each map, `link-INDEX` (XDP) or `tcx-INDEX` for each covered interface (names may hold a dot, which
//! bpffs refuses). New maps are pinned in `maps-new/` until they hold what the store says, so that `maps/` is always one whole set.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use aya::{
    maps::{Array, Map, MapData, MapError, MapInfo},
    programs::links::FdLink,
};
use jit_common::abi::{ABI_VERSION, Mode, Settings, map};
use jit_policy::BootTime;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{
    netlink,
    object::{Shape, shape},
    ways,
};
use crate::datapath::DatapathError;

/// `f_type` of a BPF file system, see statfs(2).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// How a TCX link is called until it takes the place of another one.
const NEW_TCX: &str = "new-tcx";

/// The directory of our pins.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    /// Keeps other daemons away from the directory as long as it is open.
    _lock: Option<File>,
}

impl Pins {
    /// Makes the directory, for our eyes only.
    pub(super) fn prepare(directory: &Path) -> Result<Self, DatapathError> {
        let made = fs::DirBuilder::new().mode(0o700).create(directory);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(problem(directory, format!("can't be made: {error}; is its parent a mounted bpffs?")));
            }
            _ => {}
        }
        let file_system =
            rustix::fs::statfs(directory).map_err(|error| problem(directory, format!("can't be examined: {error}")))?;
        if file_system.f_type as u64 != BPF_FS_MAGIC {
            // Only what was just made is taken back; anything else there is not ours.
            if made.is_ok() {
                drop(fs::remove_dir(directory));
            }
            return Err(problem(
                directory,
                "is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, or set bpffs_dir to a \
                 directory on one"
                    .to_owned(),
            ));
        }
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
            .map_err(|error| problem(directory, format!("can't be closed to others: {error}")))?;
        Ok(Self { directory: directory.to_owned(), _lock: Some(lock(directory)?) })
    }

    /// Whether the directory is still there: `unload` removes it, also under a running daemon.
    pub(super) fn exist(&self) -> bool {
        self.directory.exists()
    }

    /// Makes the directory again if someone removed it.
    pub(super) fn restore(&mut self) -> Result<(), DatapathError> {
        if !self.directory.exists() {
            *self = Self::prepare(&self.directory)?;
        }
        Ok(())
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.directory.join("maps")
    }

    fn new_maps(&self) -> PathBuf {
        self.directory.join("maps-new")
    }

    /// Where the XDP link of an interface is pinned.
    pub(super) fn xdp(&self, index: u32) -> PathBuf {
        Self::xdp_in(&self.directory, index)
    }

    /// Where that is with another directory.
    pub(super) fn xdp_in(directory: &Path, index: u32) -> PathBuf {
        directory.join(format!("link-{index}"))
    }

    /// Where the TCX link of an interface is pinned.
    pub(super) fn tcx(&self, index: u32) -> PathBuf {
        self.directory.join(format!("tcx-{index}"))
    }

    /// The handle of our traffic control filters, which can't be pinned: another one for each directory, so that each
    /// agent finds its own.
    pub(super) fn filter_handle(&self) -> u32 {
        let digest = Sha256::digest(self.directory.as_os_str().as_encoded_bytes());
        digest.iter().take(4).fold(0, |handle, byte| handle << 8 | u32::from(*byte)) >> 1 | 1
    }

    /// Pins a TCX link in place of another one, if there is one.
    pub(super) fn replace_tcx(&self, index: u32, link: FdLink) -> Result<(), String> {
        let (new, path) = (self.directory.join(format!("{NEW_TCX}-{index}")), self.tcx(index));
        remove_pin(&new)?;
        link.pin(&new).map_err(|error| format!("the link can't be pinned: {error}"))?;
        fs::rename(&new, &path)
            .map_err(|error| format!("{} can't be renamed to {}: {error}", new.display(), path.display()))
    }

    /// The pinned links, by interface index.
    pub(super) fn links(&self) -> Result<Vec<(u32, PathBuf)>, DatapathError> {
        let entries = fs::read_dir(&self.directory)
            .map_err(|error| problem(&self.directory, format!("can't be read: {error}")))?;
        let links = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let (kind, index) = path.file_name()?.to_str()?.rsplit_once('-')?;
            let index = ["link", "tcx", NEW_TCX].contains(&kind).then(|| index.parse().ok())??;
            Some((index, path))
        });
        Ok(links.collect())
    }

    /// Whether all maps are pinned and are what this version would make. If not, says why: they will be replaced.
    pub(super) fn check_maps(&self) -> bool {
        if !self.maps().exists() {
            return false;
        }
        match map::PINNED.iter().try_for_each(|name| self.check_map(name)).and_then(|()| self.check_version()) {
            Ok(()) => true,
            Err(reason) => {
                tracing::warn!(
                    directory = %self.maps().display(), reason,
                    "the pinned maps can't be taken over and are replaced; grants are restored from the store"
                );
                false
            }
        }
    }

    fn check_map(&self, name: &str) -> Result<(), String> {
        let path = self.maps().join(name);
        let info = MapInfo::from_pin(&path).map_err(|error| format!("{name} can't be opened as a map: {error}"))?;
        let found = Shape {
            kind: info.map_type().map_err(|error| format!("{name} has an unknown type: {error}"))?,
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
            flags: info.map_flags(),
        };
        let expected = shape(name);
        if found == expected { Ok(()) } else { Err(format!("{name} is {found:?} where {expected:?} is needed")) }
    }

    fn check_version(&self) -> Result<(), String> {
        let settings = pinned_settings(&self.directory).map_err(|error| format!("SETTINGS can't be read: {error}"))?;
        if settings.abi_version == ABI_VERSION {
            Ok(())
        } else {
            Err(format!("the maps have ABI version {} where {ABI_VERSION} is needed", settings.abi_version))
        }
    }

    /// Pins new maps beside those in force.
    pub(super) fn stage<'a>(&self, maps: impl Iterator<Item = (&'a str, &'a Map)>) -> Result<(), DatapathError> {
        let staging = self.new_maps();
        remove_tree(&staging)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&staging)
            .map_err(|error| problem(&staging, format!("can't be made: {error}")))?;
        for (name, map) in maps {
            let path = staging.join(name);
            map.pin(&path).map_err(|error| problem(&path, format!("can't be pinned: {error}")))?;
        }
        Ok(())
    }

    /// Puts the staged maps in the place of those a successor would take over.
    pub(super) fn commit(&self) -> Result<(), DatapathError> {
        remove_tree(&self.maps())?;
        fs::rename(self.new_maps(), self.maps())
            .map_err(|error| problem(&self.new_maps(), format!("can't be renamed to maps: {error}")))
    }
}

fn pinned_settings(directory: &Path) -> Result<Settings, MapError> {
    let map = Map::from_map_data(MapData::from_pin(directory.join("maps").join(map::SETTINGS))?)?;
    Array::<_, Settings>::try_from(map)?.get(&0, 0)
}

/// Whether what a predecessor pinned in `directory` in this boot drops packets at this moment.
#[must_use]
pub fn pinned_enforces(directory: &Path, now: BootTime) -> bool {
    pinned_settings(directory).is_ok_and(|settings| settings.mode(|| now.0) == Mode::Enforce)
}

/// What could not be removed, and what was.
#[derive(Debug)]
pub struct Incomplete {
    /// Gone.
    pub removed: Vec<String>,
    /// One error for each thing that is still there.
    pub errors: Vec<DatapathError>,
}

/// Removes all enforcement whose pins are in `directory`: the interfaces are as if there were no agent. Tells what was
/// removed. Works without configuration, store or daemon; a running daemon notices and reports it.
///
/// # Errors
/// Something could not be removed; the rest is removed all the same.
pub fn unload(directory: &Path) -> Result<Vec<String>, Incomplete> {
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    let pins = Pins { directory: directory.to_owned(), _lock: None };
    let exists = directory.exists();
    if exists {
        match is_on_bpffs(directory) {
            Ok(true) => {}
            Ok(false) => {
                let nothing = "is not on a BPF file system, so no jit-agent has its pins there; nothing was removed";
                return Err(Incomplete { removed, errors: vec![problem(directory, nothing.to_owned())] });
            }
            Err(error) => return Err(Incomplete { removed, errors: vec![error] }),
        }
        unpin_links(&pins, &mut removed, &mut errors);
    }
    // They outlive the directory.
    remove_filters(&pins, &mut removed, &mut errors);
    if exists {
        for tree in [pins.maps(), pins.new_maps()] {
            let existed = tree.exists();
            match remove_tree(&tree) {
                Ok(()) if existed => removed.push(tree.display().to_string()),
                Ok(()) => {}
                Err(error) => errors.push(error),
            }
        }
        if let Err(error) = fs::remove_dir(directory) {
            errors.push(problem(directory, format!("can't be removed: {error}")));
        }
    }
    if errors.is_empty() { Ok(removed) } else { Err(Incomplete { removed, errors }) }
}

fn unpin_links(pins: &Pins, removed: &mut Vec<String>, errors: &mut Vec<DatapathError>) {
    // Links first: a program without its maps' pins is merely unmanageable, but maps without links do nothing.
    match pins.links() {
        Ok(links) => {
            for (_, path) in links {
                match fs::remove_file(&path) {
                    Ok(()) => removed.push(path.display().to_string()),
                    Err(error) => errors.push(problem(&path, format!("can't be removed: {error}"))),
                }
            }
        }
        Err(error) => errors.push(error),
    }
}

/// Removes our filters of traffic control, which no pin tells of.
fn remove_filters(pins: &Pins, removed: &mut Vec<String>, errors: &mut Vec<DatapathError>) {
    let interfaces = match netlink::interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return errors.push(DatapathError::kernel("asking netlink for the interfaces", error)),
    };
    for interface in interfaces {
        match ways::detach_clsact(&interface, pins.filter_handle()) {
            Ok(true) => removed.push(format!("the filter on what comes in over {} (clsact)", interface.name)),
            Ok(false) => {}
            Err(problem) => errors.push(DatapathError::Interface { name: interface.name, problem }),
        }
    }
}

fn is_on_bpffs(directory: &Path) -> Result<bool, DatapathError> {
    match rustix::fs::statfs(directory) {
        Ok(file_system) => Ok(file_system.f_type as u64 == BPF_FS_MAGIC),
        Err(error) => Err(problem(directory, format!("can't be examined: {error}"))),
    }
}

/// Removes a pinned link, and with it the program from the interface.
pub(super) fn remove_pin(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{} can't be removed: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a directory of pins, whatever is in it, if it exists.
fn remove_tree(directory: &Path) -> Result<(), DatapathError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(problem(directory, format!("can't be removed: {error}")))
        }
        _ => Ok(()),
    }
}

/// Holds the directory for one daemon.
fn lock(directory: &Path) -> Result<File, DatapathError> {
    let file = File::open(directory).map_err(|error| problem(directory, format!("can't be opened: {error}")))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(problem(
            directory,
            "belongs to another jit-agent that is running; stop that one first (`systemctl stop jit-agent`), or give \
             this one its own bpffs_dir, state_dir, socket and interfaces"
                .to_owned(),
        )),
        Err(error) => Err(problem(directory, format!("can't be locked: {error}"))),
    }
}

fn problem(path: &Path, problem: String) -> DatapathError {
    DatapathError::Pins { path: path.to_owned(), problem }
}
