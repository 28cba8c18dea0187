//! Port policies. They are listed with a version, changed only if that version is current, and reloaded from their
//! files.

use axum::{
    Extension, Json,
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{
        HeaderMap,
        header::{ETAG, IF_MATCH},
    },
};
use jit_api::{
    excerpt,
    problem::{Code, Problem},
    wire,
};
use jit_policy::{PortId, Reload as ReloadAsked, Right, Session, audit::Attempt};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::body;
use crate::{
    config::own::Edit,
    core::{
        Admitted,
        change::{Changed, PortEdit},
        handle::CoreHandle,
        peer::Peer,
    },
    http::failure::Failure,
};

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(put, delete)).routes(routes!(reload))
}

/// An answer with the version of the list.
type Versioned<T> = Result<([(axum::http::HeaderName, String); 1], Json<T>), Failure>;

/// The port policies, and what is open there.
#[utoipa::path(
    get, path = "/v1/ports", operation_id = "ports",
    responses((status = 200, body = wire::List<wire::Port>, headers(("ETag", description = "Version of the list"))))
)]
async fn list(State(core): State<CoreHandle>, Extension(peer): Extension<Peer>) -> Versioned<wire::List<wire::Port>> {
    let list = core.ports(peer).await?;
    Ok((etag(&list.version), Json(list.ports.into())))
}

/// Makes or replaces one port policy.
#[utoipa::path(
    put, path = "/v1/ports/{number}/{protocol}", operation_id = "put_port", request_body = wire::PortPatch,
    params(
        wire::PortPath, wire::Confirmation, wire::SessionHeader,
        ("If-Match" = String, Header, description = "The ETag of GET /v1/ports")
    ),
    responses(
        (status = 200, body = wire::PortChange, headers(("ETag", description = "The new version"))),
        (status = 409), (status = 412), (status = 428)
    )
)]
async fn put(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    place: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<wire::Confirmation>, QueryRejection>,
    request: Request,
) -> Versioned<wire::PortChange> {
    let id = port(place);
    let admitted = admit(&core, &peer, &id).await?;
    let id = id?;
    let (version, confirm) = (version(request.headers())?, confirmed(query)?);
    let session = session(request.headers())?;
    let body: wire::PortPatch = body::json(request, admitted).await?;
    let edit = Edit::Set(body.check(id).map_err(Problem::invalid_values)?);
    Ok(changed(core.change_port(peer, PortEdit { edit, version, confirm, session }).await?))
}

/// Removes one port policy, which opens the port.
#[utoipa::path(
    delete, path = "/v1/ports/{number}/{protocol}", operation_id = "delete_port",
    params(
        wire::PortPath, wire::Confirmation, wire::SessionHeader,
        ("If-Match" = String, Header, description = "The ETag of GET /v1/ports")
    ),
    responses(
        (status = 200, body = wire::PortChange, headers(("ETag", description = "The new version"))),
        (status = 409), (status = 412), (status = 428)
    )
)]
async fn delete(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    place: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<wire::Confirmation>, QueryRejection>,
    headers: HeaderMap,
) -> Versioned<wire::PortChange> {
    let id = port(place);
    admit(&core, &peer, &id).await?;
    let id = id?;
    let (version, confirm) = (version(&headers)?, confirmed(query)?);
    let session = session(&headers)?;
    Ok(changed(core.change_port(peer, PortEdit { edit: Edit::Remove(id), version, confirm, session }).await?))
}

/// Reads the configuration again.
#[utoipa::path(
    post, path = "/v1/reload", params(wire::SessionHeader), request_body = wire::Reload,
    responses(
        (status = 200, body = wire::Reloaded, headers(("ETag", description = "Version of the list of ports"))),
        (status = 409)
    )
)]
async fn reload(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Versioned<wire::Reloaded> {
    let admitted = core.admit(&peer, &[Right::Administer], None).await?;
    let session = session(request.headers())?;
    let body: wire::Reload = body::json(request, admitted).await?;
    let asked = body.check().map_err(Problem::invalid_values)?;
    let done = core.reload(Some(peer), ReloadAsked { session, ..asked }).await?;
    core.look_up_names().await;
    Ok((etag(&done.version), Json(done.into())))
}

async fn admit(core: &CoreHandle, peer: &Peer, port: &Result<PortId, Failure>) -> Result<Admitted, Failure> {
    let number = port.as_ref().map_or(0, |port| port.number);
    Ok(core.admit(peer, &[Right::Administer], Some(Attempt::Change(number))).await?)
}

fn port(place: Result<Path<(String, String)>, PathRejection>) -> Result<PortId, Failure> {
    let Ok(Path((number, protocol))) = place else {
        return Err(Failure::new(Code::NotFound, "the path names no port; write it like /v1/ports/22/tcp"));
    };
    Ok(wire::port_of_path(&number, &protocol).map_err(Problem::invalid_values)?)
}

fn changed(done: Changed) -> ([(axum::http::HeaderName, String); 1], Json<wire::PortChange>) {
    (etag(&done.version), Json(done.into()))
}

fn etag(version: &str) -> [(axum::http::HeaderName, String); 1] {
    [(ETAG, format!("\"{version}\""))]
}

/// The version of the list that a change is based on. Two headers, a list or `*` do not name a version and are refused.
fn version(headers: &HeaderMap) -> Result<String, Failure> {
    let usage = "send the header `If-Match` with the `ETag` of GET /v1/ports, so that nobody else's change is lost";
    let mut given = headers.get_all(IF_MATCH).iter();
    let (Some(first), None) = (given.next(), given.next()) else {
        return Err(Failure::new(Code::PreconditionRequired, usage));
    };
    let first = String::from_utf8_lossy(first.as_bytes());
    let version = first.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|text| !text.contains('"'));
    version.map(str::to_owned).ok_or_else(|| {
        Failure::new(Code::PreconditionFailed, format!("`If-Match: {}` names no version; {usage}", excerpt(&first)))
    })
}

/// The requesting user's session, which a change must not cut off for good.
fn session(headers: &HeaderMap) -> Result<Option<Session>, Failure> {
    let Some(given) = headers.get(wire::SESSION_HEADER) else { return Ok(None) };
    let given = String::from_utf8_lossy(given.as_bytes());
    Ok(wire::Session::of_header(&given).map(Some).map_err(Problem::invalid_values)?)
}

fn confirmed(query: Result<Query<wire::Confirmation>, QueryRejection>) -> Result<bool, Failure> {
    query.map(|Query(query)| query.confirm).map_err(|error| {
        let detail = format!("{}; the one query here is `?confirm=true`", excerpt(&error.body_text()));
        Failure::new(Code::UnexpectedQuery, detail)
    })
}
