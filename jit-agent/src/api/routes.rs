//! Paths, and what each asks of the core.

use axum::{
    Extension, Json, Router,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderMap, Method, StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    body::{self, excerpt},
    metrics,
    peer::Identity,
    problem::{Code, Problem},
    watch, wire,
};
use crate::{
    core::{
        handle::CoreHandle,
        view::{Extended, Peer, Submitted},
    },
    policy::{GrantId, RequestId, Violation},
    store::{IdempotencyKey, RequestState},
};

/// The paths that take a query.
const WITH_QUERY: [&str; 3] = ["/v1/why", "/v1/requests", "/v1/grants"];
/// Name of the header by which a repeated request is known.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key, in characters.
const LONGEST_KEY: usize = 128;

type Answer<T> = Result<Json<T>, Problem>;

/// All routes. A request that carries no [`Identity`] is refused, whatever it asks.
pub(super) fn router(core: CoreHandle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/ports", get(ports))
        .route("/v1/requests", get(requests).post(submit))
        .route("/v1/requests/{id}", get(request))
        .route("/v1/requests/{id}/approve", post(approve))
        .route("/v1/requests/{id}/deny", post(deny))
        .route("/v1/requests/{id}/cancel", post(cancel))
        .route("/v1/grants", get(grants))
        .route("/v1/grants/{id}/extend", post(extend))
        .route("/v1/grants/revoke", post(revoke))
        .route("/v1/why", get(why))
        .route("/v1/events", get(events))
        .route("/metrics", get(metrics_of_peer))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(identify))
        .with_state(core)
}

/// The figures for monitoring alone, for everybody.
pub(super) fn metrics_only(core: CoreHandle) -> Router {
    Router::new()
        .route("/metrics", get(metrics::for_everybody))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(core)
}

async fn identify(mut request: Request, next: Next) -> Response {
    let Some(identity) = request.extensions().get::<Identity>() else {
        let detail =
            "the kernel does not tell who opened this connection, so nothing is permitted; see the agent's log";
        return Problem::new(Code::PeerUnknown, detail).into_response();
    };
    let peer = identity.peer().await;
    let takes_query = request.method() == Method::GET && WITH_QUERY.contains(&request.uri().path());
    if let Some(query) = request.uri().query().filter(|_| !takes_query) {
        // Ignoring it would answer another question than the one asked.
        let detail = format!("`{}` takes no query, but `?{}` was given; leave it out", path(&request), excerpt(query));
        return Problem::new(Code::UnexpectedQuery, detail).into_response();
    }
    request.extensions_mut().insert(peer);
    next.run(request).await
}

fn path(request: &Request) -> String {
    excerpt(request.uri().path())
}

async fn not_found(request: Request) -> Problem {
    Problem::new(Code::NotFound, format!("there is no path `{}`; the API's paths begin with /v1/", path(&request)))
}

async fn method_not_allowed(method: Method, request: Request) -> Problem {
    let detail =
        format!("{} is not possible on `{}`; see the header `Allow`", excerpt(method.as_str()), path(&request));
    Problem::new(Code::MethodNotAllowed, detail)
}

