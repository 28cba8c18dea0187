//! The configuration files: the main file and the files of `conf.d` beside it. They are read together. Checksums show
//! later whether a file was edited.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use jit_common::abi::Mode;
use jit_policy::{PortId, PortPolicies, Protocol};
use serde::{Deserialize, Serialize};

use super::{
    Config, ConfigError,
    accepted::{self, Accepted},
    checksummed::hash,
    own::{self, Override, Own},
    trust,
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
    /// The configuration of all files together, with what the agent itself set.
    pub config: Config,
    /// The files on disk and their checksums.
    pub origin: Origin,
    /// The keys that no file has, and that the agent itself did not set either.
    pub absent: BTreeSet<String>,
    /// Those of the absent keys that keep the default of an earlier version.
    pub former_defaults: BTreeSet<String>,
    /// The configuration of the owner's files.
    owners: Config,
    /// The owner's files.
    parts: Vec<Part>,
    /// What the agent set.
    own: Own,
}

/// What the agent's own file said before it was written.
#[derive(Debug)]
#[must_use]
pub struct Former(Option<(PathBuf, Option<String>)>);

impl Former {
    /// Writes that again.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn restore(self) -> anyhow::Result<()> {
        self.0.map_or(Ok(()), |(state, text)| own::keep(&state, text.as_deref()))
    }
}

/// The files that a configuration was read from, and their checksums. The main file is the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin(Vec<(PathBuf, String)>);

/// The reason why the files are not those that a change could begin with.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Someone edited this file since it was loaded.
    #[error("{path} was edited since it was loaded; run `jitctl reload` first", path = .0.display())]
    Edited(PathBuf),
    /// The files can't be read any more.
    #[error(transparent)]
    Read(#[from] ConfigError),
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
    load_without(main, user, (&[], &[]))
}

/// Like [`load`], but without what the agent set under the names of `ended`, such as `mode` and `22/tcp`, and without what
/// alone keeps shut what the names of `opened` open.
///
/// # Errors
/// The same as for [`load`].
pub fn reload(main: &Path, ended: &[String], opened: &[String]) -> Result<Loaded, ConfigError> {
    load_without(main, trust::own(), (ended, opened))
}

fn load_without(main: &Path, user: u32, (ended, opened): (&[String], &[String])) -> Result<Loaded, ConfigError> {
    let mut loaded = parse(read(main, user)?)?;
    let state = &loaded.config.places.state;
    let remedy = "mend or remove what keeps it from being read, and set anew what is lost";
    let unusable = |error: anyhow::Error| ConfigError::Own(format!("{error:#}; {remedy}"));
    let Some(text) = own::text(state).map_err(unusable)? else { return Ok(loaded) };
    let own = own::parse(state, &text).map_err(unusable)?;
    loaded.origin.0.push((state.join(own::NAME), hash(&text)));
    let own = own.without(ended).without_shut(&loaded.owners, opened);
    loaded.with(own)
}

