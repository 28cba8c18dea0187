//! Problem details (RFC 9457): how every error of the API looks.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{MOST_VIOLATIONS, wire::Effects};

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error, for programs and people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Always `about:blank`: what it is about says `code`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the HTTP status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, with which value, and what to do.
    pub detail: String,
    /// What is wrong, for programs.
    pub code: Code,
    /// Each thing that is not allowed, all at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// What a change that needs confirmation would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Box<Effects>>,
    /// What of that would be unprotected, though the request did not name it as it has to; absent if `effects` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<Vec<String>>,
}

/// One thing that a request asks for and can't have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The port it concerns, like `22/tcp`; absent if it concerns the whole body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The field of the body.
    pub field: String,
    /// What was given.
    pub given: String,
    /// What would be allowed.
    pub allowed: String,
}

/// Stable name of what went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Not HTTP.
    MalformedHttp,
    /// The path is too long.
    UriTooLong,
    /// The head of the request is too large.
    HeadTooLarge,
    /// No such path, request or grant.
    NotFound,
    /// The path is right, the method is not; the header `Allow` lists those that are.
    MethodNotAllowed,
    /// The path takes no query.
    UnexpectedQuery,
    /// The body is not declared as JSON.
    UnsupportedMediaType,
    /// The body is larger than 1 MiB.
    BodyTooLarge,
    /// The body did not arrive in time or ended early.
    BodyIncomplete,
    /// The body is not JSON.
    MalformedJson,
    /// A field is unknown, missing, repeated or of the wrong type.
    InvalidField,
    /// Fields have values that mean nothing, or contradict each other: see `violations`.
    InvalidValue,
    /// The request asks for more than the port policies allow: see `violations`.
    PolicyViolation,
    /// The peer lacks a role.
    NotPermitted,
    /// Who asked for it can't approve it.
    OwnRequest,
    /// What is asked for does not fit what is there now.
    Conflict,
    /// The idempotency key belongs to another request.
    KeyReused,
    /// The user asks for more than is served at a time.
    TooManyRequests,
    /// The kernel does not tell who the peer is.
    PeerUnknown,
    /// The header `If-Match` is missing.
    PreconditionRequired,
    /// The header `If-Match` names another version than the present one.
    PreconditionFailed,
    /// The change opens something, or ends or shortens grants: see `effects`.
    NeedsConfirmation,
    /// The configuration files are not those that were loaded.
    EditedSinceLoaded,
    /// The configuration files can't be used.
    InvalidConfiguration,
    /// The configuration files change what only a restart can.
    RestartRequired,
    /// Something is on trial, which has to be confirmed or ended first.
    TrialRuns,
    /// Enforcement is not turned on where nobody could get in if something else turned out to be needed.
    NoWayBack,
    /// The kernel's tables have no room for more grants.
    TableFull,
    /// Something the agent needs is broken, or the agent is stopping.
    Unavailable,
    /// The user, or all together, hold too many connections.
    TooManyConnections,
    /// A code that this program does not know: the other side is newer.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The HTTP status of the code.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedHttp
            | Self::UnexpectedQuery
            | Self::BodyIncomplete
            | Self::MalformedJson
            | Self::InvalidField => StatusCode::BAD_REQUEST,
            Self::NotPermitted | Self::OwnRequest | Self::PeerUnknown => StatusCode::FORBIDDEN,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::NeedsConfirmation
            | Self::EditedSinceLoaded
            | Self::RestartRequired
            | Self::TrialRuns
            | Self::NoWayBack => StatusCode::CONFLICT,
            Self::InvalidValue | Self::PolicyViolation | Self::KeyReused | Self::InvalidConfiguration => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Unavailable | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            // The status is not 503: waiting alone does not help, freeing room does (RFC 4918, section 11.5).
            Self::TableFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Problem {
    /// Makes a problem without violations.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = code.status();
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            violations: Vec::new(),
            effects: None,
            unnamed: None,
        }
    }

    /// The problem of a body with values that mean nothing.
    #[must_use]
    pub fn invalid_values(violations: Vec<jit_policy::Violation>) -> Self {
        let detail = "the body has values that can't be used; nothing was changed, see the violations";
        Self::new(Code::InvalidValue, detail).with(violations)
    }

    /// The problem of a query with values that mean nothing.
    #[must_use]
    pub fn invalid_query(violations: Vec<jit_policy::Violation>) -> Self {
        Self::new(Code::InvalidValue, "the query has values that can't be used; see the violations").with(violations)
    }

    /// The problem of a user who holds too many connections, or of too many connections in total.
    #[must_use]
    pub fn too_many_connections() -> Self {
        Self::new(Code::TooManyConnections, "too many open connections; close some and try again")
    }

    /// Adds these violations to the problem, as many as an answer lists.
    #[must_use]
    pub fn with(mut self, violations: Vec<jit_policy::Violation>) -> Self {
        if violations.len() > MOST_VIOLATIONS {
            self.detail.push_str(&format!("; only the first {MOST_VIOLATIONS} are listed"));
        }
        self.violations = violations.into_iter().take(MOST_VIOLATIONS).map(Violation::from).collect();
        self
    }

    /// The problem as a whole HTTP answer that closes the connection, for places without routes.
    #[must_use]
    pub fn into_http(self) -> Vec<u8> {
        let Self { title, status, .. } = &self;
        // Strings and numbers always serialise.
        let body = serde_json::to_string(&self).unwrap_or_default();
        format!(
            "HTTP/1.1 {status} {title}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {length}\r\n\
             connection: close\r\n\r\n{body}",
            length = body.len()
        )
        .into_bytes()
    }
}

impl From<jit_policy::Violation> for Violation {
    fn from(violation: jit_policy::Violation) -> Self {
        let jit_policy::Violation { port, field, given, allowed } = violation;
        Self { port: (!port.is_empty()).then_some(port), field: field.to_owned(), given, allowed }
    }
}
