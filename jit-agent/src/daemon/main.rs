//! The command line carried out.

use std::process::ExitCode;

use clap::Parser as _;

use super::{
    arguments::{Arguments, Command, Location},
    check, remove_enforcement, run,
};
use crate::journal;

/// Runs `jit-agent` with the arguments of the process.
#[must_use]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::init();
    let result = match arguments.command {
        Command::Run(Location { config }) => run(&config),
        Command::Check(Location { config }) => check(&config).map(|report| println!("{}", report.join("\n"))),
        Command::Unload(Location { config }) => remove_enforcement(&config).map(|report| println!("{report}")),
        Command::Enable(_) | Command::Confirm(_) | Command::Disable(_) => Err(anyhow::anyhow!("not yet")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jit-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
