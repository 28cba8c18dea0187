//! What goes wrong in the datapath.
//!
//! The inner errors name their causes as sources. The text of a [`DatapathError`] is for people and has all causes in
//! it, so that error has no source: whoever prints both would print the causes twice.

use std::{
    error::Error,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What went wrong in the datapath.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// There is no room for another entry.
    #[error("the table {table} holds {capacity} entries and is full")]
    Full {
        /// Name of the table.
        table: &'static str,
        /// The size of the table.
        capacity: usize,
    },
    /// The kernel refused an operation.
    #[error("{}", with_causes(.0))]
    Kernel(KernelError),
    /// The BPF file system is not usable.
    #[error("{}", with_causes(.0))]
    Pins(PinError),
    /// An interface can't be covered.
    #[error("interface {name}: {}", with_causes(.fault))]
    Interface {
        /// The name of the interface.
        name: String,
        /// What is wrong with the interface, and what to do.
        fault: Arc<dyn Error + Send + Sync>,
    },
}

impl DatapathError {
    /// The kernel refused `action`.
    pub fn kernel(action: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Kernel(KernelError::new(action, source))
    }
}

impl From<KernelError> for DatapathError {
    fn from(error: KernelError) -> Self {
        Self::Kernel(error)
    }
}

impl From<PinError> for DatapathError {
    fn from(error: PinError) -> Self {
        Self::Pins(error)
    }
}

/// The kernel refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
pub struct KernelError {
    /// What was tried, with which object.
    action: String,
    /// The kernel's answer.
    source: Box<dyn Error + Send + Sync>,
}

impl KernelError {
    pub(crate) fn new(action: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { action: action.into(), source: source.into() }
    }
}

/// A file or directory of pins is not usable.
#[derive(Debug)]
pub struct PinError {
    path: PathBuf,
    problem: PinProblem,
}

impl PinError {
    pub(super) fn new(path: &Path, problem: PinProblem) -> Self {
        Self { path: path.to_owned(), problem }
    }
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.problem)
    }
}

impl Error for PinError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.problem.source()
    }
}

/// What is wrong with a file or directory of pins, and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum PinProblem {
    #[error("can't be made: {0}; is its parent a mounted bpffs?")]
    NoParent(io::Error),
    #[error(
        "is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, or set bpffs_dir to a directory \
         on one"
    )]
    NotBpffs,
    #[error("is not on a BPF file system, so no jit-agent has its pins there; nothing was removed")]
    NobodysPins,
    /// Somebody else could change what stands there.
    #[error("can't be trusted: {0}")]
    Distrusted(String),
    #[error(
        "belongs to another jit-agent that is running; stop that one first (`systemctl stop jit-agent`), or give this \
         one its own bpffs_dir, state_dir, socket and interfaces"
    )]
    InUse,
    #[error("can't be pinned")]
    Pin(#[source] aya::pin::PinError),
    #[error("can't be renamed to {to}", to = to.display())]
    Rename {
        to: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another operation failed, which `done` names as in "can't be read".
    #[error("can't be {done}")]
    File {
        done: &'static str,
        #[source]
        source: io::Error,
    },
}

impl PinProblem {
    pub(super) fn file(done: &'static str, source: impl Into<io::Error>) -> Self {
        Self::File { done, source: source.into() }
    }
}

/// An error's text with those of its causes, of which the last is mostly the kernel's own.
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errors_text_has_all_causes_and_its_source_none_of_them() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let pins = PinError::new(Path::new("/pins"), PinProblem::file("read", denied()));
        let fault: Arc<dyn Error + Send + Sync> = Arc::new(KernelError::new("attaching", denied()));
        for (error, text) in [
            (DatapathError::kernel("writing", denied()), "writing: permission denied"),
            (DatapathError::from(pins), "/pins can't be read: permission denied"),
            (
                DatapathError::Interface { name: "eth0".to_owned(), fault },
                "interface eth0: attaching: permission denied",
            ),
        ] {
            assert_eq!(error.to_string(), text);
            assert!(error.source().is_none(), "{error}");
        }
    }
}
