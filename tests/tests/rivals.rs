//! Rivals that were there first: a second agent, another XDP program, a directory that is not on a bpffs.

use std::{
    fs,
    os::unix::net::{UnixListener, UnixStream},
};

use anyhow::{Context, Result, ensure};
use jit_tests::{Agent, Config, Outcome, PATIENCE, Port, Reach, SILENCE, Topology, tcp_connects};

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";

fn ssh_only() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22))
}

fn expect_failure(outcome: &Outcome, parts: &[&str]) -> Result<()> {
    ensure!(outcome.code() == Some(1), "{outcome:?}");
    parts.iter().try_for_each(|part| {
        ensure!(outcome.stderr.contains(part), "{part:?} is not in {outcome:?}");
        Ok(())
    })
}

/// Expects that the first agent goes on as if nothing had happened.
fn expect_unaffected(net: &Topology, agent: &Agent, program: u64) -> Result<()> {
    assert_eq!(program_on_srv0(net)?, program);
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    assert_eq!(agent.grant_counts()?, (1, 1));
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
    Ok(())
}

fn program_on_srv0(net: &Topology) -> Result<u64> {
    let shown = net.server.ip("-json link show dev srv0")?.json()?;
    shown[0]["xdp"]["prog"]["id"].as_u64().with_context(|| format!("no XDP program in {shown}"))
}

#[test]
fn a_second_agent_with_the_same_pins_is_refused_and_the_first_goes_on() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    let program = program_on_srv0(&net)?;
    let second = agent.spawn()?.outcome(PATIENCE)?;
    let dir = agent.bpffs_dir().display().to_string();
    expect_failure(&second, &[&dir, "belongs to another jit-agent that is running", "stop that one first"])?;
    expect_unaffected(&net, &agent, program)
}

#[test]
fn a_second_agent_of_the_same_interface_filters_behind_the_first_which_goes_on() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    let program = program_on_srv0(&net)?;
    let config = Config::enforcing("srv0").port(Port::tcp(80));
    let mut second = Agent::prepare_named(&net.sandbox, &net.server, "second", config)?;
    second.launch()?;
    second.expect_drop(&net.client, OTHER, "192.0.2.1:80", "no_grant")?;
    expect_unaffected(&net, &agent, program)?;
    // The files that the second agent leaves behind are in nobody's way.
    second.stop()?;
    second.unload()?.success()?;
    ensure!(!second.bpffs_dir().exists(), "pins are left");
    assert_eq!(tcp_connects(&net.client, OTHER, "192.0.2.1:80", PATIENCE)?, Reach::Refused, "80 is still locked");
    expect_unaffected(&net, &agent, program)
}

#[test]
fn a_start_where_nothing_can_be_covered_loses_no_grants() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let grant = agent.grant(22, "TCP", ALICE, 600)?;
    for unloaded in [false, true] {
        agent.kill9();
        if unloaded {
            agent.lose_pins()?;
        }
        agent.configure(ssh_only().interfaces(&["nic7"]))?;
        agent.launch()?;
        assert!(agent.faults()?.contains("interface nic7: there is no such interface"), "{}", agent.faults()?);
        agent.kill9();
        agent.configure(ssh_only())?;
        agent.launch()?;
        assert_eq!(agent.grant_counts()?, (1, 1), "unloaded in between: {unloaded}");
        assert_eq!(agent.grants()?[0]["id"], grant.id);
        agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    }
    Ok(())
}

#[test]
fn a_directory_that_is_on_no_bpffs_is_refused_and_left_as_it_was() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, ssh_only())?;
    for (existing, dir) in [(false, net.sandbox.path("new")), (true, net.sandbox.path("theirs"))] {
        if existing {
            fs::create_dir(&dir)?;
            fs::write(dir.join("file"), "theirs")?;
        }
        let shown = dir.display().to_string();
        agent.configure(ssh_only().set("bpffs_dir", shown.as_str()))?;
        let outcome = agent.spawn()?.outcome(PATIENCE)?;
        expect_failure(&outcome, &[&shown, "is not on a BPF file system", "mount -t bpf", "set bpffs_dir"])?;
        assert_eq!(dir.exists(), existing);
        if existing {
            assert_eq!(fs::read_to_string(dir.join("file"))?, "theirs");
        }
        assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "something was locked");
    }
    Ok(())
}

#[test]
fn unloading_a_directory_that_is_on_no_bpffs_removes_nothing() -> Result<()> {
    let net = Topology::new()?;
    let dir = net.sandbox.path("theirs");
    fs::create_dir_all(dir.join("maps"))?;
    fs::write(dir.join("maps/file"), "theirs")?;
    fs::write(dir.join("link-1"), "theirs")?;
    let agent =
        Agent::prepare(&net.sandbox, &net.server, ssh_only().set("bpffs_dir", dir.display().to_string().as_str()))?;
    let outcome = agent.unload()?;
    ensure!(dir.join("maps/file").exists() && dir.join("link-1").exists(), "files of others were removed: {outcome:?}");
    expect_failure(&outcome, &["is not on a BPF file system"])
}

#[test]
fn a_socket_that_another_program_serves_is_left_alone() -> Result<()> {
    let net = Topology::new()?;
    let theirs = net.sandbox.path("theirs.sock");
    let _listener = UnixListener::bind(&theirs)?;
    let shown = theirs.display().to_string();
    let mut agent = Agent::prepare(&net.sandbox, &net.server, ssh_only().set("socket", shown.as_str()))?;
    expect_failure(&agent.spawn()?.outcome(PATIENCE)?, &[&shown])?;
    UnixStream::connect(&theirs)?;
    assert_eq!(
        tcp_connects(&net.client, ALICE, SSH, SILENCE)?,
        Reach::Silent,
        "the ports are locked before the socket is made, and stay so"
    );
    Ok(())
}
