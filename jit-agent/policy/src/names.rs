//! Lists of users and groups in the policy of a port. They narrow a role, and never give it.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    key::KeyValue,
    plain::Plain,
    port::{PolicyError, PortId},
};

/// The largest number of names in one list.
const MOST_NAMES: usize = 256;
/// What a name is.
const USAGE: &str = "a user, or a group as \"@group\"";

/// Users and `@groups`. An empty list narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Names {
    /// Whether everybody with the role is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names.
    pub fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

fn is_name(text: &str) -> bool {
    !text.trim_start_matches('@').trim().is_empty()
}

impl KeyValue for Names {
    type Given = Vec<String>;
    type Limits = ();

    fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        if names.len() > MOST_NAMES {
            return Err(D::Error::custom(format!(
                "{} names are too many; write a group, or at most {MOST_NAMES}",
                names.len()
            )));
        }
        match names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(D::Error::custom(format!("`{name}` names nobody; write {USAGE}"))),
            None => Ok(Self(names)),
        }
    }

    fn check(&self, _: PortId, _: &'static str, (): &()) -> Result<(), PolicyError> {
        Ok(())
    }

    fn given(&self) -> Vec<String> {
        self.0.clone()
    }

    fn of_given(given: Vec<String>, (): &(), refuse: &mut dyn FnMut(&str, String)) -> Option<Self> {
        if given.len() > MOST_NAMES {
            refuse(&format!("{} names", given.len()), format!("at most {MOST_NAMES} names"));
            return None;
        }
        if let Some(name) = given.iter().find(|name| !is_name(name)) {
            refuse(name, USAGE.to_owned());
            return None;
        }
        Some(Self(given))
    }

    fn plain(&self) -> Plain {
        Plain::Texts(self.0.clone())
    }
}
