//! The routes of grants.

use axum::{
    Extension, Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use jit_api::{problem::Problem, wire};
use jit_policy::{GrantId, Right, audit::Attempt};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::params::{Answer, Number, bad_query, listed, number_of};
use crate::{
    core::{answer::Extended, handle::CoreHandle, peer::Peer},
    http::{body, failure::Failure},
};

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(extend)).routes(routes!(revoke))
}

/// The live grants, first to end first: all, or one's own.
#[utoipa::path(
    get, path = "/v1/grants", operation_id = "grants", params(wire::GrantQuery), responses((status = 200, body = wire::List<wire::Grant>))
)]
async fn list(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<wire::GrantQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| bad_query(&error, "?limit=1000"))?;
    let filter = query.check().map_err(Problem::invalid_query)?;
    let page = core.grants(peer, filter).await?;
    listed(wire::List::part(page, |next| query.link(next))).await
}

/// Lets a grant last for so long from now, if it would end before.
#[utoipa::path(
    post, path = "/v1/grants/{id}/extend", params(("id" = i64, Path, description = "Number of the grant")),
    request_body = wire::Extend,
    responses(
        (status = 200, body = wire::Grant, description = "The grant as it is now"),
        (status = 202, body = wire::Request, description = "The extension waits for approval"),
        (status = 409), (status = 507)
    )
)]
async fn extend(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    number: Number,
    uri: Uri,
    request: Request,
) -> Result<Response, Failure> {
    let id = number_of("grant", number, &uri).map(GrantId);
    let attempt = Attempt::Extend(*id.as_ref().unwrap_or(&GrantId(0)));
    let admitted = core.admit(&peer, &[Right::Request], Some(attempt)).await?;
    let id = id?;
    let body: wire::Extend = body::json(request, admitted).await?;
    let duration = body.check().map_err(Problem::invalid_values)?;
    Ok(match core.extend(peer, id, duration).await? {
        Extended::Grant(grant) => Json(grant).into_response(),
        Extended::Waits(request) => (StatusCode::ACCEPTED, Json(request)).into_response(),
    })
}

/// Ends grants.
#[utoipa::path(
    post, path = "/v1/grants/revoke", request_body = wire::Revoke,
    responses((status = 200, body = wire::Revocation), (status = 404))
)]
async fn revoke(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<wire::Revocation> {
    let attempt = Attempt::Revoke(GrantId(0));
    let admitted = core.admit(&peer, &[Right::Request, Right::RevokeAny], Some(attempt)).await?;
    let body: wire::Revoke = body::json(request, admitted).await?;
    let (selection, reason) = body.check().map_err(Problem::invalid_values)?;
    Ok(Json(core.revoke(peer, selection, reason).await?))
}
