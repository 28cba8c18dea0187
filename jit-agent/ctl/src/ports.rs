//! The commands `ports` and `reload`, which list and change port policies, with the effects on live grants.

use std::{str::FromStr, time::Duration};

use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use hyper::Method;
use jit_api::{
    client::{Answer, Call},
    problem::{Code, Problem},
    terminal::{self, Agent, Exit, Outcome, Surroundings, unanswered},
    wire::{Effects, List, Port, PortChange, PortPatch, Reload, Reloaded},
};
use jit_policy::{Approval, Given, Justification, PortId, Protocol, Span, UnknownWord};

use super::{args::RequestedPort, changes, parse, table, unusable};

/// Arguments of `ports`.
#[derive(Clone, Debug, Args)]
pub(super) struct Ports {
    #[command(subcommand)]
    change: Option<Change>,
}

#[derive(Clone, Debug, Subcommand)]
enum Change {
    /// Protect a port; tcp if no protocol is given
    Add(Policy),
    /// Change what may be requested for a port; what is not named stays as it is
    Set(Policy),
    /// Protect a port no more: everybody can reach it then
    Remove(Which),
    /// End what `jitctl ports` set for a port, or what `jit-agent` set for the mode: the configuration files count again
    Reset(Reset),
}

#[derive(Clone, Debug, Args)]
struct Which {
    /// The port, like 22 or 3389/any
    #[arg(value_name = "NUMBER[/PROTO]", value_parser = parse::port)]
    port: RequestedPort,
    /// Do it even if it opens a port, or ends or shortens live grants
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Debug, Args)]
struct Reset {
    /// The port, like 22 or 3389/any; or mode
    #[arg(value_name = "NUMBER[/PROTO]|mode", value_parser = resettable)]
    what: Resettable,
    /// Do it even if it opens a port, or ends or shortens live grants
    #[arg(long)]
    yes: bool,
}

/// What the agent itself may have set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resettable {
    Mode,
    Port(RequestedPort),
}

fn resettable(text: &str) -> Result<Resettable, parse::ParseError> {
    if text == "mode" { Ok(Resettable::Mode) } else { parse::port(text).map(Resettable::Port) }
}

#[derive(Clone, Debug, Args)]
struct Policy {
    #[command(flatten)]
    which: Which,
    /// Source within which requests may be: an address or a prefix (a new port without any allows all)
    #[arg(long = "allow", value_name = "PREFIX", num_args = 1..)]
    allowed: Vec<String>,
    /// Longest time that may be requested, 5m to 24h
    #[arg(long = "max", value_name = "DURATION", value_parser = Span::above_zero)]
    maximum: Option<Duration>,
    /// Whether requests need a second person
    #[arg(long, value_parser = one_of(Approval::ALL, Approval::name))]
    approval: Option<Approval>,
    /// How long a request waits for that person, 1m to 7d
    #[arg(long, value_name = "DURATION", value_parser = Span::above_zero)]
    approval_timeout: Option<Duration>,
    /// Whether requests must say why
    #[arg(long, value_parser = one_of(Justification::ALL, Justification::name))]
    justification: Option<Justification>,
    /// How many live grants one person may have
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    quota: Option<i64>,
    /// Who among the requesters may request the port: users and @groups; "" for all
    #[arg(long = "requester", value_name = "NAME", num_args = 1..)]
    requesters: Option<Vec<String>>,
    /// Who among the approvers may approve: users and @groups; "" for all
    #[arg(long = "approver", value_name = "NAME", num_args = 1..)]
    approvers: Option<Vec<String>>,
}

