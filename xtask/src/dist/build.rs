//! Builds the packages' files that are not in the source as they are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::say;
use crate::{exec, paths};

const BINARIES: [&str; 2] = ["jit-agent", "jitctl"];

/// Builds the release, without this machine's paths in it, and puts the binaries into `files`.
///
/// The build has a target directory of its own. In a shared directory its flags would make cargo build everything anew,
/// in this build and again in the next ordinary build.
pub(super) fn binaries(files: &Path) -> Result<()> {
    say("building the binaries");
    let target = paths::target().join("dist-build");
    let places = [(paths::workspace().to_owned(), "/usr/src/jit-agent"), (cargo_home()?, "/usr/src/cargo")];
    let flags = |option: &str| places.iter().map(|(from, to)| format!("{option}{}={to}", from.display())).collect();
    let (rust, c): (Vec<String>, Vec<String>) = (flags("--remap-path-prefix="), flags("-ffile-prefix-map="));
    let mut command = exec::cargo("build");
    command
        .args(["--release", "--locked", "--package", "jit-agent", "--package", "jitctl", "--bins", "--target-dir"])
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\x1f"))
        .env("CFLAGS", c.join(" "));
    exec::run(&mut command)?;
    for name in BINARIES {
        copy(&target.join("release").join(name), &files.join(name))?;
    }
    Ok(())
}

/// Puts the binaries of the tests' build into `files`, without their debug information, which would be most of the
/// packages.
pub(super) fn stripped_of_tests(files: &Path) -> Result<()> {
    for name in BINARIES {
        let file = files.join(name);
        copy(&paths::target().join("debug").join(name), &file)?;
        exec::run(Command::new("strip").arg(&file))?;
    }
    Ok(())
}

/// Writes manual pages and completions into `files`. They are the same in every profile, so the tests' build serves.
pub(super) fn manual(files: &Path) -> Result<()> {
    say("writing manual pages and completions");
    exec::run(exec::cargo("build").args(["--locked", "--package", "jit-tests", "--bin", "manual"]))?;
    exec::run(Command::new(paths::target().join("debug/manual")).arg(files))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display())).map(drop)
}

/// The directory in which cargo keeps the sources of dependencies.
fn cargo_home() -> Result<PathBuf> {
    let given = env::var_os("CARGO_HOME").map(PathBuf::from);
    given.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"))).context("HOME is not set")
}
