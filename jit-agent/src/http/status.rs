//! The route of the agent's state.

use axum::{Extension, Json, extract::State};
use jit_api::wire;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::params::Answer;
use crate::core::{handle::CoreHandle, peer::Peer};

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new().routes(routes!(status))
}

/// The agent as a whole.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = wire::Status)))]
async fn status(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Answer<wire::Status> {
    Ok(Json(core.status(peer).await?))
}
