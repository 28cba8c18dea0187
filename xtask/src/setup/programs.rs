//! The programs that the tests, the demo, the benchmark and the kernels part run.

use std::path::Path;

use anyhow::{Result, bail};

use super::apt::Apt;
use crate::paths;

/// Executable and Debian package of each program. Programs that every installation has (tar, and dpkg on Debian) are
/// left out.
const PROGRAMS: [(&str, &str); 18] = [
    ("ip", "iproute2"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("ethtool", "ethtool"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    // Programs with which packages and the unit are tried.
    ("rpm", "rpm"),
    ("systemd-analyze", "systemd"),
    // Programs with which the benchmark compares the agent.
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("ipset", "ipset"),
    ("xdp-filter", "xdp-tools"),
];

/// The keys that sign the kernels' packages. Debian has this package, its derivatives may not.
const KEYRING: (&str, &str) = (crate::kernels::KEYRING, "debian-archive-keyring");

/// Installs the missing programs. Returns whether any were missing.
pub(super) fn install(apt: Option<&mut Apt>) -> Result<bool> {
    let mut missing: Vec<_> = PROGRAMS.into_iter().filter(|(name, _)| paths::executable(name).is_none()).collect();
    if apt.is_some() && !Path::new(KEYRING.0).exists() {
        missing.push(KEYRING);
    }
    if missing.is_empty() {
        return Ok(false);
    }
    let Some(apt) = apt else {
        let names: Vec<_> = missing.iter().map(|(name, package)| format!("{name} (Debian's {package})")).collect();
        bail!("tests, demo and benchmark need programs that are not in PATH: {}: install them", names.join(", "));
    };
    let mut packages: Vec<_> = missing.into_iter().map(|(_, package)| package).collect();
    packages.dedup();
    apt.install(&packages)?;
    Ok(true)
}
