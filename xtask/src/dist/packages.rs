//! The packages themselves, out of files that are there. What they hold is in `jit-agent/Cargo.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::tools::Tools;
use crate::{exec, paths};

/// Makes the package for Debian and its derivatives in `directory`.
pub(super) fn deb(tools: &Tools, directory: &Path, epoch: &str, revision: u32) -> Result<PathBuf> {
    let revision = revision.to_string();
    let mut command = Command::new(&tools.deb);
    // The release profile has stripped already.
    command
        .args(["--package", "jit-agent", "--no-build", "--no-strip", "--locked", "--quiet", "--deb-revision"])
        .arg(revision);
    only_one(directory, "deb", &mut command, epoch)
}

/// Makes the package for distributions with rpm in `directory`.
pub(super) fn rpm(tools: &Tools, directory: &Path, epoch: &str, revision: u32) -> Result<PathBuf> {
    let mut command = Command::new(&tools.rpm);
    // Not rpm's own search for what is required, which is not on every machine.
    command.args(["--package", "jit-agent", "--auto-req", "builtin"]);
    command.arg("--set-metadata").arg(format!("release = \"{revision}\""));
    only_one(directory, "rpm", &mut command, epoch)
}

/// Runs the tool with a fresh output directory, moves what it made to `directory`, and returns where that is.
fn only_one(directory: &Path, kind: &str, command: &mut Command, epoch: &str) -> Result<PathBuf> {
    let output = directory.join(kind);
    super::clean(&output)?;
    // Both take a directory only if it ends so.
    command.arg("--output").arg(output.join("")).current_dir(paths::workspace()).env("SOURCE_DATE_EPOCH", epoch);
    exec::run(command)?;
    let made: Vec<_> = fs::read_dir(&output)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("cannot read {}", output.display()))?;
    let [package] = made.as_slice() else { bail!("{} made {} files", exec::shown(command), made.len()) };
    let place = directory.join(package.file_name().context("a package without a name")?);
    fs::rename(package, &place).with_context(|| format!("cannot write {}", place.display()))?;
    fs::remove_dir(&output).with_context(|| format!("cannot remove {}", output.display()))?;
    Ok(place)
}
