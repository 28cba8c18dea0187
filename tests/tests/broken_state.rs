//! Foreign and damaged state: the agent touches nothing of it, the ports stay locked, and grants still end.

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};
use jit_tests::{
    Agent, Config, PATIENCE, Port, Program, Reach, Stream, Topology, Traffic, UdpServer, UdpSession, tcp_connects,
};
use serde_json::json;

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
const UDP: &str = "192.0.2.1:5000";

fn config() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22)).port(Port::udp(5000))
}

fn store(agent: &Agent) -> PathBuf {
    agent.state_dir().join("jit-agent.sqlite")
}

/// Expects that the ports are locked, that the fault is reported, and that nothing can be opened.
fn expect_locked_and_degraded(net: &Topology, agent: &Agent, fault: &[&str]) -> Result<()> {
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    let status = agent.jitctl(&["status"])?;
    ensure!(status.code() == Some(7), "{status:?}");
    for part in fault {
        ensure!(status.stdout.contains(part), "{part:?} is not in {status:?}");
    }
    let answer = agent.request(22, "TCP", &[OTHER], 600)?;
    ensure!(answer.status == 503 && answer.json()?["code"] == "unavailable", "{answer:?}");
    ensure!(fault.iter().all(|part| answer.body.contains(part)), "{answer:?}");
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")
}

#[test]
fn a_file_that_is_no_store_is_left_as_it_is_and_the_ports_are_locked() -> Result<()> {
    let net = Topology::new()?;
    let foreign = net.sandbox.path("foreign.sqlite");
    let sql = "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);";
    Program::new("sqlite3").arg(&foreign).arg(sql).spawn()?.outcome(PATIENCE)?.success()?;
    let mut agent = Agent::prepare(&net.sandbox, &net.server, config())?;
    for (content, found) in [
        (b"mails of 2019\n".to_vec(), "too short to be an SQLite database"),
        (b"mails of 2019\n".repeat(1000), "does not start as an SQLite database does"),
        (fs::read(&foreign)?, "SQLite database with application_id 0x0"),
    ] {
        fs::create_dir_all(agent.state_dir())?;
        fs::write(store(&agent), &content)?;
        agent.launch()?;
        let path = store(&agent).display().to_string();
        expect_locked_and_degraded(&net, &agent, &[&path, "is not a store of jit-agent", found, "Move it away"])?;
        agent.stop()?;
        ensure!(fs::read(store(&agent))? == content, "the file was changed");
        for suffix in ["-wal", "-shm", "-journal"] {
            ensure!(!fs::exists(format!("{path}{suffix}"))?, "{suffix} was made beside it");
        }
        agent.lose_pins()?;
        fs::remove_dir_all(agent.state_dir())?;
    }
    Ok(())
}

#[test]
fn with_a_damaged_store_grants_in_the_kernel_end_on_time_and_can_be_revoked() -> Result<()> {
    let net = Topology::new()?;
    let _udp = UdpServer::echo(&net.server, UDP)?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    agent.stop()?;
    agent.launch()?;
    let short = agent.grant(5000, "UDP", ALICE, 4)?;
    agent.kill9();
    let mut session = UdpSession::open(&net.client, ALICE, UDP)?;
    let damaged = {
        let mut bytes = fs::read(store(&agent))?;
        // The header stays, so that the agent recognises its own store; all pages after the first are noise.
        ensure!(bytes.len() > 8192, "the store is too small to be damaged: {} bytes", bytes.len());
        bytes[4096..].fill(0xa5);
        bytes
    };
    for suffix in ["-wal", "-shm"] {
        let beside = format!("{}{suffix}", store(&agent).display());
        if fs::exists(&beside)? {
            fs::remove_file(&beside)?;
        }
    }
    fs::write(store(&agent), &damaged)?;
    agent.launch()?;
    short.cuts_on_time(&mut session)?;
    expect_locked_and_degraded(&net, &agent, &["is damaged", "restore it from a backup"])?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    let revoked = agent.api("POST", "/v1/grants/revoke", Some(&json!({"all": true, "reason": "locked out"})))?;
    ensure!(revoked.status == 200, "{revoked:?}");
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    ensure!(fs::read(store(&agent))? == damaged, "the file was changed");
    Ok(())
}

#[test]
fn a_store_that_comes_back_finds_its_grants() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    let grant = agent.grant(22, "TCP", ALICE, 600)?;
    agent.stop()?;
    let whole = fs::read(store(&agent))?;
    fs::write(store(&agent), "disk trouble")?;
    agent.launch()?;
    expect_locked_and_degraded(&net, &agent, &["is not a store of jit-agent"])?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    agent.stop()?;
    fs::write(store(&agent), whole)?;
    agent.launch()?;
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
    assert_eq!(agent.grant_counts()?, (1, 1));
    assert_eq!(agent.grants()?[0]["id"], grant.id);
    Ok(())
}

#[test]
fn a_store_that_comes_back_after_new_maps_were_made_finds_its_grants() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    let grant = agent.grant(22, "TCP", ALICE, 600)?;
    agent.stop()?;
    agent.lose_pins()?;
    let whole = fs::read(store(&agent))?;
    fs::write(store(&agent), "disk trouble")?;
    agent.launch()?;
    // An empty set of new maps says nothing about the grants: nobody has revoked any of them.
    expect_locked_and_degraded(&net, &agent, &["is not a store of jit-agent"])?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    agent.stop()?;
    fs::write(store(&agent), whole)?;
    agent.launch()?;
    assert_eq!(agent.grant_counts()?, (1, 1), "{}", agent.api("GET", "/v1/requests", None)?.body);
    assert_eq!(agent.grants()?[0]["id"], grant.id);
    Ok(())
}

