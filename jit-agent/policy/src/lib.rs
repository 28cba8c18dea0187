//! Vocabulary and rules of what may be opened for whom, and for how long; without I/O and without a clock of its own.

#![forbid(unsafe_code)]

pub mod audit;
mod book;
mod boot_time;
mod check;
mod coverage;
mod enforcement;
mod grant;
pub mod hex;
mod interfaces;
mod key;
mod names;
mod nested;
mod occupancy;
mod packet;
mod people;
mod person;
mod plain;
mod port;
mod port_policies;
mod port_policy;
mod protection;
mod remaining;
mod request;
mod role;
pub mod schema;
mod selection;
mod source;
mod span;
pub mod text;
mod words;

pub use book::{Book, BookError};
pub use boot_time::BootTime;
pub use coverage::{Layer, Way};
pub use enforcement::{CHANGE_TRIAL, EnableAsked, LONGEST_TRIAL, Reload, SHORTEST_TRIAL, Session, TrialKind};
pub use grant::{Change, EntryKey, GrantId, GrantState, LiveGrant};
pub use interfaces::{Interfaces, Pattern, PatternError};
pub use names::Names;
pub use occupancy::Occupancy;
pub use packet::Packet;
pub use people::{Holder, People, Persons};
pub use person::{Actor, Person, Requestor};
pub use plain::Plain;
pub use port::{Approval, Justification, OutOfRange, PolicyError, PortId, Protocol};
pub use port_policies::PortPolicies;
pub use port_policy::{LONGEST_MAXIMUM, PortPatch, PortPolicy, PortPolicySchema, SHORTEST_MAXIMUM};
pub use protection::{Fragments, ProtectedPort, Protection, Scope};
pub use remaining::remaining_after_reboot;
pub use request::{
    ApprovedPort, IdempotencyKey, NewRequest, RequestId, RequestState, RequestedPort, Submission, Until, Violation,
};
pub use role::{Right, Role};
pub use selection::{AuditFilter, GrantFilter, NotedHead, Page, RequestFilter, Selection};
pub use source::{SourceError, any_source, parse_source, parse_sources, single_address, sources_in_file};
pub use span::{Span, SpanError};
pub use words::{Given, Spelled, UnknownWord, Word};
