//! The routes that show, try, confirm and turn off enforcement.

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use jit_api::{problem::Problem, wire};
use jit_policy::{Right, audit::Attempt};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{body, params::Answer};
use crate::core::{handle::CoreHandle, peer::Peer};

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(enable)).routes(routes!(confirm)).routes(routes!(disable))
}

/// Enforcement, who is connected to the ports, and which ways back there are.
#[utoipa::path(
    get, path = "/v1/enforcement", operation_id = "enforcement", responses((status = 200, body = wire::Enforcement))
)]
async fn show(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Answer<wire::Enforcement> {
    Ok(Json(core.enforcement(peer).await?))
}

/// Shuts the ports on trial: unless it is confirmed in time, they open again by themselves.
#[utoipa::path(
    post, path = "/v1/enforcement/enable", request_body = Option<wire::Enable>,
    responses((status = 200, body = wire::EnforcementChange), (status = 409), (status = 507))
)]
async fn enable(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<wire::EnforcementChange> {
    let admitted = core.admit(&peer, &[Right::Administer], Some(Attempt::Enable)).await?;
    let body: wire::Enable = body::json_or_default(request, admitted).await?;
    let asked = body.check().map_err(Problem::invalid_values)?;
    Ok(Json(core.enable(peer, asked).await?))
}

/// Makes the trial that runs permanent, and writes what it tries into the configuration files.
#[utoipa::path(
    post, path = "/v1/enforcement/confirm", request_body = Option<wire::Nothing>,
    responses((status = 200, body = wire::EnforcementChange), (status = 409))
)]
async fn confirm(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<wire::EnforcementChange> {
    let admitted = core.admit(&peer, &[Right::Administer], Some(Attempt::Confirm)).await?;
    let wire::Nothing {} = body::json_or_default(request, admitted).await?;
    let done = core.confirm(peer).await?;
    core.look_up_names().await;
    Ok(Json(done))
}

/// Ends the trial that runs; if none does, lets all packets pass, and writes that into the configuration files.
#[utoipa::path(
    post, path = "/v1/enforcement/disable", request_body = Option<wire::Nothing>,
    responses((status = 200, body = wire::EnforcementChange), (status = 409))
)]
async fn disable(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Answer<wire::EnforcementChange> {
    let admitted = core.admit(&peer, &[Right::Administer], Some(Attempt::Disable)).await?;
    let wire::Nothing {} = body::json_or_default(request, admitted).await?;
    Ok(Json(core.disable(peer).await?))
}
