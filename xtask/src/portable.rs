//! Checks that what the client is made of builds for systems other than the one that is protected.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use crate::{exec, paths, setup, summary::Summary};

/// The client, and the packages that it depends on.
const PACKAGES: [&str; 3] = ["jit-policy", "jit-api", "jitctl"];
/// 64-bit Arm Linux, Windows and macOS.
const TARGETS: [&str; 3] = ["aarch64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "aarch64-apple-darwin"];
/// The variables that a build or the user has set for the Rust of the workspace. They do not fit another Rust.
const OF_ANOTHER_RUST: [&str; 8] = [
    "RUSTUP_TOOLCHAIN",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_DIR",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "LD_LIBRARY_PATH",
];

/// Checks all packages for all targets. The standard library is checked along with them, so no target has to be
/// installed, and a directory of its own keeps what has not changed since.
pub(crate) fn run(summary: &mut Summary) {
    let shown = format!("{} for {}", PACKAGES.join(", "), TARGETS.join(", "));
    match check() {
        Ok(None) => {
            summary.count(TARGETS.len() as u64, 0);
            summary.part(format!("other systems: {shown} build"));
        }
        Ok(Some(reason)) => summary.skip(format!("{shown}: {reason}")),
        Err(error) => summary.fail(format!("{shown}: {error:#}")),
    }
}

/// Runs the checks. Returns why this machine can't check the other systems; `None`: all checks passed.
fn check() -> Result<Option<String>> {
    let rust = setup::toolchain()?;
    let sysroot = exec::output(Command::new(&rust.rustc).args(["--print", "sysroot"]))?;
    // BPF needs only the source of `core`, so the source of `std` may be missing.
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library");
    if !library.join("std/Cargo.toml").is_file() || !library.join("Cargo.lock").is_file() {
        return Ok(Some(format!(
            "{} has no source of the standard library in {}: remove {} and run `cargo xtask setup`",
            rust.rustc.display(),
            library.display(),
            setup::toolchain_file()?.display()
        )));
    }
    let mut command = Command::new(&rust.cargo);
    for name in OF_ANOTHER_RUST {
        command.env_remove(name);
    }
    command.current_dir(paths::workspace()).args(["check", "--locked", "--quiet", "--keep-going", "-Z", "build-std"]);
    // What only other systems leave unused is a warning that nobody would see.
    command.args(["-Z", "warnings", "--config", "build.warnings = 'deny'"]);
    command.args(PACKAGES.map(|package| format!("--package={package}")));
    command.args(TARGETS.map(|target| format!("--target={target}")));
    command
        .arg("--target-dir")
        .arg(paths::target().join("portable"))
        // Unlocks build-std.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", &rust.rustc);
    exec::output(&mut command).context("they do not build there")?;
    Ok(None)
}
