//! The numbers of names, as they were found last. They outlast a restart, because at boot the name service may not work
//! yet.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::config::numbers;

/// The number of a user or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The user id or group id.
    pub number: u32,
    /// Whether the name is in this host's files, so that no directory is needed to know that it is gone.
    pub local: bool,
}

/// What is known about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The name has this number.
    Is(Number),
    /// The name had this number. It can't be looked up now, for this reason.
    Was(Number, String),
    /// No user or group has the name.
    Absent,
    /// The name can't be looked up, for this reason, and its number was never known.
    Unknown(String),
}

impl Found {
    /// Returns what is known after another answer. Only an answer takes a number away: a name service that does not work
    /// says nothing about a name that another host keeps.
    fn after(former: Option<&Self>, answer: Answer) -> Self {
        match (former, answer) {
            (_, Answer::Is(number)) => Self::Is(number),
            (_, Answer::Absent) => Self::Absent,
            // The files of this host always work, and they no longer have the name.
            (Some(Self::Is(number) | Self::Was(number, _)), Answer::Unsure(why)) if !number.local => {
                Self::Was(*number, why)
            }
            (_, Answer::Unsure(why)) => Self::Unknown(why),
        }
    }

    const fn number(&self) -> Option<Number> {
        match self {
            Self::Is(number) | Self::Was(number, _) => Some(*number),
            Self::Absent | Self::Unknown(_) => None,
        }
    }
}

/// What is known about names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(BTreeMap<String, Found>);

impl Numbers {
    /// Makes the numbers of names that were found.
    #[must_use]
    pub fn of(found: impl IntoIterator<Item = (String, Found)>) -> Self {
        Self(found.into_iter().collect())
    }

    /// Looks up names, and returns what is then known about them.
    #[must_use]
    pub fn looked_up<'a>(&self, names: impl IntoIterator<Item = &'a String>, look_up: impl Fn(&str) -> Answer) -> Self {
        let found = |name: &String| (name.clone(), Found::after(self.0.get(name), look_up(name)));
        Self(names.into_iter().map(found).collect())
    }

    /// The number of a name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        Some(self.0.get(name)?.number()?.number)
    }

    /// Returns what is wrong with a name. `None`: its number is known.
    #[must_use]
    pub fn fault(&self, name: &str) -> Option<String> {
        match self.0.get(name) {
            Some(Found::Is(_)) => None,
            Some(Found::Was(Number { number, .. }, why)) => {
                Some(format!("`{name}` can't be looked up ({why}), so its last known number, {number}, counts"))
            }
            Some(Found::Absent) => Some(format!("there is no user or group `{name}`")),
            Some(Found::Unknown(why)) => {
                Some(format!("`{name}` can't be looked up ({why}), so it gives nobody a role until it can"))
            }
            None => Some(format!("`{name}` is not looked up yet, so it gives nobody a role")),
        }
    }

    /// Keeps the numbers for a later start.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep(&self, state: &Path) -> anyhow::Result<()> {
        let known = |(name, found): (&String, &Found)| Some((name.clone(), found.number()?));
        let known: BTreeMap<String, Number> = self.0.iter().filter_map(known).collect();
        numbers::remember(state, &toml::to_string(&known)?)
    }

    /// Returns the numbers that were kept last. No name counts as looked up.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn kept(state: &Path) -> anyhow::Result<Self> {
        let Some(text) = numbers::recall(state)? else { return Ok(Self::default()) };
        let known: BTreeMap<String, Number> = toml::from_str(&text)?;
        let was = |number| Found::Was(number, "the agent has just started".to_owned());
        Ok(Self(known.into_iter().map(|(name, number)| (name, was(number))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELSEWHERE: Number = Number { number: 70_001, local: false };
    const HERE: Number = Number { number: 1001, local: true };

    fn after(numbers: &Numbers, name: &str, answer: &Answer) -> Numbers {
        numbers.looked_up([&name.to_owned()], |_| answer.clone())
    }

    #[test]
    fn a_directory_that_does_not_work_takes_no_number_away_and_one_that_works_does() {
        let away = Answer::Unsure("sssd does not run".to_owned());
        let found = after(&Numbers::default(), "@ops", &Answer::Is(ELSEWHERE));
        assert_eq!((found.number("@ops"), found.fault("@ops")), (Some(70_001), None));
        let kept = after(&after(&found, "@ops", &away), "@ops", &away);
        assert_eq!(kept.number("@ops"), Some(70_001));
        assert_eq!(
            kept.fault("@ops").unwrap(),
            "`@ops` can't be looked up (sssd does not run), so its last known number, 70001, counts"
        );
        let gone = after(&kept, "@ops", &Answer::Absent);
        assert_eq!((gone.number("@ops"), after(&gone, "@ops", &away).number("@ops")), (None, None));
        assert_eq!(after(&gone, "@ops", &Answer::Is(HERE)).number("@ops"), Some(1001), "the group was made anew");
    }

    #[test]
    fn a_name_of_this_hosts_files_is_gone_when_they_lack_it_whatever_works_elsewhere() {
        let found = after(&Numbers::default(), "bob", &Answer::Is(HERE));
        let gone = after(&found, "bob", &Answer::Unsure("sssd does not run".to_owned()));
        assert_eq!(gone.number("bob"), None);
        assert!(gone.fault("bob").unwrap().contains("gives nobody a role until it can"));
    }

    #[test]
    fn numbers_outlast_a_restart_and_a_damaged_file_is_told() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(Numbers::kept(state.path()).unwrap(), Numbers::default());
        let found = [("@ops", Found::Is(ELSEWHERE)), ("bob", Found::Is(HERE)), ("zed", Found::Absent)];
        Numbers::of(found.map(|(name, found)| (name.to_owned(), found))).keep(state.path()).unwrap();
        let kept = Numbers::kept(state.path()).unwrap();
        assert_eq!((kept.number("@ops"), kept.number("bob"), kept.number("zed")), (Some(70_001), Some(1001), None));
        assert!(kept.fault("bob").unwrap().contains("1001, counts"));
        let path = state.path().join(numbers::NAME);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("1001", "1002")).unwrap();
        assert!(Numbers::kept(state.path()).unwrap_err().to_string().contains("does not match its checksum"));
    }
}
