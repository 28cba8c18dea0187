//! The kernel enforces while the agent is killed, stopped, restarted or unloaded.

use std::{fs, os::unix::fs::MetadataExt};

use anyhow::{Context, Result};
use jit_tests::{
    Agent, Config, Link, Namespace, PATIENCE, Port, Reach, SILENCE, Tally, TcpServer, TcpSession, Topology, Traffic,
    UdpServer, UdpSession, tcp_connects, udp_echoes,
};

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
const UDP: &str = "192.0.2.1:5000";

fn ssh_only() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22))
}

fn udp_only() -> Config {
    Config::enforcing("srv0").port(Port::udp(5000))
}

/// The id of the XDP program on a device, as the kernel reports it.
fn program_on(namespace: &Namespace, device: &str) -> Result<Option<u64>> {
    let shown = namespace.ip(&format!("-json link show dev {device}"))?.json()?;
    Ok(shown[0]["xdp"]["prog"]["id"].as_u64())
}

/// The inode numbers of all pins: a new link or map has a new inode.
fn pins(agent: &Agent) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for dir in [agent.bpffs_dir(), agent.bpffs_dir().join("maps")] {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                found.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.ino()));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[test]
fn killing_the_agent_changes_nothing_for_packets() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let _web = TcpServer::echo(&net.server, "[::]:80")?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    let mut session = TcpSession::open(&net.client, ALICE, SSH)?;
    agent.kill9();
    assert!(session.echoes(PATIENCE)?, "the established connection was cut off");
    let reach = |from, to| tcp_connects(&net.client, from, to, SILENCE);
    assert_eq!(reach(ALICE, SSH)?, Reach::Open);
    assert_eq!(reach(OTHER, SSH)?, Reach::Silent);
    assert_eq!(reach(OTHER, "192.0.2.1:80")?, Reach::Open);
    agent.launch()?;
    assert!(session.echoes(PATIENCE)?, "the established connection was cut off");
    assert_eq!(reach(ALICE, SSH)?, Reach::Open);
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    Ok(())
}

#[test]
fn killing_and_restarting_loses_no_granted_packet_and_lets_no_other_through() -> Result<()> {
    let net = Topology::new()?;
    let _udp = UdpServer::echo(&net.server, UDP)?;
    let mut agent = Agent::start(&net.sandbox, &net.server, udp_only())?;
    agent.grant(5000, "UDP", ALICE, 600)?;
    let (dropped, pinned, first) = (agent.dropped()?, pins(&agent)?, program_on(&net.server, "srv0")?);
    assert!(first.is_some() && pinned.iter().any(|(name, _)| name.starts_with("link-")), "{pinned:?}");
    let granted = Traffic::answered(&net.client, ALICE, UDP)?;
    let locked = Traffic::unanswered(&net.client, OTHER, UDP)?;
    let mut programs = vec![first];
    for _ in 0..3 {
        agent.kill9();
        agent.launch()?;
        programs.push(program_on(&net.server, "srv0")?);
        assert_eq!(pins(&agent)?, pinned, "link and maps are adopted, not replaced");
    }
    agent.restart()?;
    let (granted, locked) = (granted.finish()?, locked.finish()?);
    assert_eq!(granted, Tally { answered: granted.sent, ..granted }, "granted packets were lost");
    assert_eq!(locked, Tally { answered: 0, ..locked }, "packets without a grant got through");
    assert_eq!(agent.dropped()? - dropped, locked.sent, "each was counted, and the counters outlived the agent");
    programs.dedup();
    assert_eq!(programs.len(), 4, "each start brings its own program: {programs:?}");
    Ok(())
}

