//! The last accepted configuration, for a start with a broken one.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use super::Config;

const NAME: &str = "accepted-config.toml";

/// Keeps the text of a configuration that is now in force, of all its files together. Its first line is a comment with the checksum of the rest.
pub(crate) fn remember(state: &Path, text: &str) -> anyhow::Result<()> {
    let path = state.join(NAME);
    let content = format!("{}\n{text}", checksum_line(text));
    if fs::read_to_string(&path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| format!("making {}", state.display()))?;
    let new = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .with_context(|| format!("making {}", new.display()))?;
    file.write_all(content.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&new, &path))
        .and_then(|()| fs::File::open(state)?.sync_all())
        .with_context(|| format!("writing {}", path.display()))
}

/// What [`remember`] failed at, for people.
pub(crate) fn not_kept(error: &anyhow::Error) -> String {
    format!("the accepted configuration could not be kept for a start with a broken one: {error:#}")
}

/// The configuration kept last.
pub(crate) fn recall(state: &Path) -> anyhow::Result<Config> {
    let path = state.join(NAME);
    let content = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let Some((checksum, text)) = content.split_once('\n') else { bail!("{} is cut short", path.display()) };
    if checksum != checksum_line(text) {
        bail!("{} does not match its checksum", path.display());
    }
    Ok(Config::parse(text, &path.display().to_string())?)
}

fn checksum_line(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("# sha256 {hex}")
}

#[cfg(test)]
mod tests {
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
