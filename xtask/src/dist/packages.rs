//! Makes the packages from files that are built. `jit-agent/Cargo.toml` lists what the packages contain.

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
    /// The Unix time in seconds of everything in the packages.
    pub(super) epoch: &'a str,
    /// Whether to make the packages quickly rather than small.
    pub(super) fast: bool,
}

impl Packages<'_> {
    /// Makes both packages in `directory`.
    pub(super) fn make(&self, directory: &Path, revision: u32) -> Result<[PathBuf; 2]> {
        Ok([self.deb(directory, revision)?, self.rpm(directory, revision)?])
    }

    /// Makes the package for Debian and its derivatives.
    fn deb(&self, directory: &Path, revision: u32) -> Result<PathBuf> {
        let mut command = Command::new(&self.tools.deb);
        // `--no-strip`, because the binaries already are as they should be.
        command.args(["--package", "jit-agent", "--no-build", "--no-strip", "--locked", "--quiet"]);
        command.args(["--deb-revision", &revision.to_string()]);
        if self.fast {
            command.arg("--fast");
        }
        only_one(directory, "deb", &mut command, self.epoch)
    }

    /// Makes the package for distributions with rpm.
    fn rpm(&self, directory: &Path, revision: u32) -> Result<PathBuf> {
        let mut command = Command::new(&self.tools.rpm);
        // `builtin`, because rpm's own search for requirements is not on every machine.
        command.args(["--package", "jit-agent", "--auto-req", "builtin"]);
        command.args(["--set-metadata", &format!("release = \"{revision}\"")]);
        if self.fast {
            command.args(["--payload-compress", "gzip"]);
        }
        only_one(directory, "rpm", &mut command, self.epoch)
    }
}

/// Runs the tool with a fresh output directory, moves the package to `directory`, and returns the package's path.
fn only_one(directory: &Path, kind: &str, command: &mut Command, epoch: &str) -> Result<PathBuf> {
    let output = directory.join(kind);
    super::clean(&output)?;
    // Both tools take a path for a directory only if the path ends with a slash.
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
