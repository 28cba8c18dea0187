//! Which clients are admitted, where and how long: packets against grants, while the agent runs.

use anyhow::Result;
use jit_tests::{
    Agent, Config, PATIENCE, Port, Reach, SILENCE, TcpServer, TcpSession, Topology, UdpServer, UdpSession,
    tcp_connects, udp_echoes,
};

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";

fn ssh_only() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22))
}

#[test]
fn a_protected_port_is_silent_and_all_others_are_as_before() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let _web = TcpServer::echo(&net.server, "[::]:80")?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open, "before the agent starts");
    let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0"))?;
    for (from, to) in [(ALICE, "192.0.2.1"), ("2001:db8::10", "[2001:db8::1]")] {
        for protected in [22, 3389, 5985, 5986] {
            agent.expect_drop(&net.client, from, &format!("{to}:{protected}"), "no_grant")?;
        }
        assert_eq!(tcp_connects(&net.client, from, &format!("{to}:80"), PATIENCE)?, Reach::Open, "{from}");
        assert_eq!(tcp_connects(&net.client, from, &format!("{to}:81"), PATIENCE)?, Reach::Refused, "{from}");
    }
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(0));
    Ok(())
}

#[test]
fn observing_drops_nothing_and_counts_what_it_would_drop() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only().set("mode", "observe"))?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open);
    let status = agent.status()?;
    let counters = status["counters"].as_array().cloned().unwrap_or_default();
    let counted = |counter: &serde_json::Value| {
        counter["mode"] == "observe" && counter["reason"] == "no_grant" && counter["packets"].as_u64() > Some(0)
    };
    assert!(counters.iter().any(counted), "{status}");
    assert_eq!(agent.dropped()?, 0);
    Ok(())
}

#[test]
fn a_grant_requested_with_jitctl_admits_its_source_and_no_other() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    let told = agent.jitctl(&["request", "--port", "22", "--from", ALICE, "--for", "10m", "-m", "logs"])?.success()?;
    assert!(told.stdout.contains("22/tcp open for 192.0.2.10 until"), "{told:?}");
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open);
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    assert!(agent.counted("host_grant")? > 0);
    Ok(())
}

#[test]
fn a_grant_requested_over_the_api_admits_its_source_and_no_other() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let grant = agent.grant(22, "TCP", "2001:db8::10", 600)?;
    let to = "[2001:db8::1]:22";
    assert_eq!(tcp_connects(&net.client, "2001:db8::10", to, PATIENCE)?, Reach::Open);
    agent.expect_drop(&net.client, "2001:db8::11", to, "no_grant")?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    let listed = agent.grants()?;
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["id"], &listed[0]["source"]), (&grant.id.into(), &"2001:db8::10/128".into()));
    assert_eq!(agent.grant_counts()?, (1, 1));
    Ok(())
}

#[test]
fn an_ipv6_prefix_grant_admits_the_prefix_and_nothing_beside_it() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    agent.grant(22, "TCP", "2001:db8::/64", 600)?;
    for inside in ["2001:db8::10", "2001:db8::11"] {
        assert_eq!(tcp_connects(&net.client, inside, "[2001:db8::1]:22", PATIENCE)?, Reach::Open, "{inside}");
    }
    agent.expect_drop(&net.client, "2001:db8:1::10", "[2001:db8:1::1]:22", "no_grant")?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    Ok(())
}

#[test]
fn a_protected_udp_port_opens_for_its_source_and_its_tcp_namesake_is_untouched() -> Result<()> {
    let net = Topology::new()?;
    let to = "192.0.2.1:5000";
    let _services = (UdpServer::echo(&net.server, to)?, TcpServer::echo(&net.server, to)?);
    let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0").port(Port::udp(5000)))?;
    assert_eq!(udp_echoes(&net.client, ALICE, to, SILENCE)?, Reach::Silent);
    assert_eq!(tcp_connects(&net.client, ALICE, to, PATIENCE)?, Reach::Open, "TCP isn't listed");
    agent.grant(5000, "UDP", ALICE, 600)?;
    assert_eq!(udp_echoes(&net.client, ALICE, to, PATIENCE)?, Reach::Open);
    assert_eq!(udp_echoes(&net.client, OTHER, to, SILENCE)?, Reach::Silent);
    assert_eq!(tcp_connects(&net.client, OTHER, to, PATIENCE)?, Reach::Open, "TCP isn't listed");
    Ok(())
}

