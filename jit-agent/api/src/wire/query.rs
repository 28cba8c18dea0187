//! Queries for a part of a list.

use jit_policy::{BootTime, Given, GrantFilter, GrantId, RequestFilter, RequestId, RequestState, Violation};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::schema;

/// The longest part of the list of requests, and its length if the query names no limit.
const REQUESTS: (usize, usize) = (200, 50);
/// The longest part of the list of grants, and its length if the query names no limit.
const GRANTS: (usize, usize) = (5000, 1000);

/// The query of `GET /v1/requests`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RequestQuery {
    /// `Pending`: only those that wait for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline, value_type = Option<schema::Waiting>)]
    pub status: Option<Given<RequestState>>,
    /// Only those older than the request of this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<i64>, minimum = 1)]
    pub before: Option<String>,
    /// How many at most, 1 to 200; 50 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    pub limit: Option<String>,
}

/// The query of `GET /v1/grants`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GrantQuery {
    /// From where to go on, as `nextLink` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(pattern = "^[0-9]{1,19}-[0-9]{1,18}$")]
    pub after: Option<String>,
    /// How many at most, 1 to 5000; 1000 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 5000)]
    pub limit: Option<String>,
}

impl RequestQuery {
    /// The requests to list.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(&self) -> Result<RequestFilter, Vec<Violation>> {
        let Self { status, before, limit } = self;
        let mut faults = Vec::new();
        if let Some(given) = status.as_ref().filter(|status| **status != RequestState::Pending) {
            faults.push(violation("status", given.text(), "Pending, or nothing for all"));
        }
        let number = |text: &String| text.parse().ok().filter(|number| *number > 0).map(RequestId);
        let before = checked(before.as_ref(), number, ("before", "the number of a request"), &mut faults);
        let limit = checked_limit(limit.as_ref(), REQUESTS, &mut faults);
        if faults.is_empty() { Ok(RequestFilter { pending: status.is_some(), before, limit }) } else { Err(faults) }
    }

    /// The path of the next part.
    #[must_use]
    pub fn link(self, next: RequestId) -> String {
        link("/v1/requests", &Self { before: Some(next.to_string()), ..self })
    }
}

impl GrantQuery {
    /// The grants to list.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(&self) -> Result<GrantFilter, Vec<Violation>> {
        let Self { after, limit } = self;
        let mut faults = Vec::new();
        let place = |text: &String| {
            let (end, id) = text.split_once('-')?;
            Some((BootTime(end.parse().ok()?), GrantId(id.parse().ok()?)))
        };
        let after = checked(after.as_ref(), place, ("after", "what a nextLink has"), &mut faults);
        let limit = checked_limit(limit.as_ref(), GRANTS, &mut faults);
        if faults.is_empty() { Ok(GrantFilter { after, limit }) } else { Err(faults) }
    }

    /// The path of the next part.
    #[must_use]
    pub fn link(self, (BootTime(end), id): (BootTime, GrantId)) -> String {
        link("/v1/grants", &Self { after: Some(format!("{end}-{id}")), ..self })
    }
}

fn link(path: &str, query: &impl Serialize) -> String {
    // Strings always serialise.
    format!("{path}?{}", serde_urlencoded::to_string(query).unwrap_or_default())
}

fn violation(field: &'static str, given: &str, allowed: impl Into<String>) -> Violation {
    Violation { port: String::new(), field, given: given.to_owned(), allowed: allowed.into() }
}

/// A value, if it is given. Adds a violation if the value can't be used.
fn checked<T>(
    given: Option<&String>,
    read: impl FnOnce(&String) -> Option<T>,
    (field, allowed): (&'static str, &str),
    faults: &mut Vec<Violation>,
) -> Option<T> {
    let given = given?;
    let value = read(given);
    if value.is_none() {
        faults.push(violation(field, given, allowed));
    }
    value
}

fn checked_limit(given: Option<&String>, (most, usual): (usize, usize), faults: &mut Vec<Violation>) -> usize {
    let number = |text: &String| text.parse().ok().filter(|number| (1..=most).contains(number));
    let allowed = format!("1 to {most}");
    checked(given, number, ("limit", &allowed), faults).unwrap_or(usual)
}
