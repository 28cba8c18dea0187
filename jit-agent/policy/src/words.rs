//! Values that are words on the API, and how the program reads words that it does not know.

use std::borrow::Cow;

use jit_common::{
    abi::{Mode, Transport},
    reason::{Reason, Verdict},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// A value that the API spells as a text.
pub trait Spelled: Sized {
    /// The value's text.
    fn spelled(&self) -> Cow<'static, str>;

    /// The value that has this text; `None` if no value has it.
    fn of_text(text: &str) -> Option<Self>;

    /// The list of allowed texts, for people who wrote another one.
    fn allowed() -> String;
}

/// A value from a list, which the API spells as a word.
pub trait Word: Copy + 'static {
    /// All values.
    const ALL: &'static [Self];

    /// The value's word.
    fn word(self) -> &'static str;
}

impl<T: Word> Spelled for T {
    fn spelled(&self) -> Cow<'static, str> {
        self.word().into()
    }

    fn of_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.word() == text)
    }

    fn allowed() -> String {
        let words: Vec<_> = Self::ALL.iter().map(|value| value.word()).collect();
        match &words[..] {
            [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
            _ => words.concat(),
        }
    }
}

impl Word for Mode {
    const ALL: &'static [Self] = &[Self::Enforce, Self::Observe];

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for Verdict {
    const ALL: &'static [Self] = &[Self::Pass, Self::Drop];

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for Reason {
    const ALL: &'static [Self] = Self::ALL;

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for Transport {
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A text of the API, with the value that it stands for.
///
/// A newer agent or client may send words that this program does not know. Such words are kept as they came: answers
/// show them, and bodies that hold them are refused by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    text: Cow<'static, str>,
    value: Option<T>,
}

impl<T> Given<T> {
    /// The text as it came.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The value; `None` if the text stands for no value that this program knows.
    #[must_use]
    pub const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }
}

impl<T: PartialEq> PartialEq<T> for Given<T> {
    fn eq(&self, value: &T) -> bool {
        self.value.as_ref() == Some(value)
    }
}

impl<T: Spelled> From<T> for Given<T> {
    fn from(value: T) -> Self {
        Self { text: value.spelled(), value: Some(value) }
    }
}

impl<T: Spelled> From<String> for Given<T> {
    fn from(text: String) -> Self {
        let value = T::of_text(&text);
        Self { text: text.into(), value }
    }
}

impl<T> Serialize for Given<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T: Spelled> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl<T: ToSchema> ToSchema for Given<T> {
    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        T::schemas(schemas);
    }
}

impl<T: PartialSchema> PartialSchema for Given<T> {
    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

/// A word that is not one of the known words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word `{given}`; use {known}")]
pub struct UnknownWord {
    /// The word that was given.
    pub given: String,
    /// The known words.
    pub known: String,
}

/// Makes an enum whose variants are words, the same ones in files, in arguments and on the API.
macro_rules! words {
    (
        $(#[$($attribute:tt)*])*
        pub enum $name:ident {$(
            $(#[$($of_variant:tt)*])*
            $variant:ident = $word:tt,
        )+}
    ) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        $(#[$($attribute)*])*
        pub enum $name {$(
            $(#[$($of_variant)*])*
            #[serde(rename = $word)]
            $variant,
        )+}

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value's word.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {$(
                    Self::$variant => $word,
                )+}
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::words::Spelled::of_text(text).ok_or_else(|| $crate::words::UnknownWord {
                    given: text.to_owned(),
                    known: <Self as $crate::words::Spelled>::allowed(),
                })
            }
        }

        impl $crate::words::Word for $name {
            const ALL: &'static [Self] = Self::ALL;

            fn word(self) -> &'static str {
                self.name()
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::{Approval, Fragments, Given, Justification, Protocol, Scope};

    #[test]
    fn a_word_is_read_as_it_is_written_and_no_other_is() {
        assert_eq!(
            Approval::ALL.iter().map(|word| word.to_string().parse()).collect::<Vec<_>>(),
            [Ok(Approval::Auto), Ok(Approval::Required)]
        );
        assert_eq!("optional".parse(), Ok(Justification::Optional));
        assert_eq!("local".parse(), Ok(Scope::Local));
        assert_eq!("drop".parse(), Ok(Fragments::Drop));
        let error = "Auto".parse::<Approval>().unwrap_err().to_string();
        assert_eq!(error, "unknown word `Auto`; use auto or required");
    }

    #[test]
    fn protocols_have_a_spelling_of_the_file_and_one_of_the_api() {
        for (protocol, file, api) in
            [(Protocol::Tcp, "tcp", "TCP"), (Protocol::Udp, "udp", "UDP"), (Protocol::Any, "any", "*")]
        {
            assert_eq!((protocol.to_string().as_str(), file.parse()), (file, Ok(protocol)));
            assert_eq!((Given::from(protocol).text(), Given::from(api.to_owned()).value()), (api, Some(&protocol)));
        }
        assert_eq!(Given::<Protocol>::from("tcp".to_owned()).value(), None);
    }

    #[test]
    fn unknown_words_are_kept_as_they_came() {
        let given: Given<Approval> = Given::from("by-two".to_owned());
        assert_eq!((given.text(), given.value()), ("by-two", None));
    }
}
