//! The cost of the service's capabilities: the program loaded as root and as the service, by turns. Without CAP_PERFMON
//! the kernel builds guards against speculation into a program. The service has that capability, so there must be no
//! difference.

use anyhow::{Context, Result};
use jit_agent::datapath::xdp::{Entry, XdpDatapath};
use jit_tests::{
    Sandbox,
    rights::{SERVICE, with_only},
};
use serde_json::{Value, json};

use crate::{
    cases::{self, Case},
    per_packet::{run_program, time},
    samples::Samples,
    table::aligned,
};

/// The name by which `--only` selects this measurement.
pub(crate) const NAME: &str = "rights";

/// The kinds of cases that are compared.
const KINDS: [&str; 3] = [cases::LOCKED_DROP, cases::UNPROTECTED_PASS, cases::HOST_GRANT_PASS];

/// The results: for each case, the time as the service as a multiple of the time as root.
pub(crate) struct Rights {
    ratios: Vec<(Case, Samples)>,
    /// Bytes of machine code that the kernel made of the program for root and for the service. Guards would enlarge the
    /// code.
    machine_code: (u32, u32),
}

/// Measures all cases, round after round.
///
/// # Errors
/// The kernel refuses the program under the service's capabilities, or a packet meets another verdict than expected.
pub(crate) fn run(rounds: u32, repeat: u32) -> Result<Rights> {
    let as_root = Sandbox::new()?;
    let mut root = XdpDatapath::load(&as_root.bpffs().join("jit-agent")).context("loading the program as root")?;
    cases::populate(&mut root)?;
    let as_service = Sandbox::new()?;
    let directory = as_service.bpffs().join("jit-agent");
    let mut service =
        with_only(SERVICE, || XdpDatapath::load(&directory))?.context("loading the program as the service")?;
    cases::populate(&mut service)?;
    let mut compared = Vec::new();
    for case in cases::all().into_iter().filter(|case| KINDS.contains(&case.kind)) {
        let nanoseconds = |datapath, repeat| time(|| run_program(datapath, &case, repeat), repeat);
        // This round is not counted, as in the costs of a packet.
        nanoseconds(&root, repeat / 10)?;
        nanoseconds(&service, repeat / 10)?;
        let mut ratios = Vec::new();
        for round in 0..rounds {
            let ratio = if round % 2 == 0 {
                let root = nanoseconds(&root, repeat)?;
                nanoseconds(&service, repeat)? / root
            } else {
                let service = nanoseconds(&service, repeat)?;
                service / nanoseconds(&root, repeat)?
            };
            ratios.push(ratio);
        }
        compared.push((case, Samples::new(ratios)));
    }
    let machine_code = (machine_code(&root)?, machine_code(&service)?);
    Ok(Rights { ratios: compared, machine_code })
}

fn machine_code(datapath: &XdpDatapath) -> Result<u32> {
    let info = datapath.info(Entry::Xdp).context("the kernel tells nothing of the program")?;
    Ok(info.size_jitted())
}

impl Rights {
    /// The figures as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let (root, service) = self.machine_code;
        let cases = self.ratios.iter().map(|(case, ratio)| json!({ "name": case.name(), "ratio": ratio.to_json() }));
        json!({ "cases": cases.collect::<Value>(), "machineCodeBytes": { "root": root, "service": service } })
    }

    /// The figures as a table, for people.
    pub(crate) fn to_table(&self) -> String {
        let mut rows = vec![["packet", "", "service : root"].map(str::to_owned)];
        let row = |(case, ratio): &(Case, Samples)| [case.meaning.to_owned(), case.family.to_owned(), ratio.shown(2)];
        rows.extend(self.ratios.iter().map(row));
        let (root, service) = self.machine_code;
        format!(
            "The program loaded under the service's rights (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON) beside root's\n\
             Machine code: {service} bytes beside {root}\n\
             Time of a packet in the same round: median (quartiles)\n\n{}",
            aligned(&rows, 2)
        )
    }
}
