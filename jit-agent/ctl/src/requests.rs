//! The commands that make, list and decide requests.

use std::{thread, time::Duration};

use hyper::Method;
use jit_api::{
    client::Call,
    terminal::{Agent, Exit, Outcome, Surroundings, require_confirmation},
    wire::{Extend, Grant, List, NewRequest, Nothing, Reason, Request, RequestState},
};
use jit_policy::Span;
use serde::Deserialize;

use super::{args, ports::send, table};

/// How many requests are listed.
const LISTED: usize = 200;
/// How often the agent is asked whether a request is decided.
const WAITING: Duration = Duration::from_secs(1);

pub(super) fn list(agent: &Agent, arguments: &args::Requests, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    let (path, most) = if arguments.pending {
        ("/v1/requests?status=Pending&limit=200", usize::MAX)
    } else {
        ("/v1/requests?limit=200", LISTED)
    };
    agent.list(path, most, |requests: &List<Request>| {
        let mut text = table::requests(&requests.value, surroundings);
        if requests.next_link.is_some() {
            text.push_str("older ones: see jitctl audit --event requested\n");
        }
        Outcome::done(text)
    })
}

pub(super) fn make(
    agent: &Agent,
    body: &NewRequest,
    waits: bool,
    surroundings: &Surroundings,
) -> Result<Outcome, Outcome> {
    let mut made = None;
    let outcome = agent.post("/v1/requests", body, |request: &Request| {
        made = (request.status == RequestState::Pending).then_some(request.id);
        state(request, surroundings)
    })?;
    let Some(id) = made.filter(|_| waits) else { return Ok(outcome) };
    let path = format!("/v1/requests/{id}");
    while agent.fetch::<Request>(&path)?.status == RequestState::Pending {
        thread::sleep(WAITING);
    }
    agent.get(&path, |request: &Request| state(request, surroundings))
}

pub(super) fn approve(
    agent: &Agent,
    arguments: args::Approve,
    surroundings: &Surroundings,
) -> Result<Outcome, Outcome> {
    let args::Approve { id, yes } = arguments;
    let path = format!("/v1/requests/{id}");
    // The approval is bound to what was shown. Older agents don't say what that is.
    let if_match = if yes { None } else { shown(agent, &path, surroundings)? };
    let body = serde_json::to_vec(&Nothing {}).unwrap_or_default();
    let call = Call { body: Some(body), if_match, ..Call::new(Method::POST, format!("{path}/approve")) };
    let (json, _) = send(agent, &call)?.map_err(|problem| agent.problem(&problem))?;
    agent.decode(&json, |request: &Request| Outcome::done(table::opened(request, surroundings)))
}

/// Shows a request to whoever sits at the terminal, who must agree to its approval. Returns what was shown. A request that
/// waits no more is not shown, because its approval says what became of it.
fn shown(agent: &Agent, path: &str, surroundings: &Surroundings) -> Result<Option<String>, Outcome> {
    let sent = send(agent, &Call::new(Method::GET, path))?;
    let (json, version) = sent.map_err(|problem| agent.problem(&problem))?;
    let request: Request = agent.read(&json)?;
    if request.status == RequestState::Pending {
        require_confirmation(&table::to_approve(&request, surroundings), false, "", surroundings)?;
    }
    Ok(version)
}

pub(super) fn deny(agent: &Agent, arguments: args::Deny) -> Result<Outcome, Outcome> {
    let args::Deny { id, message } = arguments;
    let path = format!("/v1/requests/{id}/deny");
    agent.post(&path, &Reason { reason: message }, |request: &Request| {
        Outcome::done(format!("request {} denied; nothing was opened\n", request.id))
    })
}

pub(super) fn cancel(agent: &Agent, arguments: args::OneRequest) -> Result<Outcome, Outcome> {
    let path = format!("/v1/requests/{}/cancel", arguments.id);
    agent.post(&path, &Reason::default(), |request: &Request| {
        Outcome::done(format!("request {} cancelled; nothing was opened\n", request.id))
    })
}

/// The answer to an extension: the grant, or a request that waits for approval.
#[derive(Deserialize)]
#[serde(untagged)]
enum Extended {
    Grant(Grant),
    Request(Request),
}

pub(super) fn extend(agent: &Agent, arguments: args::Extend, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    let args::Extend { id, duration } = arguments;
    let duration = Span(duration).iso();
    agent.post(&format!("/v1/grants/{id}/extend"), &Extend { duration }, |extended: &Extended| match extended {
        Extended::Grant(grant) => Outcome::done(table::open(grant, surroundings)),
        Extended::Request(request) => state(request, surroundings),
    })
}

/// The outcome for the present state of a request.
fn state(request: &Request, surroundings: &Surroundings) -> Outcome {
    match request.status.value() {
        Some(RequestState::Approved) => Outcome::done(table::opened(request, surroundings)),
        Some(RequestState::Pending) => {
            Outcome { exit: Exit::Pending, ..Outcome::done(table::waits(request, surroundings)) }
        }
        Some(RequestState::Denied | RequestState::Cancelled | RequestState::TimedOut) => {
            Outcome::failed(Exit::Refused, table::not_opened(request))
        }
        Some(RequestState::Failed) => Outcome::failed(Exit::Failed, table::not_opened(request)),
        None => Outcome::failed(Exit::Failed, table::not_known(request)),
    }
}
