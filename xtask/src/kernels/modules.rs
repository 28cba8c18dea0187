//! The kernel modules that the guest needs, out of the kernel's own package.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::initramfs::Archive;
use crate::{exec, paths};

/// In the order in which they depend on each other: VLANs, SCTP, veth, IPIP, classifiers and bonds.
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

/// An archive that has the modules in `/modules`, uncompressed, with names that sort in the order of loading. The kernel
/// unpacks it over the one that it follows.
pub(crate) fn archive(image: &Path) -> Result<Vec<u8>> {
    let directory = image.parent().context("the kernel's image is in no directory")?;
    let version = directory.file_name().and_then(|name| name.to_str()).context("a kernel's directory has no name")?;
    let mut archive = Archive::default();
    for (number, module) in MODULES.iter().enumerate() {
        // Some series have it built in or need none of it. If it should be there, a check finds that.
        let Some(content) = read(directory, &format!("./lib/modules/{version}/kernel/{module}.ko"))? else { continue };
        let name = module.rsplit('/').next().unwrap_or(module);
        archive.add_file(&format!("modules/{number:02}-{name}.ko"), &content);
    }
    Ok(archive.finish())
}

/// A module from the package that stayed beside the image, if that has it. Newer kernels have them compressed.
fn read(directory: &Path, module: &str) -> Result<Option<Vec<u8>>> {
    let package = super::apt::package(directory)?;
    let compressed = format!("{module}.xz");
    let script = r#"dpkg-deb --fsys-tarfile "$1" | tar --extract --to-stdout "$2""#;
    let extract = |member: &str| -> Result<Option<Vec<u8>>> {
        let output = Command::new("sh").args(["-c", script, "sh"]).arg(&package).arg(member).output()?;
        Ok((output.status.success() && !output.stdout.is_empty()).then_some(output.stdout))
    };
    if let Some(content) = extract(module)? {
        return Ok(Some(content));
    }
    let Some(content) = extract(&compressed)? else { return Ok(None) };
    decompressed(&content).map(Some).with_context(|| format!("cannot decompress {compressed}"))
}

fn decompressed(content: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let xz = paths::executable("xz").context("there is no xz: install xz-utils")?;
    let mut command = Command::new(xz);
    command.args(["--decompress", "--stdout"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", exec::shown(&command)))?;
    let mut input = child.stdin.take().context("xz has no input")?;
    let output = std::thread::scope(|scope| {
        // Both ends at once, since a pipe holds less than a module.
        let writer = scope.spawn(move || input.write_all(content));
        let output = child.wait_with_output();
        writer.join().map_err(|_| anyhow::anyhow!("the thread that writes to xz panicked"))??;
        Ok::<_, anyhow::Error>(output?)
    })?;
    if !output.status.success() {
        bail!("xz failed ({})", output.status);
    }
    Ok(output.stdout)
}
