//! Changes to the kernel's entries, and the handling of changes that the kernel refuses.

use jit_policy::{Change, EntryKey};

use super::Core;
use crate::datapath::DatapathError;

impl Core {
    /// Makes one change in the kernel.
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

    /// Makes changes that must take effect. If the kernel refuses a change, the entry is closed, and the change is
    /// retried later.
    pub(super) fn enforce(&mut self, changes: &[Change]) {
        for change in changes {
            if let Err(error) = self.apply(change) {
                match change {
                    Change::Set { entry, .. } => {
                        // The entry's old deadline may be too late. Closing the entry may cut a live grant short, but
                        // leaving it open would admit sources without a grant.
                        if let Err(error) = self.datapath.remove(entry, self.book.covered_until(entry)) {
                            tracing::error!(%error, %entry, "the entry is shut, but stays in the kernel's tables");
                        }
                        self.note_refused(*entry, &error);
                    }
                    // A removal that fails has closed the entry nevertheless.
                    Change::Remove { entry, .. } => self.note_refused(*entry, &error),
                }
            }
        }
    }

    /// Retries the changes that the kernel refused. Each closing needs this too: an entry that could not be removed has
    /// the deadline of the enclosing entry, which the closing may have removed.
    pub(super) fn settle(&mut self) {
        // Inner entries come first, as for every change to nested prefixes.
        let mut refused: Vec<EntryKey> = self.refused.keys().copied().collect();
        refused.sort_by_key(|entry| std::cmp::Reverse(entry.source.prefix_len()));
        let changes: Vec<Change> = refused.into_iter().map(|entry| self.intended(entry)).collect();
        self.enforce(&changes);
    }

    /// Returns the change that makes an entry agree with the book, whatever the kernel has.
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
