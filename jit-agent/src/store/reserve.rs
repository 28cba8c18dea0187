//! The reserves: disk space that is kept for closings, and for a few openings by admins. So a full disk prevents new
//! grants of others, but grants can still be ended, and an admin can still get in.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, OFlags},
    io::Errno,
};

/// The file of the reserve for closings, and its size in bytes. It is enough to record the end of some 20,000 grants at
/// once.
const CLOSINGS: (&str, u64) = ("jit-agent.reserve", 16 << 20);
/// The file of the reserve for openings by admins, and its size in bytes. It is enough for some ten requests.
const ADMINS: (&str, u64) = ("jit-agent.reserve-admins", 1 << 20);
/// The free space in bytes that the next records need.
const MARGIN: u64 = 1 << 20;

/// A file that exists only to take up disk space.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    size: u64,
    is_allocated: bool,
}

impl Reserve {
    /// The reserve for closings in `dir`, which may be allocated or not.
    pub(super) fn for_closings(dir: &Path) -> Self {
        Self::new(dir, CLOSINGS)
    }

    /// The reserve for openings by admins in `dir`, which may be allocated or not.
    pub(super) fn for_admins(dir: &Path) -> Self {
        Self::new(dir, ADMINS)
    }

    fn new(dir: &Path, (name, size): (&str, u64)) -> Self {
        Self { path: dir.join(name), size, is_allocated: false }
    }

    /// Allocates the disk space, unless the space is allocated already.
    pub(super) fn allocate(&mut self) -> io::Result<()> {
        if !self.is_allocated {
            self.allocate_file().inspect_err(|_| self.free())?;
            self.is_allocated = true;
        }
        Ok(())
    }

    fn allocate_file(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        // A link, which somebody else may have placed, is not followed.
        let how = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let options = options.write(true).create(true).truncate(false).mode(0o600).custom_flags(how);
        let mut file = options.open(&self.path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.size) {
            Err(Errno::OPNOTSUPP) => fill(&mut file, self.size),
            other => Ok(other?),
        }
    }

    /// Whether the file system has too little space for the reserve, or for the next records beside it.
    pub(super) fn is_short(&self) -> io::Result<bool> {
        let dir = self.path.parent().unwrap_or(&self.path);
        let found = rustix::fs::statvfs(dir)?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        Ok(free < if self.is_allocated { MARGIN } else { self.size + MARGIN })
    }

    /// Frees the disk space. Returns whether the space was allocated.
    pub(super) fn release(&mut self) -> bool {
        let was_allocated = std::mem::replace(&mut self.is_allocated, false);
        self.free();
        was_allocated
    }

    fn free(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.path.display(), "reserved space could not be freed");
            }
            _ => {}
        }
    }
}

/// Fills the file with zeros, for file systems that can't allocate space otherwise.
fn fill(file: &mut File, size: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(size), file)?;
    file.flush()
}
