//! Files of the state directory. Each file is written as a whole. The checksum in the first line detects a damaged
//! file. Links in the directory are not followed, and root acts there as the directory's owner.

use std::{ffi::OsStr, fs, io, io::Write as _, os::unix::fs::DirBuilderExt as _, path::Path};

use anyhow::{Context as _, bail, ensure};
use rustix::{
    fd::{AsFd as _, OwnedFd},
    fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::trust;

/// Writes a file atomically: a reader finds the old file or the new file, also after a loss of power.
pub(super) fn write(state: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    #[cfg(test)]
    crate::crash::step();
    let content = format!("{}\n{text}", checksum_line(text));
    trust::with_rights_at(state, || -> anyhow::Result<_> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state)
            .with_context(|| format!("making {}", state.display()))?;
        let directory = open(state).with_context(|| state.display().to_string())?;
        if trust::read_at(&directory, OsStr::new(name)).is_ok_and(|(old, _)| old == content.as_bytes()) {
            return Ok(());
        }
        replace(&directory, name, &content).with_context(|| format!("writing {}", state.join(name).display()))
    })?
}

fn replace(directory: &OwnedFd, name: &str, content: &str) -> anyhow::Result<()> {
    let new = format!("{}.new", name.split_once('.').map_or(name, |(stem, _)| stem));
    // A killed predecessor may have left a file of this name.
    unlink(directory, &new).with_context(|| format!("removing {new}"))?;
    let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file =
        fs::File::from(openat(directory, &new, how, Mode::RUSR | Mode::WUSR).with_context(|| format!("making {new}"))?);
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    renameat(directory, &new, directory, name)?;
    sync(directory)
}

/// The text of a file that [`write`] wrote.
pub(super) fn read(state: &Path, name: &str) -> anyhow::Result<String> {
    trust::with_rights_at(state, || -> anyhow::Result<_> {
        let path = state.join(name);
        let shown = || path.display().to_string();
        let content = match open(state).and_then(|directory| trust::read_at(directory, OsStr::new(name))) {
            Ok((content, stat)) => {
                ensure!(stat.st_mode & 0o022 == 0, "{} has mode {:04o}", shown(), stat.st_mode & 0o7777);
                content
            }
            Err(error) => return Err(error).with_context(shown),
        };
        let content = trust::text(content).with_context(shown)?;
        let Some((checksum, text)) = content.split_once('\n') else { bail!("{} is cut short", shown()) };
        if checksum != checksum_line(text) {
            bail!("{} does not match its checksum", shown());
        }
        Ok(text.to_owned())
    })?
}

/// The text of a file that [`write`] wrote; `None`: there is nothing of this name.
pub(super) fn read_if_any(state: &Path, name: &str) -> anyhow::Result<Option<String>> {
    exists(state, name)?.then(|| read(state, name)).transpose()
}

/// Whether there is anything of this name.
pub(super) fn exists(state: &Path, name: &str) -> anyhow::Result<bool> {
    trust::with_rights_at(state, || match fs::symlink_metadata(state.join(name)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| state.join(name).display().to_string()),
    })?
}

/// Removes a file if it exists. The removal survives loss of power.
pub(super) fn remove(state: &Path, name: &str) -> anyhow::Result<()> {
    #[cfg(test)]
    crate::crash::step();
    trust::with_rights_at(state, || -> anyhow::Result<_> {
        let removing = || format!("removing {}", state.join(name).display());
        if !fs::exists(state).with_context(removing)? {
            return Ok(());
        }
        let directory = open(state).with_context(removing)?;
        if unlink(&directory, name).with_context(removing)? {
            sync(&directory).with_context(removing)?;
        }
        Ok(())
    })?
}

fn open(state: &Path) -> io::Result<OwnedFd> {
    trust::find(state, trust::own())?.as_directory()
}

/// Returns whether there was a file.
fn unlink(directory: &OwnedFd, name: &str) -> io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(false),
        done => Ok(done.map(|()| true)?),
    }
}

fn sync(directory: &OwnedFd) -> anyhow::Result<()> {
    Ok(rustix::fs::fsync(directory.as_fd())?)
}

/// The checksum of a text.
pub(super) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn checksum_line(text: &str) -> String {
    format!("# sha256 {}", hash(text))
}

#[cfg(test)]
mod tests;
