//! The trial that runs, written down before the kernel is told, so that a restart of the agent goes on with it and
//! another boot doesn't.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jit_policy::{BootTime, TrialKind};
use serde::{Deserialize, Serialize};

use super::{
    Config,
    files::{Loaded, Origin},
    kept,
};

const NAME: &str = "trial.json";

/// A trial as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What is tried.
    pub kind: TrialKind,
    /// The boot in which it runs.
    pub boot_id: String,
    /// When it ends, on CLOCK_BOOTTIME in nanoseconds.
    pub until: u64,
    /// The files as they were when it began.
    pub files: Origin,
    /// The text of the configuration that is tried, of all files together.
    pub tried: String,
    /// What confirming it writes: a file and its new text.
    pub change: Option<(PathBuf, String)>,
    /// The live grants that it shuts, which open again if it is not confirmed.
    pub shut: Vec<i64>,
    /// The mark of removal by hand under which it began. Another one ends it.
    pub unloaded: Option<String>,
}

impl Record {
    /// When it ends.
    #[must_use]
    pub const fn end(&self) -> BootTime {
        BootTime(self.until)
    }

    /// Whether it runs at a moment of a boot. One that would end later than any begins is none.
    #[must_use]
    pub fn runs(&self, boot_id: &str, now: BootTime, longest: std::time::Duration) -> bool {
        self.boot_id == boot_id && (now < self.end()) && self.end() <= now.after(longest)
    }

    /// The same when it is over, and nothing is left to be done for it.
    #[must_use]
    pub fn concluded(&self) -> Self {
        Self { until: 0, shut: Vec::new(), ..self.clone() }
    }

    /// The configuration that is tried.
    ///
    /// # Errors
    /// Its text is none.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::parse(&self.tried, NAME)?)
    }

    /// Whether these files are those it began with: of a reload, the ones that are tried.
    #[must_use]
    pub fn began_with(&self, loaded: &Loaded) -> bool {
        self.files == loaded.origin
    }
}

/// Where it is written down.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join(NAME)
}

/// Writes it down.
pub(crate) fn keep(state: &Path, record: &Record) -> anyhow::Result<()> {
    let text = serde_json::to_string(record).context("writing down the trial")?;
    kept::write(state, NAME, &text)
}

/// The one that was written down last.
pub(crate) fn recall(state: &Path) -> anyhow::Result<Option<Record>> {
    let path = path(state);
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let record: Record = serde_json::from_str(&kept::read(state, NAME)?).with_context(|| path.display().to_string())?;
    ensure!(record.config().is_ok(), "{} has no configuration that could be tried", path.display());
    Ok(Some(record))
}

/// Forgets it.
pub(crate) fn forget(state: &Path) -> anyhow::Result<()> {
    kept::remove(state, NAME)
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
        kept::write(state.path(), NAME, "{\"kind\":\"enable\"}").unwrap();
        assert!(recall(state.path()).is_err());
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
