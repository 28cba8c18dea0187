//! What routes take and answer.

use axum::{
    Json,
    extract::{
        Path,
        rejection::{PathRejection, QueryRejection},
    },
    http::Uri,
};
use jit_api::{excerpt, problem::Code};

use super::failure::Failure;

/// The answer of most routes.
pub(super) type Answer<T> = Result<Json<T>, Failure>;

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
