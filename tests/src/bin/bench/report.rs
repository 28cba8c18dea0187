//! The figures, for people and for programs.

use serde_json::json;

use crate::{
    environment::Environment, flood::Floods, growth::Growth, hostile::Hostile, opening::Opening, per_packet::Costs,
    requests::Requests, rights::Rights, samples::Samples, table::aligned, targets,
};

/// The results of all measurements; `None` for a measurement that was not wanted.
pub(crate) struct Report {
    /// Place, time and build.
    pub(crate) environment: Environment,
    /// The cost of a packet.
    pub(crate) per_packet: Option<Costs>,
    /// The effect of the service's capabilities on that cost.
    pub(crate) rights: Option<Rights>,
    /// The growth of that cost with the number of grants.
    pub(crate) growth: Option<Growth>,
    /// The delay between a request and the first packet that passes.
    pub(crate) opening: Option<Opening>,
    /// The number of requests and grants that the agent can handle.
    pub(crate) requests: Option<Requests>,
    /// The figures of well-behaved users beside attackers.
    pub(crate) hostile: Option<Hostile>,
    /// The packets a second that each filter drops.
    pub(crate) floods: Option<Floods>,
}

impl Report {
    /// The figures as JSON, for programs.
    pub(crate) fn to_json(&self) -> String {
        let Self { environment, per_packet, rights, growth, opening, requests, hostile, floods } = self;
        let report = json!({
            "environment": environment.to_json(),
            "perPacket": per_packet.as_ref().map(Costs::to_json),
            "rights": rights.as_ref().map(Rights::to_json),
            "growth": growth.as_ref().map(Growth::to_json),
            "opening": opening.as_ref().map(Opening::to_json),
            "requests": requests.as_ref().map(Requests::to_json),
            "hostile": hostile.as_ref().map(Hostile::to_json),
            "flood": floods.as_ref().map(Floods::to_json),
            "targets": targets::to_json(&targets::all(floods.as_ref(), per_packet.as_ref())),
        });
        format!("{report:#}")
    }

    /// The figures as a table, for people.
    pub(crate) fn to_table(&self) -> String {
        let Self { environment, per_packet, rights, growth, opening, requests, hostile, floods } = self;
        let targets = targets::all(floods.as_ref(), per_packet.as_ref());
        let sections = [
            per_packet.as_ref().map(costs),
            rights.as_ref().map(Rights::to_table),
            growth.as_ref().map(Growth::to_table),
            opening.as_ref().map(times),
            requests.as_ref().map(Requests::to_table),
            hostile.as_ref().map(Hostile::to_table),
            floods.as_ref().map(Floods::to_table),
            (!targets.is_empty()).then(|| targets::to_table(&targets)),
        ];
        let sections = sections.into_iter().flatten().map(|section| format!("\n\n{section}"));
        environment.to_lines() + &sections.collect::<String>()
    }
}

fn costs(costs: &Costs) -> String {
    let size = costs.verified_instructions.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
    let heading = format!(
        "Cost of a packet in ns, beside a program of two instructions that drops everything\n\
         BPF_PROG_TEST_RUN, {} rounds of {} packets by turns: median (quartiles), fastest of program and bare drop\n\
         Verified instructions: {size}",
        costs.rounds, costs.repeat
    );
    let mut rows = vec![["packet", "", "program", "bare drop", "above it", "ratio", "fastest"].map(str::to_owned)];
    rows.extend(costs.costs.iter().map(|cost| {
        let (program, bare) = (cost.program.shown(1), cost.bare.shown(1));
        let (difference, ratio) = (cost.difference.shown(1), cost.ratio.shown(2));
        // On a machine that is shared, the fastest rounds come closest to a quiet machine.
        let fastest = format!("{:.1} - {:.1}", cost.program.quantile(0.0), cost.bare.quantile(0.0));
        [cost.case.meaning.to_owned(), cost.case.family.to_owned(), program, bare, difference, ratio, fastest]
    }));
    format!("{heading}\n\n{}", aligned(&rows, 2))
}

fn times(opening: &Opening) -> String {
    let Opening { file_system, to_packet, to_answer, probe_interval, packet_first } = opening;
    let requests = to_packet.len();
    let heading = format!(
        "Time from sending a request on the socket, in ms\n\
         {requests} requests, each for another source; store on {file_system}; a probe every {:.1} us from one of the cores",
        probe_interval.median()
    );
    let row = |name: &str, samples: &Samples| {
        let figures = [0.5, 0.99, 0.0, 1.0].map(|share| format!("{:.2}", samples.quantile(share)));
        let [median, p99, least, most] = figures;
        [name.to_owned(), median, p99, least, most]
    };
    let rows = [
        ["until", "median", "p99", "least", "most"].map(str::to_owned),
        row("the first packet passes", to_packet),
        row("the answer is there", to_answer),
    ];
    let ending = format!("The packet passed before the answer was there: {packet_first} of {requests}");
    format!("{heading}\n\n{}\n{ending}", aligned(&rows, 1))
}
