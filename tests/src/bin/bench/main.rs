//! The benchmark: what a packet costs, and how soon a request lets one through.
//!
//! Everything happens in namespaces of its own, which the kernel removes when this process ends, also when it is
//! interrupted. The daemon's store alone is on a real disk, in the build directory.

#![deny(unsafe_code)]

mod arguments;
mod bare;
mod cases;
mod environment;
mod opening;
mod per_packet;
mod report;
mod samples;
mod state_dir;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::arguments::{Arguments, Command};
use crate::environment::Environment;
use crate::report::Report;

fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => writeln!(io::stdout(), "{}", arguments::USAGE).map_err(Into::into),
        Ok(Command::Measure(arguments)) => measure(&arguments),
        Err(error) => {
            // Where even this can't be written, the exit code has to do.
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
    let opening = wanted(opening::NAME);
    ensure!(
        opening || !cases.is_empty(),
        "--only {} matches no measurement; there are {}",
        arguments.only.as_deref().unwrap_or_default(),
        cases::all().iter().map(cases::Case::name).chain([opening::NAME.to_owned()]).collect::<Vec<_>>().join(", ")
    );
    let mut report = Report { environment: Environment::read()?, per_packet: None, opening: None };
    if !cases.is_empty() {
        report.per_packet = Some(per_packet::run(cases, arguments.rounds, arguments.repeat)?);
    }
    if opening {
        report.opening = Some(opening::run(arguments.requests)?);
    }
    let text = if arguments.json { report.to_json() } else { report.to_table() };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
