//! The parts of events that only the log uses.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use jit_common::abi::Mode;
use serde_json::{Map, Value, json};

use super::asked::AskedPorts;
use super::field::{Field, Key, always, object, sometimes};
use crate::{Fragments, GrantId, Interfaces, People, PortId, RequestId, Role, Scope, Violation};

/// How many violations of one request the log lists before it only counts the rest.
const LISTED_VIOLATIONS: usize = 20;

/// A value that may be absent; the log then leaves its keys out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfAny<T>(pub Option<T>);

impl<T: Field> Field for IfAny<T> {
    fn value(&self) -> Value {
        self.0.value()
    }

    fn put(&self, key: &'static str, detail: &mut Map<String, Value>) {
        if let Some(value) = &self.0 {
            value.put(key, detail);
        }
    }

    fn keys(key: &'static str) -> Vec<Key> {
        T::keys(key).into_iter().map(|key| Key { always: false, ..key }).collect()
    }
}

/// A grant as the store holds it. The texts are not checked: a bad value must not keep a grant from being closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredGrant {
    /// The grant's number.
    pub id: GrantId,
    /// The request that the grant came from.
    pub request: RequestId,
    /// The number of the grant's port.
    pub number: i64,
    /// The protocol of the grant's port.
    pub protocol: String,
    /// The source that the grant lets in.
    pub source: String,
}

impl StoredGrant {
    /// The stored form of a grant whose values are checked.
    #[must_use]
    pub fn new(id: GrantId, request: RequestId, port: PortId, source: IpNet) -> Self {
        let (number, protocol) = (port.number.into(), port.protocol.to_string());
        Self { id, request, number, protocol, source: source.to_string() }
    }
}

impl Field for StoredGrant {
    fn value(&self) -> Value {
        object(self)
    }

    fn put(&self, _: &'static str, detail: &mut Map<String, Value>) {
        let Self { id, request, number, protocol, source } = self;
        id.put("grant", detail);
        request.put("request", detail);
        number.put("number", detail);
        protocol.put("protocol", detail);
        source.put("source", detail);
    }

    fn keys(_: &'static str) -> Vec<Key> {
        always(["grant", "request", "number", "protocol", "source"])
    }
}

/// What somebody asked for and was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A request for access.
    Request {
        /// The justification of the request.
        justification: String,
        /// The ports that were requested.
        ports: AskedPorts,
        /// The requestor whom a delegate named.
        named: Option<String>,
    },
    /// The approval of a request.
    Approve(RequestId),
    /// The denial of a request.
    Deny(RequestId),
    /// The cancellation of a request.
    Cancel(RequestId),
    /// More time for a grant.
    Extend(GrantId),
    /// The end of grants, of which this is the first; 0 if the request gave no number.
    Revoke(GrantId),
    /// Another policy for ports of this number.
    Change(u16),
    /// Enforcement on trial.
    Enable,
    /// The confirmation of a trial, which would have put the tried change in force for good.
    Confirm,
    /// Enforcement turned off, or the end of a trial.
    Disable,
}

impl Attempt {
    /// What was attempted, without what the person wrote.
    #[must_use]
    pub fn kind_only(self) -> Self {
        match self {
            Self::Request { .. } => Self::request(),
            other => other,
        }
    }

    /// About how many bytes a row has of the attempt.
    #[must_use]
    pub fn length(&self) -> usize {
        /// The bytes of a small row.
        const FIXED: usize = 400;
        match self {
            Self::Request { justification, ports, named: _ } => FIXED + justification.len() + ports.length(),
            _ => FIXED,
        }
    }

    /// A request for access of which nothing else is known.
    #[must_use]
    pub fn request() -> Self {
        Self::Request { justification: String::new(), ports: AskedPorts::default(), named: None }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::Approve(_) => "approve",
            Self::Deny(_) => "deny",
            Self::Cancel(_) => "cancel",
            Self::Extend(_) => "extend",
            Self::Revoke(_) => "revoke",
            Self::Change(_) => "change",
            Self::Enable => "enable",
            Self::Confirm => "confirm",
            Self::Disable => "disable",
        }
    }
}

impl Field for Attempt {
    fn value(&self) -> Value {
        object(self)
    }

    fn put(&self, _: &'static str, detail: &mut Map<String, Value>) {
        self.name().put("action", detail);
        match self {
            Self::Request { justification, ports, named } => {
                justification.put("justification", detail);
                ports.put("ports", detail);
                if let Some(named) = named {
                    named.put("named", detail);
                }
            }
            Self::Approve(id) | Self::Deny(id) | Self::Cancel(id) => id.put("request", detail),
            Self::Extend(id) | Self::Revoke(id) => id.put("grant", detail),
            Self::Change(number) => number.put("number", detail),
            // There is only one enforcement, so its number says nothing.
            Self::Enable | Self::Confirm | Self::Disable => 0_u16.put("enforcement", detail),
        }
    }

    fn keys(_: &'static str) -> Vec<Key> {
        let of_some = ["justification", "ports", "named", "request", "grant", "number", "enforcement"];
        [always(["action"]), sometimes(of_some)].concat()
    }
}

