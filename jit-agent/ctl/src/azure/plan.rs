//! The changes of an import, compared with the policies that the agent has, without I/O.

use ipnet::IpNet;
use jit_api::{
    terminal::text::{iso_span, source},
    wire::{Port, PortPatch},
};
use jit_policy::{Given, PortId, Span};
use serde::Serialize;

use super::policies::{AzurePort, Fault};

/// The change to one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "change")]
pub(super) enum Change {
    /// The agent has no policy for the port.
    New,
    /// The port's policy changes.
    Changed {
        /// The maximum duration before the change, if the maximum changes.
        #[serde(rename = "maxRequestAccessDuration", skip_serializing_if = "Option::is_none")]
        maximum: Option<String>,
        /// The sources before the change, if they change.
        #[serde(rename = "allowedSourceAddressPrefixes", skip_serializing_if = "Option::is_none")]
        sources: Option<Vec<String>>,
    },
    /// The port's policy already is as the file says.
    Unchanged,
}

/// One port of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The port.
    pub(super) id: PortId,
    /// The port's policy after the import.
    pub(super) policy: PortPatch,
    /// The change of the port's policy.
    pub(super) change: Change,
}

impl Step {
    /// What the step changes, for people.
    pub(super) fn change_in_words(&self) -> String {
        let (maximum, sources) = match &self.change {
            Change::New => return "new".to_owned(),
            Change::Unchanged => return "unchanged".to_owned(),
            Change::Changed { maximum, sources } => (maximum, sources),
        };
        let maximum = maximum.iter().map(|was| format!("maximum from {}", iso_span(was)));
        let sources = sources.iter().map(|was| format!("sources from {}", listed(was)));
        format!("changes {}", maximum.chain(sources).collect::<Vec<_>>().join(" and "))
    }

    /// Whether the step has something to set.
    pub(super) fn is_change(&self) -> bool {
        self.change != Change::Unchanged
    }

    /// The port's path in the API.
    pub(super) fn path(&self) -> String {
        format!("/v1/ports/{}/{}", self.id.number, self.id.protocol)
    }
}

/// A list of sources, for people.
pub(super) fn listed(sources: &[String]) -> String {
    sources.iter().map(|prefix| source(prefix)).collect::<Vec<_>>().join(", ")
}

/// Plans one step for each port of the file.
///
/// # Errors
/// Ports of the file overlap ports that the agent has. The error says for each such port what to do.
pub(super) fn plan(ports: &[AzurePort], present: &[Port]) -> Result<Vec<Step>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut steps = Vec::new();
    for port in ports {
        let others = present.iter().filter_map(Port::id);
        for other in others.filter(|other| *other != port.id && other.overlaps(port.id)) {
            faults.push(Fault {
                path: port.path.clone(),
                given: port.id.to_string(),
                remedy: format!(
                    "{other} as the agent has it, or no policy for {other} there: see `jitctl ports remove --help`"
                ),
            });
        }
        steps.push(step(port, present.iter().find(|one| one.id() == Some(port.id))));
    }
    if faults.is_empty() { Ok(steps) } else { Err(faults) }
}

fn step(port: &AzurePort, present: Option<&Port>) -> Step {
    let named = PortPatch {
        allowed_sources: Some(port.sources.iter().map(ToString::to_string).collect()),
        max_duration: Some(Span(port.maximum).into()),
        ..PortPatch::default()
    };
    let change = present.map_or(Change::New, |present| {
        let was = present.policy.max_duration.as_ref();
        let is_changed = was.and_then(Given::value) != Some(&Span(port.maximum));
        let maximum = is_changed.then(|| was.map_or_else(String::new, |was| was.text().to_owned()));
        let was = present.policy.allowed_sources.clone().unwrap_or_default();
        let mut before: Vec<IpNet> = was.iter().filter_map(|prefix| prefix.parse().ok()).collect();
        before.sort();
        before.dedup();
        let sources = (before != port.sources).then_some(was);
        if maximum.is_none() && sources.is_none() { Change::Unchanged } else { Change::Changed { maximum, sources } }
    });
    let policy = named.over(present.map(|present| present.policy.clone()).unwrap_or_default());
    Step { id: port.id, policy, change }
}
