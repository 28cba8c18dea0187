//! The configuration files: the main file and the files of `conf.d` beside it. They are read together. Checksums show
//! later whether a file was edited.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::{Path, PathBuf},
};

use jit_policy::PortPolicies;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(crate) use super::salvage::named_places;
pub use super::salvage::{salvage, salvage_places};
use super::{
    Config, ConfigError, accepted,
    trust::{self, Doubt},
};

/// The directory beside the main file.
pub(super) const DIRECTORY: &str = "conf.d";
/// The keys whose lists are joined from all files. All other keys can be set in one file only.
pub(super) const APPENDED: [&str; 3] = ["port", "roles", "people"];

/// A file and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub path: PathBuf,
    /// The file's text.
    pub text: String,
}

/// The result of reading the files.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration of all files together.
    pub config: Config,
    /// The files and their checksums.
    pub origin: Origin,
    /// The keys that no file has.
    pub absent: BTreeSet<String>,
    /// Those of the absent keys that keep the default of an earlier version.
    pub former_defaults: BTreeSet<String>,
}

/// The files that a configuration was read from, and their checksums. The main file is the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin(Vec<(PathBuf, String)>);

/// The reason why the files can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Someone edited this file since it was loaded.
    #[error("{path} was edited since it was loaded; run `jitctl reload` first", path = .0.display())]
    Edited(PathBuf),
    /// The files can't be read any more.
    #[error(transparent)]
    Read(#[from] ConfigError),
    /// A file can't be replaced.
    #[error("{path} can't be changed: {source}; nothing was changed{remedy}", path = path.display(), remedy = remedy(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            " (the file system is read-only for the agent: see ReadWritePaths= of its unit, or edit the file by hand \
             and run `jitctl reload`)"
        }
        io::ErrorKind::PermissionDenied => {
            " (the agent may not write there: edit the file by hand and run `jitctl reload`)"
        }
        _ => "",
    }
}

/// Reads and checks the main file and the files `conf.d/*.toml` beside it, in order of their names.
///
/// # Errors
/// A file can't be read, somebody else could change it, a file is not a configuration, or the files contradict each
/// other. The error names the file.
pub fn load(main: &Path) -> Result<Loaded, ConfigError> {
    load_for(main, trust::own())
}

/// Like [`load`], for an agent that runs as this user.
///
/// # Errors
/// The same as for [`load`].
pub fn load_for(main: &Path, user: u32) -> Result<Loaded, ConfigError> {
    parse(&read(main, user)?)
}

/// Checks texts in the same way as [`load`], but does not read files.
///
/// # Errors
/// A text is not a configuration, or the texts contradict each other. The error names the file.
pub fn parse(parts: &[Part]) -> Result<Loaded, ConfigError> {
    let origin = Origin(parts.iter().map(|part| (part.path.clone(), hash(&part.text))).collect());
    let mut table = toml::Table::new();
    let mut setters: Vec<(String, &Part)> = Vec::new();
    for part in parts {
        Config::parse(&part.text, &part.name())?;
        for (key, value) in part.table()? {
            if APPENDED.contains(&key.as_str()) {
                append(&mut table, key, value);
                continue;
            }
            if let Some((_, first)) = setters.iter().find(|(known, _)| *known == key) {
                return Err(ConfigError::Twice { key, first: first.name(), second: part.name() });
            }
            setters.push((key.clone(), part));
            table.insert(key, value);
        }
    }
    let names: Vec<String> = parts.iter().map(Part::name).collect();
    let parsed = |table: &toml::Table| Config::parse(&table.to_string(), &names.join(", "));
    let config = parsed(&table)?;
    let absent = accepted::absent(&table, &config);
    // A record that can't be read is a fault of the start. It has no defaults to keep.
    let Ok(Some(accepted)) = accepted::recall(&config.places.state) else {
        return Ok(Loaded { config, origin, absent, former_defaults: BTreeSet::new() });
    };
    accepted::keep_defaults(&mut table, &accepted);
    let kept = parsed(&table)?;
    let former_defaults = accepted::differing(&kept, &config).intersection(&absent).cloned().collect();
    Ok(Loaded { config: kept, origin, absent, former_defaults })
}

/// Adds a list to the present list of the same key. In a table, each list is added to the list of its key.
pub(super) fn append(table: &mut toml::Table, key: String, value: toml::Value) {
    match (table.get_mut(&key), value) {
        (Some(toml::Value::Array(known)), toml::Value::Array(more)) => known.extend(more),
        (Some(toml::Value::Table(known)), toml::Value::Table(more)) => {
            more.into_iter().for_each(|(key, value)| append(known, key, value));
        }
        (_, value) => drop(table.insert(key, value)),
    }
}

