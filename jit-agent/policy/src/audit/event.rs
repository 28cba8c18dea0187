//! The list of events.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use jit_common::abi::Mode;
use serde_json::{Map, Value};

use super::{
    asked::AskedPorts,
    detail::Detail,
    field::{Field, Key},
    part::{Attempt, FilesRead, Grounds, IfAny, PortChange, Remover, Repeated, SettingsInForce, StoredGrant, WayBack},
};
use crate::{Actor, GrantId, Person, PortId, PortPolicy, RequestId, TrialKind, Way};

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal { $($field:ident: $type:ty,)* })+) => {
        /// Something that the audit log tells of. Each event has one row of `docs/audit.md`.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AuditEvent {
            $($(#[doc = $doc])+ $variant {
                $(#[doc = concat!("What the detail has as `", stringify!($field), "`.")] $field: $type,)*
            },)+
        }

        impl AuditEvent {
            /// All events. Two of them may share a name, and then differ in their keys.
            pub const KINDS: &[Kind] = &[$(Kind {
                name: $name,
                meaning: concat!($($doc,)+),
                keys: || {
                    let keys: Vec<Vec<Key>> = vec![$(<$type as Field>::keys(stringify!($field)),)*];
                    keys.concat()
                },
            },)+];

            /// The name in the column `event`.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)+
                }
            }

            /// The detail. Its keys stand in the order of the fields: the hash of a row covers the text.
            #[must_use]
            pub fn detail(&self) -> Value {
                let mut detail = Map::new();
                match self {
                    $(Self::$variant { $($field,)* } => { $($field.put(stringify!($field), &mut detail);)* })+
                }
                Value::Object(detail)
            }

            /// An event of each kind; another `turn` gives other fields.
            #[cfg(test)]
            pub(super) fn samples(turn: usize) -> Vec<Self> {
                use super::tests::Sample;
                vec![$(Self::$variant { $($field: Sample::sample(turn),)* },)+]
            }
        }
    };
}

