//! What outlives the agent: maps and links pinned on a BPF file system.
//!
//! `maps/NAME` for each map, `link-INDEX` (XDP) or `tcx-INDEX` for each covered interface (names may hold a dot, which
//! bpffs refuses). New maps are pinned in `maps-new/` until they hold what the store says, so that `maps/` is always one whole set.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use aya::maps::{Array, Map, MapData, MapError, MapInfo};
use jit_common::abi::{ABI_VERSION, EnforceUntil, Mode, Settings, map};
use jit_policy::BootTime;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{getegid, geteuid},
};

use super::object::{Shape, shape};
use crate::{
    config::trust::{self, Writer},
    datapath::error::{PinError, PinProblem, with_causes},
};

/// `f_type` of a BPF file system, see statfs(2).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The directory of our pins.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    /// Keeps other daemons away from the directory as long as it is open.
    _lock: Option<File>,
}

impl Pins {
    /// Creates the directory, accessible to this user only.
    pub(super) fn prepare(directory: &Path) -> Result<Self, PinError> {
        let fails = |problem| PinError::new(directory, problem);
        let made = fs::DirBuilder::new().mode(0o700).create(directory);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(fails(PinProblem::NoParent(error)));
            }
            _ => {}
        }
        if !is_on_bpffs(directory)? {
            // Only a directory that was just created is removed again; any other one there is not ours.
            if made.is_ok() {
                drop(fs::remove_dir(directory));
            }
            return Err(fails(PinProblem::NotBpffs));
        }
        close_to_others(directory).map_err(fails)?;
        Ok(Self { directory: directory.to_owned(), _lock: Some(lock(directory)?) })
    }

    /// The pins of somebody else's directory, or of our own directory while a daemon runs.
    pub(super) fn unlocked(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), _lock: None }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether the directory is still there: `unload` removes it, also under a running daemon.
    pub(super) fn exist(&self) -> bool {
        self.directory.exists()
    }

    /// Creates the directory again if somebody removed it.
    pub(super) fn restore(&mut self) -> Result<(), PinError> {
        if !self.directory.exists() {
            *self = Self::prepare(&self.directory)?;
        }
        Ok(())
    }

    pub(super) fn maps(&self) -> PathBuf {
        self.directory.join("maps")
    }

    pub(super) fn new_maps(&self) -> PathBuf {
        self.directory.join("maps-new")
    }

    /// The path of the pin of an interface's link. `name` is the word that the link's way has for its pins.
    pub(super) fn link(&self, name: &str, index: u32) -> PathBuf {
        Self::link_in(&self.directory, name, index)
    }

    /// The path of the pin of an interface's link in this directory.
    pub(super) fn link_in(directory: &Path, name: &str, index: u32) -> PathBuf {
        directory.join(format!("{name}-{index}"))
    }

    /// All pins whose names are a word and a number, whatever is pinned there.
    pub(super) fn numbered(&self) -> Result<Vec<(String, u32, PathBuf)>, PinError> {
        let entries = fs::read_dir(&self.directory)
            .map_err(|error| PinError::new(&self.directory, PinProblem::file("read", error)))?;
        let pins = entries.filter_map(|entry| {
            let path = entry.ok()?.path();
            let (name, index) = path.file_name()?.to_str()?.rsplit_once('-')?;
            Some((name.to_owned(), index.parse().ok()?, path))
        });
        Ok(pins.collect())
    }

    /// Whether all maps are pinned and are what this version would make. If not, logs why: the maps will be replaced.
    pub(super) fn check_maps(&self) -> bool {
        if !self.maps().exists() {
            return false;
        }
        match map::PINNED.iter().try_for_each(|name| self.check_map(name)).and_then(|()| self.check_version()) {
            Ok(()) => true,
            Err(reason) => {
                tracing::warn!(
                    directory = %self.maps().display(), reason = with_causes(&reason),
                    "the pinned maps can't be taken over and are replaced; grants are restored from the store"
                );
                false
            }
        }
    }

    fn check_map(&self, name: &'static str) -> Result<(), UnusableMap> {
        let info =
            MapInfo::from_pin(self.maps().join(name)).map_err(|source| UnusableMap::Unreadable { name, source })?;
        let found = Shape {
            kind: info.map_type().map_err(|source| UnusableMap::UnknownType { name, source })?,
            key_size: info.key_size(),
            value_size: info.value_size(),
            max_entries: info.max_entries(),
            flags: info.map_flags(),
        };
        let expected = shape(name);
        if found == expected { Ok(()) } else { Err(UnusableMap::Shape { name, found, expected }) }
    }

    fn check_version(&self) -> Result<(), UnusableMap> {
        match pinned_settings(&self.directory).map_err(UnusableMap::Settings)?.abi_version {
            ABI_VERSION => Ok(()),
            found => Err(UnusableMap::Version(found)),
        }
    }

    /// Pins new maps beside those in force.
    pub(super) fn stage<'a>(&self, maps: impl Iterator<Item = (&'a str, &'a Map)>) -> Result<(), PinError> {
        let staging = self.new_maps();
        remove_tree(&staging)?;
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&staging)
            .map_err(|error| PinError::new(&staging, PinProblem::file("made", error)))?;
        for (name, map) in maps {
            let path = staging.join(name);
            map.pin(&path).map_err(|error| PinError::new(&path, PinProblem::Pin(error)))?;
        }
        Ok(())
    }

    /// Moves the staged maps to where a successor would adopt maps.
    pub(super) fn commit(&self) -> Result<(), PinError> {
        remove_tree(&self.maps())?;
        fs::rename(self.new_maps(), self.maps())
            .map_err(|source| PinError::new(&self.new_maps(), PinProblem::Rename { to: "maps".into(), source }))
    }
}

