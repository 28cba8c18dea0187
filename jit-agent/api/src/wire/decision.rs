//! Bodies that decide requests and extend grants.

use std::time::Duration;

use jit_policy::{Until, Violation};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::{Faults, parse_until};
use crate::schema;

/// Body of `POST /v1/grants/{id}/extend`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Extend {
    /// For how long from now, ISO 8601, like `PT1H30M`; a grant that lasts longer stays as it is.
    #[schema(value_type = schema::Duration)]
    pub duration: String,
}

/// Body of `POST /v1/requests/{id}/approve`, `deny` and `cancel`; may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reason {
    /// Why; at most 1000 characters, on one line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(value_type = schema::Line)]
    pub reason: String,
}

/// An empty body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Extend {
    /// The duration.
    ///
    /// # Errors
    /// The text is not a duration that can be used.
    pub fn check(self) -> Result<Duration, Vec<Violation>> {
        let mut faults = Faults::default();
        match parse_until("", Some(self.duration), None, &mut faults) {
            Some(Until::For(duration)) => faults.into_result(duration),
            _ => faults.into_result(Duration::ZERO),
        }
    }
}

impl Reason {
    /// The checked text.
    ///
    /// # Errors
    /// The text is too long or has control characters.
    pub fn check(self) -> Result<String, Vec<Violation>> {
        let mut faults = Faults::default();
        faults.check_text("reason", &self.reason);
        faults.into_result(self.reason)
    }
}
