//! Placeholders for what differs from run to run.

/// The version of this workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The text without the version that it is of.
pub(crate) fn versionless(text: &str) -> String {
    text.replace(VERSION, "{version}")
}
