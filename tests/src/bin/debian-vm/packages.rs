//! Removing the package, purging it, and the files that are left.

use anyhow::{Result, ensure};

use crate::{Check, wire::STRANGER, world::World};

/// The checks in the order in which they run.
pub(crate) const CHECKS: [Check; 4] = [
    ("removing the package opens the ports and says so", remove),
    ("after the removal, configuration and audit log are left, and nothing in the kernel", left),
    ("installed again, it enforces what was configured", install_again),
    ("purging leaves nothing", purge),
];

fn remove(world: &mut World) -> Result<()> {
    world.wire.silent(STRANGER)?;
    let said = world.done("DEBIAN_FRONTEND=noninteractive dpkg --remove jit-agent")?;
    ensure!(said.contains("the ports are open"), "{said}");
    world.wire.open(STRANGER)
}

fn left(world: &mut World) -> Result<()> {
    world.done("test -e /etc/jit-agent/config.toml && ls /var/lib/jit-agent/*.sqlite")?;
    nothing_runs(world)
}

/// Expects neither a program on an interface, nor pins, nor a unit that is required but missing.
fn nothing_runs(world: &mut World) -> Result<()> {
    let link = world.done("ip -details link show")?;
    ensure!(!link.contains("xdp"), "{link}");
    world.done(
        "! ls -d /sys/fs/bpf/jit-agent /run/jit-agent /usr/bin/jit-agent /usr/lib/systemd/system/jit-agent.service",
    )?;
    let failed = world.done("systemctl --failed --no-legend --plain")?;
    ensure!(failed.is_empty(), "{failed}");
    world.done("! pgrep -x jit-agent").map(drop)
}

fn install_again(world: &mut World) -> Result<()> {
    world.install(1)?;
    world.done("systemctl is-active jit-agent && systemctl is-enabled jit-agent")?;
    world.agent_answers()?;
    world.wire.silent(STRANGER)
}

fn purge(world: &mut World) -> Result<()> {
    world.done("DEBIAN_FRONTEND=noninteractive dpkg --purge jit-agent")?;
    world.wire.open(STRANGER)?;
    nothing_runs(world)?;
    world.done("! ls -d /etc/jit-agent /var/lib/jit-agent")?;
    world.done("! find /etc/systemd /var/lib/systemd -name '*jit-agent*' | grep .").map(drop)
}
