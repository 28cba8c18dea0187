//! The reserve: disk space that is kept for closings. So a full disk prevents new grants, but grants can still be
//! ended.

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

const FILE_NAME: &str = "jit-agent.reserve";
/// The size of the reserve in bytes. It is enough to record the end of some 20,000 grants at once.
const SIZE: u64 = 16 << 20;

/// A file that exists only to take up disk space.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    is_allocated: bool,
}

impl Reserve {
    /// The reserve in `dir`, which may be allocated or not.
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.join(FILE_NAME), is_allocated: false }
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
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
            Err(Errno::OPNOTSUPP) => fill(&mut file),
            other => Ok(other?),
        }
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
                tracing::warn!(%error, path = %self.path.display(), "space kept for closings could not be freed");
            }
            _ => {}
        }
    }
}

/// Fills the file with zeros, for file systems that can't allocate space otherwise.
fn fill(file: &mut File) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(SIZE), file)?;
    file.flush()
}
