//! The last known numbers of the names in `[roles]`.

use std::path::Path;

use super::checksummed;

/// The name of the file.
pub(crate) const NAME: &str = "role-numbers.toml";

/// Keeps the numbers as text.
pub(crate) fn remember(state: &Path, text: &str) -> anyhow::Result<()> {
    checksummed::write(state, NAME, text)
}

/// The text that was kept last. `None`: none was kept.
pub(crate) fn recall(state: &Path) -> anyhow::Result<Option<String>> {
    checksummed::read_if_any(state, NAME)
}