/// Reads the files for an agent that runs as this user.
fn read(main: &Path, user: u32) -> Result<Vec<Part>, ConfigError> {
    let part = |path: PathBuf| match trust::read(&path, user).map(|(content, doubt)| (trust::text(content), doubt)) {
        Ok((_, Some(doubt))) => Err(ConfigError::Distrusted(doubt)),
        Ok((Ok(text), None)) => Ok(Part { path, text }),
        Ok((Err(error), None)) | Err(error) => Err(ConfigError::Read { path, error }),
    };
    let parts = paths(main)?.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
    // Who may change the directory may also remove a file from it.
    let directory = trust::find(&main.with_file_name(DIRECTORY), user);
    match directory.ok().and_then(|found| found.doubt().cloned()) {
        Some(doubt) => Err(ConfigError::Distrusted(doubt)),
        None => Ok(parts),
    }
}

/// The main file and the files of `conf.d`, in the order in which they are read.
fn paths(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let directory = main.with_file_name(DIRECTORY);
    let unreadable = |error| ConfigError::Read { path: directory.clone(), error };
    let mut paths = match fs::read_dir(&directory) {
        Ok(entries) => {
            entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, io::Error>>().map_err(unreadable)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unreadable(error)),
    };
    // Editors and package managers leave other files in the directory. Their names begin with a dot or have another
    // ending.
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml") && !is_hidden(path));
    paths.sort();
    Ok(std::iter::once(main.to_owned()).chain(paths).collect())
}

/// Why the files can't be trusted: somebody who is neither root nor the user of this process could change them.
#[must_use]
pub(crate) fn doubt(main: &Path) -> Option<Doubt> {
    let files = paths(main).unwrap_or_else(|_| vec![main.to_owned()]);
    let places = files.into_iter().chain([main.with_file_name(DIRECTORY)]);
    places.filter_map(|path| trust::find(&path, trust::own()).ok()?.doubt().cloned()).next()
}

pub(super) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

impl Part {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn table(&self) -> Result<toml::Table, ConfigError> {
        toml::from_str(&self.text).map_err(|error| ConfigError::Syntax { origin: self.name(), error: Box::new(error) })
    }
}

impl Origin {
    /// The checksums of the files, in their order.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, hash)| hash.as_str())
    }

    /// The files' texts, if the files did not change since they were loaded.
    ///
    /// # Errors
    /// A file was edited, added or removed since, or can't be read.
    pub fn unchanged(&self) -> Result<Vec<Part>, ChangeError> {
        let Some((main, _)) = self.0.first() else { return Ok(Vec::new()) };
        let parts = read(main, trust::own())?;
        let removed = self.0.iter().find(|(path, _)| !parts.iter().any(|part| part.path == *path));
        if let Some((path, _)) = removed {
            return Err(ChangeError::Edited(path.clone()));
        }
        for part in &parts {
            if !self.0.iter().any(|(path, known)| *path == part.path && *known == hash(&part.text)) {
                return Err(ChangeError::Edited(part.path.clone()));
            }
        }
        Ok(parts)
    }
}

/// Replaces a file's text atomically: a reader finds the old text or the new text, also after a loss of power. The file
/// keeps its owner and mode. A symbolic link stays, and the file that the link points to is replaced.
///
/// # Errors
/// The file can't be replaced; or it was replaced, but the directory can't be synced. In the second case only a loss of
/// power could bring back the old text.
pub fn replace(path: &Path, text: &str) -> Result<(), ChangeError> {
    #[cfg(test)]
    crate::crash::step();
    replace_atomically(path, text).map_err(|source| ChangeError::Write { path: path.to_owned(), source })
}

fn replace_atomically(path: &Path, text: &str) -> io::Result<()> {
    let target = fs::canonicalize(path)?;
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let old = fs::metadata(&target)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let new = directory.join(hidden);
    // A killed predecessor may have left a file of this name.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
        file.set_permissions(old.permissions())?;
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
        // A change of the owner clears some mode bits (set-user-ID and set-group-ID, chown(2)).
        file.set_permissions(old.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &target)?;
        fs::File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        drop(fs::remove_file(&new));
    }
    written
}

pub(super) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The version of these port policies and files. It changes when the policies or the files change.
#[must_use]
pub fn version(ports: &PortPolicies, origin: Option<&Origin>) -> String {
    let mut text: String = ports.iter().map(|policy| format!("{policy:?}\n")).collect();
    for hash in origin.into_iter().flat_map(Origin::hashes) {
        text.push_str(hash);
    }
    let mut version = hash(&text);
    version.truncate(32);
    version
}

#[cfg(test)]
mod tests;
