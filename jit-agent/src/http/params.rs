//! What routes take and answer.

use axum::{
    Json,
    extract::{
        Path,
        rejection::{PathRejection, QueryRejection},
    },
    http::{Uri, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use jit_api::{excerpt, problem::Code};
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::failure::Failure;

/// The answer of most routes.
pub(super) type Answer<T> = Result<Json<T>, Failure>;

/// Makes the answer with a list. A long list takes a while to print, during which other clients are served.
pub(super) async fn listed<T: Serialize + Send + 'static>(list: T) -> Result<Response, Failure> {
    // Strings and numbers always serialise.
    let printed = spawn_blocking(move || serde_json::to_vec(&list).unwrap_or_default()).await;
    let text = printed.map_err(|_| Failure::new(Code::Unavailable, "the list could not be printed; see the log"))?;
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// Returns the failure for a query that can't be read. `example` is a query that can be read.
pub(super) fn bad_query(error: &QueryRejection, example: &str) -> Failure {
    Failure::new(Code::InvalidField, format!("{}; write it like `{example}`", excerpt(&error.body_text())))
}

/// The id in a path. An id that is not a number is answered with 404.
pub(super) type Number = Result<Path<i64>, PathRejection>;

/// Reads the id in a path like `/v1/grants/7`.
pub(super) fn number_of(what: &str, number: Number, uri: &Uri) -> Result<i64, Failure> {
    number.map(|Path(number)| number).map_err(|_| {
        let given = uri.path().split('/').nth(3).unwrap_or_default();
        let detail = format!("there is no {what} `{}`; {what}s have numbers", excerpt(given));
        Failure::new(Code::NotFound, detail)
    })
}
