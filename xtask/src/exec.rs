//! Running other programs.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Runs a command to its end with its output shown. Anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command and returns what the command prints. An error includes the command's error output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", shown(command), output.status, errors.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed something that is not UTF-8", shown(command)))
}

/// A cargo command in the workspace's root.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(paths::cargo());
    command.arg(subcommand).current_dir(paths::workspace());
    command
}

/// Whether this process is root.
pub(crate) fn is_root() -> Result<bool> {
    let metadata = fs::metadata("/proc/self").context("cannot read the own user id from /proc/self")?;
    Ok(metadata.uid() == 0)
}

/// A command that runs as root: directly if this process is root, else by sudo.
pub(crate) fn privileged(program: impl AsRef<OsStr>) -> Result<Command> {
    by_sudo(program.as_ref(), &[])
}

/// Like [`privileged`], but in this process's environment, except for what sudo always resets, such as PATH.
pub(crate) fn privileged_with_environment(program: impl AsRef<OsStr>) -> Result<Command> {
    by_sudo(program.as_ref(), &["--preserve-env"])
}

fn by_sudo(program: &OsStr, options: &[&str]) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    let Some(sudo) = paths::executable("sudo") else {
        bail!("{} must run as root, and there is no sudo: run this as root, or install sudo", program.display());
    };
    let mut command = Command::new(sudo);
    command.args(options).arg("--").arg(program);
    Ok(command)
}

/// A command as a user would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
