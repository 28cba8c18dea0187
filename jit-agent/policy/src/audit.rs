//! The events of the audit log: what happened, who did it, and to what.
//!
//! [`AuditEvent`] lists them. A row has the event's name and its detail, a JSON object; [`Detail`] reads it back, also
//! where an older version wrote it.

mod detail;
mod event;
mod field;
mod part;
#[cfg(test)]
mod tests;

pub use self::{
    detail::{Detail, NamedPort},
    event::{AuditEvent, Kind},
    field::Key,
    part::{Attempt, FilesRead, Grounds, IfAny, PortChange, Remover, Repeated, SettingsInForce, StoredGrant, WayBack},
};
