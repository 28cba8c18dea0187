//! What the values of the keys of a port policy have in common.

use std::{ops::RangeInclusive, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{
    plain::Plain,
    port::{OutOfRange, PolicyError, PortId},
    source::{parse_sources, sources_in_file},
    span::Span,
    words::{Given, Spelled},
};

/// Most sources of one policy that is set over the API.
const MOST_SOURCES: usize = 16_384;

/// A type of values that keys have.
pub(crate) trait KeyValue: Sized {
    /// The value as the API has it, which may be unusable.
    type Given;
    /// The limits that a key sets for such values.
    type Limits;

    /// Reads the value from the file.
    fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Whether the key allows the value, wherever it is from.
    fn check(&self, port: PortId, key: &'static str, limits: &Self::Limits) -> Result<(), PolicyError>;

    /// The value as the API has it.
    fn given(&self) -> Self::Given;

    /// Reads the value from the API. Passes a value that can't be used to `refuse`, with what would be allowed.
    fn of_given(given: Self::Given, limits: &Self::Limits, refuse: &mut dyn FnMut(&str, String)) -> Option<Self>;

    /// The value as plain data.
    fn plain(&self) -> Plain;
}

/// Reads the value of a key that is in the file.
pub(crate) fn in_file<'de, T: KeyValue, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::in_file(deserializer).map(Some)
}

fn check_range<T: KeyValue + PartialOrd>(
    value: &T,
    port: PortId,
    key: &'static str,
    limits: &RangeInclusive<T>,
) -> Result<(), PolicyError> {
    if limits.contains(value) {
        return Ok(());
    }
    let (least, most) = (limits.start().plain(), limits.end().plain());
    Err(PolicyError::Range(Box::new(OutOfRange { port, key, given: value.plain(), least, most })))
}

impl KeyValue for Vec<IpNet> {
    type Given = Vec<String>;
    type Limits = ();

    fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        sources_in_file(deserializer)
    }

    fn check(&self, port: PortId, key: &'static str, (): &()) -> Result<(), PolicyError> {
        if self.is_empty() { Err(PolicyError::NoSources { port, key }) } else { Ok(()) }
    }

    fn given(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }

    fn of_given(given: Vec<String>, (): &(), refuse: &mut dyn FnMut(&str, String)) -> Option<Self> {
        if given.is_empty() || given.len() > MOST_SOURCES {
            let allowed = format!("1 to {MOST_SOURCES} sources, or none of this field to allow any");
            refuse(&format!("{} sources", given.len()), allowed);
            return None;
        }
        Some(parse_sources(&given, refuse))
    }

    fn plain(&self) -> Plain {
        Plain::Texts(self.given())
    }
}

impl KeyValue for Duration {
    type Given = Given<Span>;
    type Limits = RangeInclusive<Self>;

    fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let error = || D::Error::custom(format!("`{text}` is not a duration; write one like \"3h\" or \"90min\""));
        text.parse().map(|Span(duration)| duration).map_err(|_| error())
    }

    fn check(&self, port: PortId, key: &'static str, limits: &RangeInclusive<Self>) -> Result<(), PolicyError> {
        check_range(self, port, key, limits)
    }

    fn given(&self) -> Given<Span> {
        Span(*self).into()
    }

    fn of_given(
        given: Given<Span>,
        limits: &RangeInclusive<Self>,
        refuse: &mut dyn FnMut(&str, String),
    ) -> Option<Self> {
        let value = given.value().map(|span| span.0).filter(|duration| limits.contains(duration));
        if value.is_none() {
            refuse(given.text(), format!("{} to {}", limit(*limits.start()), limit(*limits.end())));
        }
        value
    }

    fn plain(&self) -> Plain {
        Plain::Time(Span(*self))
    }
}

/// A limit in ISO 8601, in days where people would see days.
fn limit(duration: Duration) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    if seconds > DAY && seconds.is_multiple_of(DAY) { format!("P{}D", seconds / DAY) } else { Span(duration).iso() }
}

impl KeyValue for u32 {
    type Given = i64;
    type Limits = RangeInclusive<Self>;

    fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn check(&self, port: PortId, key: &'static str, limits: &RangeInclusive<Self>) -> Result<(), PolicyError> {
        check_range(self, port, key, limits)
    }

    fn given(&self) -> i64 {
        i64::from(*self)
    }

    fn of_given(given: i64, limits: &RangeInclusive<Self>, refuse: &mut dyn FnMut(&str, String)) -> Option<Self> {
        let value = Self::try_from(given).ok().filter(|number| limits.contains(number));
        if value.is_none() {
            refuse(&given.to_string(), format!("{} to {}", limits.start(), limits.end()));
        }
        value
    }

    fn plain(&self) -> Plain {
        Plain::Number(*self)
    }
}

/// Words have the same spelling in the file and on the API.
impl<T: Spelled + Copy + for<'de> Deserialize<'de>> KeyValue for T {
    type Given = Given<T>;
    type Limits = ();

    fn in_file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn check(&self, _: PortId, _: &'static str, (): &()) -> Result<(), PolicyError> {
        Ok(())
    }

    fn given(&self) -> Given<T> {
        (*self).into()
    }

    fn of_given(given: Given<T>, (): &(), refuse: &mut dyn FnMut(&str, String)) -> Option<Self> {
        if given.value().is_none() {
            refuse(given.text(), T::allowed());
        }
        given.value().copied()
    }

    fn plain(&self) -> Plain {
        Plain::Text(self.spelled().into_owned())
    }
}