events! {
    /// The agent has started.
    Started "started" {}
    /// The agent stops.
    Stopped "stopped" {}
    /// Somebody asks for access. `pending_until` says how long the request waits for approval, `grant` which grant it would
    /// extend.
    Requested "requested" {
        request: RequestId,
        requestor: String,
        uid: u32,
        by: Person,
        justification: String,
        ports: AskedPorts,
        pending_until: IfAny<Timestamp>,
        grant: IfAny<GrantId>,
    }
    /// Somebody approved a request that waited.
    Approved "approved" {
        request: RequestId,
        requestor: String,
        uid: u32,
        by: Person,
    }
    /// Somebody denied a request that waited.
    Denied "denied" {
        request: RequestId,
        requestor: String,
        uid: i64,
        by: Option<Actor>,
        reason: Option<String>,
    }
    /// Somebody took a request back that waited.
    Cancelled "cancelled" {
        request: RequestId,
        requestor: String,
        uid: i64,
        by: Option<Actor>,
        reason: Option<String>,
    }
    /// Nobody decided about a request in time.
    TimedOut "timed_out" {
        request: RequestId,
        requestor: String,
        uid: i64,
        by: Option<Actor>,
        reason: Option<String>,
    }
    /// A request could not be carried out; its grants, if it has any, end.
    Failed "failed" {
        request: RequestId,
        reason: String,
    }
    /// The agent refused what somebody asked for. Where it refused a person again and again, one row has their `count`
    /// `since` the first one, and says what the last one was.
    Refused "denied" {
        requestor: String,
        uid: u32,
        by: Person,
        attempt: Attempt,
        grounds: Grounds,
        repeated: IfAny<Repeated>,
    }
    /// A grant was made.
    Granted "granted" {
        grant: StoredGrant,
        end: Timestamp,
        requestor: String,
        uid: u32,
    }
    /// A grant ends later.
    Extended "extended" {
        grant: StoredGrant,
        end: Timestamp,
        before: Timestamp,
        requestor: String,
        by: Person,
    }
    /// A grant ends earlier.
    Shortened "shortened" {
        grant: StoredGrant,
        end: Timestamp,
        before: Timestamp,
        requestor: Option<String>,
        by: Option<Actor>,
        reason: String,
    }
    /// The time of a grant is over.
    Expired "expired" {
        grant: StoredGrant,
        requestor: Option<String>,
        by: Option<Actor>,
        reason: Option<String>,
    }
    /// Somebody ended a grant.
    Revoked "revoked" {
        grant: StoredGrant,
        requestor: Option<String>,
        by: Option<Actor>,
        reason: Option<String>,
    }
    /// The agent ended a grant, for example since the configuration allows it no more.
    Ended "ended" {
        grant: StoredGrant,
        requestor: Option<String>,
        by: Option<Actor>,
        reason: Option<String>,
    }
    /// Somebody revoked all, and so closed entries of the kernel that belong to no grant that the agent knows.
    EntriesClosed "entries_closed" {
        entries: usize,
        by: Person,
        reason: String,
    }
    /// A grant let its first connection in, at `time`.
    FirstConnection "first_connection" {
        grant: StoredGrant,
        requestor: Option<String>,
        time: Timestamp,
    }
    /// A grant that has ended let its last connection in, at `time`.
    LastConnection "last_connection" {
        grant: StoredGrant,
        requestor: Option<String>,
        time: Timestamp,
    }
    /// A source of `break_glass` let a connection in, at `time`.
    BreakGlassUsed "break_glass_used" {
        source: String,
        time: Timestamp,
    }
    /// A port policy was added, changed or removed.
    PortChanged "policy_changed" {
        by: Actor,
        port: PortId,
        change: PortChange,
        before: Option<PortPolicy>,
        after: Option<PortPolicy>,
    }
    /// The files were read again, by a reload or a start. `ports` are those whose policies differ; `before` and `after` have the other keys.
    Reloaded "policy_changed" {
        by: Actor,
        files: FilesRead,
        ports: Vec<PortId>,
        before: SettingsInForce,
        after: SettingsInForce,
    }
    /// Somebody accepted the files by `jit-agent accept`, at `time`, and this start took them whatever they open.
    Accepted "accepted" {
        by: Remover,
        time: Timestamp,
    }
    /// Somebody turned enforcement on, on trial for so many seconds. `source`, `number` and `grant` are those of the
    /// operator's own session.
    Enabled "enabled" {
        by: Person,
        seconds: Duration,
        source: Option<IpAddr>,
        number: Option<u16>,
        grant: Option<GrantId>,
        way_back: WayBack,
    }
    /// Somebody turned enforcement off.
    Disabled "disabled" {
        by: Person,
    }
    /// A trial was confirmed, so that what it tried is in force for good.
    Confirmed "confirmed" {
        by: Option<Person>,
        tried: TrialKind,
        mode: Mode,
    }
    /// A trial ended without having been confirmed. `grants` are those that it had shut.
    TrialEnded "trial_ended" {
        by: Option<Person>,
        tried: TrialKind,
        mode: Mode,
        grants: IfAny<Vec<GrantId>>,
    }
    /// Somebody took the program off all interfaces by hand, at `time`.
    Unloaded "unloaded" {
        by: Option<Remover>,
        time: IfAny<Timestamp>,
        reason: IfAny<String>,
    }
    /// The program is on an interface now.
    Attached "attached" {
        interface: String,
        index: u32,
        how: Way,
        note: Option<String>,
        covered_after_ms: Option<f64>,
    }
    /// The program was not on an interface as it should be.
    Detached "detached" {
        interface: String,
        index: u32,
        how: Way,
        reason: String,
    }
    /// Retention removed the rows from `first` to `last`, which were written before `before`. `hash` is that of the last.
    Pruned "pruned" {
        first: i64,
        last: i64,
        hash: [u8; 32],
        before: Timestamp,
    }
}

impl AuditEvent {
    /// The terms by which searches find a row, as the store's table of terms has them: `event:`, `user:` or `port:`
    /// with the value.
    #[must_use]
    pub fn terms(&self) -> Vec<String> {
        Detail(&self.detail()).terms(self.name())
    }
}

/// The properties that all events of one kind share.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The name in the column `event`.
    pub name: &'static str,
    meaning: &'static str,
    keys: fn() -> Vec<Key>,
}

impl Kind {
    /// What happened, in whole sentences.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        self.meaning.trim()
    }

    /// The keys of the detail, in their order.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        (self.keys)()
    }

    /// Whether a row is of this kind, by its name and its keys.
    #[must_use]
    pub fn fits(&self, event: &str, detail: &Value) -> bool {
        let Some(detail) = detail.as_object() else { return false };
        let keys = self.keys();
        event == self.name
            && keys.iter().all(|key| !key.always || detail.contains_key(key.name))
            && detail.keys().all(|found| keys.iter().any(|key| key.name == found))
    }
}
