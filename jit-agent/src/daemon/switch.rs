//! The commands `jit-agent enable`, `confirm` and `disable`: their requests to the agent, and their output for people.

use std::{path::Path, time::Duration};

use jit_api::{
    client::Client,
    terminal::{
        Agent, Exit, Outcome, Surroundings, in_force, print, require_confirmation, ssh_session,
        table::{table, trial_lines},
        text::{count, moment, prefix, sanitised, span},
    },
    wire::{Enable, Enforcement, EnforcementChange, Grant, Nothing, Session},
};
use jit_common::abi::Mode;
use jit_policy::{Span, TrialKind};

#[cfg(test)]
mod tests;

/// The options of `jit-agent enable`.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnableOptions {
    /// The length of the trial.
    pub(super) trial: Duration,
    /// The duration of the grant for the operator.
    pub(super) grant: Option<Duration>,
    /// Whether someone can reach the console.
    pub(super) console: bool,
    /// Whether the command skips the question.
    pub(super) yes: bool,
}

/// A command that changes enforcement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Switch {
    /// Starts a trial.
    Enable(EnableOptions),
    /// Makes the trial permanent.
    Confirm,
    /// Ends the trial, or turns enforcement off if no trial is running.
    Disable {
        /// Whether the command skips the question.
        yes: bool,
    },
}

/// Carries out a command at the agent's socket, and prints the output.
pub(super) fn switch(socket: &Path, switch: Switch) -> Exit {
    print(&run_switch(socket, switch, &Surroundings::of_process()))
}

/// Like [`switch`], but returns the output instead of printing it.
fn run_switch(socket: &Path, switch: Switch, surroundings: &Surroundings) -> Outcome {
    let agent = Agent { client: Client::new(socket), json: false };
    let done = match switch {
        Switch::Enable(options) => enable(&agent, options, surroundings),
        Switch::Confirm => confirm(&agent),
        Switch::Disable { yes } => disable(&agent, yes, surroundings),
    };
    let mut outcome = done.unwrap_or_else(|failure| failure);
    if outcome.exit == Exit::Unreachable {
        outcome.stderr.push_str(match switch {
            Switch::Enable(_) | Switch::Confirm => {
                "the agent has to run for this: start it with `systemctl start jit-agent`\n"
            }
            Switch::Disable { .. } => {
                "without a running agent, `jit-agent unload` opens the ports: it removes the program from the \
                 interfaces\n"
            }
        });
    }
    outcome
}

fn enable(agent: &Agent, options: EnableOptions, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    let EnableOptions { trial, grant, console, yes } = options;
    let now: Enforcement = agent.fetch("/v1/enforcement")?;
    let session = ssh_session(surroundings);
    let mut shown = before(&now, session.as_ref());
    match &session {
        Some(session) => shown.push_str(&format!(
            "you work from {} over port {}, so this address gets a grant for that port\n",
            sanitised(&session.source),
            session.port
        )),
        None => shown.push_str("you don't work over SSH, as far as can be told, so you get no grant\n"),
    }
    if console {
        shown.push_str("way back: the console, as you say\n");
    }
    shown.push_str(&format!(
        "\nthe ports are shut for a trial of {}; unless `jit-agent confirm` comes in time, they open again\n",
        span(trial)
    ));
    require_confirmation(&shown, yes, "", surroundings)?;
    let body = Enable { trial: Some(Span(trial).iso()), session, grant: grant.map(|grant| Span(grant).iso()), console };
    let outcome = agent.post("/v1/enforcement/enable", &body, |done: &EnforcementChange| {
        let mut text = String::from("ENFORCING ON TRIAL: packets without a grant are dropped from now on\n");
        if let Some(grant) = &done.grant {
            text.push_str(&own_grant(grant, surroundings));
        }
        if let Some(trial) = &done.enforcement.trial {
            text.push_str(&trial_lines(trial, surroundings));
        }
        finished(text, done.durable)
    })?;
    Ok(Outcome { stdout: format!("{}{}", if yes { shown } else { String::new() }, outcome.stdout), ..outcome })
}

