//! The paths of the API, and the core's operation for each path.

mod grants;
mod requests;

use axum::{
    Extension, Json, Router,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{Method, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use jit_api::{
    excerpt,
    problem::{Code, Problem},
    wire,
};
use tokio::time::Instant;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    audit,
    document::{self, Document},
    enforcement,
    limit::Rates,
    metrics,
    peer::Identity,
    ports, watch,
};
use crate::{
    core::{handle::CoreHandle, peer::Peer},
    http::failure::Failure,
};

/// The paths that take a query.
const WITH_QUERY: [&str; 5] = ["/v1/why", "/v1/requests", "/v1/grants", "/v1/audit", "/v1/audit/verify"];

/// The beginning of the paths that take a query for a change.
const ONE_PORT: &str = "/v1/ports/";

type Answer<T> = Result<Json<T>, Failure>;

/// The router with all routes. A request without an [`Identity`] is refused, whatever the request is.
pub(super) fn router(core: CoreHandle) -> Router {
    let (router, derived) = documented().split_for_parts();
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(Document::of(&derived)))
        .layer(middleware::from_fn(identify))
        .layer(Extension(Rates::default()))
        .with_state(core)
}

/// The documented routes. These are all routes: clippy.toml forbids undocumented routes.
pub(super) fn documented() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::with_openapi(document::Frame::openapi())
        .routes(routes!(status))
        .routes(routes!(ports::list))
        .routes(routes!(ports::put, ports::delete))
        .routes(routes!(ports::reload))
        .routes(routes!(requests::list, requests::submit))
        .routes(routes!(requests::one))
        .routes(routes!(requests::approve))
        .routes(routes!(requests::deny))
        .routes(routes!(requests::cancel))
        .routes(routes!(grants::list))
        .routes(routes!(grants::extend))
        .routes(routes!(grants::revoke))
        .routes(routes!(why))
        .routes(routes!(events))
        .merge(audit::routes())
        .merge(enforcement::routes())
        .routes(routes!(metrics_of_peer))
        .routes(routes!(openapi))
}

/// The router that serves only metrics, to every client.
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
        return Failure::new(Code::PeerUnknown, detail).into_response();
    };
    if let Some(rates) = request.extensions().get::<Rates>()
        && !rates.admit(identity.uid(), !request.method().is_safe(), Instant::now())
    {
        let detail = "you ask more than is answered at a time; wait a second and try again";
        return Failure::new(Code::TooManyRequests, detail).into_response();
    }
    let peer = identity.peer().await;
    let path_asked = request.uri().path();
    // Among the paths that take a query, only this path also takes POST. A POST never takes a query.
    let is_submission = request.method() == Method::POST && path_asked == "/v1/requests";
    let takes_query = (WITH_QUERY.contains(&path_asked) && !is_submission) || path_asked.starts_with(ONE_PORT);
    if let Some(query) = request.uri().query().filter(|_| !takes_query) {
        // Ignoring an unexpected query would answer another question than the client asked.
        let detail = format!("`{}` takes no query, but `?{}` was given; leave it out", path(&request), excerpt(query));
        return Failure::new(Code::UnexpectedQuery, detail).into_response();
    }
    request.extensions_mut().insert(peer);
    next.run(request).await
}

fn path(request: &Request) -> String {
    excerpt(request.uri().path())
}

async fn not_found(request: Request) -> Failure {
    Failure::new(Code::NotFound, format!("there is no path `{}`; the API's paths begin with /v1/", path(&request)))
}

async fn method_not_allowed(method: Method, request: Request) -> Failure {
    let detail =
        format!("{} is not possible on `{}`; see the header `Allow`", excerpt(method.as_str()), path(&request));
    Failure::new(Code::MethodNotAllowed, detail)
}

/// The agent as a whole.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = wire::Status)))]
async fn status(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Answer<wire::Status> {
    Ok(Json(core.status(peer).await?))
}

fn bad_query(error: &QueryRejection, example: &str) -> Failure {
    Failure::new(Code::InvalidField, format!("{}; write it like `{example}`", excerpt(&error.body_text())))
}

/// The id in a path. An id that is not a number is answered with 404.
type Number = Result<Path<i64>, PathRejection>;

fn number_of(what: &str, number: Number, uri: &Uri) -> Result<i64, Failure> {
    number.map(|Path(number)| number).map_err(|_| {
        let given = uri.path().split('/').nth(3).unwrap_or_default();
        let detail = format!("there is no {what} `{}`; {what}s have numbers", excerpt(given));
        Failure::new(Code::NotFound, detail)
    })
}

/// What would become of a packet now, and why.
#[utoipa::path(get, path = "/v1/why", params(wire::WhyQuery), responses((status = 200, body = wire::Why)))]
async fn why(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<wire::WhyQuery>, QueryRejection>,
) -> Answer<wire::Why> {
    let Query(query) = query
        .map_err(|error| bad_query(&error, "?source=192.0.2.7&port=22&protocol=TCP&to=192.0.2.1&interface=eth0"))?;
    let packet = query.check().map_err(Problem::invalid_query)?;
    Ok(Json(core.why(peer, packet).await?))
}

/// Packets as they are reported: events `packet` with a PacketEvent and `not_shown` with a NotShown, without end.
#[utoipa::path(
    get, path = "/v1/events",
    responses((status = 200, body = String, content_type = "text/event-stream"))
)]
async fn events(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Result<Response, Failure> {
    Ok(watch::follow(core.watch(peer).await?).into_response())
}

/// Figures for monitoring, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "text/plain")))]
async fn metrics_of_peer(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Failure> {
    Ok(metrics::answer(&core.metrics(Some(peer)).await?))
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object)))]
async fn openapi(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    Extension(document): Extension<Document>,
) -> Result<Response, Failure> {
    core.permit(peer).await?;
    Ok(document.into_response())
}
