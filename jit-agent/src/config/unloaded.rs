//! The mark that all enforcement was removed by hand. The mark holds until enforcement is enabled again.

use std::{fmt, path::Path};

use jiff::Timestamp;

use super::checksummed;

const NAME: &str = "unloaded";

/// Sets the mark; `by` says who did it, and when.
pub(crate) fn mark(state: &Path, by: &str) -> anyhow::Result<()> {
    checksummed::write(state, NAME, by)
}

/// The person who removed enforcement, and when; `None`: nobody removed enforcement. An unreadable mark still counts:
/// an unwanted load of the program can lock its owner out. A mark that anybody could have placed does not count.
#[must_use]
pub(crate) fn marked(state: &Path) -> Option<String> {
    let is_marked = checksummed::exists(state, NAME).unwrap_or(false);
    is_marked.then(|| {
        checksummed::read(state, NAME).map_or_else(
            |_| "by somebody, at a time that is not known".to_owned(),
            |by| by.chars().filter(|c| !c.is_control()).take(200).collect(),
        )
    })
}

/// The person who removed enforcement, according to the mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remover {
    /// The user's name, or the user id if the user has no name.
    pub name: String,
    /// The id and name of the login user, if that is another user (for instance before `sudo`). Earlier versions did not
    /// write the id.
    pub login: Option<(Option<u32>, String)>,
    /// The time of the removal.
    pub time: Timestamp,
}

/// The text of a mark.
impl fmt::Display for Remover {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, login, time } = self;
        match login {
            Some((Some(uid), login)) => write!(formatter, "by {name} (logged in as {login}, uid {uid}) at {time}"),
            Some((None, login)) => write!(formatter, "by {name} (logged in as {login}) at {time}"),
            None => write!(formatter, "by {name} at {time}"),
        }
    }
}

impl Remover {
    /// Reads the text of a mark; `None`: the text names nobody.
    pub(crate) fn of_mark(text: &str) -> Option<Self> {
        let (who, time) = text.strip_prefix("by ")?.rsplit_once(" at ")?;
        let login = who.strip_suffix(')').and_then(|who| who.split_once(" (logged in as "));
        let (name, login) = login.map_or((who, None), |(name, login)| (name, Some(login)));
        let login = login.map(|login| {
            let with_uid = login.rsplit_once(", uid ").and_then(|(name, uid)| Some((Some(uid.parse().ok()?), name)));
            let (uid, name) = with_uid.unwrap_or((None, login));
            (uid, name.to_owned())
        });
        Some(Self { name: name.to_owned(), login, time: time.parse().ok()? })
    }
}

/// Removes the mark.
pub(crate) fn clear(state: &Path) -> anyhow::Result<()> {
    checksummed::remove(state, NAME)
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    #[test]
    fn the_person_in_a_mark_is_who_was_written_into_it() {
        let time = "2026-11-22T16:00:00Z".parse().unwrap();
        for login in [None, Some((None, "ann".to_owned())), Some((Some(1000), "ann".to_owned()))] {
            let remover = Remover { name: "root".to_owned(), login, time };
            assert_eq!(Remover::of_mark(&remover.to_string()), Some(remover));
        }
        for text in ["", "by root", "by somebody, at a time that is not known", "root at 2026-11-22T16:00:00Z"] {
            assert_eq!(Remover::of_mark(text), None, "{text}");
        }
    }
}