/// Reads a word from a list.
fn one_of<T>(values: &[T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + FromStr<Err = UnknownWord> + Send + Sync + 'static,
{
    let names: Vec<&'static str> = values.iter().copied().map(name).collect();
    PossibleValuesParser::new(names).try_map(|word| word.parse())
}

/// Arguments of `reload`.
#[derive(Clone, Debug, Args)]
pub(super) struct ReloadArguments {
    /// What it may open: a port like 22/tcp, mode=observe, interface=NAME, break_glass=PREFIX, scope=local, fragments=pass
    #[arg(long = "allow-open", value_name = "NAME", num_args = 1..)]
    allow_open: Vec<String>,
    /// Do it even if it ends or shortens live grants
    #[arg(long)]
    yes: bool,
}

/// Lists port policies or changes one.
pub(super) fn ports(agent: &Agent, arguments: Ports, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    match arguments.change {
        None => agent.get("/v1/ports", |ports: &List<Port>| Outcome::done(table::ports(&ports.value, surroundings))),
        Some(Change::Add(policy)) => add(agent, policy, surroundings),
        Some(Change::Set(policy)) => set(agent, policy, surroundings),
        Some(Change::Remove(which)) => {
            let list = Listed::read(agent)?;
            let id = list.find(which.port)?.1;
            list.change(agent, id, None, which.yes, surroundings)
        }
        Some(Change::Reset(reset)) => end_override(agent, reset, surroundings),
    }
}

/// Makes the agent read its files again, without what it set itself.
fn end_override(agent: &Agent, Reset { what, yes }: Reset, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    // Without a question, only what is named may open.
    let (name, opening) = match what {
        Resettable::Mode => ("mode".to_owned(), "mode=observe".to_owned()),
        Resettable::Port(RequestedPort::Number(number)) => (number.to_string(), number.to_string()),
        Resettable::Port(RequestedPort::Exact(id)) => (id.to_string(), id.to_string()),
    };
    let attempt = |confirmed: Option<&Effects>| {
        let opened = confirmed.map(|effects| effects.opened.clone()).unwrap_or_default();
        let allow_open = if yes { vec![opening.clone()] } else { opened };
        let body = Reload { allow_open, confirm: yes || confirmed.is_some(), reset: vec![name.clone()] };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let session = terminal::ssh_session(surroundings);
        Call { body: Some(body), session, ..Call::new(Method::POST, "/v1/reload") }
    };
    let json = send_confirmed(agent, None, attempt, false, surroundings)?;
    agent.decode(&json, |done: &Reloaded| finished(changes::of_reload(done, surroundings), done.durable))
}

fn add(agent: &Agent, policy: Policy, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    let list = Listed::read(agent)?;
    let id = match policy.which.port {
        RequestedPort::Number(number) => PortId { number, protocol: Protocol::Tcp },
        RequestedPort::Exact(id) => id,
    };
    if list.ports.iter().any(|port| port.id() == Some(id)) {
        let error = format!("error: {id} has a policy already; change it with: jitctl ports set {id}\n");
        return Err(Outcome::failed(Exit::Failed, error));
    }
    let yes = policy.which.yes;
    let body = policy.patch()?;
    list.change(agent, id, Some(&body), yes, surroundings)
}

fn set(agent: &Agent, policy: Policy, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    let list = Listed::read(agent)?;
    let (known, id) = list.find(policy.which.port)?;
    let yes = policy.which.yes;
    let body = policy.patch()?.over(known.policy.clone());
    list.change(agent, id, Some(&body), yes, surroundings)
}

impl Policy {
    /// The part of the policy that the arguments name.
    fn patch(self) -> Result<PortPatch, Outcome> {
        let Self {
            which: _,
            allowed,
            maximum,
            approval,
            approval_timeout,
            justification,
            quota,
            requesters,
            approvers,
        } = self;
        // An empty text stands for an empty list, which a command line can't have.
        let names = |list: Vec<String>| list.into_iter().filter(|name| !name.is_empty()).collect();
        let sources = allowed.iter().map(|given| match jit_policy::parse_source(given) {
            Ok(source) => Ok(source.to_string()),
            Err(error) => Err(unusable(given, "--allow <PREFIX>", &error.into())),
        });
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        Ok(PortPatch {
            allowed_sources: (!sources.is_empty()).then_some(sources),
            max_duration: maximum.map(|maximum| Span(maximum).into()),
            approval: approval.map(Given::from),
            approval_timeout: approval_timeout.map(|timeout| Span(timeout).into()),
            justification: justification.map(Given::from),
            quota,
            requesters: requesters.map(names),
            approvers: approvers.map(names),
        })
    }
}

/// The policies, and their version.
struct Listed {
    ports: Vec<Port>,
    version: String,
}

impl Listed {
    fn read(agent: &Agent) -> Result<Self, Outcome> {
        let (json, version) = send(agent, &Call::new(Method::GET, "/v1/ports"))?.map_err(|one| agent.problem(&one))?;
        let list: List<Port> = agent.read(&json)?;
        Ok(Self { ports: list.value, version: version.unwrap_or_default() })
    }

    /// The policy of a port that the arguments name.
    fn find(&self, named: RequestedPort) -> Result<(&Port, PortId), Outcome> {
        let known = self.ports.iter().filter_map(|port| Some((port, port.id()?)));
        let found: Vec<_> = known
            .filter(|(_, id)| match named {
                RequestedPort::Number(number) => id.number == number,
                RequestedPort::Exact(exact) => *id == exact,
            })
            .collect();
        let named = match named {
            RequestedPort::Number(number) => number.to_string(),
            RequestedPort::Exact(id) => id.to_string(),
        };
        match found[..] {
            [one] => Ok(one),
            [] => {
                let error =
                    format!("error: there is no policy of port {named}; `jitctl ports` lists those there are\n");
                Err(Outcome::failed(Exit::Failed, error))
            }
            _ => {
                let names: Vec<String> = found.iter().map(|(_, id)| id.to_string()).collect();
                let error = format!("error: port {named} has several policies; name one of {}\n", names.join(", "));
                Err(Outcome::failed(Exit::Usage, error))
            }
        }
    }

    /// Sets the policy of the port, or removes the policy.
    fn change(
        &self,
        agent: &Agent,
        id: PortId,
        body: Option<&PortPatch>,
        yes: bool,
        surroundings: &Surroundings,
    ) -> Result<Outcome, Outcome> {
        let method = if body.is_some() { Method::PUT } else { Method::DELETE };
        // Strings and numbers always serialise.
        let body = body.map(|body| serde_json::to_vec(body).unwrap_or_default());
        let attempt = |confirmed: Option<&Effects>| {
            let query = if confirmed.is_some() { "?confirm=true" } else { "" };
            let path = format!("/v1/ports/{}/{}{query}", id.number, id.protocol);
            let (if_match, session) = (Some(self.version.clone()), terminal::ssh_session(surroundings));
            Call { body: body.clone(), if_match, session, ..Call::new(method.clone(), path) }
        };
        let first = yes.then(Effects::default);
        let json = send_confirmed(agent, first.as_ref(), attempt, false, surroundings)?;
        agent.decode(&json, |done: &PortChange| finished(changes::of_port(id, done, surroundings), done.durable))
    }
}

/// Makes the agent read its files again.
pub(super) fn reload(
    agent: &Agent,
    arguments: ReloadArguments,
    surroundings: &Surroundings,
) -> Result<Outcome, Outcome> {
    let ReloadArguments { allow_open, yes } = arguments;
    let attempt = |confirmed: Option<&Effects>| {
        let opened = confirmed.map(|effects| effects.opened.clone()).unwrap_or_default();
        let body = Reload {
            allow_open: allow_open.iter().cloned().chain(opened).collect(),
            confirm: yes || confirmed.is_some(),
            reset: Vec::new(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let session = terminal::ssh_session(surroundings);
        Call { body: Some(body), session, ..Call::new(Method::POST, "/v1/reload") }
    };
    let json = send_confirmed(agent, None, attempt, true, surroundings)?;
    agent.decode(&json, |done: &Reloaded| finished(changes::of_reload(done, surroundings), done.durable))
}

/// Asks the agent, and a second time if the agent wants confirmation and whoever sits at the terminal agrees.
/// `openings_are_named` says whether the agent wants each opening to be named.
fn send_confirmed(
    agent: &Agent,
    confirmed: Option<&Effects>,
    attempt: impl Fn(Option<&Effects>) -> Call,
    openings_are_named: bool,
    surroundings: &Surroundings,
) -> Result<hyper::body::Bytes, Outcome> {
    let problem = match send(agent, &attempt(confirmed))? {
        Ok((json, _)) => return Ok(json),
        Err(problem) => problem,
    };
    let effects = problem.effects.as_deref().filter(|_| problem.code == Code::NeedsConfirmation && !agent.json);
    let Some(effects) = effects else { return Err(agent.problem(&problem)) };
    let shown = format!("{}{}", terminal::table::problem(&problem), changes::expected_effects(effects, surroundings));
    // Older agents don't say which openings were not named.
    let unnamed = problem.unnamed.as_ref().unwrap_or(&effects.opened);
    let names = openings_are_named && !unnamed.is_empty();
    let open = if names { " (and --allow-open for what it opens)" } else { "" };
    terminal::require_confirmation(&shown, false, open, surroundings)?;
    send(agent, &attempt(Some(effects)))?.map(|(json, _)| json).map_err(|problem| agent.problem(&problem))
}

/// The answer's JSON and version, or the problem in its place.
pub(super) type Sent = Result<(hyper::body::Bytes, Option<String>), Box<Problem>>;

pub(super) fn send(agent: &Agent, call: &Call) -> Result<Sent, Outcome> {
    match agent.client.send(call) {
        Ok((Answer::Done(json), version)) => Ok(Ok((json, version))),
        Ok((Answer::Problem(problem), _)) => Ok(Err(problem)),
        Err(error) => Err(unanswered(&error)),
    }
}

fn finished(stdout: String, durable: bool) -> Outcome {
    let warning = "the change is in force, but not all of it could be written to the store; see `jitctl status` for what \
                   is broken";
    terminal::in_force(stdout, durable, warning)
}
