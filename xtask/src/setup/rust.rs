//! A Rust that can build for BPF. BPF is a tier 3 target, so building needs the standard library's source.

use std::{
    cmp::Reverse,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::apt::Apt;
use crate::exec;

/// Debian's packages of a recent Rust.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A cargo and a rustc with the source of `core`.
pub(super) struct Rust {
    pub(super) cargo: PathBuf,
    pub(super) rustc: PathBuf,
    /// The release, such as 1.95.0 or 1.97.0-nightly.
    pub(super) release: String,
    /// The major version of the compiler's LLVM, which the linker must have too.
    pub(super) llvm: u32,
}

impl Rust {
    /// The Rust made of these two programs, if they run, are new enough for this workspace and have the source.
    pub(super) fn at(cargo: PathBuf, rustc: PathBuf) -> Option<Self> {
        let sysroot = exec::output(Command::new(&rustc).args(["--print", "sysroot"])).ok()?;
        if !has_source(Path::new(sysroot.trim())) {
            return None;
        }
        exec::output(Command::new(&cargo).arg("--version")).ok()?;
        let (release, llvm) = versions(&exec::output(Command::new(&rustc).arg("-vV")).ok()?)?;
        (minor(&release)? >= minor(env!("CARGO_PKG_RUST_VERSION"))?).then_some(Self { cargo, rustc, release, llvm })
    }

    fn in_toolchain(directory: &Path) -> Option<Self> {
        Self::at(directory.join("bin/cargo"), directory.join("bin/rustc"))
    }
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file()
}

/// Release and LLVM's major version from `rustc -vV`.
fn versions(verbose: &str) -> Option<(String, u32)> {
    let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
    Some((field("release:")?.to_owned(), llvm))
}

/// The minor version of a release: 95 of 1.95.0.
fn minor(release: &str) -> Option<u32> {
    release.split('.').nth(1)?.parse().ok()
}

/// rustup's toolchains that have the source already, nightlies first.
pub(super) fn of_rustup() -> Vec<Rust> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
    let Some(entries) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    // Looking for the source first avoids starting the programs of toolchains without the source.
    let mut directories: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|directory| has_source(directory)).collect();
    directories.sort_by_key(|directory| Reverse(directory.to_string_lossy().contains("nightly")));
    directories.iter().filter_map(|directory| Rust::in_toolchain(directory)).collect()
}

/// The Rust of the distribution, if it has the source.
pub(super) fn of_system() -> Option<Rust> {
    Rust::in_toolchain(Path::new("/usr"))
}

/// Installs Debian's packages. rustup's toolchains are left alone: which toolchains are there, in which version, is the
/// user's choice.
pub(super) fn install_from_debian(apt: &mut Apt) -> Result<Rust> {
    apt.install(&DEBIAN_PACKAGES)?;
    match of_system() {
        Some(rust) => Ok(rust),
        None => bail!("/usr/bin/rustc can't build for BPF though {} were installed", DEBIAN_PACKAGES.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_rustc() {
        let verbose = "rustc 1.96.0 (ac68faa20 2026-05-25)\nhost: x\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(versions(verbose), Some(("1.96.0".to_owned(), 22)));
        assert_eq!(versions("release: 1.96.0\n"), None);
    }

    #[test]
    fn the_minor_version_is_compared_not_the_text() {
        assert_eq!(minor("1.101.0-nightly"), Some(101));
        assert!(minor("1.101.0") > minor("1.95.0"));
    }
}
