//! Disk space kept back for closings, so that a full disk keeps grants from being opened, but not from being ended.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::{fs::FallocateFlags, io::Errno};

const FILE_NAME: &str = "jit-agent.reserve";
/// Enough to record the end of some 20,000 grants at once.
const SIZE: u64 = 16 << 20;

/// A file that is there only for the space that it takes.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// The reserve in `dir`, held or not.
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.join(FILE_NAME), held: false }
    }

    /// Takes the space, if that was not done yet.
    pub(super) fn hold(&mut self) -> io::Result<()> {
        if !self.held {
            self.take().inspect_err(|_| self.give_back())?;
            self.held = true;
        }
        Ok(())
    }

    fn take(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SIZE) {
            Err(Errno::OPNOTSUPP) => fill(&mut file),
            other => Ok(other?),
        }
    }

    /// Frees the space; says whether there was any to free.
    pub(super) fn release(&mut self) -> bool {
        let held = std::mem::replace(&mut self.held, false);
        self.give_back();
        held
    }

    fn give_back(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.path.display(), "space kept for closings could not be freed");
            }
            _ => {}
        }
    }
}

/// For file systems that can't take space without writing to it.
fn fill(file: &mut File) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(SIZE), file)?;
    file.flush()
}
