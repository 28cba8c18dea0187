//! Boots Debian's kernels under QEMU with `kernel-guest` of the test package as their only program.

mod apt;
mod guest;
mod initramfs;
mod modules;
mod qemu;
mod series;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result};

pub(crate) use self::apt::mirrors;
use self::{apt::Archive, qemu::Report, series::Series};
use crate::{paths, summary::Summary};

/// Debian's archive keys, which sign the kernels' packages.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Boots one kernel of each series, all at once: an emulated machine whose checks run one after another keeps one
/// processor busy.
pub(crate) fn run(summary: &mut Summary) {
    if let Some(reason) = unsupported() {
        summary.skip(format!("kernels under QEMU: {reason}"));
        return;
    }
    let guest = match guest::build() {
        Ok(guest) => guest,
        Err(error) => return summary.fail(format!("the guest for the kernels: {error:#}")),
    };
    // The kernels are prepared one after another, since two may come from the same archive.
    let machines = series::ALL.map(|series| (series.name, prepare(&series, &guest)));
    thread::scope(|scope| {
        let boots = machines.map(|(name, machine)| {
            let boot = move || machine.and_then(|(image, initramfs)| qemu::boot(name, &image, &initramfs));
            (name, scope.spawn(boot))
        });
        for (name, boot) in boots {
            match boot.join() {
                Ok(report) => count(name, report, summary),
                Err(_) => summary.fail(format!("kernel {name}: the thread that watched it panicked")),
            }
        }
    });
}

/// Why no machine with a kernel of Debian's can be booted here.
pub(crate) fn unsupported() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("only Debian's amd64 kernels are tried, and this machine is of another architecture".to_owned());
    }
    if paths::executable("apt-get").is_none() || !Path::new(KEYRING).exists() {
        return Some(format!("they come from Debian's archive by apt-get, which needs {KEYRING}, and one is missing"));
    }
    None
}

/// The paths of the kernel and of its initramfs, which holds the guest and the modules of that kernel.
fn prepare(series: &Series, guest: &[u8]) -> Result<(PathBuf, PathBuf)> {
    let image = match apt::cached(series)? {
        Some(image) => image,
        None => Archive::open(series)?.fetch(series)?,
    };
    let initramfs = paths::target().join(format!("kernel-guest-{}.cpio", series.name));
    fs::write(&initramfs, [guest, &modules::archive(&image)?].concat())
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    Ok((image, initramfs))
}

fn count(name: &str, report: Result<Report>, summary: &mut Summary) {
    let report = match report {
        Ok(report) => report,
        Err(error) => return summary.fail(format!("kernel {name}: {error:#}")),
    };
    // These kernels have all that the checks need, so a skipped check counts as failed.
    for skip in &report.skips {
        summary.fail(format!("kernel {name}: skipped {skip}"));
    }
    for failure in &report.failures {
        summary.name_failure(format!("kernel {name}: {failure}"));
    }
    match report.result {
        Some((0, 0)) => summary.fail(format!("kernel {name}: it booted but checked nothing")),
        Some((passed, failed)) => {
            summary.count(passed, failed);
            let failed = if failed > 0 { format!(", {failed} FAILED") } else { String::new() };
            summary.part(format!("kernel {name}: {passed} passed{failed}"));
        }
        None => {
            let last = report.last_lines();
            summary.fail(format!("kernel {name}: the guest ended without its result; it last said:\n{last}"));
        }
    }
}
