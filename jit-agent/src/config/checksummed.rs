//! Files of the state directory. Each file is written as a whole. The checksum in the first line detects a damaged
//! file.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, bail};

use super::files::hash;

/// The largest file that is read, in bytes. Larger files were not written by this program.
const LARGEST: u64 = 64 << 20;

/// Writes a file atomically: a reader finds the old file or the new file, also after a loss of power.
pub(super) fn write(state: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    #[cfg(test)]
    crate::crash::step();
    let path = state.join(name);
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

/// The text of a file that [`write`] wrote.
pub(super) fn read(state: &Path, name: &str) -> anyhow::Result<String> {
    let path = state.join(name);
    let shown = || path.display().to_string();
    let metadata = fs::symlink_metadata(&path).with_context(shown)?;
    // Reading a pipe could block for ever.
    if !metadata.is_file() {
        bail!("{} is no file, but {}", path.display(), kind(metadata.file_type()));
    }
    if metadata.len() > LARGEST {
        bail!("{} has {} bytes, more than anything that is kept there", path.display(), metadata.len());
    }
    let content = fs::read_to_string(&path).with_context(shown)?;
    let Some((checksum, text)) = content.split_once('\n') else { bail!("{} is cut short", path.display()) };
    if checksum != checksum_line(text) {
        bail!("{} does not match its checksum", path.display());
    }
    Ok(text.to_owned())
}

/// Removes a file if it exists. The removal survives loss of power.
pub(super) fn remove(state: &Path, name: &str) -> anyhow::Result<()> {
    #[cfg(test)]
    crate::crash::step();
    let path = state.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done
            .and_then(|()| fs::File::open(state)?.sync_all())
            .with_context(|| format!("removing {}", path.display())),
    }
}

fn kind(found: fs::FileType) -> &'static str {
    if found.is_dir() {
        "a directory"
    } else if found.is_symlink() {
        "a symbolic link"
    } else {
        "a pipe, a socket or a device"
    }
}

fn checksum_line(text: &str) -> String {
    format!("# sha256 {}", hash(text))
}
