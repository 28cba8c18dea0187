//! Programs of the test package that run in place of this one: the demo and the benchmark.

use std::{convert::Infallible, ffi::OsString, os::unix::process::CommandExt};

use anyhow::{Result, anyhow};

use crate::{exec, paths, setup};

/// Runs the demo, in the build that the tests use, since the demo shows what happens and not how fast.
pub(crate) fn demo(arguments: &[OsString]) -> Result<Infallible> {
    run("demo", &[], "debug", arguments)
}

/// Runs the benchmark.
pub(crate) fn bench(arguments: &[OsString]) -> Result<Infallible> {
    run("bench", &["--release"], "release", arguments)
}

/// Sets up, builds, and becomes the program `name`, as root.
///
/// Replacing this process passes on signals and the exit code as they are.
fn run(name: &str, options: &[&str], directory: &str, arguments: &[OsString]) -> Result<Infallible> {
    setup::run(None)?;
    exec::run(exec::cargo("build").arg("--locked").args(options))?;
    let program = paths::target().join(directory).join(name);
    let mut command = exec::privileged_with_environment(&program)?;
    let error = command.args(arguments).exec();
    Err(anyhow!(error).context(format!("cannot start {}", exec::shown(&command))))
}
