//! Paths, and what each asks of the core.

use axum::{
    Extension, Json, Router,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{Method, StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::{
    body::{self, excerpt},
    metrics,
    peer::Identity,
    problem::{Code, Problem},
    watch, wire,
};
use crate::{
    core::{handle::CoreHandle, view::Peer},
    policy::RequestId,
};

/// The one path that takes a query.
const WHY: &str = "/v1/why";

type Answer<T> = Result<Json<T>, Problem>;

/// All routes. A request that carries no [`Identity`] is refused, whatever it asks.
pub(super) fn router(core: CoreHandle) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/ports", get(ports))
        .route("/v1/requests", get(requests).post(submit))
        .route("/v1/requests/{id}", get(request))
        .route("/v1/grants", get(grants))
        .route("/v1/grants/revoke", post(revoke))
        .route(WHY, get(why))
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
    if let Some(query) = request.uri().query().filter(|_| request.uri().path() != WHY) {
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
    let body: wire::NewRequest = body::json(request).await?;
    let request = body.check().map_err(Problem::invalid_values)?;
    Ok((StatusCode::CREATED, Json(core.submit(peer, request).await?.into())))
}

async fn requests(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
) -> Answer<wire::List<wire::Request>> {
    Ok(Json(core.requests(peer).await?.into()))
}

async fn request(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Result<Path<i64>, PathRejection>,
    uri: Uri,
) -> Answer<wire::Request> {
    let Ok(Path(number)) = number else {
        let given = uri.path().rsplit('/').next().unwrap_or_default();
        let detail = format!("there is no request `{}`; requests have numbers", excerpt(given));
        return Err(Problem::new(Code::NotFound, detail));
    };
    Ok(Json(core.request(peer, RequestId(number)).await?.into()))
}

async fn grants(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Answer<wire::List<wire::Grant>> {
    Ok(Json(core.grants(peer).await?.into()))
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
    let Query(query) = query.map_err(|error| {
        let usage = "write it like `?source=192.0.2.7&port=22&protocol=TCP`, with `to` and `interface` if need be";
        Problem::new(Code::InvalidField, format!("{}; {usage}", excerpt(&error.body_text())))
    })?;
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
