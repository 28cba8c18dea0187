//! The program that runs in the kernels.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::initramfs;
use crate::{exec, paths};

/// Builds the program and the initramfs around it.
///
/// It is linked statically, since nothing else is there, in a target directory of its own, since the flag for that would
/// otherwise make every other build start over.
pub(crate) fn build() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let directory = paths::target().join("kernel-guest");
    let mut command = exec::cargo("build");
    command
        .args(["--release", "--locked", "--package", "jit-tests", "--bin", "kernel-guest", "--target", TARGET])
        .arg("--target-dir")
        .arg(&directory)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    exec::run(&mut command)?;
    let program = directory.join(TARGET).join("release/kernel-guest");
    let program = fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let archive = directory.join("initramfs.cpio");
    fs::write(&archive, initramfs::with_init(&program))
        .with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(archive)
}