/// Checks texts of the owner's files. What the agent set is left out.
///
/// # Errors
/// A text is not a configuration, or the texts contradict each other. The error names the file.
fn parse(parts: Vec<Part>) -> Result<Loaded, ConfigError> {
    let origin = Origin(parts.iter().map(|part| (part.path.clone(), hash(&part.text))).collect());
    let mut table = toml::Table::new();
    let mut setters: Vec<(String, &Part)> = Vec::new();
    for part in &parts {
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
    let mut config = parsed(&table)?;
    let absent = accepted::absent(&table, &config);
    let mut former_defaults = BTreeSet::new();
    // A record that can't be read is a fault of the start. It has no defaults to keep.
    if let Ok(Some(accepted)) = accepted::recall(&config.places.state) {
        accepted::keep_defaults(&mut table, &accepted);
        let kept = parsed(&table)?;
        former_defaults = accepted::differing(&kept, &config).intersection(&absent).cloned().collect();
        config = kept;
    }
    Ok(Loaded { owners: config.clone(), config, origin, absent, former_defaults, parts, own: Own::default() })
}

impl Loaded {
    /// What is to be kept once this configuration is accepted.
    pub(crate) fn accepted(&self) -> Accepted {
        Accepted { config: self.config.clone(), absent: self.absent.clone(), own: self.origin.has_own() }
    }

    /// The same files, with what the agent set.
    fn with(mut self, own: Own) -> Result<Self, ConfigError> {
        let state = &self.owners.places.state;
        let overlap = |error| {
            let path = state.join(own::NAME);
            ConfigError::Own(format!(
                "{} and {}: {error}; `jitctl ports reset` ends what the agent set of a port",
                self.names(),
                path.display()
            ))
        };
        self.config = own.over(&self.owners).map_err(overlap)?;
        self.absent.retain(|key| !own.sets(key));
        self.own = own;
        Ok(self)
    }

    /// The same files, with what the agent has to set for the wanted mode and port policies.
    ///
    /// # Errors
    /// The policies contradict each other.
    pub fn changed_to(self, wanted: &Config) -> Result<Self, ConfigError> {
        let own = Own::between(&self.owners, wanted);
        self.with(own)
    }

    /// What the agent sets, as its file is to have it; `None`: the file has it.
    #[must_use]
    pub fn change(&self) -> Option<(PathBuf, String)> {
        let (state, text) = (&self.owners.places.state, self.own.text());
        let is_kept = own::text(state).is_ok_and(|kept| kept == text);
        (!is_kept).then(|| (state.join(own::NAME), text.unwrap_or_default()))
    }

    /// Writes what the agent sets into its file. From then on, [`Loaded::origin`] has that file's checksum. Returns what
    /// the file said before.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep_own(&mut self) -> anyhow::Result<Former> {
        let (state, text) = (&self.owners.places.state, self.own.text());
        let former = own::text(state)?;
        let is_changed = former != text;
        if is_changed {
            own::keep(state, text.as_deref())?;
        }
        let path = state.join(own::NAME);
        self.origin.0.retain(|(known, _)| *known != path);
        self.origin.0.extend(text.map(|text| (path, hash(&text))));
        Ok(Former(is_changed.then(|| (state.clone(), former))))
    }

    /// What the agent set, where it differs from the owner's files, each with a text that names both.
    pub fn overrides(&self) -> impl Iterator<Item = (Override, String)> {
        self.own.overrides(&self.owners).into_iter().map(|what| (what, self.told(what)))
    }

    fn told(&self, what: Override) -> String {
        let state = &self.owners.places.state;
        let (file, own) = (self.file_of(what), state.join(own::NAME));
        let own = own.display();
        let ends = format!("`jitctl ports reset {what}` ends that");
        match what {
            Override::Mode => {
                let (mode, owners) = (self.config.mode.name(), self.owners.mode.name());
                let lost = match self.config.mode {
                    Mode::Enforce => "; set it there too, so that a lost state_dir opens nothing",
                    Mode::Observe => "",
                };
                format!("mode = \"{mode}\" of {own} is in force, and not mode = \"{owners}\" of {file}{lost}; {ends}")
            }
            Override::Port(id) => {
                format!("port {id}: the policy of {own} is in force, and not that of {file}; {ends}")
            }
            Override::Added(id) => format!("port {id}: its policy is in {own}, and in none of the files; {ends}"),
            Override::Removed(id) => {
                format!("port {id} is not protected: {own} says removed, though {file} has a policy; {ends}")
            }
        }
    }

    /// The file of the owner that sets what the agent sets otherwise. What no file sets has its default in the main file.
    fn file_of(&self, what: Override) -> String {
        let is_port = |port: &toml::Value, id: PortId| {
            let protocol = port.get("protocol").and_then(|protocol| protocol.as_str()?.parse::<Protocol>().ok());
            port.get("number").and_then(toml::Value::as_integer) == Some(id.number.into())
                && protocol == Some(id.protocol)
        };
        let sets = |part: &&Part| {
            let table: toml::Table = toml::from_str(&part.text).unwrap_or_default();
            let ports = || table.get("port").and_then(toml::Value::as_array).into_iter().flatten();
            match what {
                Override::Mode => table.contains_key("mode"),
                Override::Port(id) | Override::Added(id) | Override::Removed(id) => {
                    ports().any(|port| is_port(port, id))
                }
            }
        };
        self.parts.iter().find(sets).or_else(|| self.parts.first()).map(Part::name).unwrap_or_default()
    }

    fn names(&self) -> String {
        self.parts.iter().map(Part::name).collect::<Vec<_>>().join(", ")
    }
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
pub(super) fn paths(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
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
    /// Whether the agent's own file is among the files.
    #[must_use]
    pub fn has_own(&self) -> bool {
        self.0.iter().any(|(path, _)| path.file_name().is_some_and(|name| name == own::NAME))
    }

    /// The checksums of the files, in their order.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, hash)| hash.as_str())
    }

    /// The files as they are now, if they did not change since they were loaded.
    ///
    /// # Errors
    /// A file was edited, added or removed since, or can't be read.
    pub fn unchanged(&self) -> Result<Loaded, ChangeError> {
        let (main, _) = self.0.first().ok_or_else(|| ChangeError::Edited(PathBuf::new()))?;
        let now = load(main)?;
        let edited = |one: &Self, other: &Self| one.0.iter().find(|file| !other.0.contains(file)).cloned();
        match edited(&now.origin, self).or_else(|| edited(self, &now.origin)) {
            Some((path, _)) => Err(ChangeError::Edited(path)),
            None => Ok(now),
        }
    }
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
