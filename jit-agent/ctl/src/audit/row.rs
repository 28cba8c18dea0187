//! A row of the audit log as people read it, whichever version of the agent wrote it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use jit_api::{
    terminal::{
        Surroundings,
        text::{moment, port, sanitised, source, span},
    },
    wire::AuditEntry,
};
use jit_policy::audit::{Detail, NamedPort};
use serde_json::Value;

/// The keys that have places of their own in the table, or mean nothing to people.
const ELSEWHERE: [&str; 24] = [
    "action",
    "after",
    "before",
    "by",
    "count",
    "end",
    "enforcement",
    "grant",
    "grants",
    "hash",
    "index",
    "justification",
    "number",
    "port",
    "ports",
    "protocol",
    "reason",
    "request",
    "requestor",
    "seconds",
    "since",
    "source",
    "time",
    "uid",
];

/// The keys that are durations in seconds.
const DURATIONS: [&str; 2] = ["max_duration", "approval_timeout"];

/// The cells of a row: time, event, who, port, source, what.
pub(super) fn cells(row: &AuditEntry, surroundings: &Surroundings) -> [String; 6] {
    let detail = Detail(&row.detail);
    let who = detail.by().or(detail.text("requestor")).unwrap_or("-");
    [
        moment(row.time_utc, surroundings),
        sanitised(&row.event),
        sanitised(who),
        ports(detail),
        detail.text("source").map_or_else(|| "-".to_owned(), source),
        description(detail, who, surroundings),
    ]
}

/// The port of the row, or all its ports.
fn ports(detail: Detail<'_>) -> String {
    let one = |named: NamedPort<'_>| match named {
        NamedPort::Number(number, Some(protocol)) => port(number, protocol),
        NamedPort::Number(number, None) => number.to_string(),
        NamedPort::Text(text) => sanitised(text),
    };
    let ports: Vec<String> = detail.ports().into_iter().map(one).collect();
    if ports.is_empty() { "-".to_owned() } else { ports.join(",") }
}

/// The text for the last column of a row. A key that is not known here is shown by its name, so that this table has the
/// events of later versions too.
fn description(detail: Detail<'_>, who: &str, surroundings: &Surroundings) -> String {
    let text = |name: &str| detail.text(name).filter(|text| !text.is_empty());
    let time = |name: &str| detail.time(name).map(|time| moment(time, surroundings));
    let mut parts = Vec::new();
    match (detail.number("grant"), detail.number("request")) {
        (Some(grant), _) => parts.push(format!("grant {grant}")),
        (None, Some(request)) => parts.push(format!("request {request}")),
        (None, None) => {}
    }
    let grants: Vec<String> =
        detail.list("grants").iter().filter_map(Value::as_i64).map(|grant| grant.to_string()).collect();
    if !grants.is_empty() {
        parts.push(format!("grants {}", grants.join(", ")));
    }
    parts.extend(text("requestor").filter(|requestor| *requestor != who).map(|requestor| format!("of {requestor}")));
    parts.extend(match (time("end"), time("before")) {
        (Some(end), Some(before)) => Some(format!("until {end} instead of {before}")),
        (Some(end), None) => Some(format!("until {end}")),
        (None, before) => before.map(|before| format!("before {before}")),
    });
    let seconds = detail.number("seconds").and_then(|seconds| u64::try_from(seconds).ok());
    parts.extend(seconds.map(|seconds| format!("for {}", span(Duration::from_secs(seconds)))));
    let since = time("since").map(|since| format!(" since {since}")).unwrap_or_default();
    parts.extend(detail.number("count").filter(|count| *count > 1).map(|count| format!("{count} times{since}")));
    // The other columns show what a request asks for.
    parts.extend(text("action").filter(|action| *action != "request").map(|action| format!("asked to {action}")));
    parts.extend(time("time").map(|time| format!("at {time}")));
    parts.extend(others(detail, surroundings));
    parts.extend(["by", "reason", "justification"].into_iter().filter_map(text).map(str::to_owned));
    parts.extend(detail.list("violations").iter().map(|violation| {
        let text = |name: &str| Detail(violation).text(name).unwrap_or_default();
        format!("{} {} is {}, allowed: {}", text("port"), text("field"), text("given"), text("allowed"))
    }));
    sanitised(parts.join("; ").trim())
}

/// The keys without places of their own, by their names, and what a change has changed.
fn others(detail: Detail<'_>, surroundings: &Surroundings) -> Vec<String> {
    let mut parts = Vec::new();
    for (key, value) in detail.0.as_object().into_iter().flatten() {
        if !ELSEWHERE.contains(&key.as_str()) && !key.starts_with("violation") {
            let leaves = flatten(key, value, surroundings).into_iter().filter(|(_, text)| !text.is_empty());
            parts.extend(leaves.map(|(name, text)| format!("{name} {text}")));
        }
    }
    let of = |key: &str| detail.get(key).filter(|value| value.is_object());
    if let Some(after) = of("after") {
        let before = of("before").map(|before| flatten("", before, surroundings));
        let before: Option<BTreeMap<String, String>> = before.map(|leaves| leaves.into_iter().collect());
        let or_nothing = |text: &str| if text.is_empty() { "nothing".to_owned() } else { text.to_owned() };
        for (name, now) in flatten("", after, surroundings) {
            match before.as_ref().map(|before| before.get(&name).map_or("", String::as_str)) {
                None if now.is_empty() => {}
                None => parts.push(format!("{name} {now}")),
                Some(before) if before == now => {}
                Some(before) => parts.push(format!("{name} {} instead of {}", or_nothing(&now), or_nothing(before))),
            }
        }
    }
    parts
}

/// The values in a value, each by its name; an empty text stands for a value that means nothing to people.
fn flatten(name: &str, value: &Value, surroundings: &Surroundings) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::Number(seconds) if DURATIONS.contains(&name) => {
            seconds.as_u64().map_or_else(String::new, |seconds| span(Duration::from_secs(seconds)))
        }
        Value::Null | Value::Bool(false) => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::String(text) => {
            text.parse::<Timestamp>().map_or_else(|_| text.clone(), |time| moment(time, surroundings))
        }
        other => other.to_string(),
    };
    let name = name.replace('_', " ");
    match value {
        Value::Object(members) => {
            let inner = |(key, value): (&String, &Value)| flatten(format!("{name} {key}").trim(), value, surroundings);
            members.iter().flat_map(inner).collect()
        }
        Value::Array(elements) => vec![(name, elements.iter().map(text).collect::<Vec<_>>().join(", "))],
        value => vec![(name, text(value))],
    }
}
