//! The source of the configuration in force: files, a fallback, or a trial.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use jit_common::abi::Mode;
use jit_policy::{Interfaces, Protection};

use crate::config::{
    Config,
    files::{self, Loaded},
    own::Override,
    trial::Record,
    unloaded::Remover,
};

/// The source of the configuration in force, and the source's faults.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The main file.
    pub path: PathBuf,
    /// The files in force. `None`: the files on disk could not be used.
    pub files: Option<files::Origin>,
    /// What the agent itself set otherwise than the owner's files, each with a text that names both.
    pub overrides: Vec<(Override, String)>,
    /// Why the files on disk are not in force.
    pub fault: Option<String>,
    /// Why the configuration in force could not be kept for the next start.
    pub not_kept: Option<String>,
    /// The trial of the configuration in force.
    pub trial: Option<Trial>,
    /// A trial that is over but still recorded.
    pub ended_trial: Option<EndedTrial>,
    /// Who unloaded enforcement by hand, and when.
    pub unloaded: Option<String>,
    /// The keys that no file has and that keep the default of an earlier version.
    pub former_defaults: BTreeSet<String>,
    /// What changed since the agent ran before.
    pub changed: Option<Changed>,
}

/// A change of the configuration while no agent ran, or by a restart.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The configuration that was accepted last.
    pub before: Config,
    /// The configuration of this start, without what is on trial.
    pub now: Config,
    /// Who accepted by hand whatever the files open.
    pub accepted_by: Option<Remover>,
}

impl Origin {
    /// Makes the origin of a configuration that was loaded from files.
    #[must_use]
    pub fn loaded(path: &Path, loaded: &Loaded) -> Self {
        let mut origin = Self { path: path.to_owned(), ..Self::default() };
        origin.take_files(loaded);
        origin
    }

    /// Notes that the configuration in force is that of these files.
    pub fn take_files(&mut self, loaded: &Loaded) {
        self.files = Some(loaded.origin.clone());
        self.former_defaults = loaded.former_defaults.clone();
        self.overrides = loaded.overrides().collect();
        self.fault = None;
    }

    /// Makes the origin of a configuration that is in force because the files can't be used.
    #[must_use]
    pub fn broken(path: &Path, fault: String) -> Self {
        Self { path: path.to_owned(), fault: Some(fault), ..Self::default() }
    }

    /// All faults of the source.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.fault.iter().chain(&self.not_kept)
    }
}

/// A trial that was over before the agent started but is still recorded.
#[derive(Clone, Debug)]
pub struct EndedTrial {
    /// The record of the trial on disk.
    pub record: Record,
    /// Whether the files already have what was tried. The person who confirmed the trial may have got no answer.
    pub confirmed: bool,
}

/// A trial that runs.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The record of the trial on disk.
    pub record: Record,
    /// The configuration that the end of the trial restores.
    pub before: Config,
}

impl Trial {
    /// Returns the interfaces to cover during the trial of a configuration: those of both configurations.
    #[must_use]
    pub fn interfaces(&self, tried: &Config) -> Interfaces {
        self.before.interfaces.or(&tried.interfaces)
    }

    /// Returns what the kernel is to enforce during the trial of a configuration.
    ///
    /// All that the kernel can do by itself is to observe. So it ends only a trial that began from observing. Where
    /// enforcement was on before, what is tried stays in force until an agent ends the trial.
    #[must_use]
    pub fn protection(&self, tried: &Config) -> Protection {
        let tried = tried.protection();
        match self.before.mode {
            Mode::Observe => Protection { enforce_until: tried.enforce_until.min(self.record.end().into()), ..tried },
            Mode::Enforce => tried,
        }
    }
}
