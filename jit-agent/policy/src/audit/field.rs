//! The forms of values in the log.
//!
//! Rows are kept for years and never changed. So these forms are separate from the forms of the API and of the files,
//! which may change.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use jiff::Timestamp;
use jit_common::abi::Mode;
use serde_json::{Map, Value, json};

use crate::{Actor, GrantId, Person, Plain, PortId, PortPolicy, RequestId, TrialKind, Violation, Way, hex};

/// A key of a detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name of the key.
    pub name: &'static str,
    /// Whether every row of that kind has the key.
    pub always: bool,
}

/// A value of the log: under the key of its field, unless it has several keys of its own.
pub(super) trait Field {
    /// The value as JSON.
    fn value(&self) -> Value;

    /// Adds the value to a detail.
    fn put(&self, key: &'static str, detail: &mut Map<String, Value>) {
        detail.insert(key.to_owned(), self.value());
    }

    /// The keys that the value may add.
    fn keys(key: &'static str) -> Vec<Key> {
        vec![Key { name: key, always: true }]
    }
}

/// A value that has several keys of its own, as an object.
pub(super) fn object(field: &impl Field) -> Value {
    let mut object = Map::new();
    field.put("", &mut object);
    Value::Object(object)
}

/// Keys that every row has.
pub(super) fn always<const N: usize>(names: [&'static str; N]) -> Vec<Key> {
    names.map(|name| Key { name, always: true }).to_vec()
}

/// Keys that only some rows have.
pub(super) fn sometimes<const N: usize>(names: [&'static str; N]) -> Vec<Key> {
    names.map(|name| Key { name, always: false }).to_vec()
}

macro_rules! fields {
    ($($type:ty: $value:ident => $json:expr;)+) => {
        $(impl Field for $type {
            fn value(&self) -> Value {
                let $value = self;
                $json
            }
        })+
    };
}

fields! {
    u16: number => (*number).into();
    u32: number => (*number).into();
    u64: number => (*number).into();
    usize: number => (*number).into();
    i64: number => (*number).into();
    f64: number => (*number).into();
    bool: truth => (*truth).into();
    &'static str: text => (*text).into();
    Way: way => way.name().into();
    String: text => text.as_str().into();
    [u8; 32]: hash => hex::encode(hash).into();
    Timestamp: time => time.to_string().into();
    Duration: length => length.as_secs().into();
    IpAddr: address => address.to_string().into();
    IpNet: prefix => prefix.to_string().into();
    RequestId: id => id.0.into();
    GrantId: id => id.0.into();
    Mode: mode => mode.name().into();
    TrialKind: kind => kind.name().into();
    Person: person => {
        let Person { uid, name, login } = person;
        match login {
            Some((login_uid, login)) => {
                json!({ "uid": uid, "name": name, "login_uid": login_uid, "login_name": login })
            }
            None => json!({ "uid": uid, "name": name }),
        }
    };
    Actor: actor => match actor {
        Actor::Person(person) => person.value(),
        Actor::Signal(name) => json!({ "signal": name }),
        Actor::Start => json!({ "at": "start" }),
    };
    Plain: plain => match plain {
        Plain::Texts(texts) => texts.value(),
        Plain::Time(span) => span.0.value(),
        Plain::Text(text) => text.value(),
        Plain::Number(number) => number.value(),
    };
    PortPolicy: policy => {
        let keys = policy.keys().into_iter();
        Value::Object(keys.map(|(key, plain)| (key.to_owned(), plain.value())).collect())
    };
    Violation: violation => {
        let Violation { port, field, given, allowed } = violation;
        json!({ "port": port, "field": field, "given": given, "allowed": allowed })
    };
}

/// An absent value is null in the log.
impl<T: Field> Field for Option<T> {
    fn value(&self) -> Value {
        self.as_ref().map_or(Value::Null, Field::value)
    }
}

impl<T: Field> Field for Vec<T> {
    fn value(&self) -> Value {
        self.iter().map(Field::value).collect()
    }
}

/// A port is two keys of the detail, but an object in a list of ports.
impl Field for PortId {
    fn value(&self) -> Value {
        object(self)
    }

    fn put(&self, _: &'static str, detail: &mut Map<String, Value>) {
        let Self { number, protocol } = self;
        number.put("number", detail);
        protocol.to_string().put("protocol", detail);
    }

    fn keys(_: &'static str) -> Vec<Key> {
        always(["number", "protocol"])
    }
}
