//! The audit log: the queries, and the rows of the answers.

use jiff::Timestamp;
use jit_policy::{AuditFilter, Given, NotedHead, Spelled, Violation, Word};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// The number of rows in an answer if the query names no limit.
const DEFAULT_LIMIT: usize = 200;
/// The largest number of rows in one answer.
const MAX_LIMIT: usize = 1000;

/// The query of `GET /v1/audit`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// Written at this time or later: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Time>)]
    pub since: Option<String>,
    /// Written before: RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Time>)]
    pub until: Option<String>,
    /// About this person's access, or done by this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(min_length = 1)]
    pub user: Option<String>,
    /// About this port number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::PortNumber>)]
    pub port: Option<String>,
    /// Of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(min_length = 1)]
    pub event: Option<String>,
    /// After the row of this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<i64>, minimum = 0)]
    pub after: Option<String>,
    /// At most so many rows in one answer: 1 to 1000, 200 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    pub limit: Option<String>,
    /// `json`, or for all rows that fit at once `csv` or `jsonl`; if left out, the header `Accept` decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline, value_type = Option<schema::AuditFormat>)]
    pub format: Option<Given<AuditFormat>>,
}

/// The question that a query asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuestion {
    /// The rows that are wanted.
    pub filter: AuditFilter,
    /// The number of the row after which the answer starts.
    pub after: i64,
    /// The largest number of rows in one answer.
    pub limit: usize,
    /// The format of the rows.
    pub format: AuditFormat,
}

/// The format of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditFormat {
    /// A page of rows as one JSON object.
    #[default]
    Page,
    /// All rows as comma-separated values (RFC 4180).
    Csv,
    /// All rows, each as a line of JSON.
    Jsonl,
}

impl Word for AuditFormat {
    const ALL: &'static [Self] = &[Self::Page, Self::Csv, Self::Jsonl];

    fn word(self) -> &'static str {
        match self {
            Self::Page => "json",
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

impl AuditFormat {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Page => "application/json",
            Self::Csv => "text/csv",
            Self::Jsonl => "application/jsonl",
        }
    }

    /// The first of the formats that a header `Accept` names.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let named = |range: &str| {
            let essence = range.split(';').next().unwrap_or_default().trim();
            Self::ALL.iter().copied().find(|format| format.media_type().eq_ignore_ascii_case(essence))
        };
        accept.split(',').find_map(named).unwrap_or_default()
    }
}

impl AuditQuery {
    /// Checks the query. `accepted` is the format if the query names no format.
    ///
    /// # Errors
    /// A value can't be used. The error lists every such value.
    pub fn check(&self, accepted: AuditFormat) -> Result<AuditQuestion, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut violate = |field: &'static str, given: &str, allowed: &str| {
            let (given, allowed) = (given.to_owned(), allowed.to_owned());
            violations.push(Violation { port: String::new(), field, given, allowed });
        };
        let time = "a time like 2026-01-31T17:30:00Z";
        let since = read(self.since.as_deref(), |text| text.parse().ok(), |given| violate("since", given, time));
        let until = read(self.until.as_deref(), |text| text.parse().ok(), |given| violate("until", given, time));
        if let (Some(since), Some(until), Some(given)) = (since, until, &self.until)
            && until <= since
        {
            violate("until", given, "later than since");
        }
        for (field, value) in [("user", &self.user), ("event", &self.event)] {
            if value.as_deref() == Some("") {
                violate(field, "", "a name");
            }
        }
        let positive = |text: &str| text.parse().ok().filter(|number: &u16| *number > 0);
        let port = read(self.port.as_deref(), positive, |given| violate("port", given, "1 to 65535"));
        let whole = |text: &str| text.parse().ok().filter(|number: &i64| *number >= 0);
        let after = read(self.after.as_deref(), whole, |given| violate("after", given, "the number of a row"));
        let few = |text: &str| text.parse().ok().filter(|number| (1..=MAX_LIMIT).contains(number));
        let limit = read(self.limit.as_deref(), few, |given| violate("limit", given, "1 to 1000"));
        let format = self.format.clone().unwrap_or(accepted.into());
        if format.value().is_none() {
            violate("format", format.text(), &AuditFormat::allowed());
        }
        let format = format.value().copied().unwrap_or(accepted);
        if let Some(given) = self.limit.as_deref().filter(|_| format != AuditFormat::Page) {
            violate("limit", given, "none: as csv or jsonl all rows come at once");
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        let filter = AuditFilter { since, until, user: self.user.clone(), port, event: self.event.clone() };
        Ok(AuditQuestion { filter, after: after.unwrap_or(0), limit: limit.unwrap_or(DEFAULT_LIMIT), format })
    }

    /// The path and query of the rows after the row `after`.
    #[must_use]
    pub fn link_after(&self, after: i64) -> String {
        let query = Self { after: Some(after.to_string()), ..self.clone() };
        // Strings always serialise.
        format!("/v1/audit?{}", serde_urlencoded::to_string(query).unwrap_or_default())
    }
}

