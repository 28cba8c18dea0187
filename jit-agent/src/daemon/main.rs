//! Execution of the command line of `jit-agent`.

use std::process::ExitCode;

use clap::Parser as _;

use super::{
    accept::accept,
    arguments::{Arguments, Command, Disable, Enable, Location},
    check, remove_enforcement, run,
    switch::{EnableOptions, Switch, switch},
};
use crate::{config, journal};

/// The commands that do not need a running agent.
enum Local {
    Run(Location),
    Check(Location),
    Accept(Location),
    Unload(Location),
}

/// Runs `jit-agent` with the arguments of the process.
#[must_use]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let at_agent = |location: &Location, what| switch(&config::salvage_places(&location.config).socket, what).into();
    let command = match arguments.command {
        Command::Enable(Enable { location, trial, grant, console, yes }) => {
            return at_agent(&location, Switch::Enable(EnableOptions { trial, grant, console, yes }));
        }
        Command::Confirm(location) => return at_agent(&location, Switch::Confirm),
        Command::Disable(Disable { location, yes }) => return at_agent(&location, Switch::Disable { yes }),
        Command::Run(location) => Local::Run(location),
        Command::Check(location) => Local::Check(location),
        Command::Accept(location) => Local::Accept(location),
        Command::Unload(location) => Local::Unload(location),
    };
    journal::init();
    let result = match command {
        Local::Run(Location { config }) => run(&config),
        Local::Check(Location { config }) => check(&config).map(|report| println!("{}", report.join("\n"))),
        Local::Accept(Location { config }) => accept(&config).map(|report| println!("{report}")),
        Local::Unload(Location { config }) => remove_enforcement(&config).map(|report| println!("{report}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jit-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
