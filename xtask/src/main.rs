//! Chores of the workspace: `cargo xtask setup|demo|test|bench|dist`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line tool that reports its progress")]
#![expect(clippy::print_stderr, reason = "a command line tool that reports its errors")]

mod dist;
mod exec;
mod kernels;
mod launch;
mod paths;
mod portable;
mod setup;
mod suite;
mod summary;
mod vm;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Sets up, tests, measures and shows the just-in-time access agent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need: a Rust for BPF, bpf-linker and a few programs.
    Setup {
        /// Use this bpf-linker (0.13 or later, built against the LLVM of the Rust for BPF) instead of building one.
        #[arg(long, value_name = "PATH")]
        linker: Option<PathBuf>,
    },
    /// Run the demo: a real OpenSSH server behind the agent, in two network namespaces.
    Demo,
    /// Check that the client builds for other systems, run all tests, then boot Debian's kernels 5.10, 6.1 and 6.12 under QEMU and check the program there, then a Debian
    /// with systemd, and check the package.
    Test {
        /// Only check that the client builds for 64-bit Arm Linux, Windows and macOS.
        #[arg(long, conflicts_with = "harness")]
        portable: bool,
        /// Only boot the kernels.
        #[arg(long, conflicts_with_all = ["harness", "portable"])]
        kernels: bool,
        /// Only boot the Debian, with the package.
        #[arg(long, conflicts_with_all = ["harness", "portable", "kernels"])]
        vm: bool,
        /// How many generated frames the host's code and the loaded program judge [default: a million].
        #[arg(long, value_name = "N", conflicts_with_all = ["portable", "kernels", "vm"])]
        frames: Option<u64>,
        /// Which sequence of frames is generated: a number, which a failure names [default: 1].
        #[arg(long, value_name = "SEED", conflicts_with_all = ["portable", "kernels", "vm"])]
        seed: Option<u64>,
        /// Arguments for the test harness, such as a name to filter by; then nothing is booted.
        #[arg(last = true, value_name = "FILTER")]
        harness: Vec<OsString>,
    },
    /// Measure; the arguments go to the benchmark.
    Bench {
        /// Arguments for the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Make the packages, a .deb and an .rpm, in target/dist.
    Dist {
        /// Tells packages of the same version apart.
        #[arg(long, value_name = "N", default_value_t = 1)]
        revision: u32,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Setup { linker } => setup::run(linker.as_deref()).map(|()| true),
        Task::Demo => launch::demo(&[]).map(|never| match never {}),
        Task::Test { portable, kernels, vm, frames, seed, harness } => {
            let only = if portable {
                Some(suite::Part::Portable)
            } else if kernels {
                Some(suite::Part::Kernels)
            } else if vm {
                Some(suite::Part::Vm)
            } else {
                None
            };
            suite::run(only, &suite::Extent { frames, seed }, &harness)
        }
        Task::Dist { revision } => dist::run(revision).map(|()| true),
        Task::Bench { arguments } => launch::bench(&arguments).map(|never| match never {}),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
