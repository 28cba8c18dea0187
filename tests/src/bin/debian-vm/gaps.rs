//! Nothing gets through and nothing is lost, whatever happens to the agent.

use std::time::Duration;

use anyhow::Result;

use crate::{Check, world::World};

/// The checks in the order in which they run.
pub(crate) const CHECKS: [Check; 6] = [
    ("no gap while the service is restarted", restart),
    ("no gap while the agent is killed again and again", crash_loop),
    ("no gap while the agent hangs, until systemd's watchdog restarts it", hang),
    ("no gap while the service is stopped, and started again", stop),
    ("no gap while a later package is installed over the running one", upgrade),
    ("no gap while the earlier package is installed again", downgrade),
];

fn restart(world: &mut World) -> Result<()> {
    world.without_gap(|world| {
        world.done("systemctl restart jit-agent")?;
        world.agent_answers()
    })
}

fn crash_loop(world: &mut World) -> Result<()> {
    world.without_gap(|world| {
        for _ in 0..3 {
            again(world, "systemctl kill --signal=KILL jit-agent")?;
        }
        world.agent_answers()
    })
}

fn hang(world: &mut World) -> Result<()> {
    world.without_gap(|world| {
        again(world, "systemctl kill --signal=STOP jit-agent")?;
        world.agent_answers()
    })
}

/// Runs a command after which systemd must restart the service, and waits for the restart.
fn again(world: &mut World, command: &str) -> Result<()> {
    let before = world.done("systemctl show -P NRestarts jit-agent")?;
    world.done(command)?;
    let restarted = format!(
        "[ \"$(systemctl show -P NRestarts jit-agent)\" != {before} ] && systemctl is-active --quiet jit-agent"
    );
    world.until(&restarted, Duration::from_secs(180))
}

fn stop(world: &mut World) -> Result<()> {
    world.without_gap(|world| world.done("systemctl stop jit-agent").map(drop))?;
    world.without_gap(|world| {
        world.done("systemctl start jit-agent")?;
        world.agent_answers()
    })
}

fn upgrade(world: &mut World) -> Result<()> {
    installing(world, 1)
}

fn downgrade(world: &mut World) -> Result<()> {
    installing(world, 0)
}

fn installing(world: &mut World, number: usize) -> Result<()> {
    world.without_gap(|world| {
        world.install(number)?;
        world.done("systemctl is-active jit-agent")?;
        world.agent_answers()
    })
}
