//! Reading of a request's body. The body must be declared as JSON. Its size and its time are limited. Nobody's body is
//! read who has no role that could allow the request.

use std::{error::Error, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Request, rejection::JsonRejection},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use jit_api::{
    excerpt,
    object::Object,
    problem::{Code, Problem},
};
use jit_policy::Span;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{core::Admitted, http::failure::Failure};

/// The size of the largest body that is accepted, in bytes.
pub(super) const LIMIT: usize = 1024 * 1024;
/// The number of bytes of a too large body that are read and discarded. So a client that writes everything before it
/// reads still gets an answer.
const DISCARD_LIMIT: usize = 16 * LIMIT;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the body as JSON of type `T`.
///
/// # Errors
/// The content type is not JSON. The body is too large, too slow or not JSON. A field is unknown or has the wrong type.
pub(super) async fn json<T: DeserializeOwned>(request: Request, _: Admitted) -> Result<T, Failure> {
    parse(&read_declared(request).await?)
}

/// Reads the bytes of a body that is declared as JSON.
async fn read_declared(request: Request) -> Result<Vec<u8>, Failure> {
    let (head, body) = request.into_parts();
    check_content_type(&head.headers)?;
    let expects_continue = head.headers.contains_key(header::EXPECT);
    timeout(TIMEOUT, read(body, expects_continue)).await.map_err(|_| {
        Problem::new(Code::BodyIncomplete, format!("the body did not arrive within {}; send it at once", Span(TIMEOUT)))
    })?
}

/// Like [`json`], but returns the default if the request has no body or the body is null.
///
/// # Errors
/// The same conditions as for [`json`].
pub(super) async fn json_or_default<T: DeserializeOwned + Default>(
    request: Request,
    _: Admitted,
) -> Result<T, Failure> {
    if request.body().is_end_stream() {
        return Ok(T::default());
    }
    match read_declared(request).await?.trim_ascii() {
        b"null" => Ok(T::default()),
        bytes => parse(bytes),
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let remedy = "send the body as JSON with `Content-Type: application/json`";
    let Some(given) = headers.get(header::CONTENT_TYPE) else {
        return Err(Failure::new(Code::UnsupportedMediaType, format!("the request has no content type; {remedy}")));
    };
    let given = String::from_utf8_lossy(given.as_bytes());
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::new(
        Code::UnsupportedMediaType,
        format!("content type `{}` is not understood; {remedy}", excerpt(&given)),
    ))
}

async fn read(mut body: Body, expects_continue: bool) -> Result<Vec<u8>, Failure> {
    let too_large =
        || Failure::new(Code::BodyTooLarge, format!("the body is larger than {LIMIT} bytes; send less at once"));
    let announced = body.size_hint().lower();
    if expects_continue && announced > LIMIT as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Failure::new(Code::BodyIncomplete, format!("the body can't be read: {error}; send it whole"))
        })?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length <= LIMIT {
            bytes.extend_from_slice(data);
        } else {
            bytes = Vec::new();
            if length > DISCARD_LIMIT {
                break;
            }
        }
    }
    if length > LIMIT { Err(too_large()) } else { Ok(bytes) }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    if bytes.is_empty() {
        return Err(Failure::new(Code::MalformedJson, "the body is empty; send a JSON object"));
    }
    match Json::from_bytes(bytes) {
        Ok(Json(Object(value))) => Ok(value),
        // The error's text begins with the field's path, like `ports[0].number`.
        Err(JsonRejection::JsonDataError(error)) => Err(Failure::new(Code::InvalidField, cause(&error))),
        Err(error) => Err(Failure::new(Code::MalformedJson, format!("the body is not JSON: {}", cause(&error)))),
    }
}

/// The text of an error's innermost cause. The outer texts describe the inside of the program.
fn cause(error: &dyn Error) -> String {
    error.source().map_or_else(|| excerpt(&error.to_string()), cause)
}