/// Why the pinned maps can't be adopted.
#[derive(Debug, thiserror::Error)]
enum UnusableMap {
    #[error("{name} can't be opened as a map")]
    Unreadable {
        name: &'static str,
        #[source]
        source: MapError,
    },
    #[error("{name} has an unknown type")]
    UnknownType {
        name: &'static str,
        #[source]
        source: MapError,
    },
    #[error("{name} is {found:?} where {expected:?} is needed")]
    Shape { name: &'static str, found: Shape, expected: Shape },
    #[error("SETTINGS can't be read")]
    Settings(#[source] MapError),
    #[error("the maps have ABI version {0} where {ABI_VERSION} is needed")]
    Version(u32),
}

fn pinned_settings(directory: &Path) -> Result<Settings, MapError> {
    let map = Map::from_map_data(MapData::from_pin(directory.join("maps").join(map::SETTINGS))?)?;
    Array::<_, Settings>::try_from(map)?.get(&0, 0)
}

/// Until when the program enforces that a predecessor pinned in `directory` in this boot, of whatever version; `None`:
/// that can't be read.
pub(super) fn pinned_enforce_until(directory: &Path) -> Option<EnforceUntil> {
    pinned_settings(directory).ok().map(|settings| enforce_until(&settings))
}

/// The meaning of settings that an agent of any version wrote.
const fn enforce_until(settings: &Settings) -> EnforceUntil {
    /// The last version that had the mode in two flags, and in the word only the end of a trial.
    const FLAGS: u32 = 2;
    const OBSERVE: u32 = 1;
    const TRIAL: u32 = 1 << 4;
    match settings.abi_version {
        FLAGS if settings.has(OBSERVE) => EnforceUntil::OBSERVE,
        FLAGS if !settings.has(TRIAL) => EnforceUntil::ENFORCE,
        _ => settings.enforce_until,
    }
}

/// Whether the enforcement that a predecessor pinned in `directory` in this boot drops packets at this moment.
#[must_use]
pub fn pinned_enforces(directory: &Path, now: BootTime) -> bool {
    pinned_enforce_until(directory).is_some_and(|until| until.mode(|| now.0) == Mode::Enforce)
}

/// Whether the directory is on a BPF file system.
pub(super) fn is_on_bpffs(directory: &Path) -> Result<bool, PinError> {
    match rustix::fs::statfs(directory) {
        Ok(file_system) => Ok(file_system.f_type as u64 == BPF_FS_MAGIC),
        Err(error) => Err(PinError::new(directory, PinProblem::file("examined", error))),
    }
}

/// Removes a pinned link, and with it the program from the interface. Returns whether there was such a pin.
pub(super) fn remove_pin(path: &Path) -> Result<bool, PinError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(PinError::new(path, PinProblem::file("removed", error))),
    }
}

/// Removes a directory of pins, whatever is in it, if it exists.
pub(super) fn remove_tree(directory: &Path) -> Result<(), PinError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PinError::new(directory, PinProblem::file("removed", error)))
        }
        _ => Ok(()),
    }
}

/// Makes the directory this user's alone. Whoever made it before could remove the pins, and open the ports. If somebody
/// else could put another directory in its place, it stays as it is, and is a fault.
fn close_to_others(directory: &Path) -> Result<(), PinProblem> {
    let closing = |error| PinProblem::file("closed to others", error);
    let found = trust::find(directory, trust::own()).map_err(closing)?;
    if found.doubt_on_the_way().is_some() {
        return Ok(());
    }
    let open = File::from(found.as_directory().map_err(closing)?);
    if let Some(doubt) = found.doubt() {
        tracing::warn!(%doubt, "the directory of the pins is closed to others now");
        if matches!(doubt.writer(), Writer::User { .. }) {
            let (user, group) = (Some(geteuid().as_raw()), Some(getegid().as_raw()));
            fchown(&open, user, group).map_err(|_| PinProblem::Distrusted(doubt.to_string()))?;
        }
    }
    open.set_permissions(fs::Permissions::from_mode(0o700)).map_err(closing)
}

/// Locks the directory for one daemon.
fn lock(directory: &Path) -> Result<File, PinError> {
    let fails = |problem| PinError::new(directory, problem);
    let file = File::open(directory).map_err(|error| fails(PinProblem::file("opened", error)))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(fails(PinProblem::InUse)),
        Err(error) => Err(fails(PinProblem::file("locked", error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_an_earlier_version_mean_what_they_meant() {
        let of = |abi_version, flags, word| {
            enforce_until(&Settings { abi_version, flags, enforce_until: EnforceUntil(word), ..Settings::STRICT })
        };
        // Observes; enforces; on trial until a moment; observes, with the flag of a trial left over.
        let cases = [(0b00001, 0, 0), (0b00110, 0, u64::MAX), (0b10000, 100, 100), (0b10001, 100, 0)];
        for (flags, word, meant) in cases {
            assert_eq!(of(2, flags, word), EnforceUntil(meant), "{flags:05b}");
        }
        for word in [0, 100, u64::MAX] {
            assert_eq!(of(ABI_VERSION, 0b11111, word), EnforceUntil(word));
        }
    }
}
