//! The mark of `jit-agent accept`: root takes the files as they are, whatever they open. It is for hosts whose agent does
//! not run, and the next start uses it up.

use std::path::Path;

use anyhow::Context as _;

use super::{Config, checksummed, unloaded::Remover};

const NAME: &str = "accept";

/// What root accepted by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Who accepted the files, and when.
    pub(crate) by: Remover,
    /// The configuration of these files, every key.
    text: String,
}

impl Mark {
    /// Marks the files of this configuration.
    pub(crate) fn new(by: Remover, config: &Config) -> Self {
        Self { by, text: config.written().to_string() }
    }

    /// Whether this is the configuration that was accepted.
    pub(crate) fn is_of(&self, config: &Config) -> bool {
        self.text == config.written().to_string()
    }
}

/// Writes the mark.
pub(crate) fn set(state: &Path, mark: &Mark) -> anyhow::Result<()> {
    checksummed::write(state, NAME, &format!("{}\n{}", mark.by, mark.text))
}

/// The mark, if there is a mark.
///
/// # Errors
/// There is a mark that can't be read.
pub(crate) fn recall(state: &Path) -> anyhow::Result<Option<Mark>> {
    let Some(text) = checksummed::read_if_any(state, NAME)? else { return Ok(None) };
    let mark =
        text.split_once('\n').and_then(|(by, text)| Some(Mark { by: Remover::of_mark(by)?, text: text.to_owned() }));
    mark.map(Some).with_context(|| format!("{} does not say who accepted what", state.join(NAME).display()))
}

/// Removes the mark.
pub(crate) fn clear(state: &Path) -> anyhow::Result<()> {
    checksummed::remove(state, NAME)
}
