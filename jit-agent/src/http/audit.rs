//! The routes of the audit log: pages, exports and verification. The log is read beside the core, on threads that may
//! wait for the disk.

use std::time::Duration;

use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{
        HeaderMap,
        header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use futures_util::stream;
use jit_api::{
    excerpt,
    problem::{Code, Problem},
    wire::{AuditEntry, AuditFormat, AuditPage, AuditQuery, AuditQuestion, AuditVerification, VerifyQuery},
};
use jit_policy::audit::Detail;
use serde_json::Value;
use tokio::{task::spawn_blocking, time::Instant};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::places::{Place, Places};
use crate::{
    core::{handle::CoreHandle, names::Permit, peer::Peer},
    http::failure::Failure,
    store::{AuditReader, AuditRow, AuditRows, StoreError},
};

/// The number of exports and verifications at a time: for each user, and for root.
const EXPORTS: usize = 1;
const EXPORTS_OF_ROOT: usize = 4;
/// The time in which a client must take a batch of an export. Whoever is slower than that keeps the store from cleaning
/// up behind the reader.
const BATCH_TIMEOUT: Duration = Duration::from_secs(60);
/// The number of rows of an export that are in memory at a time.
const BATCH: usize = 1000;
/// The columns of an export as CSV.
const COLUMNS: [&str; 18] = [
    "seq",
    "time",
    "event",
    "requestor",
    "uid",
    "by",
    "login_uid",
    "request",
    "grant",
    "number",
    "protocol",
    "source",
    "end",
    "justification",
    "reason",
    "count",
    "hash",
    "detail",
];

/// The routes of the audit log.
pub(super) fn routes() -> OpenApiRouter<CoreHandle> {
    let exports = Places::new(EXPORTS, EXPORTS_OF_ROOT);
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(verify)).layer(Extension(exports))
}

/// The audit log: a page of it, or with `format` or `Accept` all rows that fit as one stream.
#[utoipa::path(
    get, path = "/v1/audit", operation_id = "audit", params(AuditQuery),
    responses((
        status = 200,
        content((AuditPage = "application/json"), (String = "text/csv"), (String = "application/jsonl"))
    ))
)]
async fn list(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    Extension(exports): Extension<Places>,
    headers: HeaderMap,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query.map_err(|error| {
        let usage = "write it like `?since=2026-01-31T17:30:00Z&user=ann&port=22`; there are `since`, `until`, `user`, \
                     `port`, `event`, `after`, `limit` and `format`";
        Failure::new(Code::InvalidField, format!("{}; {usage}", excerpt(&error.body_text())))
    })?;
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let question = query.check(AuditFormat::accepted(accept)).map_err(Problem::invalid_query)?;
    let uid = peer.uid;
    let (reader, permit) = core.audit(peer).await?;
    match question.format {
        AuditFormat::Page => Ok(Json(page(reader, query, question).await?).into_response()),
        format => {
            let place = take_place(&exports, uid)?;
            let AuditQuestion { filter, after, .. } = question;
            let rows = run_blocking(move || reader.rows(&filter, after)).await?;
            Ok(export(rows, format, (permit, place)))
        }
    }
}

async fn page(reader: AuditReader, query: AuditQuery, question: AuditQuestion) -> Result<AuditPage, Failure> {
    let AuditQuestion { filter, after, limit, format: _ } = question;
    let read = move || {
        let mut all = reader.rows(&filter, after)?;
        let rows = all.next(limit)?;
        // Another row shows whether there are more.
        Ok((rows, !all.next(1)?.is_empty()))
    };
    let (rows, more) = run_blocking(read).await?;
    let next_link = rows.last().filter(|_| more).map(|last| query.link_after(last.seq));
    Ok(AuditPage { value: rows.into_iter().map(AuditEntry::from).collect(), next_link })
}

/// Whether the audit log is whole.
#[utoipa::path(
    get, path = "/v1/audit/verify", operation_id = "verify_audit", params(VerifyQuery),
    responses((status = 200, body = AuditVerification))
)]
async fn verify(
    State(core): State<CoreHandle>,
    Extension(peer): Extension<Peer>,
    Extension(exports): Extension<Places>,
    query: Result<Query<VerifyQuery>, QueryRejection>,
) -> Result<Json<AuditVerification>, Failure> {
    let Query(query) = query.map_err(|error| {
        let usage = "write it like `?head=HASH` or `?head=SEQ:HASH`, or leave it out";
        Failure::new(Code::InvalidField, format!("{}; {usage}", excerpt(&error.body_text())))
    })?;
    let noted = query.check().map_err(Problem::invalid_query)?;
    let uid = peer.uid;
    let (reader, _) = core.audit(peer).await?;
    let place = take_place(&exports, uid)?;
    let found = run_blocking(move || {
        // The place is held until the work is done, even if the client has gone.
        let _place = place;
        reader.verify(noted)
    });
    Ok(Json(found.await?.into()))
}

