//! Reboots of a machine with a fault: the ports stay shut, and the fault is reported.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::{
    Check,
    wire::{CLIENT, STRANGER},
    world::World,
};

/// The checks in the order in which they run. Each repairs the fault that it caused.
pub(crate) const CHECKS: [Check; 6] = [
    ("with a broken configuration, port 22 is shut from the boot on", broken_configuration),
    ("with a corrupt store and a group that doesn't exist, port 22 is shut from the boot on", corrupt_store),
    ("with a full disk, port 22 is shut from the boot on", full_disk),
    ("with an empty /var that can't be written, port 22 is shut from the boot on", missing_var),
    ("where the program can't be loaded, that is loud, and the network stays down if the owner chose so", not_loaded),
    ("the network comes up once the program can be loaded after all", loaded_after_all),
];

/// Reboots and observes: the stranger must never be answered. The network may need help to come up, without which the
/// observation would prove nothing.
fn shut_after_reboot(world: &mut World) -> Result<()> {
    let begin = Instant::now();
    world.machine.reboot_and_wait()?;
    world.done("ip address add 192.0.2.1/24 dev eth0 2>/dev/null; ip link set eth0 up")?;
    world.wire.wait_for_control(Instant::now())?;
    world.wire.silent(STRANGER)?;
    world.wire.shut_since(begin)
}

/// Expects that the agent's journal of this boot contains `wanted`.
fn says(world: &mut World, wanted: &str) -> Result<()> {
    let said = world.done("journalctl -b -u jit-agent --no-pager -o cat")?;
    ensure!(said.contains(wanted), "the journal doesn't have '{wanted}': {said}");
    Ok(())
}

fn broken_configuration(world: &mut World) -> Result<()> {
    world.done("cp -p /etc/jit-agent/config.toml /root/ && echo 'mode = [' >> /etc/jit-agent/config.toml")?;
    let outcome = shut_after_reboot(world).and_then(|()| {
        says(world, "config.toml")?;
        world.wire.open(CLIENT)
    });
    world.done("cp -p /root/config.toml /etc/jit-agent/config.toml && systemctl restart jit-agent")?;
    outcome
}

fn corrupt_store(world: &mut World) -> Result<()> {
    world.done("cp -a /var/lib/jit-agent /root/store")?;
    world.done("sed -i 's/^requester = .*/requester = [\"@nobody-has-made-this\"]/' /etc/jit-agent/config.toml")?;
    // The files are damaged after the agent has stopped, since the agent writes to them when it is stopped.
    world.done(
        "systemctl stop jit-agent && find /var/lib/jit-agent -type f -name '*.sqlite*' | grep . && \
         find /var/lib/jit-agent -type f -name '*.sqlite*' -exec sh -c 'head -c 65536 /dev/urandom > \"$1\"' sh {} ';'",
    )?;
    let outcome = shut_after_reboot(world).and_then(|()| {
        says(world, "nobody-has-made-this")?;
        // Nothing is open, since nobody knows what was granted.
        world.wire.silent(CLIENT)
    });
    world.done(
        "systemctl stop jit-agent && rm -rf /var/lib/jit-agent && mv /root/store /var/lib/jit-agent && \
         cp -p /root/config.toml /etc/jit-agent/config.toml && systemctl start jit-agent",
    )?;
    outcome
}

fn full_disk(world: &mut World) -> Result<()> {
    // The second file takes the last blocks too, which root may use.
    world.done("dd if=/dev/zero of=/filler bs=1M 2>/dev/null; dd if=/dev/zero of=/filler2 bs=4k 2>/dev/null; true")?;
    let outcome = shut_after_reboot(world);
    world.done("rm /filler /filler2 && systemctl restart jit-agent")?;
    outcome
}

fn missing_var(world: &mut World) -> Result<()> {
    world.done("echo 'tmpfs /var tmpfs ro 0 0' >> /etc/fstab")?;
    let outcome = shut_after_reboot(world);
    world.done("sed -i '/^tmpfs/d' /etc/fstab")?;
    outcome
}

/// The script that creates the owner's drop-in files from the package's examples, and the fault.
const CHOICES: &str = "
    set -e
    examples=/usr/share/doc/jit-agent/examples
    mkdir -p /etc/systemd/system/systemd-networkd.service.d /etc/systemd/system/jit-agent.service.d
    cp $examples/network-needs-jit-agent.conf /etc/systemd/system/systemd-networkd.service.d/
    cp $examples/network-after-jit-agent.conf /etc/systemd/system/jit-agent.service.d/
    printf '[Service]\\nSystemCallFilter=~bpf\\n' > /etc/systemd/system/jit-agent.service.d/fault.conf";

fn not_loaded(world: &mut World) -> Result<()> {
    world.done(CHOICES)?;
    world.machine.reboot()?;
    // While the machine shut down, it could still be reached.
    let begin = Instant::now();
    // A failed assertion leaves the unit inactive, with the assertion in the journal.
    let judged = "[ \"$(systemctl show -P AssertTimestampMonotonic systemd-networkd)\" != 0 ]";
    world.until(judged, Duration::from_secs(240))?;
    says(world, "creating the program's maps")?;
    let network = world.done("journalctl -b -u systemd-networkd --no-pager -o cat")?;
    ensure!(network.contains("Assertion failed"), "the journal doesn't say why the network is down: {network}");
    world.done("! systemctl is-active systemd-networkd")?;
    ensure!(world.wire.control_since(begin) == 0, "the network is up");
    Ok(())
}

fn loaded_after_all(world: &mut World) -> Result<()> {
    let begin = Instant::now();
    world.done("rm /etc/systemd/system/jit-agent.service.d/fault.conf && systemctl daemon-reload")?;
    world.until("systemctl is-active systemd-networkd", Duration::from_secs(240))?;
    world.wire.wait_for_control(begin)?;
    world.wire.silent(STRANGER)?;
    world.wire.open(CLIENT)?;
    world.done("rm -r /etc/systemd/system/systemd-networkd.service.d /etc/systemd/system/jit-agent.service.d")?;
    world.done("systemctl daemon-reload")?;
    world.wire.shut_since(begin)
}