/// Why somebody was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// A rule forbids what was asked for. The text names the rule.
    Reason(String),
    /// The request asks for more than is allowed.
    Violations {
        /// The first violations.
        first: Vec<Violation>,
        /// How many violations there are.
        count: usize,
    },
}

impl Grounds {
    /// The grounds of a request that asks for more than is allowed.
    #[must_use]
    pub fn violations(violations: &[Violation]) -> Self {
        let first = violations.iter().take(LISTED_VIOLATIONS).cloned().collect();
        Self::Violations { first, count: violations.len() }
    }
}

impl Field for Grounds {
    fn value(&self) -> Value {
        object(self)
    }

    fn put(&self, _: &'static str, detail: &mut Map<String, Value>) {
        match self {
            Self::Reason(reason) => reason.put("reason", detail),
            Self::Violations { first, count } => {
                first.put("violations", detail);
                count.put("violation_count", detail);
            }
        }
    }

    fn keys(_: &'static str) -> Vec<Key> {
        sometimes(["reason", "violations", "violation_count"])
    }
}

/// Refusals of one person that were counted instead of written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// How many refusals there were.
    pub count: u64,
    /// When the first refusal was.
    pub since: Timestamp,
}

impl Field for Repeated {
    fn value(&self) -> Value {
        object(self)
    }

    fn put(&self, _: &'static str, detail: &mut Map<String, Value>) {
        let Self { count, since } = self;
        count.put("count", detail);
        since.put("since", detail);
    }

    fn keys(_: &'static str) -> Vec<Key> {
        always(["count", "since"])
    }
}

/// The fate of a port policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortChange {
    /// The port is protected from now on.
    Added,
    /// The policy changed, so that other things may be requested.
    Changed,
    /// The port is no longer protected.
    Removed,
}

impl Field for PortChange {
    fn value(&self) -> Value {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
        .into()
    }
}

/// Marks a change as files that were read again, not as a change of a single port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesRead;

impl Field for FilesRead {
    fn value(&self) -> Value {
        object(self)
    }

    fn put(&self, _: &'static str, detail: &mut Map<String, Value>) {
        None::<u16>.put("number", detail);
        None::<String>.put("protocol", detail);
        "reloaded".put("change", detail);
    }

    fn keys(_: &'static str) -> Vec<Key> {
        always(["number", "protocol", "change"])
    }
}

/// The configuration without its port policies, as far as a running agent adopts a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsInForce {
    /// Whether drops are carried out.
    pub mode: Mode,
    /// The interfaces to cover.
    pub interfaces: Interfaces,
    /// Which packets count.
    pub scope: Scope,
    /// What becomes of fragments, except atomic ones.
    pub fragments: Fragments,
    /// Break-glass sources, which are always let in.
    pub break_glass: Vec<IpNet>,
    /// How long records are kept, in whole days.
    pub retention: Duration,
    /// The users and groups of each role.
    pub roles: Vec<(Role, Vec<String>)>,
    /// The accounts and names that are one person.
    pub people: People,
}

impl Field for SettingsInForce {
    fn value(&self) -> Value {
        let Self { mode, interfaces, scope, fragments, break_glass, retention, roles, people } = self;
        let people: Map<String, Value> =
            people.written().map(|(person, doors)| (person.to_owned(), doors.value())).collect();
        let roles = roles.iter().map(|(role, names)| (role.name().to_owned(), names.value()));
        let mut value = json!({
            "mode": mode.value(),
            "interfaces": interfaces.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "scope": scope.name(),
            "fragments": fragments.name(),
            "break_glass": break_glass.value(),
            "retention_days": retention.as_secs() / 86_400,
            "roles": Value::Object(roles.collect()),
        });
        // Hosts without this table go on writing what they wrote.
        if let (Some(value), false) = (value.as_object_mut(), people.is_empty()) {
            value.insert("people".to_owned(), Value::Object(people));
        }
        value
    }
}

/// The fallbacks of whoever turned enforcement on, should the trial go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// Whether the console is a fallback.
    pub console: bool,
    /// The break-glass sources.
    pub break_glass: Vec<IpNet>,
    /// The delegates that are connected to the agent.
    pub delegates: Vec<String>,
}

impl Field for WayBack {
    fn value(&self) -> Value {
        let Self { console, break_glass, delegates } = self;
        json!({ "console": console, "break_glass": break_glass.value(), "delegates": delegates })
    }
}

/// A person of whom names were written down, and perhaps user ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remover {
    /// The user's name.
    pub name: String,
    /// The user's id; `None`: it is not known.
    pub uid: Option<u32>,
    /// The id and name of the user who logged in to become that user.
    pub login: Option<(Option<u32>, String)>,
}

/// The form of a [`Person`](crate::Person), without the parts that are not known.
impl Field for Remover {
    fn value(&self) -> Value {
        let Self { name, uid, login } = self;
        let mut by = Map::new();
        name.put("name", &mut by);
        IfAny(*uid).put("uid", &mut by);
        if let Some((uid, name)) = login {
            IfAny(*uid).put("login_uid", &mut by);
            name.put("login_name", &mut by);
        }
        Value::Object(by)
    }
}