#[test]
fn a_grant_with_a_value_that_can_not_be_is_named_and_nothing_is_opened() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    let grant = agent.grant(22, "TCP", ALICE, 600)?;
    agent.stop()?;
    agent.lose_pins()?;
    let sql = format!("UPDATE grants SET source = '0.0.0.0/99' WHERE id = {}", grant.id);
    Program::new("sqlite3").arg(store(&agent)).arg(sql).spawn()?.outcome(PATIENCE)?.success()?;
    agent.launch()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    expect_locked_and_degraded(&net, &agent, &["table grants", "source is `0.0.0.0/99`", "restore the store"])
}

#[test]
fn a_pinned_map_of_another_shape_is_replaced_and_the_grants_are_restored() -> Result<()> {
    for (replaced, by) in [("SLOTS", "SETTINGS"), ("HOSTS4", "HOSTS6"), ("COUNTERS", "PORTS")] {
        let net = Topology::new()?;
        let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
        let grant = agent.grant(22, "TCP", ALICE, 600)?;
        agent.kill9();
        let pin = |name: &str| agent.bpffs_dir().join("maps").join(name);
        fs::remove_file(pin(replaced))?;
        fs::hard_link(pin(by), pin(replaced))?;
        agent.launch()?;
        let warning = agent.process()?.wait_for_line(Stream::Stderr, "can't be taken over", PATIENCE)?;
        for part in [replaced, "Shape", "is needed", "restored from the store"] {
            ensure!(warning.contains(part), "{part:?} is not in {warning:?}");
        }
        agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
        assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host answers");
        assert_eq!(agent.grants()?[0]["id"], grant.id);
        assert_eq!(agent.grant_counts()?, (1, 1));
        assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
        // The new set of maps is sound, so the next start adopts it.
        agent.restart()?;
        ensure!(!agent.process()?.text(Stream::Stderr).contains("can't be taken over"), "replaced again");
        assert_eq!(agent.grant_counts()?, (1, 1));
    }
    Ok(())
}

#[test]
fn replacing_maps_of_another_shape_lets_no_packet_through() -> Result<()> {
    let net = Topology::new()?;
    let _udp = UdpServer::echo(&net.server, UDP)?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    let locked = Traffic::unanswered(&net.client, OTHER, UDP)?;
    for _ in 0..2 {
        agent.kill9();
        fs::remove_file(agent.bpffs_dir().join("maps/SLOTS"))?;
        agent.launch()?;
    }
    let tally = locked.finish()?;
    assert_eq!(tally.answered, 0, "of {} datagrams", tally.sent);
    Ok(())
}

#[test]
fn without_a_place_for_its_state_the_ports_are_locked_and_break_glass_gets_in() -> Result<()> {
    let net = Topology::new()?;
    let config = config().set("break_glass", vec![ALICE]).set("roles", roles_of_nobody());
    let mut agent = Agent::prepare(&net.sandbox, &net.server, config)?;
    fs::write(agent.state_dir(), "no directory")?;
    agent.launch()?;
    expect_locked_and_degraded(&net, &agent, &[&agent.state_dir().display().to_string()])?;
    ensure!(agent.faults()?.contains("no-such-group"), "{}", agent.status()?);
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "break-glass: the host answers");
    let unloaded = agent.unload()?.success()?;
    ensure!(unloaded.stdout.contains("systemctl disable --now jit-agent"), "{unloaded:?}");
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "opened all the same");
    Ok(())
}

/// Roles for a group that does not exist.
fn roles_of_nobody() -> toml::Table {
    toml::Table::from_iter([("admin".to_owned(), vec!["@no-such-group"].into())])
}

#[test]
fn a_full_disk_is_a_fault_and_admins_still_get_in_a_few_times() -> Result<()> {
    let net = Topology::new()?;
    let state = net.sandbox.path("small");
    fs::create_dir(&state)?;
    let size = ["-t", "tmpfs", "-o", "size=24m", "tmpfs"];
    let mounted = std::process::Command::new("mount").args(size).arg(&state).status()?;
    ensure!(mounted.success(), "a small file system can't be mounted");
    let config = config().set("state_dir", state.to_string_lossy().into_owned());
    let agent = Agent::start(
        &net.sandbox,
        &net.server,
        config.set("roles", toml::Table::from_iter([("requester".to_owned(), vec!["alice"].into())])),
    )?;
    let request = |source: &'static str| ["request", "--port", "22", "--from", source, "--for", "1h", "-m", "x"];
    agent.jitctl_as("alice", &request("192.0.2.9"))?.success()?;
    agent.jitctl(&["status"])?.success()?;

    // Somebody else fills the disk.
    let mut filler = fs::File::create(state.join("filler"))?;
    while std::io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {}
    let status = agent.jitctl(&["status"])?;
    ensure!(status.code() == Some(7) && status.stdout.contains("no space left"), "{status:?}");
    ensure!(agent.api("GET", "/metrics", None)?.body.contains("jit_agent_store_working 0\n"));
    let refused = agent.jitctl_as("alice", &request("192.0.2.8"))?;
    ensure!(refused.stderr.contains("nothing was opened"), "{refused:?}");
    for source in ["192.0.2.10", "192.0.2.11", "192.0.2.12"] {
        agent.jitctl(&request(source))?.success()?;
    }
    agent.jitctl_as("alice", &["revoke", "1"])?.success()?;

    drop(filler);
    fs::remove_file(state.join("filler"))?;
    agent.jitctl(&["status"])?.success()?;
    agent.jitctl_as("alice", &request("192.0.2.8"))?.success()?;
    Ok(())
}
