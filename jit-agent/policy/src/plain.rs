//! Values of keys as plain data.

use std::fmt;

use super::span::Span;

/// A value of a key, for the formats that write it: each format has its own form for durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Several texts.
    Texts(Vec<String>),
    /// A duration.
    Time(Span),
    /// A text.
    Text(String),
    /// A number.
    Number(u32),
}

impl fmt::Display for Plain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Texts(texts) => formatter.write_str(&texts.join(", ")),
            Self::Time(span) => span.fmt(formatter),
            Self::Text(text) => formatter.write_str(text),
            Self::Number(number) => number.fmt(formatter),
        }
    }
}
