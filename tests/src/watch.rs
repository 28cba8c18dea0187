//! One CPU changes the kernel's tables as fast as it can, while another CPU lets the program judge packets.

use std::{
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use jit_agent::datapath::{
    Counter, Datapath as _,
    xdp::{Runner, XdpDatapath},
};
use jit_common::reason::Reason;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The number of runs in one call of the kernel. Many runs leave hardly a moment of the changes without a look-up. Such
/// a call begins with a grace period, so it must have many runs to pay off.
const MANY: u32 = 200_000;
/// The number of single runs in between. Single runs begin and end at every moment of a change, and let grace periods
/// of others end.
const SINGLE: usize = 200;

/// The observations of one call of [`watch`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The number of packets that were judged.
    pub looks: u64,
    /// The number of rounds of changes.
    pub rounds: u64,
    /// The reasons under which packets were counted, with the number of packets. The names are those of the counters.
    pub reasons: Vec<(&'static str, u64)>,
}

impl Seen {
    /// The packets that were not counted under one of these reasons; empty if all is well.
    #[must_use]
    pub fn other_than(&self, reasons: &[Reason]) -> Vec<(&'static str, u64)> {
        let expected = |name: &str| reasons.iter().any(|reason| reason.name() == name);
        self.reasons.iter().filter(|(name, _)| !expected(name)).copied().collect()
    }
}

/// Whether this machine has two CPUs for a race. If not, prints that the test, after which its thread is named, was
/// skipped.
#[must_use]
#[expect(clippy::print_stdout, reason = "a skip must be seen")]
pub fn can_race() -> bool {
    let can = two_cpus().is_some();
    if !can {
        let thread = thread::current();
        let test = thread.name().unwrap_or("a test without a name");
        println!("SKIP: {test}: changes and look-ups race on two CPUs, and this machine has one");
    }
    can
}

/// Two CPUs that this process may use, if there are two.
fn two_cpus() -> Option<(usize, usize)> {
    /// The CPUs of the process before a thread bound itself to one of them.
    static AT_START: LazyLock<Option<CpuSet>> = LazyLock::new(|| sched_getaffinity(None).ok());
    let allowed = AT_START.as_ref()?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    Some((cpus.next()?, cpus.next()?))
}

/// Repeats `changes`, with the number of the round, until the program has judged about `looks` packets on the other of
/// two CPUs. The program judges the frames in turn, and must get no other packets.
///
/// # Errors
/// A change or a run fails, the counters don't add up to the packets, or there is only one CPU.
pub fn watch(
    datapath: &mut XdpDatapath,
    frames: &[Vec<u8>],
    looks: u64,
    mut changes: impl FnMut(&mut XdpDatapath, u64) -> Result<()>,
) -> Result<Seen> {
    /// Parallel calls would take the CPUs from each other, and observe less.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (here, there) = two_cpus().context("this needs two CPUs")?;
    let runner = datapath.runner()?;
    let before = datapath.counters()?;
    let (stop, judged) = (AtomicBool::new(false), AtomicU64::new(0));
    let (changed, looked, interrupted) = thread::scope(|scope| {
        let looking = scope.spawn(|| look(&runner, there, frames, &stop, &judged));
        let interrupting = scope.spawn(|| interrupt(there, &stop));
        let changed = bind(here).and_then(|()| {
            let mut rounds = 0;
            while (judged.load(Ordering::Relaxed) < looks || rounds == 0) && !looking.is_finished() {
                changes(datapath, rounds)?;
                rounds += 1;
            }
            Ok(rounds)
        });
        stop.store(true, Ordering::Relaxed);
        (changed, looking.join(), interrupting.join())
    });
    for ended in [looked, interrupted] {
        ended.map_err(|_| anyhow!("a thread on CPU {there} panicked"))??;
    }
    let seen = Seen {
        looks: judged.into_inner(),
        rounds: changed.context("a change failed")?,
        reasons: growth(&before, &datapath.counters()?),
    };
    let counted: u64 = seen.reasons.iter().map(|(_, packets)| packets).sum();
    if counted != seen.looks {
        bail!("{} packets were judged, but {counted} counted: {seen:?}", seen.looks);
    }
    Ok(seen)
}

fn look(runner: &Runner, cpu: usize, frames: &[Vec<u8>], stop: &AtomicBool, judged: &AtomicU64) -> Result<()> {
    bind(cpu)?;
    while !frames.is_empty() {
        for frame in frames {
            for repeat in std::iter::repeat_n(1, SINGLE).chain([MANY]) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                runner.test_run(frame, repeat)?;
                judged.fetch_add(u64::from(repeat), Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

/// Makes timers fire on the CPU that looks up. A look-up takes less time than a change, so only a look-up that is
/// interrupted meets the next change on its way.
fn interrupt(cpu: usize, stop: &AtomicBool) -> Result<()> {
    bind(cpu)?;
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_micros(1));
    }
    Ok(())
}

fn bind(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("cannot bind a thread to CPU {cpu}"))
}

fn growth(before: &[Counter], after: &[Counter]) -> Vec<(&'static str, u64)> {
    let grown = before.iter().zip(after).filter(|((.., before), (.., after))| after > before);
    grown.map(|((.., before), (_, reason, after))| (reason.name(), after - before)).collect()
}
