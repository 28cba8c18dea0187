//! What may be opened for whom, for how long: pure rules, without I/O and without a clock of their own.

mod book;
mod check;
mod grant;
mod nested;
mod occupancy;
mod person;
mod port;
mod remaining;
mod request;
mod role;
mod source;

pub use book::{Book, BookError};
pub use grant::{Change, EntryKey, GrantId, LiveGrant};
pub use occupancy::Occupancy;
pub use person::{Actor, Person, Requestor, is_of};
pub use port::{
    Approval, DEFAULT_APPROVAL_TIMEOUT, DEFAULT_MAXIMUM, DEFAULT_QUOTA, Justification, LARGEST_QUOTA,
    LONGEST_APPROVAL_TIMEOUT, LONGEST_MAXIMUM, PolicyError, PortId, PortPolicies, PortPolicy, Protocol,
    SHORTEST_APPROVAL_TIMEOUT, SHORTEST_MAXIMUM, any_source,
};
pub use remaining::remaining_after_reboot;
pub use request::{ApprovedPort, NewRequest, RequestId, RequestedPort, Until, Violation};
pub use role::{Right, Role};
pub use source::{SourceError, parse_source, single_address};
