//! The last accepted configuration, for a start with a broken configuration.

use std::path::Path;

use super::{Config, checksummed};

const NAME: &str = "accepted-config.toml";

/// Keeps the text of a configuration that is now in force: one text for all of the configuration's files.
pub(crate) fn remember(state: &Path, text: &str) -> anyhow::Result<()> {
    checksummed::write(state, NAME, text)
}

/// The error of [`remember`] as text for people.
pub(crate) fn not_kept(error: &anyhow::Error) -> String {
    format!("the accepted configuration could not be kept for a start with a broken one: {error:#}")
}

/// The text that was kept last.
pub(crate) fn text(state: &Path) -> anyhow::Result<String> {
    checksummed::read(state, NAME)
}

/// The configuration that was kept last.
pub(crate) fn recall(state: &Path) -> anyhow::Result<Config> {
    Ok(Config::parse(&text(state)?, &state.join(NAME).display().to_string())?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_accepted_is_recalled_and_what_was_changed_since_is_not() {
        let state = tempfile::tempdir().unwrap();
        assert!(recall(state.path()).is_err());
        remember(state.path(), "interfaces = ['eth0']\n").unwrap();
        assert_eq!(recall(state.path()).unwrap().interfaces.to_string(), "eth0");

        let path = state.path().join(NAME);
        let edited = fs::read_to_string(&path).unwrap().replace("eth0", "eth1");
        fs::write(&path, edited).unwrap();
        let error = recall(state.path()).unwrap_err().to_string();
        assert!(error.contains("does not match its checksum"), "{error}");
    }
}