/// Reads a value, if there is one. Calls `report` if the value can't be used.
fn read<T>(given: Option<&str>, parse: impl Fn(&str) -> Option<T>, report: impl FnOnce(&str)) -> Option<T> {
    let given = given?;
    let value = parse(given);
    if value.is_none() {
        report(given);
    }
    value
}

/// Some rows of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The rows in the order of their numbers.
    pub value: Vec<AuditEntry>,
    /// Path and query of the rows after these; left out if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_link: Option<String>,
}

/// One row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Its number, from 1.
    pub seq: i64,
    /// When it was written.
    #[schema(value_type = schema::Time)]
    pub time_utc: Timestamp,
    /// What happened.
    pub event: String,
    /// The particulars: an object, unless someone changed the file.
    pub detail: Value,
    /// The row's hash, in hexadecimal digits.
    pub hash: String,
}

/// The query of `GET /v1/audit/verify`, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerifyQuery {
    /// A head that was noted: `HASH` or `SEQ:HASH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(pattern = "^([0-9]{1,18}:)?[0-9a-fA-F]{64}$")]
    pub head: Option<String>,
}

impl VerifyQuery {
    /// The head that the log must hold.
    ///
    /// # Errors
    /// The text is not a head of the audit log.
    pub fn check(&self) -> Result<Option<NotedHead>, Vec<Violation>> {
        let read = |given: &String| {
            given.parse().map_err(|()| {
                let allowed = "64 hexadecimal digits, with the row's number and a colon before them if it is known";
                vec![Violation {
                    port: String::new(),
                    field: "head",
                    given: given.clone(),
                    allowed: allowed.to_owned(),
                }]
            })
        };
        self.head.as_ref().map(read).transpose()
    }
}

/// What a check of the audit log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditVerification {
    /// Whether nothing is wrong.
    pub ok: bool,
    /// How many rows are sound.
    pub rows: u64,
    /// From which row on the log is complete.
    pub first: i64,
    /// The last sound row.
    pub head: AuditHead,
    /// What is wrong, with the row; null if nothing is.
    pub fault: Option<String>,
}

/// A row that stands for the log up to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditHead {
    /// Its number; 0 if the log is empty.
    pub seq: i64,
    /// Its hash, in hexadecimal digits.
    pub hash: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_can_not_be_used_is_named() {
        let of = |text: &str| Some(text.to_owned());
        let query = AuditQuery {
            since: of("yesterday"),
            until: of("2026"),
            user: of(""),
            port: of("0"),
            event: of(""),
            after: of("-1"),
            limit: of("1001"),
            format: of("xml").map(Given::from),
        };
        let violations = query.check(AuditFormat::Page).unwrap_err();
        let fields: Vec<_> = violations.iter().map(|violation| violation.field).collect();
        assert_eq!(fields, ["since", "until", "user", "event", "port", "after", "limit", "format"]);
        let backwards = AuditQuery {
            since: of("2026-01-01T00:00:00Z"),
            until: of("2026-01-01T00:00:00Z"),
            ..AuditQuery::default()
        };
        assert_eq!(backwards.check(AuditFormat::Page).unwrap_err()[0].allowed, "later than since");
        let limited = AuditQuery { limit: of("5"), ..AuditQuery::default() };
        assert_eq!(limited.check(AuditFormat::Page).unwrap().limit, 5);
        assert_eq!(limited.check(AuditFormat::Csv).unwrap_err()[0].field, "limit");
    }

    #[test]
    fn the_first_format_that_is_accepted_counts() {
        for (accept, format) in [
            ("", AuditFormat::Page),
            ("*/*", AuditFormat::Page),
            ("text/csv", AuditFormat::Csv),
            ("text/html, Text/CSV;header=present, application/json", AuditFormat::Csv),
            ("application/json, text/csv", AuditFormat::Page),
            ("application/jsonl", AuditFormat::Jsonl),
        ] {
            assert_eq!(AuditFormat::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_next_link_asks_the_same_further_on() {
        let query = AuditQuery { user: Some("a&b".to_owned()), after: Some("3".to_owned()), ..AuditQuery::default() };
        assert_eq!(query.link_after(9), "/v1/audit?user=a%26b&after=9");
    }
}
