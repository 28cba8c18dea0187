//! What may be opened for whom, for how long: pure rules, without I/O and without a clock of their own.

mod book;
mod check;
mod grant;
mod nested;
mod port;
mod remaining;
mod request;
mod source;

pub use book::{Book, BookError};
pub use grant::{Change, EntryKey, GrantId, LiveGrant};
pub use port::{
    DEFAULT_MAXIMUM, Justification, LONGEST_MAXIMUM, PolicyError, PortId, PortPolicies, PortPolicy, Protocol,
    SHORTEST_MAXIMUM,
};
pub use remaining::remaining_after_reboot;
pub use request::{ApprovedPort, NewRequest, RequestId, RequestedPort, Until, Violation};
pub use source::{SourceError, parse_source, single_address};
