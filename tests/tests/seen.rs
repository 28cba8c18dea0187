//! What people and programs learn about packets: events, the use of grants, `why`, metrics.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use jit_tests::{
    Agent, Config, FrameSender, PATIENCE, Port, Process, Reach, Stream, TcpServer, Topology, UdpServer, tcp_connects,
    udp_echoes,
    verdicts::frame::{Ipv4, protocol, segment},
};
use rustix::process::Signal;
use serde_json::Value;

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
const RDP: &str = "192.0.2.1:3389";

fn config() -> Config {
    Config::enforcing("srv0").port(Port::tcp(22)).port(Port::udp(3389))
}

/// Starts `jitctl watch`, which sees all events from now on.
fn watch(net: &Topology, agent: &Agent, options: &[&str]) -> Result<Process> {
    let watching = agent.client(&[&["watch"], options].concat())?.spawn_in(&net.server)?;
    watching.wait_for_line(Stream::Stdout, "verdict", PATIENCE)?;
    Ok(watching)
}

#[test]
fn packets_that_are_dropped_are_seen_with_source_port_reason_and_interface() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    let watching = watch(&net, &agent, &[])?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    agent.expect_drop(&net.client, "2001:db8::11", "[2001:db8::1]:22", "no_grant")?;
    assert_eq!(udp_echoes(&net.client, OTHER, RDP, Duration::from_millis(1))?, Reach::Silent);
    let mut packet = Ipv4::new([192, 0, 2, 10].into(), protocol::TCP, segment(22));
    packet.header_words = Some(4);
    FrameSender::new(&net.client, "cli0")?.send(&packet.frame())?;
    for (what, parts) in [
        ("22/tcp      192.0.2.10 ", ["drop", "no_grant", "srv0"]),
        ("22/tcp      2001:db8::11", ["drop", "no_grant", "srv0"]),
        ("3389/udp    192.0.2.11", ["drop", "no_grant", "srv0"]),
        ("bad_ipv4_header_length", ["drop", "-", "srv0"]),
    ] {
        let line = watching.wait_for_line(Stream::Stdout, what, PATIENCE)?;
        ensure!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    Ok(())
}

#[test]
fn what_observing_lets_pass_is_seen_as_what_would_be_dropped() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, SSH)?;
    let agent = Agent::start(&net.sandbox, &net.server, config().set("mode", "observe"))?;
    let watching = watch(&net, &agent, &[])?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open);
    let line = watching.wait_for_line(Stream::Stdout, "22/tcp", PATIENCE)?;
    ensure!(line.contains("would drop") && line.contains("no_grant"), "{line}");
    Ok(())
}

#[test]
fn the_last_connection_of_a_grant_is_one_that_was_seen_not_a_request() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, SSH)?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    let watching = watch(&net, &agent, &[])?;
    agent.grant(22, "TCP", ALICE, 600)?;
    agent.grant(22, "TCP", OTHER, 600)?;
    let last = |agent: &Agent, source: &str| -> Result<Value> {
        let grants = agent.grants()?;
        let grant = grants.iter().find(|grant| grant["source"] == format!("{source}/32")).context("no such grant")?;
        Ok(grant["lastConnectionTimeUtc"].clone())
    };
    assert_eq!(last(&agent, ALICE)?, Value::Null, "a request is no connection");
    ensure!(agent.jitctl(&["grants"])?.success()?.stdout.matches("never").count() == 2, "both were never used");
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open);
    let line = watching.wait_for_line(Stream::Stdout, "192.0.2.10", PATIENCE)?;
    ensure!(line.contains("pass") && line.contains("host_grant"), "{line}");
    let seen = last(&agent, ALICE)?;
    ensure!(seen.is_string() && last(&agent, OTHER)?.is_null(), "{seen}");
    agent.restart()?;
    // The kernel kept the time of the connection. Each run compares the two clocks anew, which may shift the same
    // moment a little.
    let (before, after) = (time(&seen)?, time(&last(&agent, ALICE)?)?);
    ensure!(after.duration_since(before).abs() < jiff::SignedDuration::from_millis(50), "{before} became {after}");
    let ports = agent.api("GET", "/v1/ports", None)?.json()?;
    ensure!(ports["value"][0]["lastConnectionTimeUtc"].is_string(), "{ports}");
    ensure!(ports["value"][1]["lastConnectionTimeUtc"].is_null(), "{ports}");
    Ok(())
}

