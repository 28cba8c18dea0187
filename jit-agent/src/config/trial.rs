//! The record of the running trial. It is written before the kernel is changed. A restarted agent continues the trial.
//! After a reboot the trial is over.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jit_common::abi::Mode;
use jit_policy::{BootTime, TrialKind};
use serde::{Deserialize, Serialize};

use super::{
    Config, checksummed,
    files::{Loaded, Origin},
};

const NAME: &str = "trial.json";

/// The record of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The kind of the trial.
    pub kind: TrialKind,
    /// The boot in which the trial runs.
    pub boot_id: String,
    /// The end of the trial, on CLOCK_BOOTTIME in nanoseconds.
    pub until: u64,
    /// The mode that the end of the trial restores: observe, if enforcement was off or unloaded before. Version 0.1.0
    /// did not write it.
    pub mode_before: Option<Mode>,
    /// The files as they were when the trial began.
    pub files: Origin,
    /// The text of the configuration that is tried, of all files together.
    pub tried: String,
    /// The change that a confirmation of the trial writes: a file and its new text. In a record of version 0.1 that is a
    /// file of the owner, which is not written any more: what the agent sets then follows from what is tried.
    pub change: Option<(PathBuf, String)>,
    /// The live grants whose entries the trial closes. The entries open again if the trial is not confirmed.
    pub shut: Vec<i64>,
    /// The mark of removal by hand that was set when the trial began. A different mark ends the trial.
    pub unloaded: Option<String>,
}

impl Record {
    /// The end of the trial.
    #[must_use]
    pub const fn end(&self) -> BootTime {
        BootTime(self.until)
    }

    /// Whether the trial is running at the time `now` of a boot. A record that ends later than any valid trial could is
    /// ignored.
    #[must_use]
    pub fn runs(&self, boot_id: &str, now: BootTime, longest: std::time::Duration) -> bool {
        self.boot_id == boot_id && (now < self.end()) && self.end() <= now.after(longest)
    }

    /// Whether nothing is left to do for the trial.
    #[must_use]
    pub const fn is_concluded(&self) -> bool {
        self.until == 0
    }

    /// The same trial as a finished one, for which nothing is left to do.
    #[must_use]
    pub fn concluded(&self) -> Self {
        Self { until: 0, shut: Vec::new(), ..self.clone() }
    }

    /// The configuration that is tried.
    ///
    /// # Errors
    /// The recorded text is not a valid configuration.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::parse(&self.tried, NAME)?)
    }

    /// Whether these files are the files that the trial began with. For a reload, these are the files that are tried.
    #[must_use]
    pub fn began_with(&self, loaded: &Loaded) -> bool {
        self.files == loaded.origin
    }
}

/// The path of the trial's record.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join(NAME)
}

/// Writes the trial's record.
pub(crate) fn keep(state: &Path, record: &Record) -> anyhow::Result<()> {
    let text = serde_json::to_string(record).context("writing down the trial")?;
    checksummed::write(state, NAME, &text)
}

/// The record that was written last.
pub(crate) fn recall(state: &Path) -> anyhow::Result<Option<Record>> {
    let path = path(state);
    let Some(text) = checksummed::read_if_any(state, NAME)? else { return Ok(None) };
    let record: Record = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    ensure!(record.config().is_ok(), "{} has no configuration that could be tried", path.display());
    Ok(Some(record))
}

/// Removes the trial's record.
pub(crate) fn forget(state: &Path) -> anyhow::Result<()> {
    checksummed::remove(state, NAME)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn record() -> Record {
        Record {
            kind: TrialKind::Enable,
            boot_id: "boot-1".to_owned(),
            until: 100,
            mode_before: Some(Mode::Observe),
            files: serde_json::from_str("[[\"/etc/x\", \"00\"]]").unwrap(),
            tried: "interfaces = ['eth0']\nmode = 'enforce'".to_owned(),
            change: None,
            shut: vec![7],
            unloaded: None,
        }
    }

    #[test]
    fn a_trial_is_found_as_it_was_written_and_forgotten_for_good() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(recall(state.path()).unwrap(), None);
        keep(state.path(), &record()).unwrap();
        assert_eq!(recall(state.path()).unwrap(), Some(record()));
        forget(state.path()).unwrap();
        forget(state.path()).unwrap();
        assert_eq!(recall(state.path()).unwrap(), None);
    }

    #[test]
    fn what_is_damaged_or_not_a_trial_is_none() {
        let state = tempfile::tempdir().unwrap();
        keep(state.path(), &record()).unwrap();
        let path = state.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        for broken in [text.replace("100", "999"), String::new(), "{}".to_owned(), "\n".to_owned()] {
            fs::write(&path, broken).unwrap();
            assert!(recall(state.path()).is_err());
        }
        keep(state.path(), &Record { tried: "interfaces = 7".to_owned(), ..record() }).unwrap();
        assert!(recall(state.path()).is_err());
        checksummed::write(state.path(), NAME, "{\"kind\":\"enable\"}").unwrap();
        assert!(recall(state.path()).is_err());
    }

    #[test]
    fn a_record_of_version_0_1_0_is_read() {
        let state = tempfile::tempdir().unwrap();
        let text = r#"{"kind":"enable","boot_id":"boot-1","until":100,"files":[["/etc/x","00"]],
            "tried":"interfaces = ['eth0']\nmode = 'enforce'","change":null,"shut":[7],"unloaded":null}"#;
        checksummed::write(state.path(), NAME, text).unwrap();
        assert_eq!(recall(state.path()).unwrap(), Some(Record { mode_before: None, ..record() }));
    }

    #[test]
    fn a_trial_runs_in_its_own_boot_before_its_end_and_for_no_longer_than_any_may() {
        let runs = |boot: &str, now: u64, until: u64| Record { until, ..record() }.runs(boot, BootTime(now), HOUR);
        assert!(runs("boot-1", 99, 100));
        assert!(!runs("boot-1", 100, 100));
        assert!(!runs("boot-2", 50, 100));
        assert!(!runs("boot-1", 0, 3601 * 1_000_000_000));
    }
}
