//! `cargo xtask dist`: the packages for Debian and for distributions with rpm.
//!
//! The same commit gives the same bytes: paths of this machine are mapped away, and all times are the commit's.

mod build;
mod packages;
mod tools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use self::packages::Packages;
use crate::{exec, paths, setup};

/// Makes packages for the tests from the binaries that the tests run: revision 1 in `1` and once more in `again`, and
/// revision 2 in `2`. Returns the directory that holds these three.
pub(crate) fn for_tests() -> Result<PathBuf> {
    let tools = tools::provide()?;
    let epoch = commit_time()?;
    let files = directory().join("files");
    clean(&files)?;
    build::stripped_of_tests(&files)?;
    build::manual(&files)?;
    let base = paths::target().join("test-packages");
    let packages = Packages { tools: &tools, epoch: &epoch, fast: true };
    for (name, revision) in [("1", 1), ("again", 1), ("2", 2)] {
        let directory = base.join(name);
        clean(&directory)?;
        packages.make(&directory, revision)?;
    }
    Ok(base)
}

/// Builds both packages and prints their paths. `revision` numbers packages of the same version.
pub(crate) fn run(revision: u32) -> Result<()> {
    setup::run(None)?;
    let tools = tools::provide()?;
    let epoch = commit_time()?;
    // The packages' metadata names files in this directory, whatever target directory cargo has.
    let files = directory().join("files");
    clean(&files)?;
    build::binaries(&files)?;
    build::manual(&files)?;
    for package in (Packages { tools: &tools, epoch: &epoch, fast: false }).make(&directory(), revision)? {
        say(&format!("wrote {}", package.display()));
    }
    Ok(())
}

/// The directory into which packages are written.
fn directory() -> PathBuf {
    paths::workspace().join("target/dist")
}

/// The Unix time in seconds of the commit that is checked out.
fn commit_time() -> Result<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(paths::workspace());
    let time = exec::output(&mut git).context("the packages' times are those of the commit, which git did not tell")?;
    Ok(time.trim().to_owned())
}

/// Makes `directory` anew and empty, because files of an earlier build must not get into a package.
fn clean(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

fn say(message: &str) {
    println!("dist: {message}");
}
