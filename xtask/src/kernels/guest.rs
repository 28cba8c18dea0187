//! The program that runs in the booted kernels.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::initramfs::Archive;
use crate::{exec, paths};

/// Tools of iproute2 that the checks call.
const TOOLS: [&str; 2] = ["ip", "tc"];

/// Builds the program, and an initramfs with the program, the tools, and the shared libraries that they need.
///
/// The program is that of the ordinary build. Static linking would spare the libraries, but needs flags for which
/// everything is built once more.
pub(crate) fn build() -> Result<Vec<u8>> {
    exec::run(exec::cargo("build").args(["--locked", "--package", "jit-tests", "--bin", "kernel-guest"]))?;
    let program = paths::target().join("debug/kernel-guest");
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut archive = Archive::default();
    archive.add_file("init", &read(&program)?);
    let mut needed = exec::output(Command::new("ldd").arg(&program))?;
    for name in TOOLS {
        let tool = paths::executable(name).with_context(|| format!("there is no {name} tool: install iproute2"))?;
        archive.add_file(&format!("bin/{name}"), &read(&tool)?);
        needed += &exec::output(Command::new("ldd").arg(&tool))?;
    }
    for library in BTreeSet::from_iter(libraries(&needed)) {
        archive.add_file(library.trim_start_matches('/'), &read(Path::new(library))?);
    }
    Ok(archive.finish())
}

/// The files that ldd names: `NAME => FILE (ADDRESS)`, or `FILE (ADDRESS)` for the loader.
fn libraries(ldd: &str) -> Vec<&str> {
    let files = ldd.lines().map(|line| line.split_once("=> ").map_or(line, |(_, file)| file).trim());
    files.filter_map(|file| file.starts_with('/').then(|| file.split(' ').next()).flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_read_from_ldd() {
        let ldd = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f01)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x7f02)\n";
        assert_eq!(libraries(ldd), ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }
}
