//! The way from a Debian without the agent to a Debian with shut ports.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jit_tests::Reach;

use crate::{
    Check,
    wire::{CLIENT, SSH, STRANGER},
    world::World,
};

/// The checks in the order in which they run.
pub(crate) const CHECKS: [Check; 12] = [
    ("before the package is installed, port 22 answers everyone", nothing_is_installed),
    ("installing starts the service, which observes and shuts nothing", install),
    ("the check names an offload of the card that may be in the way of native XDP", offload),
    ("the service runs as its own user, with three capabilities", own_user),
    ("systemd finds the service's exposure to be 2.0 at most", exposure),
    ("the configuration is read again on reload", configure),
    ("a trial shuts port 22, and ends by itself", trial),
    ("a trial that nobody confirmed does not outlive a reboot", trial_ends_with_reboot),
    ("once confirmed, port 22 is shut", enforce),
    ("a grant opens port 22 for one source", grant),
    ("a grant ends on time", expiry),
    ("the service can be reloaded", reload),
];

/// The protected ports: the defaults, and a service that echoes datagrams.
const PORTS: &str = r#"
[[port]]
number = 22
protocol = "tcp"
[[port]]
number = 3389
protocol = "any"
[[port]]
number = 5985
protocol = "tcp"
[[port]]
number = 5986
protocol = "tcp"
[[port]]
number = 5000
protocol = "udp"
"#;

fn nothing_is_installed(world: &mut World) -> Result<()> {
    let begin = Instant::now();
    world.machine.started()?;
    world.wire.wait_for_control(begin)?;
    world.wire.open(CLIENT)?;
    world.wire.open(STRANGER)?;
    // If the answers were not seen here, the next checks would prove nothing.
    ensure!(world.wire.shut_since(begin).is_err(), "the answers of port {SSH} are not seen");
    Ok(())
}

/// Checks what the kernel reports about the offloads of a virtio card. A virtual interface reports no such thing.
fn offload(world: &mut World) -> Result<()> {
    let checked = world.done("jit-agent check")?;
    let card = checked.lines().find(|line| line.contains("driver virtio_net, MTU 1500")).context("no card")?;
    ensure!(card.contains("which may be: rx-gro-hw is on"), "{card}");
    let status = world.jitctl("status")?;
    // This driver turns the offload off by itself.
    ensure!(status["interfaces"][0]["attached"] == "native", "{status}");
    Ok(())
}

fn install(world: &mut World) -> Result<()> {
    let begin = Instant::now();
    world.install(0)?;
    world.done("systemctl is-active jit-agent && systemctl is-enabled jit-agent")?;
    world.agent_answers()?;
    let status = world.jitctl("status")?;
    ensure!(status["mode"] == "observe", "{status}");
    world.wire.open(STRANGER)?;
    ensure!(world.wire.shut_since(begin).is_err(), "port {SSH} did not answer the stranger");
    Ok(())
}

fn own_user(world: &mut World) -> Result<()> {
    let status = world.done("cat /proc/$(systemctl show -P MainPID jit-agent)/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.split_whitespace().collect::<Vec<_>>()).with_context(|| format!("no {name}"))
    };
    let user = world.done("id -u jit-agent")?;
    ensure!(user != "0" && field("Uid")? == [user.as_str(); 4], "it runs as {:?}", field("Uid")?);
    // The set of CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    let three = format!("{:016x}", 1_u64 << 39 | 1 << 38 | 1 << 12);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        ensure!(field(set)? == [three.as_str()], "{set} is {:?}", field(set)?);
    }
    ensure!(field("NoNewPrivs")? == ["1"] && field("Seccomp")? == ["2"], "it may gain privileges, or call anything");
    Ok(())
}

fn exposure(world: &mut World) -> Result<()> {
    let said = world.done("systemd-analyze security --no-pager jit-agent.service | tail -1")?;
    let level = said.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let level = level.with_context(|| format!("systemd-analyze says: {said}"))?;
    ensure!(level <= 2.0, "{said}");
    Ok(())
}

fn configure(world: &mut World) -> Result<()> {
    world.done(&format!("cat >> /etc/jit-agent/config.toml <<'END'\n{PORTS}END"))?;
    world.done("systemctl reload jit-agent")?;
    world.until("jitctl --json ports | grep -q 5000", Duration::from_secs(60))?;
    world.wire.open(STRANGER)
}

fn trial(world: &mut World) -> Result<()> {
    world.done("jit-agent enable --console --yes --trial 20s")?;
    let begin = Instant::now();
    world.wire.silent(STRANGER)?;
    while world.wire.ssh(STRANGER)? != Reach::Open {
        ensure!(begin.elapsed() < Duration::from_secs(60), "the trial does not end");
    }
    ensure!(begin.elapsed() > Duration::from_secs(10), "the trial ended early");
    Ok(())
}

fn trial_ends_with_reboot(world: &mut World) -> Result<()> {
    world.done("jit-agent enable --console --yes --trial 1h")?;
    world.wire.silent(STRANGER)?;
    world.machine.reboot_and_wait()?;
    world.wire.open(STRANGER)?;
    let status = world.jitctl("status")?;
    ensure!(status["mode"] == "observe", "{status}");
    Ok(())
}

fn enforce(world: &mut World) -> Result<()> {
    world.done("jit-agent enable --console --yes && jit-agent confirm")?;
    world.done("grep -q '^mode = \"enforce\"' /var/lib/jit-agent/policy.toml")?;
    // The owner says it too, so that a missing /var opens nothing.
    world.done("sed -i 's/^mode = .*/mode = \"enforce\"/' /etc/jit-agent/config.toml && systemctl reload jit-agent")?;
    let begin = Instant::now();
    world.wire.silent(CLIENT)?;
    world.wire.silent(STRANGER)?;
    world.wire.shut_since(begin)
}

fn grant(world: &mut World) -> Result<()> {
    let begin = Instant::now();
    world.grant(SSH, CLIENT, "2h")?;
    world.grant(crate::traffic::PORT, CLIENT, "2h")?;
    world.wire.open(CLIENT)?;
    world.wire.silent(STRANGER)?;
    world.wire.shut_since(begin)
}

fn expiry(world: &mut World) -> Result<()> {
    const OTHER: &str = "192.0.2.12";
    const TIME: Duration = Duration::from_secs(20);
    world.wire.address(OTHER)?;
    let begin = Instant::now();
    world.grant(SSH, OTHER, "20s")?;
    let granted = Instant::now();
    world.wire.open(OTHER)?;
    let mut last_open = Instant::now();
    while world.wire.ssh(OTHER)? == Reach::Open {
        last_open = Instant::now();
        ensure!(last_open < granted + 2 * TIME, "it is open for {} s", (last_open - begin).as_secs());
        thread::sleep(Duration::from_millis(500));
    }
    // The grant was made between `begin` and `granted`, and connections were tried twice a second.
    ensure!(last_open < granted + TIME + Duration::from_secs(1), "it ended late");
    ensure!(last_open + Duration::from_secs(5) > begin + TIME, "it ended early");
    world.wire.open(CLIENT)
}

fn reload(world: &mut World) -> Result<()> {
    world.without_gap(|world| world.done("systemctl reload jit-agent").map(drop))
}
