//! The common parts of the commands of `jitctl` and `jit-agent`: one request, its answer as text for people or as JSON
//! for programs, and an exit code.

mod agent;
mod exit;
mod output;
mod session;
pub mod table;
pub mod text;

use jiff::{Timestamp, tz::TimeZone};

pub use self::{
    agent::{Agent, unanswered},
    exit::Exit,
    output::{in_force, print, require_confirmation},
    session::ssh_session,
};

/// What a command takes from its process and host besides the arguments.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The wall clock.
    pub now: Timestamp,
    /// The zone in which times are read and shown.
    pub zone: TimeZone,
    /// The value of `SSH_CONNECTION` or `SSH_CLIENT`, which begins with the client's address.
    pub ssh_session: Option<String>,
    /// Shows a text to whoever sits at the terminal and asks whether to go on; `None`: nobody sits there.
    pub ask: Option<fn(&str) -> bool>,
}

impl Surroundings {
    /// The surroundings of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let ssh_session = session::of_process();
        Self { now: Timestamp::now(), zone: TimeZone::system(), ssh_session, ask: output::ask() }
    }
}

/// What there is to print, and how the command ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code.
    pub exit: Exit,
    /// The text for standard output.
    pub stdout: String,
    /// The text for standard error.
    pub stderr: String,
}

impl Outcome {
    /// The outcome of a command that is done, with this text for standard output.
    #[must_use]
    pub fn done(stdout: String) -> Self {
        Self { exit: Exit::Done, stdout, stderr: String::new() }
    }

    /// The outcome of a command that failed, with this text for standard error.
    #[must_use]
    pub fn failed(exit: Exit, stderr: String) -> Self {
        Self { exit, stdout: String::new(), stderr }
    }
}
