//! The kernel's entries, and the changes that the kernel refuses.

use std::collections::BTreeMap;

use jit_policy::{Book, Change, EntryKey};

use crate::datapath::{Datapath, DatapathError};

/// The datapath, and the entries that it refused to change.
pub(super) struct Entries {
    datapath: Box<dyn Datapath>,
    /// Entries that are closed because the kernel refused to change them as the book requires, with the kernel's error.
    refused: BTreeMap<EntryKey, String>,
}

impl Entries {
    pub(super) const fn new(datapath: Box<dyn Datapath>) -> Self {
        Self { datapath, refused: BTreeMap::new() }
    }

    pub(super) fn datapath(&self) -> &dyn Datapath {
        &*self.datapath
    }

    pub(super) fn datapath_mut(&mut self) -> &mut dyn Datapath {
        &mut *self.datapath
    }

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
    pub(super) fn enforce(&mut self, book: &Book, changes: &[Change]) {
        for change in changes {
            if let Err(error) = self.apply(change) {
                match change {
                    Change::Set { entry, .. } => {
                        // The entry's old deadline may be too late. Closing the entry may cut a live grant short, but
                        // leaving it open would admit sources without a grant.
                        if let Err(error) = self.datapath.remove(entry, book.covered_until(entry)) {
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

    /// Makes entries agree with the book, whatever the kernel has.
    pub(super) fn restore(&mut self, book: &Book, entries: impl IntoIterator<Item = EntryKey>) {
        let changes: Vec<Change> = entries.into_iter().map(|entry| intended(book, entry)).collect();
        self.enforce(book, &changes);
    }

    /// Retries the changes that the kernel refused. Each closing needs this too: an entry that could not be removed has
    /// the deadline of the enclosing entry, which the closing may have removed.
    pub(super) fn settle(&mut self, book: &Book) {
        // Inner entries come first, as for every change to nested prefixes.
        let mut refused: Vec<EntryKey> = self.refused.keys().copied().collect();
        refused.sort_by_key(|entry| std::cmp::Reverse(entry.source.prefix_len()));
        self.restore(book, refused);
    }

    /// Whether the kernel refused changes that are to be retried.
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Returns the fault that the status shows.
    pub(super) fn fault(&self) -> Option<String> {
        let (entry, error) = self.refused.first_key_value()?;
        Some(format!(
            "{} entries of the kernel's tables are shut, since they could not be changed as they should, the first \
             one {entry}: {error}; tried again every few seconds",
            self.refused.len()
        ))
    }

    fn note_refused(&mut self, entry: EntryKey, error: &DatapathError) {
        let error = error.to_string();
        if self.refused.get(&entry) != Some(&error) {
            tracing::error!(error, %entry, "an entry is shut, since the kernel refuses to change it as it should");
            self.refused.insert(entry, error);
        }
    }
}

/// Returns the change that makes an entry agree with the book.
fn intended(book: &Book, entry: EntryKey) -> Change {
    match book.effective(&entry) {
        Some(deadline) => Change::Set { entry, deadline },
        None => Change::Remove { entry, covered_until: book.covered_until(&entry) },
    }
}
