//! The routes of requests.

use axum::{
    Extension, Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{
        HeaderMap, HeaderName, StatusCode, Uri,
        header::{ETAG, IF_MATCH},
    },
    response::Response,
};
use jit_api::{
    excerpt,
    problem::{Code, Problem},
    wire,
};
use jit_policy::{IdempotencyKey, RequestId, Right, Violation, audit::Attempt, hex};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::params::{Answer, Number, bad_query, listed, number_of};
use crate::{
    accounts,
    core::{Admitted, answer::Submitted, handle::CoreHandle, peer::Peer},
    http::{body, failure::Failure},
};

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new()
        .routes(routes!(list, submit))
        .routes(routes!(one))
        .routes(routes!(approve))
        .routes(routes!(deny))
        .routes(routes!(cancel))
}

/// The name of the header that identifies a repeated request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The length of the longest idempotency key, in characters.
const LONGEST_KEY: usize = 128;

/// Asks for access.
#[utoipa::path(
    post, path = "/v1/requests", request_body = wire::NewRequest,
    params((
        "Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 128,
        description = "A name for the request, so that sending it again makes no second one; kept for 24 h"
    )),
    responses(
        (status = 200, body = wire::Request, description = "It was made before, under the same key"),
        (status = 201, body = wire::Request, description = "Its grants are in force"),
        (status = 202, body = wire::Request, description = "It waits for approval"),
        (status = 507)
    )
)]
async fn submit(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<(StatusCode, Json<wire::Request>), Failure> {
    let admitted = core.admit(&peer, &[Right::Request], Some(Attempt::request())).await?;
    let key = idempotency_key(request.headers())?;
    let body: wire::NewRequest = body::json(request, admitted).await?;
    // The hash covers the meaning of the body, so spacing and spelling do not matter.
    let key = key.map(|key| IdempotencyKey { key, body: Sha256::digest(json_of(&body)).into() });
    let submission = body.check(key).map_err(Problem::invalid_values)?;
    let Submitted { request, replayed } = core.submit(peer, submission).await?;
    let status = match replayed {
        true => StatusCode::OK,
        false if request.status == wire::RequestState::Pending => StatusCode::ACCEPTED,
        false => StatusCode::CREATED,
    };
    Ok((status, Json(request)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len()) && keys.next().is_none());
    text.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let given = excerpt(&String::from_utf8_lossy(key.as_bytes()));
        Failure::from(Problem::invalid_values(vec![Violation {
            port: String::new(),
            field: "Idempotency-Key",
            given,
            allowed: format!("one header of 1 to {LONGEST_KEY} printable ASCII characters"),
        }]))
    })
}

fn json_of(body: &impl Serialize) -> Vec<u8> {
    // Strings and numbers always serialise.
    serde_json::to_vec(body).unwrap_or_default()
}

/// Requests, newest first: all, or one's own.
#[utoipa::path(get, path = "/v1/requests", operation_id = "requests", params(wire::RequestQuery), responses((status = 200, body = wire::List<wire::Request>)))]
async fn list(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<wire::RequestQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| bad_query(&error, "?status=Pending&limit=50"))?;
    let filter = query.check().map_err(Problem::invalid_query)?;
    let page = core.requests(peer, filter).await?;
    listed(wire::List::part(page, |next| query.link(next))).await
}

/// One request.
#[utoipa::path(
    get, path = "/v1/requests/{id}", operation_id = "request", params(("id" = i64, Path, description = "Number of the request")),
    responses((status = 200, body = wire::Request, headers(("ETag", description = "What it asks for, as an approval may name it"))))
)]
async fn one(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
) -> Result<([(HeaderName, String); 1], Json<wire::Request>), Failure> {
    let id = request_of(number, &uri)?;
    let request = core.request(peer, id).await?;
    Ok(([(ETAG, etag(&request))], Json(request)))
}

/// What whoever approves a request decides about. Of the request, this never changes while the request waits.
fn etag(request: &wire::Request) -> String {
    let wire::Request { id, requestor, requestor_login, requestor_uid, justification, start_time_utc, pending, .. } =
        request;
    let shown = (id, requestor, requestor_login, requestor_uid, justification, start_time_utc, pending);
    let digest: [u8; 32] = Sha256::digest(json_of(&shown)).into();
    format!("\"{}\"", hex::encode(&digest))
}

