//! A reboot: from switching on to the last service, only packets get through that were granted before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{
    Check,
    wire::{CLIENT, SSH},
    world::World,
};

/// The checks in the order in which they run.
pub(crate) const CHECKS: [Check; 2] = [
    ("port 22 is shut before the network is up at boot, and grants are kept with what is left of them", reboot),
    ("the service is up before the network, and everything else has started too", in_order),
];

/// The interval at which the agent records the clocks. A grant may lose as much time at a reboot, but never gain any.
const NOTED: u64 = 60;

fn reboot(world: &mut World) -> Result<()> {
    let begin = Instant::now();
    let (then, before) = (clock(world)?, left(world)?);
    world.machine.reboot()?;
    world.wire.wait_for_control(Instant::now())?;
    world.wire.open(CLIENT)?;
    world.machine.started()?;
    world.wire.silent(crate::wire::STRANGER)?;
    world.wire.shut_since(begin)?;
    let (after, passed) = (left(world)?, clock(world)?.saturating_sub(then));
    // All times are rounded, and the machine's clock has whole seconds at its start.
    let right = before.saturating_sub(passed + NOTED + 1)..=(before + 3).saturating_sub(passed);
    ensure!(right.contains(&after), "{before} s were left {passed} s ago, and {after} s are now: not in {right:?}");
    Ok(())
}

/// The machine's own clock, in seconds. The clock may fall behind the outside one.
fn clock(world: &mut World) -> Result<u64> {
    let said = world.done("date +%s")?;
    said.parse().with_context(|| format!("date says {said}"))
}

/// The seconds left of the client's grant for SSH.
fn left(world: &mut World) -> Result<u64> {
    let grants = world.jitctl("grants")?;
    let grants = grants.as_array().or_else(|| grants["value"].as_array()).context("no list of grants")?;
    let ssh = grants.iter().find(|grant| {
        let source = grant["source"].as_str().unwrap_or_default();
        grant["number"] == SSH && source.starts_with(CLIENT)
    });
    let ssh = ssh.with_context(|| format!("no grant for {CLIENT}: {grants:?}"))?;
    ssh["remainingSeconds"].as_u64().with_context(|| ssh.to_string())
}

fn in_order(world: &mut World) -> Result<()> {
    let failed = world.done("systemctl --failed --no-legend --plain")?;
    ensure!(failed.is_empty(), "{failed}");
    let when = |world: &mut World, unit: &str, property: &str| -> Result<Duration> {
        let text = world.done(&format!("systemctl show -P {property} {unit}"))?;
        Ok(Duration::from_micros(text.parse().with_context(|| format!("{property} of {unit}: {text}"))?))
    };
    let shut = when(world, "jit-agent.service", "ActiveEnterTimestampMonotonic")?;
    let network = when(world, "systemd-networkd.service", "InactiveExitTimestampMonotonic")?;
    ensure!(shut < network, "the agent was ready after {shut:?}, and the network began after {network:?}");
    Ok(())
}
