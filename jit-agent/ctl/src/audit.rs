//! `jitctl audit`: the audit log as a table or whole, and its verification.

mod row;

use std::{
    io::{self, Write},
    time::Duration,
};

use hyper::{Method, body::Bytes};
use jit_api::{
    client::FollowError,
    terminal::{
        Agent, Exit, Outcome, Surroundings,
        text::{count, sanitised},
        unanswered,
    },
    wire::{AuditFormat, AuditPage, AuditQuery, AuditVerification, VerifyQuery},
};
use serde_json::{Value, json};

use self::row::cells;
use super::{
    args::{Audit, AuditCommand},
    past_time::parse_past,
    unusable,
};

/// The number of rows that one query asks for.
const PAGE: usize = 1000;
/// How long a verification may take: millions of rows are read.
const VERIFICATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Writes rows to `out` as they come; the outcome's text comes after them.
pub(super) fn carry_out(
    agent: &Agent,
    arguments: Audit,
    surroundings: &Surroundings,
    out: &mut dyn Write,
) -> Result<Outcome, Outcome> {
    let Audit { command, since, until, user, port, event, csv, jsonl } = arguments;
    if let Some(AuditCommand::Verify { head }) = command {
        return verify(agent, head);
    }
    let time = |given: Option<String>, option: &str| {
        let read = |given: String| parse_past(&given, surroundings).map_err(|error| unusable(&given, option, &error));
        given.map(read).transpose().map(|time| time.map(|time| time.to_string()))
    };
    let query = AuditQuery {
        since: time(since, "--since <TIME>")?,
        until: time(until, "--until <TIME>")?,
        user,
        port: port.map(|number| number.to_string()),
        event,
        ..AuditQuery::default()
    };
    if csv || jsonl {
        let format = if csv { AuditFormat::Csv } else { AuditFormat::Jsonl };
        return export(agent, &AuditQuery { format: Some(format.into()), ..query }, out);
    }
    let query = AuditQuery { limit: Some(PAGE.to_string()), ..query };
    if agent.json { merged(agent, &query) } else { table(agent, &query, surroundings, out) }
}

fn verify(agent: &Agent, head: Option<String>) -> Result<Outcome, Outcome> {
    // Strings always serialise.
    let query = serde_urlencoded::to_string(VerifyQuery { head }).unwrap_or_default();
    let agent = Agent { client: agent.client.clone().waiting(VERIFICATION_TIMEOUT), json: agent.json };
    agent.get(&format!("/v1/audit/verify?{query}"), |found: &AuditVerification| {
        let AuditVerification { ok: _, rows, first, head, fault } = found;
        let head = format!("{}:{}", head.seq, sanitised(&head.hash));
        if let Some(fault) = fault {
            let fault = sanitised(fault);
            return Outcome::failed(Exit::Failed, format!("error: {fault}; {rows} rows up to {head} are sound\n"));
        }
        let rows = count(usize::try_from(*rows).unwrap_or(usize::MAX), "row", "rows");
        Outcome::done(format!("the audit log is sound: {rows} from row {first} on, head {head}\n"))
    })
}

/// Writes all rows in the agent's own words, as they come.
fn export(agent: &Agent, query: &AuditQuery, out: &mut dyn Write) -> Result<Outcome, Outcome> {
    let mut written = Ok(());
    let done = agent.client.download(&path(query), |bytes| {
        written = out.write_all(bytes);
        written.is_ok()
    });
    match done {
        Ok(()) => Ok(ended(written.and_then(|()| out.flush()))),
        Err(FollowError::Problem(problem)) => Err(agent.problem(&problem)),
        Err(FollowError::Unanswered(error)) => Err(unanswered(&error)),
    }
}

/// Returns all rows as one JSON object, with fields that this program doesn't know.
fn merged(agent: &Agent, query: &AuditQuery) -> Result<Outcome, Outcome> {
    let mut rows = Vec::new();
    each_page(agent, query, |json, _| {
        let mut page: Value = agent.read(json)?;
        if let Some(more) = page.get_mut("value").and_then(Value::as_array_mut) {
            rows.append(more);
        }
        Ok(true)
    })?;
    Ok(Outcome::done(format!("{:#}\n", json!({ "value": rows }))))
}

fn table(
    agent: &Agent,
    query: &AuditQuery,
    surroundings: &Surroundings,
    out: &mut dyn Write,
) -> Result<Outcome, Outcome> {
    let mut written = Ok(());
    let mut columns = Columns::default();
    each_page(agent, query, |_, page| {
        let rows: Vec<_> = page.value.iter().map(|row| cells(row, surroundings)).collect();
        let text = if rows.is_empty() && columns == Columns::default() {
            "nothing in the audit log fits\n".to_owned()
        } else {
            columns.print(&rows)
        };
        written = out.write_all(text.as_bytes());
        Ok(written.is_ok())
    })?;
    Ok(ended(written.and_then(|()| out.flush())))
}

/// Asks for one page after the other, for as long as `take` wants more pages.
fn each_page(
    agent: &Agent,
    query: &AuditQuery,
    mut take: impl FnMut(&Bytes, &AuditPage) -> Result<bool, Outcome>,
) -> Result<(), Outcome> {
    let mut next = Some(path(query));
    while let Some(path) = next {
        let json = agent.call(Method::GET, &path, None)?;
        let page: AuditPage = agent.read(&json)?;
        next = if take(&json, &page)? { page.next_link } else { None };
    }
    Ok(())
}

fn path(query: &AuditQuery) -> String {
    // Strings always serialise.
    format!("/v1/audit?{}", serde_urlencoded::to_string(query).unwrap_or_default())
}

/// The outcome of writing. A reader of standard output may leave at any time; any other error of writing is a failure.
fn ended(written: io::Result<()>) -> Outcome {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Outcome::failed(
            Exit::Failed,
            format!("error: can't write to standard output: {error}; part of it is missing\n"),
        ),
        _ => Outcome::done(String::new()),
    }
}

/// The headings of the table.
const HEADINGS: [&str; 6] = ["time", "event", "who", "port", "source", "what"];
/// The greatest width of a column. A longer cell moves only the rest of its own row.
const WIDEST: usize = 43;

/// The widths of the columns, in characters. They are zero before the first rows are printed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Columns([usize; 6]);

impl Columns {
    /// Prints rows, with headings above the first ones and above those that need wider columns than the rows before.
    fn print(&mut self, rows: &[[String; 6]]) -> String {
        let mut needed = self.0;
        for row in std::iter::once(&HEADINGS.map(str::to_owned)).chain(rows) {
            for (width, cell) in needed.iter_mut().zip(row) {
                *width = cell.chars().count().min(WIDEST).max(*width);
            }
        }
        let mut text = String::new();
        if needed != self.0 {
            self.0 = needed;
            text.push_str(&self.line(&HEADINGS.map(str::to_owned)));
        }
        text.extend(rows.iter().map(|row| self.line(row)));
        text
    }

    fn line(&self, row: &[String; 6]) -> String {
        let cells = row.iter().zip(self.0).map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    }
}
