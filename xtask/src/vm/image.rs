//! The machine's disk: a minimal Debian, made from Debian's packages, and kept until what the disk is made of changes.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};

use super::say;
use crate::{
    exec,
    kernels::{KEYRING, mirrors},
    paths,
};

const RELEASE: &str = "trixie";

/// What the machine has beside the packages that are essential to every Debian.
const PACKAGES: [&str; 12] = [
    "dbus",
    "init-system-helpers",
    "initramfs-tools",
    "iproute2",
    "linux-image-cloud-amd64",
    "openssh-server",
    "passwd",
    "procps",
    "socat",
    "systemd-sysv",
    "udev",
    "zstd",
];

/// dpkg options that leave out what nobody reads in the machine, except for the documents of the package under test.
const LEFT_OUT: [&str; 4] = [
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/jit-agent/*",
];

/// Files that are written before any package is installed.
const FILES: [(&str, &str); 6] = [
    ("usr/local/sbin/channel", include_str!("guest/channel")),
    ("etc/systemd/system/channel.service", include_str!("guest/channel.service")),
    ("etc/systemd/system/echo.service", include_str!("guest/echo.service")),
    ("etc/systemd/network/wire.network", include_str!("guest/wire.network")),
    // With all modules the initramfs would be several times as large, and slow to unpack without KVM.
    ("etc/initramfs-tools/conf.d/small", "MODULES=list\nBUSYBOX=n\nCOMPRESS=zstd\nRESUME=none\nFSTYPE=ext4\n"),
    ("etc/initramfs-tools/modules", "virtio_pci\nvirtio_blk\nvirtio_net\n"),
];

/// The script that finishes the system.
const PREPARE: &str = include_str!("guest/prepare");

/// The disk's size, with room for tests. The file is sparse.
const SIZE: &str = "1G";

/// Returns the image: a directory with `disk`, `vmlinuz` and `initrd`, which is made now if it is missing. Remove the
/// directory to get an image with newer packages.
pub(super) fn provide() -> Result<PathBuf> {
    let base = paths::cache()?.join("vm");
    let image = base.join(format!("{RELEASE}-{:016x}", recipe()));
    if image.join("disk").exists() {
        return Ok(image);
    }
    let mut failed = Vec::new();
    for (mirror, _) in mirrors() {
        let begin = Instant::now();
        say(&format!("making an image of Debian's {RELEASE} from {mirror} (about two minutes)"));
        let work = base.join("work");
        let made = make(&work, &mirror).and_then(|()| {
            // The name comes last, so that an interrupted run leaves nothing that looks complete.
            fs::rename(work.join("image"), &image).with_context(|| format!("cannot write {}", image.display()))
        });
        remove(&work)?;
        match made {
            Ok(()) => {
                say(&format!("made {} in {} s", image.display(), begin.elapsed().as_secs()));
                return Ok(image);
            }
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    anyhow::bail!("no mirror has what the image is made of: {}", failed.join("; "))
}

/// A number that changes with everything that the image is made from, except for the versions of packages.
fn recipe() -> u64 {
    let mut hasher = DefaultHasher::new();
    (RELEASE, PACKAGES, LEFT_OUT, FILES, PREPARE, SIZE, include_str!("image.rs")).hash(&mut hasher);
    hasher.finish()
}

/// Makes the image in the directory `image` of `work`.
fn make(work: &Path, mirror: &str) -> Result<()> {
    remove(work)?;
    let (root, files, image) = (work.join("root"), work.join("files"), work.join("image"));
    for (name, content) in FILES {
        write(&files.join(name), content)?;
    }
    write(&work.join("prepare"), PREPARE)?;
    fs::create_dir_all(&image).with_context(|| format!("cannot create {}", image.display()))?;
    let mut bootstrap = exec::privileged("mmdebstrap")?;
    bootstrap
        .args(["--quiet", "--mode=root", "--variant=minbase", "--format=directory", "--architectures=amd64"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .args(["--aptopt=Acquire::Languages \"none\"", "--aptopt=APT::Install-Recommends \"false\""])
        .args(LEFT_OUT.map(|option| format!("--dpkgopt={option}")))
        .arg(format!("--setup-hook=cp -R --no-preserve=ownership '{}/.' \"$1\"", files.display()))
        .arg(format!("--customize-hook=sh '{}' \"$1\"", work.join("prepare").display()))
        .arg(RELEASE)
        .arg(&root)
        .arg(format!("deb [signed-by={KEYRING}] {mirror} {RELEASE} main"));
    exec::run(&mut bootstrap)?;
    // Root has written the system's files, and only root may read some of them.
    let disk = image.join("disk.unfinished");
    let mke2fs = paths::executable("mke2fs").context("there is no mke2fs: install e2fsprogs")?;
    exec::output(exec::privileged(mke2fs)?.args(["-q", "-t", "ext4", "-d"]).args([&root, &disk]).arg(SIZE))?;
    for name in ["vmlinuz", "initrd.img"] {
        let target = image.join(name.trim_end_matches(".img"));
        exec::output(exec::privileged("cp")?.arg("--dereference").arg(root.join(name)).arg(target))?;
    }
    exec::output(exec::privileged("chmod")?.args(["-R", "a+r"]).arg(&image))?;
    fs::rename(&disk, image.join("disk")).with_context(|| format!("cannot write {}", disk.display()))
}

fn write(file: &Path, content: &str) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    }
    fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}

/// Removes a directory with what root has written into it.
fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        exec::output(exec::privileged("rm")?.args(["-rf", "--one-file-system", "--"]).arg(directory))?;
    }
    Ok(())
}
