//! The program that runs in the kernels.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::initramfs::Archive;
use crate::{exec, paths};

/// Builds the program, and an initramfs with it and the shared libraries it needs.
///
/// It is the program that the ordinary build makes. Linking it statically would spare the libraries, but needs flags for
/// which everything is built once more.
pub(crate) fn build() -> Result<PathBuf> {
    exec::run(exec::cargo("build").args(["--locked", "--package", "jit-tests", "--bin", "kernel-guest"]))?;
    let program = paths::target().join("debug/kernel-guest");
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut archive = Archive::default();
    archive.add_file("init", &read(&program)?);
    for library in libraries(&exec::output(Command::new("ldd").arg(&program))?) {
        archive.add_file(library.trim_start_matches('/'), &read(Path::new(library))?);
    }
    let file = paths::target().join("kernel-guest.cpio");
    fs::write(&file, archive.finish()).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
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
