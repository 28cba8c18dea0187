//! The texts that people see about changes of port policies.

use jit_api::{
    terminal::{
        Surroundings,
        table::trial_lines,
        text::{count, port, sanitised},
    },
    wire::{Effects, Grant, PortChange, Reloaded, Trial},
};
use jit_policy::PortId;

use super::table;

/// The text about what a change would do, before the change is confirmed.
pub(super) fn expected_effects(effects: &Effects, surroundings: &Surroundings) -> String {
    effects_text(effects, ["would be unprotected", "would end", "would end earlier"], surroundings)
}

/// The text about what a change of one port's policy did.
pub(super) fn of_port(id: PortId, done: &PortChange, surroundings: &Surroundings) -> String {
    let mut text = match &done.port {
        Some(one) => format!("policy of {} is in force\n", port(one.number, one.protocol.text())),
        None => format!("{id} has no policy any more\n"),
    };
    text.push_str(&past_effects(&done.effects, surroundings));
    text.push_str(&on_trial(done.trial.as_ref(), surroundings));
    text
}

/// The text that a change is on trial.
pub(super) fn on_trial(trial: Option<&Trial>, surroundings: &Surroundings) -> String {
    let lines = |trial| format!("ON TRIAL, since it cuts you off:\n{}", trial_lines(trial, surroundings));
    trial.map(lines).unwrap_or_default()
}

/// The text about what a reload did.
pub(super) fn of_reload(done: &Reloaded, surroundings: &Surroundings) -> String {
    let changed: Vec<String> = done.changed.iter().map(|name| sanitised(name)).collect();
    let mut text = match &changed[..] {
        [] => "the configuration is in force; no port policy changed\n".to_owned(),
        names => format!("the configuration is in force; changed: {}\n", names.join(", ")),
    };
    text.push_str(&past_effects(&done.effects, surroundings));
    text.push_str(&on_trial(done.trial.as_ref(), surroundings));
    text
}

/// The text about the further effects of a change.
pub(super) fn past_effects(effects: &Effects, surroundings: &Surroundings) -> String {
    effects_text(effects, ["no longer protected", "ended", "end earlier"], surroundings)
}

fn effects_text(effects: &Effects, [opened, ended, shortened]: [&str; 3], surroundings: &Surroundings) -> String {
    let mut text = String::new();
    if !effects.opened.is_empty() {
        let names: Vec<String> = effects.opened.iter().map(|name| sanitised(name)).collect();
        text.push_str(&format!("{opened}: {}\n", names.join(", ")));
    }
    let mut list = |what: &str, grants: &[Grant]| {
        if !grants.is_empty() {
            text.push_str(&format!("{} {what}:\n", count(grants.len(), "grant", "grants")));
            text.push_str(&table::grants(grants, surroundings));
        }
    };
    list(ended, &effects.ended);
    list(shortened, &effects.shortened);
    text
}