#[test]
fn maps_of_another_layout_are_replaced_without_a_granted_packet_lost_or_another_let_through() -> Result<()> {
    let net = Topology::new()?;
    let _udp = UdpServer::echo(&net.server, UDP)?;
    let mut agent = Agent::start(&net.sandbox, &net.server, udp_only())?;
    agent.grant(5000, "UDP", ALICE, 600)?;
    let (pinned, first) = (pins(&agent)?, program_on(&net.server, "srv0")?);
    let granted = Traffic::answered(&net.client, ALICE, UDP)?;
    let locked = Traffic::unanswered(&net.client, OTHER, UDP)?;
    for _ in 0..3 {
        agent.kill9();
        // A successor with one map more finds the same situation.
        fs::remove_file(agent.bpffs_dir().join("maps/ACTIVITY"))?;
        agent.launch()?;
    }
    let (granted, locked) = (granted.finish()?, locked.finish()?);
    assert_eq!(granted, Tally { answered: granted.sent, ..granted }, "granted packets were lost");
    assert_eq!(locked, Tally { answered: 0, ..locked }, "packets without a grant got through");
    let (link, maps): (Vec<_>, Vec<_>) = pins(&agent)?.into_iter().partition(|(name, _)| name.starts_with("link-"));
    assert!(link.iter().all(|link| pinned.contains(link)), "the link is adopted: {link:?}, before {pinned:?}");
    assert!(!maps.iter().any(|map| pinned.contains(map)), "the maps are new: {maps:?}, before {pinned:?}");
    assert_ne!(program_on(&net.server, "srv0")?, first);
    assert_eq!(agent.grant_counts()?, (1, 1));
    Ok(())
}

#[test]
fn a_grant_ends_on_time_without_the_agent() -> Result<()> {
    let net = Topology::new()?;
    let _udp = UdpServer::echo(&net.server, UDP)?;
    let mut agent = Agent::start(&net.sandbox, &net.server, udp_only())?;
    let grant = agent.grant(5000, "UDP", ALICE, 3)?;
    let mut session = UdpSession::open(&net.client, ALICE, UDP)?;
    agent.kill9();
    grant.cuts_on_time(&mut session)?;
    agent.launch()?;
    assert_eq!(agent.grant_counts()?, (0, 0));
    let requests = agent.api("GET", "/v1/requests", None)?.json()?;
    assert_eq!(requests["value"][0]["grants"][0]["status"], "Expired", "{requests}");
    assert_eq!(udp_echoes(&net.client, ALICE, UDP, SILENCE)?, Reach::Silent, "it is open again");
    Ok(())
}

#[test]
fn a_stopped_agent_leaves_locked_ports_shut_and_granted_ones_open() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    assert_eq!(agent.stop()?.code(), Some(0));
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, SILENCE)?, Reach::Silent);
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open);
    assert_eq!(agent.jitctl(&["grants"])?.code(), Some(5));
    Ok(())
}

#[test]
fn grants_survive_a_restart_with_number_end_and_requestor() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    agent.grant(22, "TCP", "2001:db8::/64", 1200)?;
    let told = |agent: &Agent| -> Result<Vec<String>> {
        let fields = ["id", "requestId", "number", "protocol", "source", "requestor", "startTimeUtc", "status"];
        let grants = agent.grants()?;
        Ok(grants.iter().map(|grant| fields.map(|field| grant[field].to_string()).join(" ")).collect())
    };
    let remaining = |agent: &Agent| -> Result<Vec<u64>> {
        Ok(agent.grants()?.iter().filter_map(|grant| grant["remainingSeconds"].as_u64()).collect())
    };
    let (before, left) = (told(&agent)?, remaining(&agent)?);
    assert!(before.len() == 2 && before[0].contains(r#""root""#), "{before:?}");
    agent.kill9();
    agent.launch()?;
    assert_eq!(told(&agent)?, before);
    for (after, before) in remaining(&agent)?.into_iter().zip(left) {
        assert!(after <= before && before - after < 60, "{before} s were left before the restart, {after} after");
    }
    assert_eq!(agent.grant_counts()?, (2, 2));
    Ok(())
}

#[test]
fn a_revoked_grant_does_not_come_back_after_a_restart() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let revoked = agent.grant(22, "TCP", ALICE, 600)?;
    agent.grant(22, "TCP", OTHER, 600)?;
    agent.revoke(&[revoked.id])?;
    agent.kill9();
    agent.launch()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "the other one is still open");
    assert_eq!(agent.grants()?.len(), 1);
    // The same holds when the store must restore everything.
    agent.kill9();
    agent.lose_pins()?;
    agent.launch()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert_eq!(agent.grants()?.len(), 1);
    Ok(())
}

