//! Errors of routes. Each error is answered as a problem (RFC 9457).

use axum::{
    Json,
    http::{
        HeaderValue,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use jit_api::problem::{Code, MEDIA_TYPE, Problem};
use jit_policy::Violation;

use crate::core::refusal::{ChangeRefusal, Refusal};

/// The answer of a failed route.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: Box<Problem>,
    /// How many seconds to wait before the request may succeed.
    wait: Option<u64>,
}

impl Failure {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// A request that may succeed after so many seconds.
    pub(super) fn too_many(detail: impl Into<String>, wait: u64) -> Self {
        Self { wait: Some(wait), ..Self::new(Code::TooManyRequests, detail) }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), wait: None }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let problem = match refusal {
            Refusal::OverBudget { wait } => return Self::too_many(detail, wait.as_secs()),
            Refusal::NotPermitted { .. } | Refusal::NotListed { .. } => Problem::new(Code::NotPermitted, detail),
            Refusal::Violations(violations) => Problem::new(Code::PolicyViolation, detail).with(violations),
            Refusal::OwnRequest { .. } => Problem::new(Code::OwnRequest, detail),
            Refusal::LoginUnknown { .. } | Refusal::NameUnknown { .. } => Problem::new(Code::PeerUnknown, detail),
            Refusal::Conflict(_) => Problem::new(Code::Conflict, detail),
            Refusal::KeyReused(_) => Problem::new(Code::KeyReused, detail),
            Refusal::NotFound { .. } => Problem::new(Code::NotFound, detail),
            Refusal::Change(refusal) => of_change(refusal, detail),
            Refusal::Full(_) => Problem::new(Code::TableFull, detail),
            Refusal::Unavailable(_) => Problem::new(Code::Unavailable, detail),
        };
        problem.into()
    }
}

fn of_change(refusal: ChangeRefusal, detail: String) -> Problem {
    match refusal {
        ChangeRefusal::OtherVersion => Problem::new(Code::PreconditionFailed, detail),
        ChangeRefusal::Unconfirmed { effects, unnamed } => {
            Problem { effects: Some(effects), unnamed: Some(unnamed), ..Problem::new(Code::NeedsConfirmation, detail) }
        }
        ChangeRefusal::Overlap(id, known) => {
            let (port, given) = (id.to_string(), id.protocol.to_string());
            let allowed = format!("a protocol that {known} does not include");
            let violation = Violation { port, field: "protocol", given, allowed };
            Problem::new(Code::InvalidValue, detail).with(vec![violation])
        }
        ChangeRefusal::NoPort(_) => Problem::new(Code::NotFound, detail),
        ChangeRefusal::NotSet(_) => Problem::new(Code::Conflict, detail),
        ChangeRefusal::Edited(_) => Problem::new(Code::EditedSinceLoaded, detail),
        ChangeRefusal::Invalid(_) => Problem::new(Code::InvalidConfiguration, detail),
        ChangeRefusal::Restart(_) => Problem::new(Code::RestartRequired, detail),
        ChangeRefusal::TrialRuns(_) => Problem::new(Code::TrialRuns, detail),
        ChangeRefusal::NoWayBack => Problem::new(Code::NoWayBack, detail),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { problem, wait } = self;
        let wait = wait.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds)));
        let mut response = (problem.code.status(), Json(problem)).into_response();
        response.headers_mut().extend(wait);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response
    }
}
