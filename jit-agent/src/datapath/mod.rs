//! What enforces: the XDP program and its maps, or plain memory in tests.

mod memory;
pub mod xdp;

use std::path::PathBuf;

use jit_common::{
    abi::{Mode, Transport},
    reason::Reason,
};

pub use self::memory::MemoryDatapath;
use crate::{clock::BootTime, core::view::InterfaceView, policy::EntryKey};

/// What is protected, and how strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Protected (port, transport) pairs.
    pub ports: Vec<(u16, Transport)>,
    /// Whether drops are carried out.
    pub mode: Mode,
    /// Whether all fragments but atomic ones are refused.
    pub drop_fragments: bool,
}

/// Packets counted for one mode and reason.
pub type Counter = (Mode, Reason, u64);

/// What enforces grants. Every change is in force when the call returns.
pub trait Datapath: Send {
    /// Makes exactly these ports protected, in this mode.
    ///
    /// # Errors
    /// A table can't be written.
    fn configure(&mut self, protection: &Protection) -> Result<(), DatapathError>;

    /// Opens an entry, or moves its deadline.
    ///
    /// # Errors
    /// A table is full or can't be written; a new entry is then not there.
    fn set(&mut self, entry: &EntryKey, deadline: BootTime) -> Result<(), DatapathError>;

    /// Removes an entry, if it is there. Until `covered_until`, an outer entry admits the same sources, and goes on
    /// doing so during the removal.
    ///
    /// # Errors
    /// A table can't be written; the entry is closed all the same.
    fn remove(&mut self, entry: &EntryKey, covered_until: Option<BootTime>) -> Result<(), DatapathError>;

    /// Says that the entries are now those of the store, so that a successor in this boot may take them over. Before, it
    /// would take what is missing for closed.
    ///
    /// # Errors
    /// That can't be noted; a successor then starts from the store.
    fn keep(&mut self) -> Result<(), DatapathError>;

    /// The entries that are in place, with their deadlines.
    ///
    /// # Errors
    /// A table can't be read.
    fn entries(&self) -> Result<Vec<(EntryKey, BootTime)>, DatapathError>;

    /// All counters.
    ///
    /// # Errors
    /// The table can't be read.
    fn counters(&self) -> Result<Vec<Counter>, DatapathError>;

    /// How the configured interfaces are attached now.
    fn interfaces(&self) -> Vec<InterfaceView>;
}

/// What went wrong in the datapath.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// No room for another entry.
    #[error("the table {table} holds {capacity} entries and is full")]
    Full {
        /// Name of the table.
        table: &'static str,
        /// Its size.
        capacity: usize,
    },
    /// The kernel refused an operation.
    #[error("{action}: {answer}")]
    Kernel {
        /// What was tried, with which object.
        action: String,
        /// The kernel's answer, with its causes.
        answer: String,
    },
    /// The BPF file system is not usable.
    #[error("{path} {problem}", path = path.display())]
    Pins {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// An interface can't be covered.
    #[error("interface {name}: {problem}")]
    Interface {
        /// Its name.
        name: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl DatapathError {
    pub(crate) fn kernel(
        action: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Kernel { action: action.into(), answer: with_causes(&*source.into()) }
    }
}

/// An error's text with those of its causes, of which the last is mostly the kernel's own.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
