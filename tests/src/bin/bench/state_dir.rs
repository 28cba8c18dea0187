//! A place on a real disk for the daemon's store.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The directory; removed with its content when this is dropped.
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Makes it in the build directory, anew if an interrupted run left one.
    ///
    /// # Errors
    /// It can't be made or emptied.
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

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Type and device of the file system that it is on, such as `ext4 on /dev/vda`.
    ///
    /// # Errors
    /// The kernel doesn't tell.
    pub(crate) fn file_system(&self) -> Result<String> {
        const MOUNTS: &str = "/proc/thread-self/mounts";
        let path = fs::canonicalize(&self.path).with_context(|| format!("cannot find {}", self.path.display()))?;
        let mounts = fs::read_to_string(MOUNTS).with_context(|| format!("cannot read {MOUNTS}"))?;
        file_system_of(&path, &mounts).with_context(|| format!("{MOUNTS} has nothing that holds {}", path.display()))
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The innermost mount point that holds `path`, the last one mounted there.
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
