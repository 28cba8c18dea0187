//! `jitctl import azure`: port policies of an Azure just-in-time policy.

mod apply;
mod plan;
mod policies;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use hyper::Method;
use jit_api::{
    client::{Answer, Call},
    terminal::{
        self, Agent, Exit, Outcome, Surroundings,
        text::{count, iso_span, sanitised},
        unanswered,
    },
    wire::{List, Port, PortPatch},
};
use serde::Serialize;

use self::{
    apply::Applied,
    plan::{Change, Step, listed},
    policies::{Fault, Machine},
};
use super::args::ImportAzure;

/// Largest file that is read, in bytes.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// Shows what a file would change, and with `--apply` makes the changes. `ask` puts a question and returns the answer;
/// `ask` is `None` if nobody can be asked.
pub(super) fn import(
    agent: &Agent,
    arguments: &ImportAzure,
    ask: &mut dyn FnMut(&str) -> Option<bool>,
    surroundings: &Surroundings,
) -> Result<Outcome, Outcome> {
    let ImportAzure { file, vm, apply, yes } = arguments;
    let name = if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() };
    let text = read(file).map_err(|error| failed(format!("error: can't read {}: {error}\n", sanitised(&name))))?;
    let machines = policies::parse(&text).map_err(|faults| unusable(&name, &faults))?;
    let machine = select_machine(&name, &machines, vm.as_deref())?;
    let (present, version) = present(agent)?;
    let planned = plan::plan(&machine.ports, &present);
    let overlaps = planned.as_ref().err().into_iter().flatten();
    let faults: Vec<_> = machine.faults.iter().chain(overlaps).cloned().collect();
    let steps = planned.unwrap_or_default();
    if !faults.is_empty() {
        return Err(unusable(&name, &faults));
    }
    let applied = if *apply && steps.iter().any(Step::is_change) {
        let version = version.ok_or_else(|| apply::no_version("the list of ports"))?;
        Some(apply::apply(agent, &steps, version, *yes, ask, surroundings))
    } else {
        None
    };
    Ok(outcome(agent, machine, &steps, applied))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let reader: Box<dyn Read> =
        if file.as_os_str() == "-" { Box::new(io::stdin().lock()) } else { Box::new(File::open(file)?) };
    let mut text = Vec::new();
    reader.take(FILE_LIMIT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(io::Error::other("it is larger than 4 MiB; keep only the policy of this machine in it"));
    }
    Ok(text)
}

/// The machine whose ports are meant: the machine that `vm` names, or any machine if all have the same ports.
fn select_machine<'a>(name: &str, machines: &'a [Machine], vm: Option<&str>) -> Result<&'a Machine, Outcome> {
    let meant: Vec<_> = machines.iter().filter(|machine| vm.is_none_or(|vm| machine.is(vm))).collect();
    let (file, list) = (sanitised(name), list(machines));
    match (&meant[..], vm) {
        ([], None) => Err(failed(format!("error: {file} holds no virtual machine, so there is nothing to import\n"))),
        ([], Some(vm)) => {
            let vm = sanitised(vm);
            Err(Outcome::failed(Exit::Usage, format!("error: {file} has no virtual machine `{vm}`; it has:\n{list}")))
        }
        ([first, others @ ..], _) if others.iter().all(|other| other.agrees_with(first)) => Ok(first),
        _ => {
            let error = "holds several virtual machines whose ports differ; name one by its whole id with --vm";
            Err(Outcome::failed(Exit::Usage, format!("error: {file} {error}:\n{list}")))
        }
    }
}

fn list(machines: &[Machine]) -> String {
    machines.iter().map(|machine| format!("  {}\n", sanitised(&machine.id))).collect()
}

/// The policies of the agent, and their version.
fn present(agent: &Agent) -> Result<(Vec<Port>, Option<String>), Outcome> {
    let call = Call::new(Method::GET, "/v1/ports");
    let (answer, version) = agent.client.send(&call).map_err(|error| unanswered(&error))?;
    match answer {
        Answer::Problem(problem) => Err(agent.problem(&problem)),
        Answer::Done(json) => Ok((agent.read::<List<Port>>(&json)?.value, version)),
    }
}

fn unusable(name: &str, faults: &[Fault]) -> Outcome {
    let rows = faults.iter().map(|Fault { path, given, remedy }| [path, given, remedy].map(|text| sanitised(text)));
    let mut stderr = format!("error: {} can't be imported as it is; nothing was changed\n", sanitised(name));
    for line in terminal::table::table(["where", "given", "write"], rows).lines() {
        stderr.push_str(&format!("  {line}\n"));
    }
    failed(stderr)
}

/// The report of an import, for programs.
#[derive(Serialize)]
struct Report<'a> {
    vm: &'a str,
    ports: Vec<ReportedPort<'a>>,
    applied: bool,
}

#[derive(Serialize)]
struct ReportedPort<'a> {
    number: u16,
    protocol: &'static str,
    #[serde(flatten)]
    policy: &'a PortPatch,
    was: &'a Change,
}

fn outcome(agent: &Agent, machine: &Machine, steps: &[Step], applied: Option<Applied>) -> Outcome {
    let changes = steps.iter().filter(|step| step.is_change()).count();
    let mut stdout = String::new();
    if agent.json {
        let ports = steps.iter().map(|Step { id, policy, change }| ReportedPort {
            number: id.number,
            protocol: id.protocol.wire_name(),
            policy,
            was: change,
        });
        let done = applied.as_ref().is_some_and(|applied| applied.failure.is_none());
        let report = Report { vm: &machine.id, ports: ports.collect(), applied: done };
        // Strings and numbers always serialise.
        stdout = serde_json::to_string_pretty(&report).unwrap_or_default() + "\n";
    } else {
        stdout.push_str(&overview(machine, steps));
        match &applied {
            Some(applied) => stdout.push_str(&applied.text),
            None if changes == 0 => stdout.push_str("nothing to change\n"),
            None => {
                let changes = count(changes, "change", "changes");
                stdout.push_str(&format!("nothing was changed yet; add --apply to make the {changes}\n"));
            }
        }
    }
    match applied.and_then(|applied| applied.failure) {
        Some(failure) => Outcome { stdout, ..failure },
        None => Outcome::done(stdout),
    }
}

fn overview(machine: &Machine, steps: &[Step]) -> String {
    let rows = steps.iter().map(|step| {
        [
            step.id.to_string(),
            listed(step.policy.allowed_sources.as_deref().unwrap_or_default()),
            step.policy.max_duration.as_ref().map_or_else(String::new, |span| iso_span(span.text())),
            step.change_in_words(),
        ]
    });
    format!(
        "ports of {}\n{}approval, justification and quota keep their present values, new ports get the defaults; other \
         ports stay as they are\n",
        sanitised(machine.name()),
        terminal::table::table(["port", "sources", ">maximum", "change"], rows)
    )
}

fn failed(stderr: String) -> Outcome {
    Outcome::failed(Exit::Failed, stderr)
}
