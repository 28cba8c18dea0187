//! Boots a Debian with systemd under QEMU, where `debian-vm` of the test package installs the packages and looks at the
//! machine from outside.

mod image;
mod run;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{kernels, summary::Summary};

/// Boots the machine and runs its checks. `packages` has a package in `1` and a later revision of the package in `2`.
pub(crate) fn run(packages: &Path, summary: &mut Summary) {
    if let Some(reason) = unsupported() {
        summary.skip(format!("the package in a virtual machine: {reason}"));
        return;
    }
    if let Err(error) = run_vm_tests(packages, summary) {
        summary.fail(format!("the package in a virtual machine: {error:#}"));
    }
}

/// Why the machine can't be booted here.
fn unsupported() -> Option<String> {
    if let Some(reason) = kernels::unsupported() {
        return Some(reason);
    }
    // A container may lack /dev/net/tun. Then there is no wire to the machine.
    (!Path::new("/dev/net/tun").exists())
        .then(|| "there is no /dev/net/tun: `modprobe tun`, as root, may help".to_owned())
}

fn run_vm_tests(packages: &Path, summary: &mut Summary) -> Result<()> {
    let image = image::provide()?;
    let packages = ["1", "2"].map(|revision| package(&packages.join(revision)));
    let packages = packages.into_iter().collect::<Result<Vec<_>>>()?;
    run::run(&image, &packages, summary)
}

/// The package for Debian in a directory.
fn package(directory: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files = entries.flatten().map(|entry| entry.path());
    match files.find(|file| file.extension().is_some_and(|extension| extension == "deb")) {
        Some(file) => Ok(file),
        None => bail!("there is no .deb in {}", directory.display()),
    }
}

fn say(message: &str) {
    println!("vm: {message}");
}
