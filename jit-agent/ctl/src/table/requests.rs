//! Requests as tables and sentences.

use jit_api::{
    terminal::{
        Surroundings,
        text::{count, iso_span},
    },
    wire::{Grant, GrantState, Pending, PendingPort, Request, RequestState},
};

use ipnet::IpNet;

use super::{end, moment, port, prefix, sanitised, source, table};

/// The prefix lengths from which on a prefix is not wide, for IPv4 and IPv6.
const NARROW: (u8, u8) = (24, 64);

/// The table of requests.
pub(crate) fn requests(requests: &[Request], surroundings: &Surroundings) -> String {
    if requests.is_empty() {
        return "no requests\n".to_owned();
    }
    let rows = requests.iter().map(|request| {
        let mut ports: Vec<String> = match &request.pending {
            // The person who approves must know what the request asks for.
            Some(pending) => pending.ports.iter().map(|one| asked(one, surroundings)).collect(),
            None => request.grants.iter().map(|grant| port(grant.number, grant.protocol.text())).collect(),
        };
        ports.dedup();
        [
            request.id.to_string(),
            moment(request.start_time_utc, surroundings),
            sanitised(&request.requestor),
            ports.join(", "),
            status(request, surroundings),
            sanitised(&request.justification),
        ]
    });
    table([">request", "time", "requestor", "ports", "status", "justification"], rows)
}

fn status(request: &Request, surroundings: &Surroundings) -> String {
    let by = request.decided_by.as_deref().map(|name| format!(" by {}", sanitised(name))).unwrap_or_default();
    let why = request.status_reason.as_deref().map(|reason| format!(": {}", sanitised(reason))).unwrap_or_default();
    match request.status.value() {
        Some(RequestState::Approved) => {
            let live = request.grants.iter().filter(|grant| grant.status == GrantState::Live).count();
            format!("approved{by}, {live} of {} live", count(request.grants.len(), "grant", "grants"))
        }
        Some(RequestState::Pending) => match &request.pending {
            Some(pending) => format!("waits for approval until {}", moment(pending.until_utc, surroundings)),
            None => "waits for approval".to_owned(),
        },
        Some(RequestState::Denied) => format!("denied{by}{why}"),
        Some(RequestState::Cancelled) => format!("cancelled{by}{why}"),
        Some(RequestState::TimedOut) => "not decided in time".to_owned(),
        Some(RequestState::Failed) => format!("failed{why}"),
        None => format!("in a state unknown to this jitctl{why}"),
    }
}

fn pending_port(one: &PendingPort) -> String {
    let number = u16::try_from(one.number).unwrap_or_default();
    one.protocol.as_ref().map_or_else(|| number.to_string(), |protocol| port(number, protocol.text()))
}

/// How wide a source is: prefixes that are wide come first, and are named so. A text that is no prefix comes before all.
fn width(text: &str) -> (u8, Option<&'static str>) {
    let Ok(prefix) = text.parse::<IpNet>() else { return (0, None) };
    let (length, narrow, scale) = match prefix {
        IpNet::V4(prefix) => (prefix.prefix_len(), NARROW.0, 4),
        IpNet::V6(prefix) => (prefix.prefix_len(), NARROW.1, 1),
    };
    match length {
        0 => (0, Some("ANY ADDRESS")),
        _ if length < narrow => (1 + length * scale / 2, Some("WIDE")),
        _ => (128 + (length * scale).min(128) / 2, None),
    }
}

/// What a request that waits asks for at one port: all sources, the widest first. Whoever approves decides about all.
fn asked(one: &PendingPort, surroundings: &Surroundings) -> String {
    let mut sources: Vec<_> = one.allowed_source_address_prefixes.iter().map(|text| (width(text), text)).collect();
    sources.sort_by_key(|((order, _), _)| *order);
    let shown = sources.into_iter().map(|((_, name), text)| match name {
        Some(name) => format!("{} ({name})", source(text)),
        None => source(text),
    });
    let shown: Vec<String> = shown.collect();
    let long = match (&one.duration, one.end_time_utc) {
        (Some(duration), _) => format!("for {}", iso_span(duration)),
        (None, Some(end)) => format!("until {}", moment(end, surroundings)),
        (None, None) => String::new(),
    };
    format!("{} from {} {long}", pending_port(one), shown.join(", "))
}

