//! The packages themselves, out of files that are there. What they hold is in `jit-agent/Cargo.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::tools::Tools;
use crate::{exec, paths};

/// What all packages of one run share.
pub(super) struct Packages<'a> {
    pub(super) tools: &'a Tools,
    /// Time of everything in them, in seconds.
    pub(super) epoch: &'a str,
    /// Whether they are to be made quickly rather than small.
    pub(super) fast: bool,
}

impl Packages<'_> {
    /// Makes both packages in `directory`.
    pub(super) fn make(&self, directory: &Path, revision: u32) -> Result<[PathBuf; 2]> {
        Ok([self.deb(directory, revision)?, self.rpm(directory, revision)?])
    }

    /// The one for Debian and its derivatives.
    fn deb(&self, directory: &Path, revision: u32) -> Result<PathBuf> {
        let mut command = Command::new(&self.tools.deb);
        // Not stripped: the binaries come as they should be.
        command.args(["--package", "jit-agent", "--no-build", "--no-strip", "--locked", "--quiet"]);
        command.args(["--deb-revision", &revision.to_string()]);
        if self.fast {
            command.arg("--fast");
        }
        only_one(directory, "deb", &mut command, self.epoch)
    }

    /// The one for distributions with rpm.
    fn rpm(&self, directory: &Path, revision: u32) -> Result<PathBuf> {
        let mut command = Command::new(&self.tools.rpm);
        // Not rpm's own search for what is required, which is not on every machine.
        command.args(["--package", "jit-agent", "--auto-req", "builtin"]);
        command.args(["--set-metadata", &format!("release = \"{revision}\"")]);
        if self.fast {
            command.args(["--payload-compress", "gzip"]);
        }
        only_one(directory, "rpm", &mut command, self.epoch)
    }
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
