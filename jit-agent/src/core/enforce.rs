//! Changes to the kernel's entries, and what to do about those that it refuses.

use jit_policy::{Change, EntryKey};

use super::Core;
use crate::datapath::DatapathError;

impl Core {
    /// Makes one change.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), DatapathError> {
        let entry = match change {
            Change::Set { entry, deadline } => {
                self.datapath.set(entry, *deadline)?;
                entry
            }
            Change::Remove { entry, covered_until } => {
                self.datapath.remove(entry, *covered_until)?;
                entry
            }
        };
        self.refused.remove(entry);
        Ok(())
    }

    /// Makes changes that must hold. An entry whose change the kernel refuses is shut, and tried again later.
    pub(super) fn enforce(&mut self, changes: &[Change]) {
        for change in changes {
            if let Err(error) = self.apply(change) {
                match change {
                    Change::Set { entry, .. } => {
                        // Its old deadline may be too late. To shut it altogether may cut a live grant short, but to
                        // leave it would let in whom nobody lets in any more.
                        if let Err(error) = self.datapath.remove(entry, self.book.covered_until(entry)) {
                            tracing::error!(%error, %entry, "the entry is shut, but stays in the kernel's tables");
                        }
                        self.note_refused(*entry, &error);
                    }
                    // A removal that fails has shut the entry all the same.
                    Change::Remove { entry, .. } => self.note_refused(*entry, &error),
                }
            }
        }
    }

    /// Tries again what the kernel refused. Also needed after each closing: an entry that could not be removed follows
    /// the deadline of the one around it, which may have gone just now.
    pub(super) fn settle(&mut self) {
        // Inner entries first, as for every change to nested prefixes.
        let mut refused: Vec<EntryKey> = self.refused.keys().copied().collect();
        refused.sort_by_key(|entry| std::cmp::Reverse(entry.source.prefix_len()));
        let changes: Vec<Change> = refused.into_iter().map(|entry| self.intended(entry)).collect();
        self.enforce(&changes);
    }

    /// The change that brings an entry in line with the book, whatever the kernel has.
    pub(super) fn intended(&self, entry: EntryKey) -> Change {
        match self.book.effective(&entry) {
            Some(deadline) => Change::Set { entry, deadline },
            None => Change::Remove { entry, covered_until: self.book.covered_until(&entry) },
        }
    }

    fn note_refused(&mut self, entry: EntryKey, error: &DatapathError) {
        let error = error.to_string();
        if self.refused.get(&entry) != Some(&error) {
            tracing::error!(error, %entry, "an entry is shut, since the kernel refuses to change it as it should");
            self.refused.insert(entry, error);
        }
    }
}
