//! `jitctl watch`: packets as they come.

use std::io;

use jit_api::{
    client::{Client, ClientError, FollowError},
    terminal::{Exit, Outcome, Surroundings},
    wire::{NotShown, PacketEvent},
};

use super::table;

/// Prints packets to `out` until its reader or the agent leaves.
pub(super) fn follow(
    client: &Client,
    json: bool,
    surroundings: &Surroundings,
    out: &mut dyn io::Write,
) -> Result<Outcome, FollowError> {
    let mut failure = None;
    let mut print = |text: &str| match write(out, text) {
        Ok(()) => true,
        Err(error) => {
            failure = Some(error);
            false
        }
    };
    let mut wrong = None;
    client.follow("/v1/events", |name, data| {
        if json {
            return data.is_empty() || print(&format!("{data}\n"));
        }
        match line(name, data, surroundings) {
            Ok(line) => print(&line),
            Err(error) => {
                wrong = Some(ClientError::NotUnderstood { status: 200, reason: error.to_string() });
                false
            }
        }
    })?;
    match wrong {
        Some(error) => Err(error.into()),
        None => Ok(ended(failure)),
    }
}

/// The outcome of writing. A reader of standard output may leave at any time; any other error of writing is a failure.
fn ended(failure: Option<io::Error>) -> Outcome {
    match failure {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Outcome::failed(Exit::Failed, format!("error: can't write to standard output: {error}\n"))
        }
        _ => Outcome::done(String::new()),
    }
}

fn write(out: &mut dyn io::Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    // Each line must be seen when it happens, also through a pipe.
    out.flush()
}

/// The text of one event; no text for an event that only a newer agent has.
fn line(name: &str, data: &str, surroundings: &Surroundings) -> serde_json::Result<String> {
    Ok(match name {
        "open" => table::event_heading(),
        "packet" => table::event(&serde_json::from_str::<PacketEvent>(data)?, surroundings),
        "not_shown" => table::not_shown(serde_json::from_str::<NotShown>(data)?.not_shown),
        _ => String::new(),
    })
}