fn time(value: &Value) -> Result<jiff::Timestamp> {
    Ok(value.as_str().context("no time")?.parse()?)
}

#[test]
fn a_ports_last_connection_outlives_the_grant() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, SSH)?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    let last = || {
        Ok::<_, anyhow::Error>(
            agent.api("GET", "/v1/ports", None)?.json()?["value"][0]["lastConnectionTimeUtc"].clone(),
        )
    };
    let grant = agent.grant(22, "TCP", ALICE, 600)?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open);
    let before = last()?;
    agent.revoke(&[grant.id])?;
    ensure!(before.is_string() && last()? == before, "{before} became {}", last()?);
    // A later grant for the same source was never used.
    agent.grant(22, "TCP", ALICE, 600)?;
    ensure!(agent.grants()?[0]["lastConnectionTimeUtc"].is_null(), "{:?}", agent.grants()?);
    Ok(())
}

#[test]
fn watching_ends_cleanly_whoever_ends_it() -> Result<()> {
    let net = Topology::new()?;
    let mut agent = Agent::start(&net.sandbox, &net.server, config())?;
    let interrupted = watch(&net, &agent, &[])?;
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.outcome(PATIENCE)?.code(), Some(0));
    let outcome = agent.jitctl_as("bob", &["watch"])?;
    ensure!(outcome.code() == Some(4) && outcome.stdout.is_empty(), "{outcome:?}");
    let watching = watch(&net, &agent, &[])?;
    ensure!(agent.stop()?.success(), "a watcher held the agent up");
    let outcome = watching.outcome(PATIENCE)?;
    ensure!(outcome.code() == Some(5) && outcome.stderr.contains("stopped"), "{outcome:?}");
    Ok(())
}

#[test]
fn a_watcher_sees_a_share_of_a_flood_and_the_number_of_packets_beyond() -> Result<()> {
    const PACKETS: u64 = 5000;
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config())?;
    let watching = watch(&net, &agent, &[])?;
    let mut sender = FrameSender::new(&net.client, "cli0")?;
    let frame = Ipv4::new([192, 0, 2, 10].into(), protocol::TCP, segment(22)).frame();
    for _ in 0..PACKETS {
        sender.send(&frame)?;
    }
    watching.wait_for_line(Stream::Stdout, "more packets dropped", PATIENCE)?;
    // Every packet is either shown or counted as not shown.
    let sum = |text: &str| -> (u64, u64) {
        let shown = text.lines().filter(|line| line.contains("22/tcp")).count() as u64;
        let beyond = text.lines().filter_map(|line| line.trim().split_once(" more packet")?.0.parse::<u64>().ok());
        (shown, beyond.sum())
    };
    let mut text = watching.text(Stream::Stdout);
    while sum(&text).0 + sum(&text).1 < PACKETS {
        let mark = watching.mark();
        watching.wait_for_line_after(mark, Stream::Stdout, "more packet", PATIENCE)?;
        text = watching.text(Stream::Stdout);
    }
    let (shown, beyond) = sum(&text);
    ensure!(shown + beyond == PACKETS && (1..1000).contains(&shown), "{shown} shown and {beyond} not shown");
    Ok(())
}

