//! Sets port policies one after the other, and asks first if a change ends or opens something.

use hyper::Method;
use jit_api::{
    client::{Answer, Call, ClientError},
    problem::Code,
    terminal::{Agent, Exit, Outcome, Surroundings, ssh_session, unanswered},
    wire::{PortChange, Session},
};

use super::plan::Step;
use crate::changes;

/// The result of setting policies, up to the first failure.
pub(super) struct Applied {
    /// The text for standard output: the policies that were set, and the effects.
    pub(super) text: String,
    /// The failure because of which the rest was not set.
    pub(super) failure: Option<Outcome>,
}

/// Sets what the steps change, up to the first failure. `version` is that of the policies with which the steps were
/// compared.
pub(super) fn apply(
    agent: &Agent,
    steps: &[Step],
    mut version: String,
    yes: bool,
    ask: &mut dyn FnMut(&str) -> Option<bool>,
    surroundings: &Surroundings,
) -> Applied {
    let mut text = String::new();
    let steps: Vec<_> = steps.iter().filter(|step| step.is_change()).collect();
    for (index, step) in steps.iter().enumerate() {
        let (done, mut failure) = match set(agent, step, &version, yes, ask, surroundings) {
            Ok(Set { report, next }) => {
                text.push_str(&report);
                match next {
                    Ok(next) => {
                        version = next;
                        continue;
                    }
                    Err(failure) => (index + 1, failure),
                }
            }
            Err(failure) => (index, failure),
        };
        let left: Vec<_> = steps.iter().skip(done).map(|step| step.id.to_string()).collect();
        if !left.is_empty() && !agent.json {
            failure.stderr.push_str(&format!("not set: {}\n", left.join(", ")));
        }
        return Applied { text, failure: Some(failure) };
    }
    Applied { text, failure: None }
}

/// One policy that was set.
struct Set {
    /// The text for people.
    report: String,
    /// The version of the policies now, or why no more policies may be set.
    next: Result<String, Outcome>,
}

/// # Errors
/// The policy is not set. The error says why.
fn set(
    agent: &Agent,
    step: &Step,
    version: &str,
    yes: bool,
    ask: &mut dyn FnMut(&str) -> Option<bool>,
    surroundings: &Surroundings,
) -> Result<Set, Outcome> {
    let id = step.id;
    let session = ssh_session(surroundings);
    let put = |confirm| put(agent, step, version, confirm, session.clone());
    let mut answer = put(yes)?;
    if let (Answer::Problem(problem), _) = &answer
        && let Some(effects) = problem.effects.as_deref().filter(|_| problem.code == Code::NeedsConfirmation && !yes)
    {
        let effects = changes::expected_effects(effects, surroundings);
        match ask(&format!("setting {id} has effects:\n{effects}")) {
            Some(true) => answer = put(true)?,
            Some(false) => return Err(failed(format!("error: {id} was not confirmed\n"))),
            None => {
                let remedy = "nobody is there to confirm them; add --yes to accept them";
                return Err(failed(format!("error: setting {id} has effects, and {remedy}:\n{effects}")));
            }
        }
    }
    let (body, etag) = match answer {
        (Answer::Done(body), etag) => (body, etag),
        (Answer::Problem(problem), _) => return Err(agent.problem(&problem)),
    };
    Ok(match serde_json::from_slice::<PortChange>(&body) {
        Ok(PortChange { effects, durable, port: _, trial }) => {
            let report =
                changes::past_effects(&effects, surroundings) + &changes::on_trial(trial.as_ref(), surroundings);
            let report = format!("{id} is set\n{report}");
            let remedy = "could not be written, so it may not outlast a restart of the agent; see `jitctl status`";
            let next = if durable {
                etag.ok_or_else(|| no_version("the answer to a change"))
            } else {
                Err(failed(format!("error: {id} is in force but {remedy}\n")))
            };
            Set { report, next }
        }
        Err(error) => {
            let error = ClientError::NotUnderstood { status: 200, reason: error.to_string() };
            Set { report: format!("{id} is set\n"), next: Err(unanswered(&error)) }
        }
    })
}

fn put(
    agent: &Agent,
    step: &Step,
    version: &str,
    confirm: bool,
    session: Option<Session>,
) -> Result<(Answer, Option<String>), Outcome> {
    let path = step.path() + if confirm { "?confirm=true" } else { "" };
    // Strings and numbers always serialise.
    let body = serde_json::to_vec(&step.policy).unwrap_or_default();
    let if_match = Some(version.to_owned());
    let call = Call { body: Some(body), if_match, session, ..Call::new(Method::PUT, path) };
    agent.client.send(&call).map_err(|error| unanswered(&error))
}

/// An agent that can't keep changes of two people apart.
pub(super) fn no_version(answer: &str) -> Outcome {
    failed(format!(
        "error: {answer} has no version (header ETag), without which changes of others could be overwritten; are \
         jitctl and jit-agent of one version?\n"
    ))
}

fn failed(stderr: String) -> Outcome {
    Outcome::failed(Exit::Failed, stderr)
}