fn confirm(agent: &Agent) -> Result<Outcome, Outcome> {
    let now: Enforcement = agent.fetch("/v1/enforcement")?;
    agent.post("/v1/enforcement/confirm", &Nothing {}, |done: &EnforcementChange| {
        let what = match now.trial.as_ref().map(|trial| trial.kind.value().ok_or(trial.kind.text())) {
            Some(Ok(TrialKind::Enable)) | None => {
                "enforcement is on, and stays on over restarts and reboots".to_owned()
            }
            Some(Ok(TrialKind::Ports)) => {
                "the change of the ports is in force for good, and in the configuration file".to_owned()
            }
            Some(Ok(TrialKind::Reload)) => "the configuration files are in force for good".to_owned(),
            Some(Err(other)) => format!("what was tried ({}) is in force for good", sanitised(other)),
        };
        finished(format!("confirmed: {what}\n"), done.durable)
    })
}

fn disable(agent: &Agent, yes: bool, surroundings: &Surroundings) -> Result<Outcome, Outcome> {
    let now: Enforcement = agent.fetch("/v1/enforcement")?;
    if now.trial.is_none() && now.mode != Mode::Observe {
        let shown = format!("these ports are open to everybody from now on: {}\n", ports(&now));
        require_confirmation(&shown, yes, "", surroundings)?;
    }
    agent.post("/v1/enforcement/disable", &Nothing {}, |done: &EnforcementChange| {
        let after = match done.enforcement.mode.value() {
            Some(Mode::Enforce) => "the configuration from before it enforces".to_owned(),
            Some(Mode::Observe) => format!("observing only: {} are open to everybody", ports(&done.enforcement)),
            None => format!("the mode is {} now", sanitised(done.enforcement.mode.text())),
        };
        let ended = if now.trial.is_some() { "the trial has ended; " } else { "" };
        finished(format!("{ended}{after}\n"), done.durable)
    })
}

/// The text that is shown before enforcement is turned on.
fn before(now: &Enforcement, own: Option<&Session>) -> String {
    let mut text = format!("ports that will be shut: {}\n", ports(now));
    if let Some(fault) = &now.connected_fault {
        text.push_str(&format!("who is connected is not known: {}\n", sanitised(fault)));
    } else if now.connected.is_empty() {
        text.push_str("nobody is connected to them by TCP\n");
    } else {
        let number = count(now.connected.len(), "source is", "sources are");
        text.push_str(&format!("{number} connected to them by TCP now:\n"));
        let rows = now.connected.iter().map(|one| {
            let is_own = own.is_some_and(|own| own.port == i64::from(one.port) && own.source == one.source.to_string());
            let fate = match (one.break_glass, one.grant) {
                (true, _) => "stays: break-glass".to_owned(),
                (false, _) if is_own => "stays: you, with a grant for a time".to_owned(),
                (false, Some(grant)) => format!("stays as long as grant {grant} lasts"),
                (false, None) => "WILL BE CUT".to_owned(),
            };
            [one.source.to_string(), one.port.to_string(), fate]
        });
        text.push_str(&table(["source", ">port", "what becomes of it"], rows));
    }
    let names = |list: &[String]| list.iter().map(|one| sanitised(one)).collect::<Vec<_>>().join(", ");
    let ways = &now.ways_back;
    if !ways.break_glass.is_empty() {
        text.push_str(&format!("way back: break-glass sources {}\n", names(&ways.break_glass)));
    }
    if !ways.delegates.is_empty() {
        text.push_str(&format!("way back: connected delegates {}\n", names(&ways.delegates)));
    }
    if let Some(by) = &now.unloaded {
        text.push_str(&format!("enforcement was unloaded {}; it is loaded again\n", sanitised(by)));
    }
    text
}

fn ports(now: &Enforcement) -> String {
    match &now.ports[..] {
        [] => "none".to_owned(),
        ports => ports.iter().map(|port| sanitised(port)).collect::<Vec<_>>().join(", "),
    }
}

fn own_grant(grant: &Grant, surroundings: &Surroundings) -> String {
    format!(
        "grant {}: {} is let in to port {} until {}; `jitctl extend {} --for 1h` makes it last\n",
        grant.id,
        prefix(&grant.source),
        grant.number,
        moment(grant.end_time_utc, surroundings),
        grant.id
    )
}

fn finished(stdout: String, durable: bool) -> Outcome {
    let warning = "this is in force, but not all of it could be written; see `jitctl status` for what is broken";
    in_force(stdout, durable, warning)
}
