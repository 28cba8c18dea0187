//! The OpenAPI document. It is derived from the annotations of routes and wire types, and completed with the parts that
//! all routes share.

#[cfg(test)]
mod tests;

use std::{collections::HashSet, sync::Arc};

use axum::{
    Extension,
    extract::State,
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use jit_api::{
    problem::{Code, MEDIA_TYPE, Problem},
    wire::{NotShown, PacketEvent},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::failure::Failure;
use crate::core::{handle::CoreHandle, peer::Peer};

/// The part of the document that no route has.
#[derive(OpenApi)]
#[openapi(
    info(title = "jit-agent", description = "Just-in-time access to the management ports of this host."),
    components(schemas(Problem, PacketEvent, NotShown))
)]
pub(super) struct Frame;

pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    OpenApiRouter::new().routes(routes!(openapi))
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

/// The operations that take no query.
#[derive(Clone, Debug)]
pub(super) struct NoQuery(Arc<HashSet<(Method, String)>>);

impl NoQuery {
    pub(super) fn of(derived: &utoipa::openapi::OpenApi) -> Self {
        let document = serde_json::to_value(derived).unwrap_or_default();
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(move |(method, operation)| (method, path, operation))
        });
        let without = operations.filter(|(.., operation)| !takes(operation, "query"));
        let named = without.filter_map(|(method, path, _)| Some((method.to_uppercase().parse().ok()?, path.clone())));
        Self(Arc::new(named.collect()))
    }

    /// Whether this operation takes no query. A HEAD is a GET without the body.
    pub(super) fn has(&self, method: &Method, path: &str) -> bool {
        let method = if method == Method::HEAD { Method::GET } else { method.clone() };
        self.0.contains(&(method, path.to_owned()))
    }
}

/// Whether an operation takes parameters in this place, `query` or `path`.
fn takes(operation: &Value, place: &str) -> bool {
    let parameters = operation["parameters"].as_array();
    parameters.is_some_and(|parameters| parameters.iter().any(|parameter| parameter["in"] == place))
}

/// The document as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Document(Arc<str>);

impl Document {
    pub(super) fn of(derived: &utoipa::openapi::OpenApi) -> Self {
        Self(complete(derived).to_string().into())
    }
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0.to_string()).into_response()
    }
}

/// The error statuses that every route can answer with, for instance for a peer without a role or a wrong query.
const EVERYWHERE: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::FORBIDDEN,
    StatusCode::URI_TOO_LONG,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    StatusCode::SERVICE_UNAVAILABLE,
];
/// The further error statuses of a route that takes a body.
const WITH_BODY: [StatusCode; 3] =
    [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::UNPROCESSABLE_ENTITY];

/// Groups of fields in a body. Exactly one field of each group must be given. The derived schemas can't express this
/// rule.
const EXACTLY_ONE: [(&str, &[&str]); 3] = [
    ("RequestedPort", &["allowedSourceAddressPrefixes", "allowedSourceAddressPrefix"]),
    ("RequestedPort", &["duration", "endTimeUtc"]),
    ("Revoke", &["ids", "user", "all"]),
];

/// The whole document, as JSON.
fn complete(derived: &utoipa::openapi::OpenApi) -> Value {
    // Strings, numbers and maps with names for keys always serialise.
    let mut document = serde_json::to_value(derived).unwrap_or_default();
    for operation in operations(&mut document) {
        add_problems(operation);
    }
    document["components"]["responses"] = problems();
    let schemas = &mut document["components"]["schemas"];
    schemas["Code"] = json!({
        "type": "string",
        "description": schemas["Code"]["description"],
        "enum": codes().into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
    });
    for (name, fields) in EXACTLY_ONE {
        let schema = &mut schemas[name];
        if !schema["allOf"].is_array() {
            schema["allOf"] = json!([]);
        }
        // A field with the value null counts as left out.
        let given = |field: &&str| json!({"required": [field], "properties": {*field: {"not": {"type": "null"}}}});
        let one = json!({"oneOf": fields.iter().map(given).collect::<Vec<_>>()});
        schema["allOf"].as_array_mut().into_iter().for_each(|all| all.push(one.clone()));
    }
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut)
}

/// Adds the problems that follow from an operation's parameters and body. The problems that the operation names itself
/// get the same form.
fn add_problems(operation: &mut Value) {
    let mut possible = EVERYWHERE.to_vec();
    if takes(operation, "path") {
        possible.push(StatusCode::NOT_FOUND);
    }
    if takes(operation, "query") {
        possible.push(StatusCode::UNPROCESSABLE_ENTITY);
    }
    if operation.get("requestBody").is_some() {
        possible.extend(WITH_BODY);
    }
    let Some(answers) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    for status in possible {
        answers.entry(status.as_str()).or_insert_with(|| json!({}));
    }
    for (status, answer) in answers.iter_mut() {
        match status.parse::<StatusCode>() {
            Ok(error) if !error.is_success() => *answer = json!({"$ref": format!("#/components/responses/{status}")}),
            Ok(success) if answer["description"].as_str().unwrap_or_default().is_empty() => {
                answer["description"] = success.canonical_reason().unwrap_or_default().into();
            }
            _ => {}
        }
    }
    answers.sort_keys();
}

/// The problems by status. Each status lists its codes.
fn problems() -> Value {
    let mut problems = Map::new();
    for (name, status) in codes() {
        let problem = problems.entry(status.as_str()).or_insert_with(|| {
            json!({
                "description": format!("{}. Codes:", status.canonical_reason().unwrap_or_default()),
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            })
        });
        let described = problem["description"].as_str().unwrap_or_default();
        problem["description"] = format!("{described} `{name}`").into();
    }
    problems.sort_keys();
    problems.into()
}

/// The codes that the agent uses, by name. The derived schema lists all codes.
fn codes() -> Vec<(String, StatusCode)> {
    let schema = serde_json::to_value(<Code as utoipa::PartialSchema>::schema()).unwrap_or_default();
    let names = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let code = |name: &str| Some((name.to_owned(), Code::deserialize(Value::from(name)).ok()?));
    let known = names.filter_map(code).filter(|(_, code)| *code != Code::Unknown);
    known.map(|(name, code)| (name, code.status())).collect()
}
