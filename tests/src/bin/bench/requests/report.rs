//! The figures, for people and for programs.

use serde_json::{Value, json};

use super::{
    NAME, Requests,
    audit::{Audit, ROWS},
    commands::Way,
    grants::{GRANTS, Grants},
    rate::{CONNECTIONS, Rates},
};
use crate::{samples::Samples, table::aligned};

/// The requests a second over many connections that suffice, whatever the disk can do.
const ENOUGH_REQUESTS: f64 = 5000.0;
/// The requests a second over many connections, as a multiple of the writes that the disk makes durable one by one.
const REQUESTS_TO_SYNCS: f64 = 8.0;
/// The longest request for 10,000 sources, in milliseconds.
const LONGEST_REQUEST: f64 = 1000.0;
/// The longest restart with 10,000 grants, in milliseconds.
const LONGEST_RESTART: f64 = 500.0;
/// The most memory of the daemon with 10,000 grants, in mebibytes.
const MOST_MEMORY: f64 = 40.0;
/// The longest search for some of a million rows of the audit log, in milliseconds.
const LONGEST_QUERY: f64 = 100.0;
/// The largest growth of the daemon's memory while it writes all rows, in mebibytes.
const MOST_GROWTH: f64 = 16.0;

/// The target of a figure.
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// The figure is only shown, without a target.
    Shown,
}

/// A line of the report: name, unit, target and measured value.
struct Figure {
    what: String,
    unit: &'static str,
    wanted: Wanted,
    measured: Samples,
}

impl Figure {
    fn reached(&self) -> Option<bool> {
        match self.wanted {
            Wanted::AtLeast(least) => Some(self.measured.median() >= least),
            Wanted::AtMost(most) => Some(self.measured.median() <= most),
            Wanted::Shown => None,
        }
    }

    fn row(&self) -> [String; 5] {
        let wanted = match self.wanted {
            Wanted::AtLeast(least) => format!("at least {least:.0}"),
            Wanted::AtMost(most) => format!("at most {most:.0}"),
            Wanted::Shown => String::new(),
        };
        let verdict = self.reached().map_or("", |reached| if reached { "reached" } else { "missed" });
        let decimals = if self.measured.median() < 100.0 { 2 } else { 0 };
        let measured = match self.measured.len() {
            1 => format!("{:.decimals$}", self.measured.median()),
            _ => self.measured.shown(decimals),
        };
        [self.what.clone(), verdict.to_owned(), wanted, measured, self.unit.to_owned()]
    }

    fn to_json(&self) -> Value {
        let wanted = match self.wanted {
            Wanted::AtLeast(least) => json!({ "atLeast": least }),
            Wanted::AtMost(most) => json!({ "atMost": most }),
            Wanted::Shown => Value::Null,
        };
        let reached = self.reached();
        json!({ "what": self.what, "unit": self.unit, "wanted": wanted, "measured": self.measured.to_json(), "reached": reached })
    }
}

impl Requests {
    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let mut add = |what: String, unit, wanted, measured: &Samples| {
            figures.push(Figure { what, unit, wanted, measured: measured.clone() });
        };
        let Rates { syncs, one, many } = &self.rates;
        let enough = ENOUGH_REQUESTS.min(REQUESTS_TO_SYNCS * syncs.median());
        add("appends of 4 KiB with fdatasync".to_owned(), "/s", Wanted::Shown, syncs);
        add("durable requests over 1 connection".to_owned(), "/s", Wanted::Shown, one);
        add(format!("durable requests over {CONNECTIONS} connections"), "/s", Wanted::AtLeast(enough), many);
        let Grants { made, restart, resident, opening } = &self.grants;
        add(format!("one request with {GRANTS} sources"), "ms", Wanted::AtMost(LONGEST_REQUEST), made);
        let beside = |what: &str| format!("request to {what}, {GRANTS} other grants live");
        for (what, samples) in [("first packet", &opening.to_packet), ("answer", &opening.to_answer)] {
            add(beside(what), "ms", Wanted::Shown, samples);
            let p99 = Samples::new(vec![samples.quantile(0.99)]);
            add(format!("{}, p99", beside(what)), "ms", Wanted::Shown, &p99);
        }
        add(format!("restart to {GRANTS} grants enforced"), "ms", Wanted::AtMost(LONGEST_RESTART), restart);
        add("resident memory then".to_owned(), "MiB", Wanted::AtMost(MOST_MEMORY), resident);
        if let Some(Audit { by_user, by_port, export, size, growth }) = &self.audit {
            let of = |what: &str| format!("{what} of {ROWS} audit rows");
            add(of("100 of a user"), "ms", Wanted::AtMost(LONGEST_QUERY), by_user);
            add(of("100 of a port since an hour ago"), "ms", Wanted::AtMost(LONGEST_QUERY), by_port);
            let one = |value| Samples::new(vec![value]);
            add(of("CSV export"), "s", Wanted::Shown, &one(*export));
            add("its size".to_owned(), "MiB", Wanted::Shown, &one(*size));
            add("the agent's growth meanwhile".to_owned(), "MiB", Wanted::AtMost(MOST_GROWTH), &one(*growth));
        }
        figures
    }

    /// The figures as a table, for people.
    pub(crate) fn to_table(&self) -> String {
        let mut rows = vec![["requests and audit", "", "wanted", "measured", ""].map(str::to_owned)];
        rows.extend(self.figures().iter().map(Figure::row));
        let missing = match self.audit {
            Some(_) => "",
            None => {
                "\nAUDIT QUERIES NOT AVAILABLE: this agent answers GET /v1/audit with 404, so they were not measured"
            }
        };
        let mut ways = vec![["letting in one source", "ms"].map(str::to_owned)];
        let mut skipped = String::new();
        for Way { name, times } in &self.ways {
            match times {
                Ok(times) => ways.push([(*name).to_owned(), times.shown(2)]),
                Err(reason) => skipped.push_str(&format!("\nSKIPPED: {name}: {reason}")),
            }
        }
        let opening = &self.grants.opening;
        let (first, all) = (opening.packet_first, opening.to_packet.len());
        format!(
            "Requests and audit: the store on {}; median (quartiles)\n\n{}\n\
             The packet passed before the answer was there: {first} of {all}{missing}\n\n\
             One source by each tool in turn, the start of its process included; of these, only the agent writes to the \
             disk\n\n{}{skipped}",
            self.file_system,
            aligned(&rows, 3),
            aligned(&ways, 1)
        )
    }

    /// The figures as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let way = |Way { name, times }: &Way| match times {
            Ok(times) => json!({ "command": name, "milliseconds": times.to_json() }),
            Err(reason) => json!({ "command": name, "skipped": reason }),
        };
        json!({
            "name": NAME,
            "fileSystem": self.file_system,
            "figures": self.figures().iter().map(Figure::to_json).collect::<Vec<_>>(),
            "opening": self.grants.opening.to_json(),
            "auditAvailable": self.audit.is_some(),
            "commands": self.ways.iter().map(way).collect::<Vec<_>>(),
        })
    }
}
