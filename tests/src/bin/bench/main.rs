//! The benchmark: the cost of a packet, the delay between a request and the first packet that passes, the number of
//! requests and grants that the agent can handle, and the handling of a flood.
//!
//! Everything happens in private namespaces, which the kernel removes when this process ends or is interrupted. Only
//! the daemon's store is on a real disk, in the build directory.

#![deny(unsafe_code)]

mod arguments;
mod bpf;
mod cases;
mod cores;
mod environment;
mod flood;
mod grants;
mod growth;
mod hostile;
mod instructions;
mod opening;
mod per_packet;
mod report;
mod requests;
mod rights;
mod samples;
mod state_dir;
mod table;
mod targets;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::{Result, ensure};

use crate::{
    arguments::{Arguments, Command},
    environment::Environment,
    flood::Traffic,
    report::Report,
};

fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => writeln!(io::stdout(), "{}", arguments::USAGE).map_err(Into::into),
        Ok(Command::Measure(arguments)) => measure(&arguments),
        Err(error) => {
            // If even this text can't be written, the exit code has to suffice.
            let _ = writeln!(io::stderr(), "error: {error:#}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<()> {
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let cases: Vec<_> = cases::all().into_iter().filter(|case| wanted(&case.name())).collect();
    let (growth, opening, requests) = (wanted(growth::NAME), wanted(opening::NAME), wanted(requests::NAME));
    let hostile = wanted(hostile::NAME);
    let traffic: Vec<_> = Traffic::ALL.into_iter().filter(|traffic| wanted(traffic.name())).collect();
    let floods = flood::Wanted { traffic, client: wanted(flood::CLIENT) };
    let flooded = floods.client || !floods.traffic.is_empty();
    ensure!(
        wanted(rights::NAME) || growth || opening || requests || hostile || flooded || !cases.is_empty(),
        "--only {} matches no measurement; there are {}",
        arguments.only.as_deref().unwrap_or_default(),
        names().join(", ")
    );
    let report = Report {
        environment: Environment::read()?,
        per_packet: match cases {
            cases if cases.is_empty() => None,
            cases => Some(per_packet::run(cases, arguments.rounds, arguments.repeat)?),
        },
        rights: wanted(rights::NAME).then(|| rights::run(arguments.rounds, arguments.repeat)).transpose()?,
        growth: growth.then(|| growth::run(arguments.rounds, arguments.repeat)).transpose()?,
        opening: opening.then(|| opening::run(arguments.requests)).transpose()?,
        requests: requests.then(requests::run).transpose()?,
        hostile: hostile.then(|| hostile::run(arguments.seconds)).transpose()?,
        floods: flooded.then(|| flood::run(&floods, arguments.rounds)).transpose()?,
    };
    let text = if arguments.json { report.to_json() } else { report.to_table() };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

/// All names that `--only` can select.
fn names() -> Vec<String> {
    let others = [rights::NAME, growth::NAME, opening::NAME, requests::NAME, hostile::NAME, flood::CLIENT]
        .into_iter()
        .chain(Traffic::ALL.map(Traffic::name));
    cases::all().iter().map(cases::Case::name).chain(others.map(str::to_owned)).collect()
}