async fn status(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Answer<wire::Status> {
    Ok(Json(core.status(peer).await?.into()))
}

async fn ports(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Answer<wire::List<wire::Port>> {
    Ok(Json(core.ports(peer).await?.into()))
}

async fn submit(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<(StatusCode, Json<wire::Request>), Problem> {
    let key = idempotency_key(request.headers())?;
    let body: wire::NewRequest = body::json(request).await?;
    // What the body says, however it is spaced and spelt.
    let key = key.map(|key| IdempotencyKey { key, body: Sha256::digest(json_of(&body)).into() });
    let submission = body.check(key).map_err(Problem::invalid_values)?;
    let Submitted { request, replayed } = core.submit(peer, submission).await?;
    let status = match (replayed, request.status) {
        (true, _) => StatusCode::OK,
        (false, RequestState::Pending) => StatusCode::ACCEPTED,
        (false, _) => StatusCode::CREATED,
    };
    Ok((status, Json(request.into())))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().ok().filter(|key| (1..=LONGEST_KEY).contains(&key.len()) && keys.next().is_none());
    text.map(|key| Some(key.to_owned())).ok_or_else(|| {
        let given = excerpt(&String::from_utf8_lossy(key.as_bytes()));
        Problem::invalid_values(vec![Violation {
            port: String::new(),
            field: "Idempotency-Key",
            given,
            allowed: format!("one header of 1 to {LONGEST_KEY} printable ASCII characters"),
        }])
    })
}

fn json_of(body: &impl Serialize) -> Vec<u8> {
    // Strings and numbers always serialise.
    serde_json::to_vec(body).unwrap_or_default()
}

async fn requests(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<wire::RequestQuery>, QueryRejection>,
) -> Answer<wire::List<wire::Request>> {
    let Query(query) = query.map_err(|error| bad_query(&error, "?status=Pending&limit=50"))?;
    let filter = query.check().map_err(Problem::invalid_query)?;
    let page = core.requests(peer, filter).await?;
    Ok(Json(wire::List::part(page, |next| query.link(next))))
}

fn bad_query(error: &QueryRejection, example: &str) -> Problem {
    Problem::new(Code::InvalidField, format!("{}; write it like `{example}`", excerpt(&error.body_text())))
}

/// The number in a path, of what there is none if it is no number.
type Number = Result<Path<i64>, PathRejection>;

fn number_of(what: &str, number: Number, uri: &Uri) -> Result<i64, Problem> {
    number.map(|Path(number)| number).map_err(|_| {
        let given = uri.path().split('/').nth(3).unwrap_or_default();
        let detail = format!("there is no {what} `{}`; {what}s have numbers", excerpt(given));
        Problem::new(Code::NotFound, detail)
    })
}

async fn request(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
) -> Answer<wire::Request> {
    let id = number_of("request", number, &uri)?;
    Ok(Json(core.request(peer, RequestId(id)).await?.into()))
}

async fn approve(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Answer<wire::Request> {
    let id = number_of("request", number, &uri)?;
    let _: wire::Nothing = body::json_if_any(request).await?;
    Ok(Json(core.approve(peer, RequestId(id)).await?.into()))
}

async fn deny(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Answer<wire::Request> {
    let id = number_of("request", number, &uri)?;
    let body: wire::Reason = body::json_if_any(request).await?;
    let reason = body.check().map_err(Problem::invalid_values)?;
    Ok(Json(core.deny(peer, RequestId(id), reason).await?.into()))
}

async fn cancel(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Answer<wire::Request> {
    let id = number_of("request", number, &uri)?;
    let body: wire::Reason = body::json_if_any(request).await?;
    let reason = body.check().map_err(Problem::invalid_values)?;
    Ok(Json(core.cancel(peer, RequestId(id), reason).await?.into()))
}

async fn grants(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<wire::GrantQuery>, QueryRejection>,
) -> Answer<wire::List<wire::Grant>> {
    let Query(query) = query.map_err(|error| bad_query(&error, "?limit=1000"))?;
    let filter = query.check().map_err(Problem::invalid_query)?;
    let page = core.grants(peer, filter).await?;
    Ok(Json(wire::List::part(page, |next| query.link(next))))
}

async fn extend(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    let id = number_of("grant", number, &uri)?;
    let body: wire::Extend = body::json(request).await?;
    let duration = body.check().map_err(Problem::invalid_values)?;
    Ok(match core.extend(peer, GrantId(id), duration).await? {
        Extended::Grant(grant) => Json(wire::Grant::from(grant)).into_response(),
        Extended::Waits(request) => (StatusCode::ACCEPTED, Json(wire::Request::from(request))).into_response(),
    })
}

async fn revoke(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<wire::Revocation> {
    let body: wire::Revoke = body::json(request).await?;
    let (selection, reason) = body.check().map_err(Problem::invalid_values)?;
    Ok(Json(core.revoke(peer, selection, reason).await?.into()))
}

async fn why(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<wire::WhyQuery>, QueryRejection>,
) -> Answer<wire::Why> {
    let Query(query) = query
        .map_err(|error| bad_query(&error, "?source=192.0.2.7&port=22&protocol=TCP&to=192.0.2.1&interface=eth0"))?;
    let packet = query.check().map_err(Problem::invalid_query)?;
    Ok(Json(core.why(peer, packet).await?.into()))
}

async fn events(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Result<Response, Problem> {
    Ok(watch::follow(core.watch(peer).await?).into_response())
}

async fn metrics_of_peer(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    Ok(metrics::answer(&core.metrics(Some(peer)).await?))
}
