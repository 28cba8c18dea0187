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
    let is_kept = std::fs::symlink_metadata(state.join(NAME)).is_ok();
    is_kept.then(|| checksummed::read(state, NAME)).transpose()
}
