//! The kernel modules that the guest needs, from the kernel's own package.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::initramfs::Archive;
use crate::{exec, paths};

/// The modules in the order of their dependencies: VLANs, SCTP, veth, IPIP, classifiers and bonds.
const MODULES: [&str; 18] = [
    "net/llc/llc",
    "net/802/stp",
    "net/802/garp",
    "net/802/mrp",
    "net/8021q/8021q",
    "crypto/crc32c_generic",
    "lib/libcrc32c",
    "net/ipv4/udp_tunnel",
    "net/ipv6/ip6_udp_tunnel",
    "net/sctp/sctp",
    "drivers/net/veth",
    "net/ipv4/ip_tunnel",
    "net/ipv4/tunnel4",
    "net/ipv4/ipip",
    "net/sched/sch_ingress",
    "net/sched/cls_bpf",
    "net/tls/tls",
    "drivers/net/bonding/bonding",
];

/// An archive with the uncompressed modules in `/modules`, whose names sort in the order of loading. The kernel unpacks
/// this archive over the archive in front of it.
pub(crate) fn archive(image: &Path) -> Result<Vec<u8>> {
    let directory = image.parent().context("the kernel's image is in no directory")?;
    let version = directory.file_name().and_then(|name| name.to_str()).context("a kernel's directory has no name")?;
    let files = paths::target().join(format!("kernel-modules-{version}"));
    extract(directory, version, &files)?;
    let mut archive = Archive::default();
    for (number, module) in MODULES.iter().enumerate() {
        let file = files.join(path(version, module));
        // Some series have the module built in or don't need it. If a module is missing wrongly, a check fails.
        let Some(content) = read(&file)? else { continue };
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.add_file(&format!("modules/{number:02}-{name}.ko"), &content);
    }
    Ok(archive.finish())
}

/// The path of a module in a package.
fn path(version: &str, module: &str) -> String {
    format!("lib/modules/{version}/kernel/{module}.ko")
}

/// Unpacks the modules that the package beside the image has, all in one go, since the package is large.
fn extract(directory: &Path, version: &str, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    let members = MODULES.iter().flat_map(|module| {
        // Newer kernels have compressed modules.
        let member = format!("./{}", path(version, module));
        [format!("{member}.xz"), member]
    });
    // tar fails if the package lacks one of the members.
    let script = r#"package=$1 into=$2; shift 2
        dpkg-deb --fsys-tarfile "$package" | tar --extract --directory "$into" "$@" 2>/dev/null || true"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(super::apt::package(directory)?).arg(into).args(members);
    exec::run(&mut command)
}

/// The uncompressed module, or `None` if neither `file` nor its compressed form exists.
fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    let compressed = file.with_extension("ko.xz");
    if file.exists() {
        return fs::read(file).map(Some).with_context(|| format!("cannot read {}", file.display()));
    }
    if !compressed.exists() {
        return Ok(None);
    }
    let xz = paths::executable("xz").context("there is no xz: install xz-utils")?;
    let output = Command::new(xz).args(["--decompress", "--stdout"]).arg(&compressed).output()?;
    ensure!(output.status.success(), "xz cannot decompress {} ({})", compressed.display(), output.status);
    Ok(Some(output.stdout))
}