/// Checks that a request that waits is the one that was shown, if the client says what was shown.
async fn check_shown(core: &CoreHandle, peer: &Peer, id: RequestId, headers: &HeaderMap) -> Result<(), Failure> {
    let mut given = headers.get_all(IF_MATCH).iter();
    let Some(first) = given.next() else { return Ok(()) };
    let request = core.request(peer.clone(), id).await?;
    // The approval itself says what became of a request that waits no more.
    let is_shown = given.next().is_none() && first.as_bytes() == etag(&request).as_bytes();
    if is_shown || request.status != wire::RequestState::Pending {
        return Ok(());
    }
    let detail = format!("request {id} is not the one that was shown; read it again, and decide anew");
    Err(Failure::new(Code::PreconditionFailed, detail))
}

/// Approves a request that waits; its time counts from now.
#[utoipa::path(
    post, path = "/v1/requests/{id}/approve",
    params(
        ("id" = i64, Path, description = "Number of the request"),
        ("If-Match" = Option<String>, Header, description = "The ETag of GET /v1/requests/{id}: approve only what was shown")
    ),
    request_body = Option<wire::Nothing>,
    responses((status = 200, body = wire::Request), (status = 409), (status = 412), (status = 507))
)]
async fn approve(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Answer<wire::Request> {
    let id = request_of(number, &uri);
    let attempt = Attempt::Approve(attempted(&id));
    let admitted = core.admit(&peer, &[Right::Decide], Some(attempt)).await?;
    let id = id?;
    let headers = request.headers().clone();
    let _: wire::Nothing = body::json_or_default(request, admitted).await?;
    check_shown(&core, &peer, id, &headers).await?;
    let groups = match core.requestor_to_check(peer.clone(), id).await? {
        Some(uid) => accounts::in_time(move || accounts::groups_of(uid)).await,
        None => Some(Ok(Vec::new())),
    };
    let groups = groups.unwrap_or_else(|| Err("the name service does not answer".to_owned()));
    Ok(Json(core.approve(peer, id, groups).await?))
}

/// Refuses a request that waits.
#[utoipa::path(
    post, path = "/v1/requests/{id}/deny", params(("id" = i64, Path, description = "Number of the request")),
    request_body = Option<wire::Reason>,
    responses((status = 200, body = wire::Request), (status = 409))
)]
async fn deny(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Answer<wire::Request> {
    let id = request_of(number, &uri);
    let attempt = Attempt::Deny(attempted(&id));
    let admitted = core.admit(&peer, &[Right::Decide], Some(attempt)).await?;
    let (id, reason) = (id?, reason_of(request, admitted).await?);
    Ok(Json(core.deny(peer, id, reason).await?))
}

/// Takes back a request that waits.
#[utoipa::path(
    post, path = "/v1/requests/{id}/cancel", params(("id" = i64, Path, description = "Number of the request")),
    request_body = Option<wire::Reason>,
    responses((status = 200, body = wire::Request), (status = 409))
)]
async fn cancel(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Answer<wire::Request> {
    let id = request_of(number, &uri);
    let attempt = Attempt::Cancel(attempted(&id));
    let admitted = core.admit(&peer, &[Right::Request, Right::RevokeAny], Some(attempt)).await?;
    let (id, reason) = (id?, reason_of(request, admitted).await?);
    Ok(Json(core.cancel(peer, id, reason).await?))
}

fn request_of(number: Number, uri: &Uri) -> Result<RequestId, Failure> {
    number_of("request", number, uri).map(RequestId)
}

/// The request that an attempt is about; 0 if the path names no request.
fn attempted(id: &Result<RequestId, Failure>) -> RequestId {
    *id.as_ref().unwrap_or(&RequestId(0))
}

/// Reads why a request is to be closed without approval.
async fn reason_of(request: Request, admitted: Admitted) -> Result<String, Failure> {
    let body: wire::Reason = body::json_or_default(request, admitted).await?;
    Ok(body.check().map_err(Problem::invalid_values)?)
}
