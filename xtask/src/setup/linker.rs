//! bpf-linker, which must be built against the LLVM of the Rust that it links for.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{apt::Apt, rust::Rust, say};
use crate::{exec, paths};

const VERSION: &str = "0.13.0";

/// The LLVM major versions that this bpf-linker can be built against.
const LLVM_MAJORS: std::ops::RangeInclusive<u32> = 21..=23;

/// Fails unless `linker` is a bpf-linker that runs.
pub(super) fn runs(linker: &Path) -> Result<()> {
    let version = exec::output(Command::new(linker).arg("--version"))?;
    if !version.starts_with("bpf-linker ") {
        let first = version.lines().next().unwrap_or_default();
        bail!("{} is no bpf-linker: it calls itself {first:?}", linker.display());
    }
    Ok(())
}

/// Fails unless `linker` runs and, if setup built `linker`, has the LLVM of `rust`.
///
/// bpf-linker does not report its LLVM, so a linker that the user gave is taken at the user's word.
pub(super) fn check(linker: &Path, rust: &Rust) -> Result<()> {
    runs(linker)?;
    if linker.starts_with(paths::cache()?) && linker != built(rust.llvm)? {
        bail!("{} is not built against LLVM {}, which {} needs", linker.display(), rust.llvm, rust.rustc.display());
    }
    Ok(())
}

/// The path at which setup keeps the linker for an LLVM.
fn built(llvm: u32) -> Result<PathBuf> {
    Ok(paths::cache()?.join(format!("bpf-linker-{VERSION}-llvm{llvm}/bin/bpf-linker")))
}

/// Returns the linker for this Rust, which is built if it is missing.
pub(super) fn provide(rust: &Rust, apt: Option<&mut Apt>) -> Result<PathBuf> {
    let linker = built(rust.llvm)?;
    if check(&linker, rust).is_err() {
        build(rust, apt, &linker).with_context(|| {
            format!("no bpf-linker for {} (Rust {}, LLVM {})", rust.rustc.display(), rust.release, rust.llvm)
        })?;
        check(&linker, rust)?;
    }
    Ok(linker)
}

fn build(rust: &Rust, apt: Option<&mut Apt>, linker: &Path) -> Result<()> {
    let llvm = rust.llvm;
    if !LLVM_MAJORS.contains(&llvm) {
        bail!("bpf-linker {VERSION} supports LLVM {} to {} only", LLVM_MAJORS.start(), LLVM_MAJORS.end());
    }
    let prefix = llvm_prefix(llvm, apt)?;
    let root = linker.parent().and_then(Path::parent).context("the linker's path has no root")?;
    say(&format!("building bpf-linker {VERSION} against the LLVM in {} (about two minutes)", prefix.display()));
    // The flags and the target directory of a build in progress are not meant for this program.
    let mut command = exec::cargo("install");
    command
        .args(["bpf-linker", "--version", VERSION, "--locked", "--force", "--quiet", "--no-default-features"])
        .args(["--features", &format!("llvm-{llvm}"), "--root"])
        .arg(root)
        .env("LLVM_PREFIX", prefix)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR");
    exec::run(&mut command)
}

/// An LLVM installation with its development files.
fn llvm_prefix(llvm: u32, apt: Option<&mut Apt>) -> Result<PathBuf> {
    if let Some(prefix) = other_prefix(llvm) {
        return Ok(prefix);
    }
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let missing = missing_packages(llvm, &prefix);
    if !missing.is_empty() {
        let Some(apt) = apt else {
            bail!("the development files of LLVM {llvm} are missing: install them, with llvm-config-{llvm} in PATH");
        };
        apt.install(&missing.iter().map(String::as_str).collect::<Vec<_>>())?;
    }
    Ok(prefix)
}

/// The Debian packages that linking against LLVM needs and that are missing, recognised by one file of each package.
fn missing_packages(llvm: u32, prefix: &Path) -> Vec<String> {
    let needed = [
        (format!("llvm-{llvm}-dev"), prefix.join("include/llvm-c/Core.h")),
        (format!("libclang-{llvm}-dev"), prefix.join("include/clang-c/Index.h")),
        (format!("libpolly-{llvm}-dev"), prefix.join("lib/libPolly.a")),
        ("zlib1g-dev".to_owned(), "/usr/include/zlib.h".into()),
        ("libzstd-dev".to_owned(), "/usr/include/zstd.h".into()),
    ];
    needed.into_iter().filter(|(_, file)| !file.exists()).map(|(package, _)| package).collect()
}

/// The LLVM installation of a distribution that keeps LLVM elsewhere than Debian does.
fn other_prefix(llvm: u32) -> Option<PathBuf> {
    let names = [format!("llvm-config-{llvm}"), "llvm-config".to_owned()];
    let config = names.iter().filter_map(|name| paths::executable(name)).find(|config| {
        exec::output(Command::new(config).arg("--version"))
            .is_ok_and(|version| version.split('.').next() == Some(&llvm.to_string()))
    })?;
    let prefix = PathBuf::from(exec::output(Command::new(config).arg("--prefix")).ok()?.trim());
    // On Debian this finds the usual place, whose packages are checked one by one.
    (prefix != Path::new(&format!("/usr/lib/llvm-{llvm}"))).then_some(prefix)
}
