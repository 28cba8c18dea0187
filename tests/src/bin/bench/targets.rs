//! The targets, and whether they were reached.

use serde_json::{Value, json};

use crate::{
    flood::{Filter, Flood, Floods},
    per_packet::Costs,
    samples::Samples,
    table::aligned,
};

/// Targets for rates: the first filter must reach at least this multiple of the second filter's rate.
const RATES: [(Filter, f64, Filter); 6] = [
    (Filter::AgentLocked, 0.90, Filter::BareDrop),
    (Filter::AgentGranted, 0.70, Filter::BareDrop),
    (Filter::AgentLocked, 1.4, Filter::XdpTools),
    (Filter::AgentLocked, 3.3, Filter::NftablesIngress),
    (Filter::AgentLocked, 4.3, Filter::NftablesInput),
    (Filter::AgentLocked, 4.3, Filter::Ipset),
];
/// The most nanoseconds by which a drop at a locked port may take longer than passing an unprotected port.
const LOCKED_ABOVE_UNPROTECTED: f64 = 5.0;

/// A target.
pub(crate) struct Target {
    traffic: String,
    what: String,
    wanted: String,
    measured: Samples,
    reached: bool,
}

/// The targets for which there is a measurement.
pub(crate) fn all(floods: Option<&Floods>, costs: Option<&Costs>) -> Vec<Target> {
    let floods = floods.into_iter().flat_map(|floods| &floods.floods);
    let rates = floods.flat_map(|flood| RATES.iter().filter_map(move |rate| of_flood(flood, *rate)));
    let costs = costs.into_iter().flat_map(|costs| &costs.locked_above_unprotected);
    rates.chain(costs.map(|(family, above)| of_cost(family, above))).collect()
}

fn of_flood(flood: &Flood, (filter, least, other): (Filter, f64, Filter)) -> Option<Target> {
    let measured = flood.ratio(filter, other)?;
    Some(Target {
        traffic: flood.traffic.name().to_owned(),
        what: format!("{} to {}", filter.meaning(), other.meaning()),
        wanted: format!("at least {least:.2}"),
        reached: measured.median() >= least,
        measured,
    })
}

fn of_cost(family: &str, above: &Samples) -> Target {
    Target {
        traffic: family.to_owned(),
        what: "ns of a locked drop above an unprotected pass".to_owned(),
        wanted: format!("at most {LOCKED_ABOVE_UNPROTECTED:.2}"),
        reached: above.median() <= LOCKED_ABOVE_UNPROTECTED,
        measured: above.clone(),
    }
}

/// The targets as a table, for people.
pub(crate) fn to_table(targets: &[Target]) -> String {
    let mut rows = vec![["target", "", "", "wanted", "measured"].map(str::to_owned)];
    rows.extend(targets.iter().map(|Target { traffic, what, wanted, measured, reached }| {
        let verdict = if *reached { "reached" } else { "missed" };
        [what.clone(), traffic.clone(), verdict.to_owned(), wanted.clone(), measured.shown(2)]
    }));
    format!("Targets: packet rates by turns in each round, and costs; median (quartiles)\n\n{}", aligned(&rows, 3))
}

/// The targets as JSON, for programs.
pub(crate) fn to_json(targets: &[Target]) -> Value {
    let target = |Target { traffic, what, wanted, measured, reached }: &Target| json!({ "target": what, "name": traffic, "wanted": wanted, "measured": measured.to_json(), "reached": reached });
    targets.iter().map(target).collect()
}