#[test]
fn a_port_for_any_protocol_covers_tcp_and_udp_and_opens_as_asked() -> Result<()> {
    let net = Topology::new()?;
    let to = "192.0.2.1:3389";
    let _services = (UdpServer::echo(&net.server, to)?, TcpServer::echo(&net.server, to)?);
    let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0").port(Port::new(3389, "any")))?;
    for from in [ALICE, OTHER] {
        agent.expect_drop(&net.client, from, to, "no_grant")?;
        assert_eq!(udp_echoes(&net.client, from, to, SILENCE)?, Reach::Silent, "{from}");
    }
    agent.grant(3389, "*", ALICE, 600)?;
    assert_eq!(tcp_connects(&net.client, ALICE, to, PATIENCE)?, Reach::Open);
    assert_eq!(udp_echoes(&net.client, ALICE, to, PATIENCE)?, Reach::Open);
    agent.grant(3389, "UDP", OTHER, 600)?;
    assert_eq!(udp_echoes(&net.client, OTHER, to, PATIENCE)?, Reach::Open);
    agent.expect_drop(&net.client, OTHER, to, "no_grant")?;
    Ok(())
}

#[test]
fn revoking_acts_at_once_on_new_and_on_established_connections() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let revoked = agent.grant(22, "TCP", ALICE, 600)?;
    agent.grant(22, "TCP", OTHER, 600)?;
    let mut theirs = TcpSession::open(&net.client, ALICE, SSH)?;
    let mut others = TcpSession::open(&net.client, OTHER, SSH)?;
    assert!(theirs.echoes(PATIENCE)? && others.echoes(PATIENCE)?);
    agent.jitctl(&["revoke", &revoked.id.to_string(), "-m", "done"])?.success()?;
    assert!(!theirs.echoes(SILENCE)?, "the established connection goes on");
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert!(others.echoes(PATIENCE)?, "another grant's connection was cut off");
    assert_eq!(agent.grant_counts()?, (1, 1));
    Ok(())
}

#[test]
fn a_grant_ends_on_time_and_takes_established_connections_with_it() -> Result<()> {
    let net = Topology::new()?;
    let _udp = UdpServer::echo(&net.server, "192.0.2.1:3389")?;
    let _tcp = TcpServer::echo(&net.server, "192.0.2.1:3389")?;
    let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0"))?;
    let grant = agent.grant(3389, "*", ALICE, 3)?;
    let mut connection = TcpSession::open(&net.client, ALICE, "192.0.2.1:3389")?;
    assert!(connection.echoes(PATIENCE)?);
    grant.cuts_on_time(&mut UdpSession::open(&net.client, ALICE, "192.0.2.1:3389")?)?;
    assert!(!connection.echoes(SILENCE)?, "the established connection outlives the grant");
    assert_eq!(agent.grants()?, [] as [serde_json::Value; 0]);
    assert_eq!(agent.grant_counts()?, (0, 0));
    agent.expect_drop(&net.client, ALICE, "192.0.2.1:3389", "no_grant")?;
    let requests = agent.api("GET", "/v1/requests", None)?.json()?;
    assert_eq!(requests["value"][0]["grants"][0]["status"], "Expired", "{requests}");
    Ok(())
}

#[test]
fn the_longer_of_two_grants_for_one_source_counts() -> Result<()> {
    let net = Topology::new()?;
    let _udp = UdpServer::echo(&net.server, "192.0.2.1:5000")?;
    let agent = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0").port(Port::udp(5000)))?;
    let long = agent.grant(5000, "UDP", ALICE, 3)?;
    let short = agent.grant(5000, "UDP", ALICE, 1)?;
    let revoked = agent.grant(5000, "UDP", ALICE, 600)?;
    assert_eq!(agent.grants()?.len(), 3);
    agent.revoke(&[revoked.id])?;
    assert!(short.latest_end < long.earliest_end);
    long.cuts_on_time(&mut UdpSession::open(&net.client, ALICE, "192.0.2.1:5000")?)
}

#[test]
fn nested_prefix_grants_end_independently() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, "[::]:22")?;
    let agent = Agent::start(&net.sandbox, &net.server, ssh_only())?;
    let reach = |from| tcp_connects(&net.client, from, SSH, SILENCE);
    for (inner, first, second) in [
        // The order of revocation: the inner prefix first, then the outer one, and the reverse.
        ("192.0.2.8/30", 0, 1),
        ("192.0.2.8/30", 1, 0),
        ("192.0.2.10", 0, 1),
        ("192.0.2.10", 1, 0),
    ] {
        let ids = [agent.grant(22, "TCP", inner, 600)?.id, agent.grant(22, "TCP", "192.0.2.0/24", 600)?.id];
        // 192.0.2.8/30 holds both clients, so only a host grant keeps OTHER out.
        assert_eq!((reach(ALICE)?, reach(OTHER)?), (Reach::Open, Reach::Open));
        agent.revoke(&[ids[first]])?;
        let outer_is_left = first == 0;
        assert_eq!(reach(ALICE)?, Reach::Open, "{inner}, outer is left: {outer_is_left}");
        let others = if outer_is_left || inner.contains('/') { Reach::Open } else { Reach::Silent };
        assert_eq!(reach(OTHER)?, others, "{inner}, outer is left: {outer_is_left}");
        agent.revoke(&[ids[second]])?;
        assert_eq!((reach(ALICE)?, reach(OTHER)?), (Reach::Silent, Reach::Silent), "{inner}");
    }
    Ok(())
}
