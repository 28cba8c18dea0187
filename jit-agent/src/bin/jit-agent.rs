//! The daemon's command line.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use jit_agent::{config::DEFAULT_PATH, daemon, journal};

/// Keeps management ports shut at the network card, and opens them for named sources for a limited time.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Locks the configured ports and serves requests until stopped. The ports stay shut when it ends.
    Run(Location),
    /// Checks the configuration, and whether this host can enforce it. Changes nothing.
    Check(Location),
    /// Opens all ports: removes the program from every interface, and its tables. Needs no running daemon and no
    /// valid configuration. Starting the daemon again locks the ports again.
    Unload(Location),
}

#[derive(clap::Args)]
struct Location {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the command line")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    journal::init();
    let result = match arguments.command {
        Command::Run(Location { config }) => daemon::run(&config),
        Command::Check(Location { config }) => daemon::check(&config).map(|report| println!("{}", report.join("\n"))),
        Command::Unload(Location { config }) => daemon::remove_enforcement(&config).map(|report| println!("{report}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jit-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
