//! The cost of one packet: the loaded program under BPF_PROG_TEST_RUN, next to a program that only drops.

use anyhow::{Context, Result, ensure};
use jit_agent::datapath::{
    Datapath,
    xdp::{Entry, XdpDatapath},
};
use jit_common::{
    abi::Mode,
    reason::{Reason, Verdict},
};
use jit_tests::Sandbox;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::{
    bpf::Program,
    cases::{self, Case},
    instructions::{BARE_DROP, action},
    samples::Samples,
};

/// The results.
pub(crate) struct Costs {
    /// The number of rounds of each measurement.
    pub(crate) rounds: u32,
    /// Packets in a round.
    pub(crate) repeat: u32,
    /// The number of instructions that the verifier walked through; `None` if the kernel doesn't report it.
    pub(crate) verified_instructions: Option<u32>,
    /// The costs in the order of the cases.
    pub(crate) costs: Vec<Cost>,
    /// For each family whose locked and unprotected ports were both measured: by how many nanoseconds a drop at a
    /// locked port takes longer than passing an unprotected port, in the same round.
    pub(crate) locked_above_unprotected: Vec<(&'static str, Samples)>,
}

/// The cost of one case. Difference and ratio are computed within each round, in which both programs ran one after the
/// other, so that a disturbance of the machine affects both.
pub(crate) struct Cost {
    /// The case.
    pub(crate) case: Case,
    /// Nanoseconds a packet.
    pub(crate) program: Samples,
    /// Nanoseconds a packet of the bare program.
    pub(crate) bare: Samples,
    /// The difference between the program and the bare program, in nanoseconds.
    pub(crate) difference: Samples,
    /// The program's time as a multiple of the bare program's time.
    pub(crate) ratio: Samples,
}

/// Measures these cases, round after round.
///
/// # Errors
/// The kernel refuses a program, or a packet meets another verdict than expected.
pub(crate) fn run(cases: Vec<Case>, rounds: u32, repeat: u32) -> Result<Costs> {
    let sandbox = Sandbox::new()?;
    let mut datapath = XdpDatapath::load(&sandbox.bpffs().join("jit-agent")).context("loading the program")?;
    cases::populate(&mut datapath)?;
    let bare = Program::load(&BARE_DROP)?;
    for case in &cases {
        check(&datapath, case)?;
        // This round is not counted: caches and the processor's clock reach their steady state.
        time(|| run_bare(&bare, case, repeat / 10), repeat)?;
        time(|| run_program(&datapath, case, repeat / 10), repeat)?;
    }
    let mut times = vec![Vec::new(); cases.len()];
    for round in 0..rounds {
        for (case, times) in cases.iter().zip(&mut times) {
            let bare_drop = || time(|| run_bare(&bare, case, repeat), repeat);
            let program = || time(|| run_program(&datapath, case, repeat), repeat);
            // The order alternates, so that neither program always runs after the other.
            times.push(if round % 2 == 0 {
                let bare = bare_drop()?;
                (program()?, bare)
            } else {
                (program()?, bare_drop()?)
            });
        }
    }
    let locked_above_unprotected = ["ipv4", "ipv6"].into_iter().filter_map(|family| {
        let of = |kind| cases.iter().zip(&times).find(|(case, _)| (case.kind, case.family) == (kind, family));
        let ((_, locked), (_, unprotected)) = (of(cases::LOCKED_DROP)?, of(cases::UNPROTECTED_PASS)?);
        let differences = locked.iter().zip(unprotected).map(|((locked, _), (unprotected, _))| locked - unprotected);
        Some((family, Samples::new(differences.collect())))
    });
    let locked_above_unprotected = locked_above_unprotected.collect();
    let costs = cases.into_iter().zip(times).map(|(case, times)| Cost::new(case, &times)).collect();
    let verified_instructions = datapath.info(Entry::Xdp).and_then(|info| info.verified_instruction_count());
    Ok(Costs { rounds, repeat, verified_instructions, costs, locked_above_unprotected })
}

/// Checks that the packet meets the reason that the case states.
fn check(datapath: &XdpDatapath, case: &Case) -> Result<()> {
    let before = counted(datapath, case.reason)?;
    run_program(datapath, case, 1)?;
    let grown = counted(datapath, case.reason)? - before;
    ensure!(grown == 1, "{} was not counted as {}", case.name(), case.reason.name());
    Ok(())
}

fn counted(datapath: &XdpDatapath, wanted: Reason) -> Result<u64> {
    let counters = datapath.counters()?;
    Ok(counters.iter().filter(|(mode, reason, _)| (*mode, *reason) == (Mode::Enforce, wanted)).map(|(.., n)| n).sum())
}

fn run_bare(bare: &Program, case: &Case, repeat: u32) -> Result<()> {
    let action = bare.run(&case.frame, repeat)?;
    ensure!(action == action::DROP.cast_unsigned(), "the bare program returned {action}");
    Ok(())
}

/// Runs the program on the case's packet.
///
/// # Errors
/// The kernel refuses the run, or the packet meets another verdict than expected.
pub(crate) fn run_program(datapath: &XdpDatapath, case: &Case, repeat: u32) -> Result<()> {
    let expected = match case.reason.verdict() {
        Verdict::Drop => action::DROP,
        Verdict::Pass => action::PASS,
    };
    let (action, _) = datapath.test_run(&case.frame, repeat)?;
    ensure!(action == expected.cast_unsigned(), "{} ended with action {action} instead of {expected}", case.name());
    Ok(())
}

/// Nanoseconds a packet, in this thread's processor time. The kernel's own figure is in whole nanoseconds, too coarse
/// for a program of ten. The system call's share is negligible among so many packets.
pub(crate) fn time(run: impl FnOnce() -> Result<()>, repeat: u32) -> Result<f64> {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let before = now();
    run()?;
    Ok((now() - before) / f64::from(repeat))
}

impl Cost {
    fn new(case: Case, times: &[(f64, f64)]) -> Self {
        let each = |value: fn(f64, f64) -> f64| Samples::new(times.iter().map(|(p, b)| value(*p, *b)).collect());
        Self {
            case,
            program: each(|program, _| program),
            bare: each(|_, bare| bare),
            difference: each(|program, bare| program - bare),
            ratio: each(|program, bare| program / bare),
        }
    }
}

impl Costs {
    /// The figures as JSON, for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Self { rounds, repeat, verified_instructions, costs, locked_above_unprotected } = self;
        let cases: Vec<Value> = costs
            .iter()
            .map(|Cost { case, program, bare, difference, ratio }| {
                json!({
                    "name": case.name(),
                    "reason": case.reason.name(),
                    "nanoseconds": program.to_json(),
                    "bareNanoseconds": bare.to_json(),
                    "differenceNanoseconds": difference.to_json(),
                    "ratio": ratio.to_json(),
                })
            })
            .collect();
        let above: serde_json::Map<_, _> =
            locked_above_unprotected.iter().map(|(family, above)| ((*family).to_owned(), above.to_json())).collect();
        json!({
            "rounds": rounds,
            "packetsPerRound": repeat,
            "verifiedInstructions": verified_instructions,
            "cases": cases,
            "lockedAboveUnprotectedNanoseconds": above,
        })
    }
}
