//! `cargo xtask setup`: makes this machine able to build the BPF object and to run the tests and the demo.
//!
//! Every run looks at the machine afresh and changes only what is missing.

mod apt;
mod linker;
mod programs;
mod rust;
mod schemathesis;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use self::{apt::Apt, rust::Rust};
use crate::paths;

/// What `jit-agent/build.rs` reads to build the BPF object.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Toolchain {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    linker: PathBuf,
}

impl Toolchain {
    fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    /// Whether the toolchain that an earlier setup wrote to `file` still works.
    fn works(file: &Path) -> bool {
        let read = || {
            let toolchain = Self::read(file).ok()?;
            let rust = Rust::at(toolchain.cargo, toolchain.rustc)?;
            Some(linker::check(&toolchain.linker, &rust).is_ok())
        };
        read().unwrap_or(false)
    }

    fn write(&self, file: &Path) -> Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let text = toml::to_string(self).context("cannot write the toolchain as TOML")?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Installs what is missing. A `linker` replaces the bpf-linker that would be built.
pub(crate) fn run(linker: Option<&Path>) -> Result<()> {
    // The given linker is checked before anything is installed, since another Rust would not make it right.
    let linker = linker.map(check_given_linker).transpose()?;
    let mut apt = Apt::find();
    let file = toolchain_file()?;
    let mut changed = false;
    if linker.is_some() || !Toolchain::works(&file) {
        let toolchain = find(&mut apt, linker.as_deref())?;
        toolchain.write(&file)?;
        say(&format!("Rust for BPF: {} with {}", toolchain.cargo.display(), toolchain.rustc.display()));
        say(&format!("BPF linker: {}", toolchain.linker.display()));
        say(&format!("wrote both to {}", file.display()));
        changed = true;
    }
    changed |= programs::install(apt.as_mut())?;
    changed |= schemathesis::install(apt.as_mut())?;
    say(if changed { "done" } else { "nothing to do" });
    Ok(())
}

/// The Rust for BPF that setup found.
pub(crate) fn toolchain() -> Result<Toolchain> {
    Toolchain::read(&toolchain_file()?)
}

/// Where setup writes it.
pub(crate) fn toolchain_file() -> Result<PathBuf> {
    Ok(paths::cache()?.join("bpf-toolchain.toml"))
}

/// The first Rust that can build for BPF and for which there is a linker, from the least effort to the most.
fn find(apt: &mut Option<Apt>, linker: Option<&Path>) -> Result<Toolchain> {
    let installed = rust::of_rustup().into_iter().chain(rust::of_system());
    for rust in installed {
        match pair(rust, apt.as_mut(), linker) {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => say(&format!("{error:#}; trying the next way")),
        }
    }
    if let Some(apt) = apt {
        let rust = rust::install_from_debian(apt)?;
        return pair(rust, Some(apt), linker);
    }
    bail!(
        "no Rust on this machine can build for BPF. Install by hand: `rustup component add rust-src`, LLVM's \
         development files of the major version that `rustc -vV` names (with llvm-config in PATH), and run `cargo \
         xtask setup` again; or give it a bpf-linker of that LLVM by --linker"
    )
}

fn pair(rust: Rust, apt: Option<&mut Apt>, linker: Option<&Path>) -> Result<Toolchain> {
    let linker = match linker {
        Some(given) => given.to_owned(),
        None => linker::provide(&rust, apt)?,
    };
    Ok(Toolchain { cargo: rust.cargo, rustc: rust.rustc, linker })
}

fn check_given_linker(given: &Path) -> Result<PathBuf> {
    let linker = fs::canonicalize(given).with_context(|| format!("--linker {}", given.display()))?;
    linker::runs(&linker).context("--linker needs a bpf-linker, 0.13 or later")?;
    Ok(linker)
}

fn say(message: &str) {
    println!("setup: {message}");
}
