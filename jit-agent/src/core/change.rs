//! Changes of the configuration as values: what is asked for, what it would do, what it did, why it is refused.

use std::path::{Path, PathBuf};

use jit_api::wire::{self, Effects};
use jit_policy::Session;

use super::{
    answer::PortView,
    trial::{Over, Trial},
};
use crate::config::{edit::Edit, files};

/// Where the configuration in force is from, and what is amiss with that.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The main file.
    pub path: PathBuf,
    /// The files in force; `None` if those on disk could not be used.
    pub files: Option<files::Origin>,
    /// Names of `[roles]` that nobody has.
    pub unknown: Vec<String>,
    /// Why the files on disk are not in force.
    pub fault: Option<String>,
    /// Why a later start could not fall back on what is in force.
    pub not_kept: Option<String>,
    /// The trial of what is in force.
    pub trial: Option<Trial>,
    /// One that is over, though it is written down still.
    pub over: Option<Over>,
    /// Who removed all enforcement by hand, and when.
    pub unloaded: Option<String>,
}

impl Origin {
    /// The files are in force.
    #[must_use]
    pub fn loaded(path: &Path, files: files::Origin) -> Self {
        Self { path: path.to_owned(), files: Some(files), ..Self::default() }
    }

    /// The files can't be used; something else is in force.
    #[must_use]
    pub fn broken(path: &Path, fault: String) -> Self {
        Self { path: path.to_owned(), fault: Some(fault), ..Self::default() }
    }

    /// All that is amiss.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.unknown.iter().chain(&self.fault).chain(&self.not_kept)
    }
}

/// All port policies, and the name of this state of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList {
    /// The policies.
    pub ports: Vec<PortView>,
    /// Changes whenever a policy or a file that was loaded does.
    pub version: String,
}

/// A change to one port policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEdit {
    /// What to change.
    pub edit: Edit,
    /// The version of the list on which this was decided.
    pub version: String,
    /// Whether to do it even if it opens something or ends grants.
    pub confirm: bool,
    /// The session of who asks, which must not be cut off for good by it.
    pub session: Option<Session>,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The port's policy now; `None` if it has none, or the change was not about one port.
    pub port: Option<PortView>,
    /// The ports whose policies changed, like `22/tcp`.
    pub changed: Vec<String>,
    /// What it did to packets and grants.
    pub effects: Effects,
    /// Whether all of it is written; if not, it is in force all the same.
    pub durable: bool,
    /// The version of the list now.
    pub version: String,
    /// It is in force on trial only, since it cuts off who asked.
    pub trial: Option<wire::Trial>,
}
