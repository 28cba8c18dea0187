//! Programs of the test package that run in place of this one: the demo and the benchmark.

use std::{convert::Infallible, ffi::OsString, os::unix::process::CommandExt};

use anyhow::{Result, anyhow};

use crate::{exec, paths, setup};

/// Sets up, builds in release, and becomes the program `name`, as root.
///
/// Replacing this process passes on signals and the exit code as they are.
pub(crate) fn run(name: &str, arguments: &[OsString]) -> Result<Infallible> {
    setup::run(None)?;
    exec::run(exec::cargo("build").args(["--release", "--locked"]))?;
    let program = paths::target().join("release").join(name);
    let mut command = exec::privileged_with_environment(&program)?;
    let error = command.args(arguments).exec();
    Err(anyhow!(error).context(format!("cannot start {}", exec::shown(&command))))
}
