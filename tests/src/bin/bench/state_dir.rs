//! A directory on a real disk for the daemon's store.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The directory; dropping the value removes the directory and its content.
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Creates the directory in the build directory, and replaces one that an interrupted run left.
    ///
    /// # Errors
    /// The directory can't be created or emptied.
    pub(crate) fn new() -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell the path of this executable")?;
        let path = own.parent().context("this executable has no directory")?.join("bench-state");
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {} of an earlier run", path.display()));
            }
            _ => {}
        }
        fs::create_dir(&path).with_context(|| format!("cannot make {} for the daemon's store", path.display()))?;
        Ok(Self { path })
    }

    /// The path of the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Type and device of the directory's file system, such as `ext4 on /dev/vda`.
    ///
    /// # Errors
    /// The kernel doesn't report the mounts.
    pub(crate) fn file_system(&self) -> Result<String> {
        const MOUNTS: &str = "/proc/thread-self/mounts";
        let path = fs::canonicalize(&self.path).with_context(|| format!("cannot find {}", self.path.display()))?;
        let mounts = fs::read_to_string(MOUNTS).with_context(|| format!("cannot read {MOUNTS}"))?;
        file_system_of(&path, &mounts).with_context(|| format!("{MOUNTS} has nothing that holds {}", path.display()))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // The next run removes whatever can't be removed now.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The innermost mount point that holds `path`; the last mount, if there are several at that point.
fn file_system_of(path: &Path, mounts: &str) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        path.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, file_system)| file_system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_and_latest_mount_counts() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/vdb /srv xfs rw 0 0\ntmpfs /srv tmpfs rw 0 0";
        let found = |path| file_system_of(Path::new(path), mounts);
        assert_eq!(found("/srv/target").as_deref(), Some("tmpfs on tmpfs"));
        assert_eq!(found("/srvice/target").as_deref(), Some("ext4 on /dev/vda"));
    }
}
