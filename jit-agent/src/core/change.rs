//! Changes of the configuration as values: the change that is asked for, its effects, its result, and why it is
//! refused.

use std::path::{Path, PathBuf};

use jit_api::wire::{self, Effects};
use jit_policy::Session;

use super::{
    answer::PortView,
    trial::{Over, Trial},
};
use crate::config::{edit::Edit, files};

/// The source of the configuration in force, and the source's faults.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The main file.
    pub path: PathBuf,
    /// The files in force. `None`: the files on disk could not be used.
    pub files: Option<files::Origin>,
    /// Names in `[roles]` that no user or group has.
    pub unknown: Vec<String>,
    /// Why the files on disk are not in force.
    pub fault: Option<String>,
    /// Why a later start could not use the configuration in force as a fallback.
    pub not_kept: Option<String>,
    /// The trial of the configuration in force.
    pub trial: Option<Trial>,
    /// A trial that is over but still recorded.
    pub over: Option<Over>,
    /// Who unloaded enforcement by hand, and when.
    pub unloaded: Option<String>,
}

impl Origin {
    /// Makes the origin of a configuration that was loaded from files.
    #[must_use]
    pub fn loaded(path: &Path, files: files::Origin) -> Self {
        Self { path: path.to_owned(), files: Some(files), ..Self::default() }
    }

    /// Makes the origin of a configuration that is in force because the files can't be used.
    #[must_use]
    pub fn broken(path: &Path, fault: String) -> Self {
        Self { path: path.to_owned(), fault: Some(fault), ..Self::default() }
    }

    /// All faults of the source.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.unknown.iter().chain(&self.fault).chain(&self.not_kept)
    }
}

/// All port policies, and the version of this list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList {
    /// The policies.
    pub ports: Vec<PortView>,
    /// The version of the list, which changes with every policy and with every file that was loaded.
    pub version: String,
}

/// A change to one port policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEdit {
    /// The edit of the policy.
    pub edit: Edit,
    /// The version of the list on which the client decided.
    pub version: String,
    /// Whether to make the change even if the change opens something or ends grants.
    pub confirm: bool,
    /// The session of the person who asks. The change must not cut this session off for good.
    pub session: Option<Session>,
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The port's policy now. `None`: the port has no policy, or the change was not about one port.
    pub port: Option<PortView>,
    /// The ports whose policies changed, like `22/tcp`.
    pub changed: Vec<String>,
    /// The change's effects on packets and grants.
    pub effects: Effects,
    /// Whether all of the change is written. If not, the change is in force nevertheless.
    pub durable: bool,
    /// The present version of the list.
    pub version: String,
    /// The trial, if the change is only on trial because the change cuts off the person who asked.
    pub trial: Option<wire::Trial>,
}