/// The text about a request that waits, with everything that the person who approves must know.
pub(crate) fn waits(request: &Request, surroundings: &Surroundings) -> String {
    let Some(Pending { until_utc, extends, ports }) = &request.pending else {
        return format!("request {} waits for approval\n", request.id);
    };
    let until = moment(*until_utc, surroundings);
    let mut text = format!("request {} waits for approval until {until}; nothing is open yet\n", request.id);
    if let Some(grant) = extends {
        text.push_str(&format!("  it extends grant {grant}\n"));
    }
    for one in ports {
        text.push_str(&format!("  {}\n", asked(one, surroundings)));
    }
    let id = request.id;
    text.push_str(&format!(
        "someone else approves it with: jitctl approve {id}; take it back with: jitctl cancel {id}\n"
    ));
    text
}

/// The text about a request that somebody is about to approve.
pub(crate) fn to_approve(request: &Request, surroundings: &Surroundings) -> String {
    let login = request.requestor_login.as_deref().map(|name| format!(" (logged in as {})", sanitised(name)));
    let (requestor, made) = (sanitised(&request.requestor), moment(request.start_time_utc, surroundings));
    let mut text = format!("request {} of {requestor}{}, made {made}\n", request.id, login.unwrap_or_default());
    if let Some(Pending { until_utc: _, extends, ports }) = &request.pending {
        if let Some(grant) = extends {
            text.push_str(&format!("  it extends grant {grant}\n"));
        }
        for one in ports {
            text.push_str(&format!("  {}\n", asked(one, surroundings)));
        }
    }
    match sanitised(&request.justification) {
        why if why.is_empty() => text.push_str("  it has no justification\n"),
        why => text.push_str(&format!("  justification: {why}\n")),
    }
    text
}

/// The text about a grant that is open.
pub(crate) fn open(grant: &Grant, surroundings: &Surroundings) -> String {
    format!(
        "{} open for {} until {}, grant {}\n",
        port(grant.number, grant.protocol.text()),
        prefix(&grant.source),
        end(grant, surroundings),
        grant.id
    )
}

/// The text about what a request opened, and how to end the grants.
pub(crate) fn opened(request: &Request, surroundings: &Surroundings) -> String {
    let mut text: String = request.grants.iter().map(|grant| open(grant, surroundings)).collect();
    let ids: Vec<_> = request.grants.iter().map(|grant| grant.id.to_string()).collect();
    let them = if ids.len() == 1 { "it" } else { "them" };
    text.push_str(&format!("end {them} early with: jitctl revoke {}\n", ids.join(" ")));
    text
}

/// The text about a request that opened nothing.
pub(crate) fn not_opened(request: &Request) -> String {
    let why = sanitised(request.status_reason.as_deref().unwrap_or("nobody says why"));
    let by = request.decided_by.as_deref().map(|name| format!(" by {}", sanitised(name))).unwrap_or_default();
    let came_to = match request.status.value() {
        Some(RequestState::Denied) => format!("was denied{by}"),
        Some(RequestState::Cancelled) => format!("was cancelled{by}"),
        Some(RequestState::TimedOut) => "was not decided in time".to_owned(),
        Some(RequestState::Pending | RequestState::Approved | RequestState::Failed) | None => "failed".to_owned(),
    };
    format!("error: request {} {came_to}, and nothing was opened: {why}\n", request.id)
}

/// The text about a request whose outcome this program can't tell.
pub(crate) fn not_known(request: &Request) -> String {
    let why = request.status_reason.as_deref().map(|reason| format!(" ({})", sanitised(reason))).unwrap_or_default();
    format!(
        "error: request {} is in a state that this jitctl does not know{why}; see `jitctl requests` of the agent's own \
         version\n",
        request.id
    )
}
