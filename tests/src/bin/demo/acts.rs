//! The acts of the demo, one after the other.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    scene::{ALICE, ALICE6, Grant, NEIGHBOUR6, OTHER, OTHER6, Scene},
    stage::Stage,
};

/// The time before the end in which typed lines are not counted: on a busy machine, such a line may leave after the
/// end.
const TOLERANCE: Duration = Duration::from_millis(300);

/// The wait for the echo of a line.
const ECHO: Duration = Duration::from_millis(1_500);

pub(crate) fn introduce(stage: &mut Stage) -> Result<()> {
    stage.title(
        "jit-agent: management ports stay shut at the network card, and open for one source and a limited time.",
    )?;
    stage.say(
        "
This machine isn't touched. Two hosts are made of network namespaces, and vanish with this demo:

     client                          server
     192.0.2.10   2001:db8::10       192.0.2.1   2001:db8::1
     192.0.2.11   2001:db8::11  ───  port 22: OpenSSH
                  2001:db8:1::10     port 80: a web server

Below, commands of the agent run on the server, ssh on the client, where `-b` chooses the address it comes from.
Options that name files or set time limits are left out.",
    )
}

pub(crate) fn unprotected(stage: &mut Stage, scene: &Scene) -> Result<()> {
    stage.step("Before: as on most hosts, SSH is open to everyone")?;
    scene.expect_ssh(stage, OTHER)
}

pub(crate) fn locked(stage: &mut Stage, scene: &mut Scene) -> Result<()> {
    stage.step("The agent starts and shuts port 22 at the network card")?;
    stage.say("config.toml says, apart from the paths of its files:")?;
    stage.output(&Scene::configuration().to_toml())?;
    scene.start_agent(stage)?;
    let outcome = scene.jitctl(stage, &["status"])?;
    stage.fact(outcome.code() == Some(0), "the agent is ready and has no faults")?;
    stage.say("Port 80 isn't listed, so nothing changes there:")?;
    scene.expect_web(stage, ALICE)?;
    stage.say("Port 22 doesn't answer any more, to anybody:")?;
    scene.expect_no_ssh(stage, ALICE)
}

pub(crate) fn opened_for_one_source(stage: &mut Stage, scene: &Scene) -> Result<Grant> {
    stage.step("Access is requested, within what the policy allows")?;
    let refused = scene
        .jitctl(stage, &["request", "--port", "22", "--from", "203.0.113.5", "--for", "12s", "-m", "From elsewhere"])?;
    stage.fact(refused.code() == Some(3), "a source outside the policy is refused (exit code 3)")?;
    let grant = scene.request(stage, ALICE, 14, "Look at the logs")?;
    scene.expect_ssh(stage, ALICE)?;
    scene.expect_no_ssh(stage, OTHER)?;
    let grants = scene.jitctl(stage, &["grants"])?;
    stage.fact(grants.stdout.contains(ALICE), "the grant is listed")?;
    Ok(grant)
}

pub(crate) fn ends_by_itself(stage: &mut Stage, scene: &Scene, grant: Grant) -> Result<()> {
    stage.step("The grant ends by itself, and takes the established session with it")?;
    let mut session = scene.open_session(stage, ALICE)?;
    stage.say("The session stays open; a line is typed every second, and the server sends it back:")?;
    let (mut before, mut after) = (Tally::default(), Tally::default());
    let mut number = 0;
    while after.typed < 3 {
        number += 1;
        let now = Instant::now();
        let echoed = session.echoes(&format!("line {number}"), ECHO)?;
        let ended = now >= grant.latest_end;
        let clock = if ended {
            format!("{:>4.1} s after the end", (now - grant.latest_end).as_secs_f64())
        } else {
            format!("{:>4.1} s left", (grant.latest_end - now).as_secs_f64())
        };
        stage.output(&format!("{clock}: line {number} {}", if echoed { "came back" } else { "… nothing" }))?;
        if now + TOLERANCE < grant.earliest_end {
            before.count(echoed);
        } else if now > grant.latest_end {
            after.count(echoed);
        }
        thread::sleep((now + Duration::from_secs(1)).saturating_duration_since(Instant::now()));
    }
    let (typed, echoed) = (before.typed, before.echoed);
    stage.fact(typed > 0 && echoed == typed, &format!("{echoed} of {typed} lines came back before the end"))?;
    let (typed, echoed) = (after.typed, after.echoed);
    stage.fact(echoed == 0, &format!("{echoed} of {typed} lines came back after it: the open session is cut off"))?;
    stage.say("And a new connection is shut out as well:")?;
    scene.expect_no_ssh(stage, ALICE)
}

/// The number of typed lines, and the number of those that came back.
#[derive(Default)]
struct Tally {
    typed: u32,
    echoed: u32,
}

impl Tally {
    fn count(&mut self, echoed: bool) {
        self.typed += 1;
        self.echoed += u32::from(echoed);
    }
}

pub(crate) fn prefix_in_ipv6(stage: &mut Stage, scene: &Scene) -> Result<()> {
    stage.step("The same in IPv6, for a whole prefix")?;
    let grant = scene.request(stage, "2001:db8::/64", 6, "A team's network")?;
    scene.expect_ssh(stage, ALICE6)?;
    scene.expect_ssh(stage, NEIGHBOUR6)?;
    scene.expect_no_ssh(stage, OTHER6)?;
    stage.countdown(grant.latest_end, "the grant ends")?;
    scene.expect_no_ssh(stage, ALICE6)?;
    scene.expect_web(stage, ALICE6)
}

pub(crate) fn agent_killed(stage: &mut Stage, scene: &mut Scene) -> Result<()> {
    stage.step("The agent is killed: the kernel goes on without it")?;
    let grant = scene.request(stage, ALICE, 8, "Made before the agent dies")?;
    scene.kill_agent(stage)?;
    let dead = scene.jitctl(stage, &["grants"])?;
    stage.fact(dead.code() == Some(5), "the agent is gone (exit code 5)")?;
    scene.expect_ssh(stage, ALICE)?;
    scene.expect_no_ssh(stage, OTHER)?;
    scene.expect_web(stage, OTHER)?;
    stage.countdown(grant.latest_end, "the grant ends, with nobody there to end it,")?;
    scene.expect_no_ssh(stage, ALICE)?;
    scene.expect_web(stage, ALICE)
}
