//! The machine under QEMU, on a wire to a namespace that represents the outside.

use std::{
    fs::{self, File},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use jit_tests::{Namespace, Process, Program};

use crate::{
    channel::{Answer, Channel},
    wire::{MAC, TAP},
};

/// The time limit from a start to the first command. An idle machine usually takes about 10 s.
const START: Duration = Duration::from_secs(240);

/// A processor without CMPXCHG16B, which QEMU 7.2 sometimes emulates wrongly, so that the kernel crashes.
const CPU: &str = "qemu64,-cx16";

/// A busy host lets the kernel's check of the timer fail.
///
/// The clock of ACPI, which a kernel uses if there is no better clock, loses time when the machine gets no processor
/// for 5 s.
const COMMAND_LINE: &str =
    "root=/dev/vda rw console=ttyS0 quiet panic=-1 no_timer_check fsck.mode=skip net.ifnames=0 clocksource=hpet";

/// A running machine. Dropping the value switches the machine off.
pub(crate) struct Machine {
    channel: Channel,
    _process: Process,
    console: PathBuf,
}

impl Machine {
    /// Starts a machine with the disk of `image`, to which nothing is written, and `packages` on a second disk. Files
    /// go into `files`.
    pub(crate) fn start(image: &Path, packages: &[PathBuf], files: &Path, outside: &Namespace) -> Result<Self> {
        let path = |name: &str| files.join(name).display().to_string();
        let (disk, shared, console, socket) = (path("disk"), path("shared"), path("console"), path("channel"));
        run(Program::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(image.join("disk"))
            .arg(&disk))?;
        let directory = files.join("packages");
        fs::create_dir_all(&directory)?;
        for package in packages {
            let name = package.file_name().context("a package without a name")?;
            fs::copy(package, directory.join(name)).with_context(|| package.display().to_string())?;
        }
        File::create(&shared)?.set_len(512 << 20)?;
        run(Program::new("/usr/sbin/mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&directory).arg(&shared))?;
        let listener = UnixListener::bind(&socket).with_context(|| socket.clone())?;
        let drive = |file: &str, options: &str| format!("file={file},if=virtio,cache=unsafe,{options}");
        let process = Program::new("qemu-system-x86_64")
            // KVM is not used, since it is missing or hangs in many virtual machines.
            .args(["-accel", "tcg", "-cpu", CPU, "-m", "1024", "-smp", "2", "-display", "none", "-nodefaults"])
            .args(["-drive", &drive(&disk, "format=qcow2"), "-drive", &drive(&shared, "format=raw,readonly=on")])
            .args(["-netdev", &format!("tap,id=wire,ifname={TAP},script=no,downscript=no")])
            .args(["-device", &format!("virtio-net-pci,netdev=wire,mac={}", shown(MAC))])
            .args(["-chardev", &format!("socket,id=channel,path={socket}")])
            .args(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,name=host"])
            .args(["-serial", &format!("file:{console}"), "-device", "virtio-rng-pci"])
            .arg("-kernel")
            .arg(image.join("vmlinuz"))
            .arg("-initrd")
            .arg(image.join("initrd"))
            .args(["-append", COMMAND_LINE])
            .spawn_in(outside)?;
        let channel = Channel::accept(&listener, &process)?;
        let mut machine = Self { channel, _process: process, console: console.into() };
        machine.up()?;
        Ok(machine)
    }

    fn up(&mut self) -> Result<()> {
        self.channel.ready(START).with_context(|| format!("its console's end: {}", self.last_console_lines()))?;
        self.done("mkdir -p /run/packages && mount -o ro /dev/vdb /run/packages").map(drop)
    }

    /// Reboots the machine. Returns as soon as the machine accepts commands, which is long before the network is up.
    pub(crate) fn reboot(&mut self) -> Result<()> {
        self.channel.start("systemctl reboot")?;
        self.up()
    }

    /// Reboots the machine, and waits until all services have started or failed.
    pub(crate) fn reboot_and_wait(&mut self) -> Result<()> {
        self.reboot()?;
        self.started()
    }

    /// Waits until all services have started or failed.
    pub(crate) fn started(&mut self) -> Result<()> {
        // The state "degraded" counts as an error too.
        self.run("systemctl is-system-running --wait").map(drop)
    }

    /// Runs a command in the machine's shell, as root.
    pub(crate) fn run(&mut self, command: &str) -> Result<Answer> {
        self.channel.run(command)
    }

    /// Runs a command that must succeed, and returns its output.
    pub(crate) fn done(&mut self, command: &str) -> Result<String> {
        self.channel.done(command)
    }

    /// The last lines of the console.
    fn last_console_lines(&self) -> String {
        let text = fs::read(&self.console).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn run(program: Program) -> Result<()> {
    program.spawn()?.outcome(START)?.success().map(drop)
}

fn shown(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
