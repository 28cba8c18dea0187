//! `cargo xtask test`.

mod harness;

use std::{ffi::OsString, path::PathBuf, process::Command, thread};

use anyhow::{Context, Result};

use crate::{dist, exec, kernels, paths, portable, setup, summary::Summary, vm};

/// How far the tests with generated frames go; see `Extent` of the test package, which reads it from the environment.
pub(crate) struct Extent {
    pub(crate) frames: Option<u64>,
    pub(crate) seed: Option<u64>,
}

impl Extent {
    fn apply(&self, command: &mut Command) {
        for (name, value) in [("JIT_TEST_FRAMES", self.frames), ("JIT_TEST_SEED", self.seed)] {
            if let Some(value) = value {
                command.env(name, value.to_string());
            }
        }
    }
}

/// What can be run alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Portable,
    Kernels,
    Vm,
}

/// Runs the tests and shows a summary; true if nothing failed.
pub(crate) fn run(only: Option<Part>, extent: &Extent, arguments: &[OsString]) -> Result<bool> {
    setup::run(None)?;
    let mut summary = Summary::default();
    // Not for a few tests that were asked for.
    let runs = |part| only.map_or(arguments.is_empty(), |only| only == part);
    if matches!(only, None | Some(Part::Vm)) {
        exec::run(exec::cargo("build").arg("--locked"))?;
    }
    let packages = packages_beside(runs(Part::Vm), runs(Part::Portable), &mut summary)?;
    if only.is_none() {
        let mut command = cargo_test(arguments)?;
        if let Some(packages) = &packages {
            command.env("JIT_TEST_PACKAGES", packages);
        }
        extent.apply(&mut command);
        harness::run(&mut command, &mut summary)?;
    }
    if runs(Part::Kernels) {
        kernels::run(&mut summary);
    }
    // By itself: its clock falls behind where too many want the processors, and the checks look at the time.
    if let Some(packages) = &packages {
        vm::run(packages, &mut summary);
    }
    if !arguments.is_empty() {
        summary.skip(
            "other systems, and kernels and a Debian under QEMU: not tried, since the tests were given a filter or \
             options",
        );
    }
    summary.print();
    Ok(summary.success())
}

/// Makes packages for the tests, if they are `wanted`, while the client is checked for other systems, if that is to be
/// done: making packages leaves a processor idle.
fn packages_beside(wanted: bool, checks: bool, summary: &mut Summary) -> Result<Option<PathBuf>> {
    thread::scope(|scope| {
        let checked = checks.then(|| {
            scope.spawn(|| {
                let mut part = Summary::default();
                portable::run(&mut part);
                part
            })
        });
        let packages = wanted.then(|| dist::for_tests().context("making packages for the tests")).transpose();
        match checked.map(thread::ScopedJoinHandle::join) {
            Some(Ok(part)) => summary.add(part),
            Some(Err(_)) => summary.fail("other systems: the thread that checked for them panicked"),
            None => {}
        }
        packages
    })
}

/// The tests need root for namespaces and BPF; building needs the user, so that `target` stays theirs.
fn cargo_test(arguments: &[OsString]) -> Result<Command> {
    let mut command = exec::cargo("test");
    command.args(["--workspace", "--exclude", "jit-ebpf", "--locked", "--no-fail-fast", "--"]);
    // The output of tests that passed is where they say what they skipped.
    command.arg("--show-output").args(arguments);
    if !exec::is_root()? {
        let sudo = paths::executable("sudo")
            .context("the tests need root for network namespaces and BPF: run this as root, or install sudo")?;
        let triple = host()?.to_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{triple}_RUNNER"), format!("{} --preserve-env --", sudo.display()));
    }
    Ok(command)
}

/// The host's target triple.
fn host() -> Result<String> {
    let verbose = exec::output(Command::new("rustc").arg("-vV").current_dir(paths::workspace()))?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
