//! Which interfaces the owner wants covered: `auto`, names and globs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error as _};

/// The longest name that Linux gives an interface.
const LONGEST_NAME: usize = 15;

/// One entry of `interfaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The lowest device of each path on which packets come in.
    Auto,
    /// The interface of this name, whether it exists or not.
    Name(String),
    /// All interfaces whose names match.
    Glob(glob::Pattern),
}

/// Why a text is no list of interfaces.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    /// No interface can have this name.
    #[error("`{}` is not the name of an interface", .0.escape_default())]
    Name(String),
    /// The wildcards have no meaning.
    #[error("`{text}` is no pattern: {source}; write one like \"eth*\" or \"eth[0-3]\"")]
    Glob {
        /// The text.
        text: String,
        /// What is wrong with the text.
        source: glob::PatternError,
    },
    /// An entry occurs twice.
    #[error("`{0}` is listed twice")]
    Twice(String),
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        let is_glob = text.contains(['*', '?', '[']);
        if text.is_empty() || !printable || (!is_glob && text.len() > LONGEST_NAME) {
            return Err(PatternError::Name(text.to_owned()));
        }
        if !is_glob {
            return Ok(Self::Name(text.to_owned()));
        }
        glob::Pattern::new(text).map(Self::Glob).map_err(|source| PatternError::Glob { text: text.to_owned(), source })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Name(name) => name,
            Self::Glob(pattern) => pattern.as_str(),
        })
    }
}

/// The list of entries of `interfaces`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces(Vec<Pattern>);

impl Interfaces {
    /// The list that covers nothing.
    pub const NONE: Self = Self(Vec::new());
}

impl Default for Interfaces {
    fn default() -> Self {
        Self(vec![Pattern::Auto])
    }
}

impl Interfaces {
    /// The list that these entries make.
    ///
    /// # Errors
    /// An entry is not a name or pattern, or occurs twice.
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<Self, PatternError> {
        let mut patterns = Vec::new();
        for text in texts.iter().map(AsRef::as_ref) {
            let pattern = text.parse()?;
            if patterns.contains(&pattern) {
                return Err(PatternError::Twice(text.to_owned()));
            }
            patterns.push(pattern);
        }
        Ok(Self(patterns))
    }

    /// The entries, in the owner's order.
    pub fn iter(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter()
    }

    /// Whether the list covers nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All entries that either of two lists names.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let more = other.0.iter().filter(|pattern| !self.0.contains(pattern));
        Self(self.0.iter().chain(more).cloned().collect())
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Pattern::to_string).collect();
        formatter.write_str(&texts.join(", "))
    }
}

impl<'de> Deserialize<'de> for Interfaces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        Self::parse(&texts).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_names_and_globs_are_told_apart() {
        let parse = |text: &str| text.parse::<Pattern>().unwrap();
        assert_eq!(parse("auto"), Pattern::Auto);
        assert_eq!(parse("eth0.5"), Pattern::Name("eth0.5".to_owned()));
        let Pattern::Glob(glob) = parse("en*[0-1]") else { panic!("a glob") };
        assert!(glob.matches("enp0") && glob.matches("en1") && !glob.matches("enp2"));
    }

    #[test]
    fn what_no_interface_can_be_called_is_refused() {
        for text in ["", "a/b", "a b", "sixteen-letters-", "eth[", "***", "\u{e4}*"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_lists_together_name_each_pattern_once() {
        let list = |texts: &[&str]| Interfaces::parse(texts).unwrap();
        assert_eq!(list(&["auto", "lo"]).or(&list(&["br*", "auto"])), list(&["auto", "lo", "br*"]));
    }
}
