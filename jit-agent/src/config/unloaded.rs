//! The mark that all enforcement was removed by hand, which holds until it is enabled again.

use std::{fs, path::Path};

use super::kept;

const NAME: &str = "unloaded";

/// Sets the mark; `by` says who did it, and when.
pub(crate) fn mark(state: &Path, by: &str) -> anyhow::Result<()> {
    kept::write(state, NAME, by)
}

/// Who removed enforcement, and when; `None`: nobody did. A mark that can't be read is one all the same: to load the
/// program against someone's will can lock them out.
#[must_use]
pub(crate) fn marked(state: &Path) -> Option<String> {
    match fs::symlink_metadata(state.join(NAME)) {
        Err(_) => None,
        Ok(_) => Some(kept::read(state, NAME).map_or_else(
            |_| "by somebody, at a time that is not known".to_owned(),
            |by| by.chars().filter(|c| !c.is_control()).take(200).collect(),
        )),
    }
}

/// Takes the mark away.
pub(crate) fn clear(state: &Path) -> anyhow::Result<()> {
    kept::remove(state, NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_until_it_is_cleared_even_if_it_can_not_be_read() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(marked(state.path()), None);
        mark(state.path(), "by root").unwrap();
        assert_eq!(marked(state.path()).as_deref(), Some("by root"));
        fs::write(state.path().join(NAME), "").unwrap();
        assert!(marked(state.path()).is_some());
        clear(state.path()).unwrap();
        assert_eq!(marked(state.path()), None);
    }
}
