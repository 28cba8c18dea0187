//! The only program of a virtual machine that `cargo xtask test --kernels` boots: PID 1, and the checks that run there.
//!
//! Prints `ok NAME` or `FAILED NAME: why` for each check, then `kernel-guest: N passed, N failed`,
//! and powers the machine off.
#![expect(clippy::print_stdout, reason = "the console is where the results go")]

mod bonds;
mod programs;
mod tunnel;
mod wire;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use jit_agent::datapath::{
    Datapath,
    xdp::{XdpDatapath, probe, unload},
};
use jit_common::abi::Mode;
use jit_policy::Interfaces;
use jit_tests::verdicts::{
    KernelJudge, differences, protection,
    table::{Fixture, fixtures, fixtures_with_fragments_dropped},
};
use nix::{
    errno::Errno,
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        termios::tcdrain,
    },
    unistd::getpid,
};

/// A check, which fails with an error, also if it can't observe its subject.
type Check = fn() -> Result<()>;

/// All checks, in the order in which they run.
const CHECKS: &[(&str, Check)] = &[
    ("the kernel is up and has bpffs", kernel_is_up_and_has_bpffs),
    (
        "each program judges every packet of the table, and cut at every byte, as the host does",
        programs::judge_the_table,
    ),
    ("under the service's rights the programs load and enforce", programs::load_under_the_services_rights),
    ("the verifier walks through no more instructions than recorded", programs::verified_as_recorded),
    ("the hooks of this kernel are known", programs::hooks),
    ("fragments are dropped where they are refused", || {
        judged(Mode::Enforce, true, &fixtures_with_fragments_dropped())
    }),
    ("in observe mode every packet passes and is counted", || judged(Mode::Observe, false, &fixtures())),
    ("a kernel from 5.18 on loads the program for several buffers", program_suits_the_kernel),
    ("tagged connections need a grant", wire::tagged_connections_need_a_grant),
    ("doubly tagged connections need a grant", wire::doubly_tagged_connections_need_a_grant),
    ("SCTP associations need a grant", wire::sctp_associations_need_a_grant),
    (
        "a tunnel is covered by TCX, or by a filter before Linux 6.6, once, and connections need a grant",
        tunnel::is_covered,
    ),
    ("on a tunnel, a second load takes the place of the first", tunnel::a_successor_takes_over),
    (
        "on a tunnel, who comes before us is overtaken and left alone, and who takes us off is noticed",
        tunnel::what_others_do_is_noticed,
    ),
    (
        "a tunnel left to itself, or unloaded, has the filters of others still, and none of ours",
        tunnel::is_left_as_it_was,
    ),
    ("a bond's members are covered, whether they joined before or after the start", bonds::members_stay_covered),
    ("a bond that is named stands for its members as they come and go", bonds::a_bond_stands_for_its_members),
    ("under the service's rights connections need a grant", wire::connections_need_a_grant_under_the_services_rights),
    ("a second load takes over the pinned maps and their grants", second_load_adopts),
];

/// The mount point of bpffs.
const BPFFS: &str = "/sys/fs/bpf";

fn main() -> ExitCode {
    if getpid().as_raw() != 1 {
        println!("kernel-guest runs as PID 1 of a virtual machine: use `cargo xtask test --kernels`");
        return ExitCode::FAILURE;
    }
    let (mut passed, mut failed) = (0_u32, 0_u32);
    if let Err(error) = mount_file_systems() {
        println!("FAILED mounting: {error:#}");
        failed += 1;
    }
    if let Err(error) = load_modules() {
        println!("FAILED loading modules: {error:#}");
        failed += 1;
    }
    println!("Linux {}", release().unwrap_or_else(|error| format!("{error:#}")));
    for &(name, check) in CHECKS {
        let begin = Instant::now();
        match check() {
            Ok(()) => {
                println!("ok {name} ({} s)", begin.elapsed().as_secs());
                passed += 1;
            }
            Err(error) => {
                println!("FAILED {name}: {}", format!("{error:#}").replace('\n', " "));
                failed += 1;
            }
        }
    }
    println!("kernel-guest: {passed} passed, {failed} failed");
    power_off()
}

fn mount_file_systems() -> Result<()> {
    let systems = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("bpf", BPFFS),
    ];
    for (kind, target) in systems {
        if kind != "bpf" {
            fs::create_dir_all(target).with_context(|| format!("cannot create {target}"))?;
        }
        mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {kind} on {target}"))?;
    }
    Ok(())
}

/// Loads the modules in `/modules`, in the order of their names.
fn load_modules() -> Result<()> {
    let entries = fs::read_dir("/modules").context("cannot read /modules")?;
    let mut files: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    for file in files {
        let module = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        match finit_module(&module, c"", ModuleInitFlags::empty()) {
            // Some modules are built into the kernel.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot load {}", file.display())),
        }
    }
    Ok(())
}

/// Ends the machine once the console has sent everything.
fn power_off() -> ExitCode {
    let flushed = io::stdout().flush();
    let drained = tcdrain(io::stdout());
    // PID 1 must not return: that causes a kernel panic, which the program that booted this machine sees as such.
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    println!("cannot power off: {error} (console: {flushed:?}, {drained:?})");
    ExitCode::FAILURE
}

fn release() -> Result<String> {
    let file = "/proc/sys/kernel/osrelease";
    Ok(fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?.trim().to_owned())
}

fn kernel_is_up_and_has_bpffs() -> Result<()> {
    ensure!(!release()?.is_empty(), "the kernel's release is empty");
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let kind = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == BPFFS).then(|| fields.next())?
    });
    match kind {
        Some("bpf") => Ok(()),
        Some(other) => bail!("{BPFFS} is a {other}"),
        None => bail!("nothing is mounted on {BPFFS}"),
    }
}

/// Creates a judge with pins of its own, since a judge would adopt the maps of a predecessor.
fn kernel_judge(mode: Mode, drop_fragments: bool) -> Result<KernelJudge> {
    let directory = Path::new(BPFFS).join("jit-agent");
    unload(&directory).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    KernelJudge::new(&directory, &protection(mode, drop_fragments))
}

fn program_suits_the_kernel() -> Result<()> {
    let release = release()?;
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map_while(|part| part.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let program = if version >= (5, 18) { "jit_xdp_frags" } else { "jit_xdp" };
    let (well, problems) = probe(&Interfaces::default(), Path::new(BPFFS));
    ensure!(
        well.first() == Some(&format!("the kernel accepts the program {program}")),
        "on {release}: {well:?} {problems:?}"
    );
    Ok(())
}

fn none(differences: &[String]) -> Result<()> {
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    Ok(())
}

fn judged(mode: Mode, drop_fragments: bool, fixtures: &[Fixture]) -> Result<()> {
    none(&differences(&kernel_judge(mode, drop_fragments)?, fixtures))
}

fn second_load_adopts() -> Result<()> {
    let mut judge = kernel_judge(Mode::Enforce, false)?;
    judge.keep()?;
    let mut before = judge.datapath().entries()?;
    drop(judge);
    let second = XdpDatapath::load(&Path::new(BPFFS).join("jit-agent"))?;
    ensure!(second.adopted(), "the maps were not taken over");
    let mut after = second.entries()?;
    before.sort();
    after.sort();
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}
