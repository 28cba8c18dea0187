//! Boots Debian's kernels under QEMU with `kernel-guest` of the test package as their only program.

mod apt;
mod guest;
mod initramfs;
mod modules;
mod qemu;
mod series;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

pub(crate) use self::apt::mirrors;
use self::{apt::Archive, series::Series};
use crate::{paths, suite::Summary};

/// Debian's archive keys, which sign the kernels' packages.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Boots one kernel of each series, one after another.
pub(crate) fn run(summary: &mut Summary) {
    if let Some(reason) = unsupported() {
        summary.skip(format!("kernels under QEMU: {reason}"));
        return;
    }
    let guest = match guest::build() {
        Ok(guest) => guest,
        Err(error) => return summary.fail(format!("the guest for the kernels: {error:#}")),
    };
    for series in &series::ALL {
        match boot(series, &guest, summary) {
            Ok((passed, 0)) if passed > 0 => summary.part(format!("kernel {}: {passed} passed", series.name)),
            Ok((0, 0)) => summary.fail(format!("kernel {}: it booted but checked nothing", series.name)),
            Ok((_, failed)) => summary.part(format!("kernel {}: {failed} FAILED", series.name)),
            Err(error) => summary.fail(format!("kernel {}: {error:#}", series.name)),
        }
    }
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

/// Boots the kernel and returns how many of the guest's checks passed and failed.
fn boot(series: &Series, guest: &[u8], summary: &mut Summary) -> Result<(u64, u64)> {
    let image = match apt::cached(series)? {
        Some(image) => image,
        None => Archive::open(series)?.fetch(series)?,
    };
    let initramfs = paths::target().join(format!("kernel-guest-{}.cpio", series.name));
    fs::write(&initramfs, [guest, &modules::archive(&image)?].concat())
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    let report = qemu::boot(series.name, &image, &initramfs)?;
    // These kernels have all that the checks need, so one that can't be made is one that failed.
    for skip in &report.skips {
        summary.fail(format!("kernel {}: skipped {skip}", series.name));
    }
    for failure in &report.failures {
        summary.name_failure(format!("kernel {}: {failure}", series.name));
    }
    let Some((passed, failed)) = report.result else {
        bail!("the guest ended without its result; it last said:\n{}", report.last_lines());
    };
    summary.count(passed, failed);
    Ok((passed, failed))
}