#[test]
fn a_restart_opens_no_port_that_nobody_named() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    let observing = ssh_only().set("mode", "observe");
    for config in [observing.clone(), Config::enforcing("srv0").port(Port::tcp(443))] {
        agent.configure(config)?;
        agent.restart()?;
        agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    }
    let status = agent.status()?.to_string();
    assert!(status.contains("jitctl reload --allow-open 22/tcp"), "{status}");

    // The command of the fault opens, and so does root by hand while no agent runs.
    agent.jitctl(&["reload", "--yes", "--allow-open", "22/tcp"])?.success()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused);
    agent.configure(ssh_only())?;
    agent.restart()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    agent.configure(observing)?;
    let refused = agent.subcommand("accept")?;
    assert!(refused.stderr.contains("an agent runs"), "{}", refused.stderr);
    agent.stop()?;
    let accepted = agent.subcommand("accept")?.success()?;
    assert!(accepted.stdout.contains("mode=observe"), "{}", accepted.stdout);
    agent.launch()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused);
    let audit = agent.jitctl(&["--json", "audit", "--event", "accepted"])?.success()?;
    assert!(audit.stdout.contains("\"root\""), "{}", audit.stdout);
    Ok(())
}

#[test]
fn a_restart_uncovers_the_interfaces_that_are_no_longer_configured() -> Result<()> {
    let net = Topology::new()?;
    Link::new(&net.server, "srv1", &net.client, "cli1")
        .address_a("198.51.100.1/24")
        .address_b("198.51.100.10/24")
        .up()?;
    let both = ssh_only().set("interfaces", ["srv0", "srv1"].map(toml::Value::from).to_vec());
    let mut agent = Agent::start(&net.sandbox, &net.server, both)?;
    for (from, to) in [(ALICE, SSH), ("198.51.100.10", "198.51.100.1:22")] {
        agent.expect_drop(&net.client, from, to, "no_grant")?;
    }
    agent.configure(ssh_only())?;
    agent.restart()?;
    agent.expect_drop(&net.client, "198.51.100.10", "198.51.100.1:22", "no_grant")?;
    agent.stop()?;
    agent.subcommand("accept")?.success()?;
    agent.launch()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert_eq!(
        tcp_connects(&net.client, "198.51.100.10", "198.51.100.1:22", PATIENCE)?,
        Reach::Refused,
        "srv1 is no longer covered"
    );
    assert_eq!(program_on(&net.server, "srv1")?, None);
    let links = pins(&agent)?.into_iter().filter(|(name, _)| name.starts_with("link-")).count();
    assert_eq!(links, 1);
    Ok(())
}

#[test]
fn unloading_without_a_daemon_opens_everything_and_leaves_no_pin() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    agent.kill9();
    let outcome = agent.unload()?.success()?;
    assert!(outcome.stdout.contains("the ports are open"), "{outcome:?}");
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "the host itself answers");
    assert_eq!(program_on(&net.server, "srv0")?, None);
    assert!(!agent.bpffs_dir().exists());
    let again = agent.unload()?.success()?;
    assert!(again.stdout.contains("nothing is loaded"), "{again:?}");
    Ok(())
}

#[test]
fn unloading_needs_no_valid_configuration() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.configure(ssh_only().set("enforce", true))?;
    agent.unload()?.success()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "the host itself answers");
    Ok(())
}

#[test]
fn unloading_under_a_running_daemon_opens_everything_and_the_status_says_so() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", ALICE, 600)?;
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
    agent.unload()?.success()?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "the host itself answers");
    assert!(!agent.bpffs_dir().exists());
    let status = agent.jitctl(&["status"])?;
    assert_eq!(status.code(), Some(7), "{status:?}");
    assert!(status.stdout.contains("NOT ATTACHED"), "{status:?}");
    assert!(status.stdout.contains("no longer attached; `jit-agent enable` loads it again"), "{status:?}");
    Ok(())
}

#[test]
fn a_start_after_all_pins_were_lost_locks_again_and_restores_the_grants() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let grant = agent.grant(22, "TCP", ALICE, 600)?;
    agent.kill9();
    agent.lose_pins()?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "the host itself answers");
    agent.launch()?;
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    assert_eq!(agent.grants()?[0]["id"], grant.id);
    assert_eq!(agent.grant_counts()?, (1, 1));
    Ok(())
}
