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
pub(super) struct Failure(pub(super) Box<Problem>);

impl Failure {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let problem = match refusal {
            Refusal::NotPermitted { .. } => Problem::new(Code::NotPermitted, detail),
            Refusal::Violations(violations) => Problem::new(Code::PolicyViolation, detail).with(violations),
            Refusal::OwnRequest { .. } => Problem::new(Code::OwnRequest, detail),
            Refusal::LoginUnknown { .. } => Problem::new(Code::PeerUnknown, detail),
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
        ChangeRefusal::Edited(_) => Problem::new(Code::EditedSinceLoaded, detail),
        ChangeRefusal::Invalid(_) => Problem::new(Code::InvalidConfiguration, detail),
        ChangeRefusal::Restart(_) => Problem::new(Code::RestartRequired, detail),
        ChangeRefusal::TrialRuns(_) => Problem::new(Code::TrialRuns, detail),
        ChangeRefusal::NoWayBack => Problem::new(Code::NoWayBack, detail),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.0.code.status();
        let wait = (self.0.code == Code::TooManyRequests).then_some((RETRY_AFTER, HeaderValue::from_static("1")));
        let mut response = (status, Json(self.0)).into_response();
        response.headers_mut().extend(wait);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        response
    }
}