#[test]
fn why_says_what_a_packet_then_meets() -> Result<()> {
    let net = Topology::new()?;
    let _ssh = TcpServer::echo(&net.server, SSH)?;
    let _rdp = UdpServer::echo(&net.server, RDP)?;
    let config = config().port(Port::tcp(8022).allow(&["198.51.100.0/24"]));
    let agent = Agent::start(&net.sandbox, &net.server, config.set("break_glass", vec!["2001:db8:1::/64"]))?;
    agent.grant(22, "TCP", ALICE, 600)?;
    let grant = agent.grant(3389, "UDP", "192.0.2.0/24", 600)?;
    let why =
        |arguments: &[&str]| Ok::<_, anyhow::Error>(agent.jitctl(&[&["why"], arguments].concat())?.success()?.stdout);
    for (arguments, parts) in [
        (["192.0.2.10", "22"], ["PASSES", "grant 1 of root lets in 192.0.2.10/32", "as host_grant"]),
        (
            ["192.0.2.11", "22"],
            [
                "DROPPED",
                "22/tcp is protected and no live grant is for 192.0.2.11",
                "jitctl request --port 22/tcp --from 192.0.2.11",
            ],
        ),
        (["192.0.2.11", "3389/udp"], ["PASSES", "grant 2 of root lets in 192.0.2.0/24", "as prefix_grant"]),
        (["192.0.2.11", "3389/tcp"], ["PASSES", "no policy protects 3389/tcp", "as unprotected_port"]),
        (["192.0.2.11", "8022"], ["DROPPED", "no live grant", "allows sources within 198.51.100.0/24 only"]),
        (["2001:db8:1::10", "22"], ["PASSES", "2001:db8:1::/64 is listed in break_glass", "as break_glass"]),
    ] {
        let text = why(&arguments)?;
        ensure!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Open);
    assert_eq!(udp_echoes(&net.client, OTHER, RDP, PATIENCE)?, Reach::Open);
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    agent.revoke(&[grant.id])?;
    ensure!(why(&["192.0.2.11", "3389/udp"])?.starts_with("DROPPED"));
    let text = why(&["192.0.2.11", "22", "--interface", "lo"])?;
    ensure!(text.starts_with("PASSES") && text.contains("the program is not on lo"), "{text}");
    let refused = agent.jitctl_as("bob", &["why", "192.0.2.11", "22"])?;
    ensure!(refused.code() == Some(4) && !refused.stderr.contains("grant 1"), "{refused:?}");
    Ok(())
}

#[test]
fn why_says_that_the_agent_only_observes() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, config().set("mode", "observe"))?;
    let text = agent.jitctl(&["why", OTHER, "22"])?.success()?.stdout;
    ensure!(text.starts_with("PASSES") && text.contains("would be dropped, but the agent only observes"), "{text}");
    Ok(())
}

#[test]
fn metrics_count_what_was_sent_and_are_served_where_the_configuration_says() -> Result<()> {
    let net = Topology::new()?;
    let config = config().set("metrics_listen", "127.0.0.1:9590");
    let agent = Agent::start(&net.sandbox, &net.server, config)?;
    net.server.ip("link set lo up")?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    agent.grant(22, "TCP", OTHER, 600)?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused);
    let page = net.server.enter(|| -> Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9590")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    })??;
    let value = |name: &str| -> Result<f64> {
        let line = page.lines().find(|line| line.starts_with(name)).with_context(|| format!("{name}: {page}"))?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    };
    ensure!(
        value("jit_agent_packets_total{port=\"22\",mode=\"enforce\",verdict=\"drop\",reason=\"no_grant\"}")? >= 1.0
    );
    ensure!(
        value("jit_agent_packets_total{port=\"22\",mode=\"enforce\",verdict=\"pass\",reason=\"host_grant\"}")? >= 1.0
    );
    ensure!(value("jit_agent_live_grants{port=\"22\",protocol=\"tcp\"}")? == 1.0);
    ensure!(value("jit_agent_interface_covered{interface=\"srv0\",attached=\"native\"}")? == 1.0);
    ensure!(value("jit_agent_faults ")? == 0.0);
    Ok(())
}