fn take_place(exports: &Places, uid: u32) -> Result<Place, Failure> {
    exports.take(uid).ok_or_else(|| {
        let most = if uid == 0 { EXPORTS_OF_ROOT } else { EXPORTS };
        let detail = format!("your exports and verifications of the audit log under way: {most}; wait until one ends");
        Failure::new(Code::Unavailable, detail)
    })
}

/// Runs work that waits for the disk.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let failed = |detail: String| Failure::new(Code::Unavailable, detail);
    let done =
        spawn_blocking(work).await.map_err(|_| failed("reading the audit log failed; see the log".to_owned()))?;
    done.map_err(|error| failed(error.to_string()))
}

/// The answer with all rows. The rows are read as fast as the client takes them, for as long as the client may read
/// them.
fn export(rows: AuditRows, format: AuditFormat, held: (Permit, Place)) -> Response {
    let is_csv = format == AuditFormat::Csv;
    let (media_type, file) = if is_csv {
        ("text/csv; charset=utf-8; header=present", "audit.csv")
    } else {
        ("application/jsonl", "audit.jsonl")
    };
    let heading = is_csv.then(|| Bytes::from(records([COLUMNS.map(str::to_owned)])));
    let heading = stream::iter(heading.map(Ok::<_, Failure>));
    let batches = stream::try_unfold((rows, held, Instant::now()), move |(mut rows, held, asked)| async move {
        if !held.0.holds() {
            return Err(Failure::new(Code::NotPermitted, "the client's role was taken away"));
        }
        // The next batch is asked for when the client has taken the last.
        if asked.elapsed() > BATCH_TIMEOUT {
            return Err(Failure::new(Code::Unavailable, "the client takes the export too slowly"));
        }
        let (batch, rows) = run_blocking(move || Ok((rows.next(BATCH)?, rows))).await?;
        if batch.is_empty() {
            return Ok(None);
        }
        let text = Bytes::from(if is_csv { csv(batch) } else { jsonl(batch) });
        Ok::<_, Failure>(Some((text, (rows, held, Instant::now()))))
    });
    // A later error breaks the answer off: an incomplete export must not look complete.
    let text = stream::StreamExt::map(stream::StreamExt::chain(heading, batches), |part| {
        part.map_err(|failure| {
            tracing::warn!(problem = failure.problem.detail, "an export of the audit log was broken off");
            std::io::Error::other(failure.problem.detail)
        })
    });
    let disposition = format!("attachment; filename=\"{file}\"");
    let headers = [(CONTENT_TYPE, media_type.to_owned()), (CONTENT_DISPOSITION, disposition)];
    (headers, Body::from_stream(text)).into_response()
}

fn jsonl(rows: Vec<AuditRow>) -> Vec<u8> {
    let mut text = Vec::new();
    for row in rows {
        // Strings and numbers always serialise, without line breaks.
        text.extend(serde_json::to_vec(&AuditEntry::from(row)).unwrap_or_default());
        text.push(b'\n');
    }
    text
}

fn csv(rows: Vec<AuditRow>) -> Vec<u8> {
    records(rows.into_iter().map(|row| {
        let AuditEntry { seq, time_utc, event, detail, hash } = AuditEntry::from(row);
        let read = Detail(&detail);
        COLUMNS.map(|column| {
            let cell = match column {
                "seq" => seq.to_string(),
                "time" => time_utc.to_string(),
                "event" => event.clone(),
                "hash" => hash.clone(),
                "detail" => detail.to_string(),
                "by" => text(read.of_by("name")),
                "login_uid" => text(read.of_by("login_uid")),
                key => text(read.get(key)),
            };
            escape_formula(cell)
        })
    }))
}

/// Records as CSV lines (RFC 4180).
fn records<const N: usize>(records: impl IntoIterator<Item = [String; N]>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for record in records {
        // Writing to memory does not fail, and all records have the same length.
        drop(writer.write_record(record));
    }
    writer.into_inner().unwrap_or_default()
}

fn text(value: Option<&Value>) -> String {
    match value {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Puts an apostrophe before a text that a spreadsheet would take for a formula. The text comes from users and is not
/// trusted.
fn escape_formula(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}
