//! The events of the audit log: what happened, who did it, and to what.
//!
//! [`AuditEvent`] lists the events. A row has the event's name and its detail, a JSON object; [`Detail`] reads the
//! detail back, also of a row that an older version wrote.

mod asked;
mod detail;
mod event;
mod field;
mod part;
#[cfg(test)]
mod tests;

pub use self::{
    asked::AskedPorts,
    detail::{Detail, NamedPort},
    event::{AuditEvent, Kind},
    field::Key,
    part::{Attempt, FilesRead, Grounds, IfAny, PortChange, Remover, Repeated, SettingsInForce, StoredGrant, WayBack},
};
