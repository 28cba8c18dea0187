//! The client `jitctl`, which turns arguments into one request, and the answer into text for people or JSON for
//! programs.

#![forbid(unsafe_code)]

mod args;
mod audit;
mod azure;
mod changes;
mod parse;
mod past_time;
mod ports;
mod requests;
mod table;
mod watch;

#[cfg(test)]
mod tests;

use std::{env, ffi::OsString, io, process::ExitCode};

use clap::{CommandFactory as _, Parser};
use jit_api::{
    client::{Client, FollowError},
    terminal::{self, Agent, Exit, Outcome, Surroundings, text, unanswered},
    wire::{self, Grant, List, NewRequest, Revocation, Revoke, Status, Why, WhyQuery},
};
use jit_policy::Span;

use self::args::{Arguments, Command, Import, RequestedPort};

/// The command line of `jitctl`, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs `jitctl` with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    terminal::print(&run(env::args_os(), &Surroundings::of_process())).into()
}

/// Runs `jitctl` with these arguments, the program's name first. Returns the output that is not printed as it comes.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>, surroundings: &Surroundings) -> Outcome {
    run_to(arguments, surroundings, &mut io::stdout())
}

/// Runs `jitctl` like [`run`], and writes to `out` what is printed as it comes.
fn run_to(
    arguments: impl IntoIterator<Item = OsString>,
    surroundings: &Surroundings,
    out: &mut dyn io::Write,
) -> Outcome {
    match Arguments::try_parse_from(arguments) {
        Ok(arguments) => carry_out(arguments, surroundings, out).unwrap_or_else(|failure| failure),
        Err(error) if error.use_stderr() => Outcome::failed(Exit::Usage, error.render().to_string()),
        // `--help` and `--version` end here.
        Err(error) => Outcome::done(error.render().to_string()),
    }
}

/// Carries out the command. `Err` is an outcome that ends the command early.
fn carry_out(arguments: Arguments, surroundings: &Surroundings, out: &mut dyn io::Write) -> Result<Outcome, Outcome> {
    let Arguments { socket, json, command } = arguments;
    let agent = Agent { client: Client::new(&socket), json };
    match command {
        Command::Status => agent.get("/v1/status", |status: &Status| {
            let exit = if table::is_degraded(status) { Exit::Degraded } else { Exit::Done };
            Outcome { exit, ..Outcome::done(table::status(status)) }
        }),
        Command::Ports(arguments) => ports::ports(&agent, arguments, surroundings),
        Command::Reload(arguments) => ports::reload(&agent, arguments, surroundings),
        Command::Requests(arguments) => requests::list(&agent, &arguments, surroundings),
        Command::Grants => agent.list("/v1/grants?limit=5000", usize::MAX, |grants: &List<Grant>| {
            Outcome::done(table::grants(&grants.value, surroundings))
        }),
        Command::Request(arguments) => {
            let waits = arguments.wait;
            let body = request_body(arguments, surroundings)?;
            requests::make(&agent, &body, waits, surroundings)
        }
        Command::Approve(arguments) => requests::approve(&agent, arguments, surroundings),
        Command::Deny(arguments) => requests::deny(&agent, arguments),
        Command::Cancel(arguments) => requests::cancel(&agent, arguments),
        Command::Extend(arguments) => requests::extend(&agent, arguments, surroundings),
        Command::Why(arguments) => {
            let path = why_path(arguments, surroundings)?;
            agent.get(&path, |why: &Why| Outcome::done(table::why(why, surroundings)))
        }
        Command::Watch => watch::follow(&agent.client, json, surroundings, out).map_err(|error| match error {
            FollowError::Problem(problem) => agent.problem(&problem),
            FollowError::Unanswered(error) => unanswered(&error),
        }),
        Command::Audit(arguments) => audit::carry_out(&agent, arguments, surroundings, out),
        Command::Revoke(arguments) => agent.post("/v1/grants/revoke", &revoke_body(arguments), |done: &Revocation| {
            let warning = "the closing is in force but could not be written, so it may not outlast a restart of the \
                           agent; see `jitctl status` for what is broken";
            terminal::in_force(table::closed(done), done.durable, warning)
        }),
        Command::Import(Import::Azure(arguments)) => {
            azure::import(&agent, &arguments, &mut |text| surroundings.ask.map(|ask| ask(text)), surroundings)
        }
    }
}

fn request_body(arguments: args::Request, surroundings: &Surroundings) -> Result<NewRequest, Outcome> {
    let args::Request { ports, sources, duration, until, message, requestor, wait: _ } = arguments;
    let sources = sources
        .iter()
        .map(|given| match parse::source(given, surroundings) {
            Ok(source) => Ok(source.to_string()),
            Err(error) => Err(unusable(given, "--from <PREFIX|me>", &error)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let end = until
        .map(|given| parse::until(&given, surroundings).map_err(|error| unusable(&given, "--until <TIME>", &error)))
        .transpose()?;
    let ports = ports.into_iter().map(|port| {
        let (number, protocol) = match port {
            RequestedPort::Number(number) => (number, None),
            RequestedPort::Exact(id) => (id.number, Some(id.protocol.into())),
        };
        wire::RequestedPort {
            number: i64::from(number),
            protocol,
            allowed_source_address_prefixes: Some(sources.clone()),
            allowed_source_address_prefix: None,
            duration: duration.map(|duration| Span(duration).iso()),
            end_time_utc: end.map(|end| end.to_string()),
        }
    });
    Ok(NewRequest { ports: ports.collect(), justification: message, requestor })
}

fn why_path(arguments: args::Why, surroundings: &Surroundings) -> Result<String, Outcome> {
    let args::Why { source, port: (number, protocol), to, interface } = arguments;
    let source = parse::address_of_one(&source, surroundings).map_err(|error| unusable(&source, "<SOURCE>", &error))?;
    let query = WhyQuery {
        source: source.to_string(),
        port: number.to_string(),
        protocol: Some(protocol.into()),
        to: to.map(|address| address.to_string()),
        interface,
    };
    // Strings always serialise.
    Ok(format!("/v1/why?{}", serde_urlencoded::to_string(query).unwrap_or_default()))
}

/// A usage error about the value of an argument.
fn unusable(given: &str, option: &str, error: &parse::ParseError) -> Outcome {
    let given = text::sanitised(given);
    let error = text::sanitised(&error.to_string());
    Outcome::failed(Exit::Usage, format!("error: invalid value '{given}' for '{option}': {error}\n"))
}

fn revoke_body(arguments: args::Revoke) -> Revoke {
    let args::Revoke { ids, user, all, message } = arguments;
    Revoke { ids: (!ids.is_empty()).then_some(ids), user, all: all.then_some(true), reason: message }
}
