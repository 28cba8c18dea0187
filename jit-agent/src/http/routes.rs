//! All routes of the API, and what is checked before any of them.

use axum::{
    Extension, Router,
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use jit_api::{excerpt, problem::Code};
use jit_policy::Right;
use tokio::time::Instant;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::{
    audit,
    document::{self, Document, NoQuery},
    enforcement, grants,
    limit::RateLimits,
    metrics,
    names::Names,
    packets,
    peer::Identity,
    places::Places,
    ports, requests, status,
};
use crate::{core::handle::CoreHandle, http::failure::Failure};

/// The router with all routes. A request without an [`Identity`] is refused, whatever the request is.
pub(super) fn router(core: CoreHandle, names: Names) -> Router {
    let (router, derived) = documented().split_for_parts();
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(Document::of(&derived)))
        .layer(middleware::from_fn_with_state(
            (core.clone(), BothNames { known: names, strangers: Names::default() }, Places::new(1, 1)),
            identify,
        ))
        .layer(Extension(NoQuery::of(&derived)))
        .layer(Extension(RateLimits::default()))
        .with_state(core)
}

/// The documented routes. These are all routes: clippy.toml forbids undocumented routes.
pub(super) fn documented() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::with_openapi(document::Frame::openapi())
        .merge(status::routes())
        .merge(ports::routes())
        .merge(requests::routes())
        .merge(grants::routes())
        .merge(packets::routes())
        .merge(audit::routes())
        .merge(enforcement::routes())
        .merge(metrics::routes())
        .merge(document::routes())
}

/// The router that serves only metrics, to every client.
pub(super) fn metrics_only(core: CoreHandle) -> Router {
    Router::new()
        .route("/metrics", get(metrics::for_everybody))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(metrics::LastText::default()))
        .with_state(core)
}

/// The names of users with a role, and of strangers. So look-ups for strangers hold nobody else up.
#[derive(Clone)]
struct BothNames {
    known: Names,
    strangers: Names,
}

async fn identify(
    State((core, names, reads)): State<(CoreHandle, BothNames, Places)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(identity) = request.extensions().get::<Identity>() else {
        let detail =
            "the kernel does not tell who opened this connection, so nothing is permitted; see the agent's log";
        return Failure::new(Code::PeerUnknown, detail).into_response();
    };
    // All users without a role share what one user gets. Nothing that takes time is done for them before.
    let user = core.has_role(&identity.nameless()).then_some(identity.uid());
    let changes = !request.method().is_safe();
    if let Some(rates) = request.extensions().get::<RateLimits>()
        && !rates.admit(user, changes, Instant::now())
    {
        let detail = "you ask more than is answered at a time; wait a second and try again";
        return Failure::too_many(detail, 1).into_response();
    }
    let peer = identity.peer(if user.is_some() { &names.known } else { &names.strangers }).await;
    // A request that changes something is refused by its route, which knows what was attempted.
    if !changes && let Err(refusal) = core.check_role(&peer, Right::Look) {
        return Failure::from(refusal).into_response();
    }
    if let Some(query) = request.uri().query().filter(|_| takes_no_query(&request)) {
        // Ignoring an unexpected query would answer another question than the client asked.
        let detail = format!("`{}` takes no query, but `?{}` was given; leave it out", path(&request), excerpt(query));
        return Failure::new(Code::UnexpectedQuery, detail).into_response();
    }
    // A user's reads are answered one after the other, so that the reads of many connections cost no more than those of
    // one. Root's own are not, and what changes something has its own rate.
    let place = if changes || peer.uid == 0 { None } else { reads.wait(peer.uid).await };
    request.extensions_mut().insert(peer);
    let answer = next.run(request).await;
    drop(place);
    answer
}

fn takes_no_query(request: &Request) -> bool {
    let extensions = request.extensions();
    match (extensions.get::<MatchedPath>(), extensions.get::<NoQuery>()) {
        (Some(path), Some(without)) => without.has(request.method(), path.as_str()),
        _ => true,
    }
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
