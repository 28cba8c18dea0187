//! Interfaces that appear, change and disappear while the agent runs, and the ways in which they are covered.

use std::{fs, net::Ipv4Addr, time::Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::{
    Agent, Config, Link, Namespace, PATIENCE, Port, Reach, SILENCE, Stream, Topology, Tun, UdpServer, datagram,
    tcp_connects, verdicts::frame::protocol,
};
use serde_json::Value;

const ALICE: &str = "192.0.2.10";
const SSH: &str = "192.0.2.1:22";
/// The client's address on the second link.
const NEW_ALICE: &str = "198.51.100.10";
const NEW_SSH: &str = "198.51.100.1:22";

fn of(interfaces: &[&str]) -> Config {
    Config::enforcing("srv0").interfaces(interfaces).port(Port::tcp(22))
}

/// A second link between server and client.
fn second_link(net: &Topology, device: &str, client_device: &str) -> Result<()> {
    let link = Link::new(&net.server, device, &net.client, client_device);
    link.address_a("198.51.100.1/24").address_b("198.51.100.10/24").up()
}

/// Waits until the agent logs, after `mark`, that an interface is covered or has disappeared.
fn wait(agent: &Agent, mark: usize, said: &str, interface: &str) -> Result<String> {
    let wanted = format!("{interface} {said}");
    agent.process()?.wait_for_line_after(mark, Stream::Stderr, &wanted, PATIENCE)
}

const COVERED: &str = "is covered";
const LOST: &str = "is no longer covered as it was";

fn mark(agent: &Agent) -> Result<usize> {
    Ok(agent.process()?.mark())
}

fn interface(agent: &Agent, name: &str) -> Result<Value> {
    let status = agent.status()?;
    let list = status["interfaces"].as_array().with_context(|| format!("no interfaces in {status}"))?;
    list.iter().find(|one| one["name"] == name).cloned().with_context(|| format!("no {name} in {status}"))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}

/// The newest row of the audit log about an interface.
fn last_row(agent: &Agent, event: &str, name: &str) -> Result<Value> {
    let rows = agent.api("GET", &format!("/v1/audit?event={event}"), None)?.json()?;
    let list = rows["value"].as_array().with_context(|| format!("no rows in {rows}"))?;
    let of_it = |row: &&Value| row["detail"]["interface"] == name;
    let newest = list.iter().filter(of_it).max_by_key(|row| row["seq"].as_i64());
    newest.cloned().with_context(|| format!("no row of {event} for {name} in {rows}"))
}

fn index(namespace: &Namespace, device: &str) -> Result<u64> {
    let shown = namespace.ip(&format!("-json link show dev {device}"))?.json()?;
    shown[0]["ifindex"].as_u64().with_context(|| format!("no index in {shown}"))
}

fn has_xdp(namespace: &Namespace, device: &str) -> Result<bool> {
    Ok(namespace.ip(&format!("-json link show dev {device}"))?.json()?[0].get("xdp").is_some())
}

#[test]
fn auto_covers_cards_and_ports_but_neither_bridges_nor_loopback() -> Result<()> {
    let net = Topology::new()?;
    net.server.ip("link add br0 type bridge")?;
    Link::new(&net.server, "port0", &net.client, "cli1").address_b("198.51.100.10/24").up()?;
    net.server.ip("link set port0 master br0")?;
    net.server.ip("address add 198.51.100.1/24 dev br0")?;
    net.server.ip("link set br0 up")?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["auto"]))?;
    let status = agent.status()?;
    let mut covered = names(&status["interfaces"]);
    covered.sort_unstable();
    assert_eq!(covered, ["port0", "srv0"]);
    assert_eq!((names(&status["uncovered"]), agent.faults()?.as_str()), (vec![], ""), "the bridge has an address");
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    agent.expect_drop(&net.client, NEW_ALICE, NEW_SSH, "no_grant")?;
    agent.grant(22, "TCP", NEW_ALICE, 600)?;
    assert_eq!(tcp_connects(&net.client, NEW_ALICE, NEW_SSH, PATIENCE)?, Reach::Refused);
    Ok(())
}

#[test]
fn an_interface_that_appears_is_covered_and_the_gap_is_reported() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["auto"]))?;
    second_link(&net, "srv1", "cli1")?;
    wait(&agent, 0, COVERED, "srv1")?;
    agent.expect_drop(&net.client, NEW_ALICE, NEW_SSH, "no_grant")?;
    let view = interface(&agent, "srv1")?;
    assert_eq!((view["attached"].as_str(), view["layer"].as_str()), (Some("native"), Some("ethernet")));
    let gap = view["coveredAfterMs"].as_u64().context("no gap")?;
    assert!((1..5000).contains(&gap), "covered by netlink's word, not by the look every five seconds: {gap} ms");
    assert!(interface(&agent, "srv0")?["coveredAfterMs"].is_null(), "it was there before");
    let row = last_row(&agent, "attached", "srv1")?;
    assert!(row["detail"]["covered_after_ms"].as_f64().is_some_and(|gap| gap > 0.0), "{row}");
    let metrics = agent.api("GET", "/metrics", None)?.body;
    assert!(metrics.contains("jit_agent_interface_covered_after_seconds{interface=\"srv1\"} 0."), "{metrics}");
    Ok(())
}

#[test]
fn a_renamed_interface_stays_covered_under_its_new_name() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["auto"]))?;
    let before = fs::read_dir(agent.bpffs_dir())?.count();
    net.server.ip("link set srv0 down")?;
    net.server.ip("link set srv0 name lan0")?;
    net.server.ip("link set lan0 up")?;
    wait(&agent, 0, COVERED, "lan0")?;
    let status = agent.status()?;
    assert_eq!((names(&status["interfaces"]), agent.faults()?.as_str()), (vec!["lan0"], ""));
    assert_eq!(fs::read_dir(agent.bpffs_dir())?.count(), before, "it is the same link");
    let row = last_row(&agent, "detached", "srv0")?;
    assert!(row["detail"]["reason"].as_str().is_some_and(|reason| reason.contains("lan0")), "{row}");
    Ok(())
}

#[test]
fn an_interface_that_is_deleted_and_made_again_is_covered_again() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["srv1"]))?;
    assert!(agent.faults()?.contains("interface srv1: there is no such interface"), "{}", agent.faults()?);
    for _ in 0..3 {
        let start = mark(&agent)?;
        second_link(&net, "srv1", "cli1")?;
        wait(&agent, start, COVERED, "srv1")?;
        agent.expect_drop(&net.client, NEW_ALICE, NEW_SSH, "no_grant")?;
        let index = index(&net.server, "srv1")?;
        let pin = agent.bpffs_dir().join(format!("link-{index}"));
        assert!(pin.exists());
        net.server.ip("link del srv1")?;
        wait(&agent, start, LOST, "srv1")?;
        assert!(!pin.exists(), "the pin of a device that is gone");
    }
    Ok(())
}

#[test]
fn an_interface_that_moves_to_another_namespace_is_no_longer_the_agents() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["auto"]))?;
    second_link(&net, "srv1", "cli1")?;
    wait(&agent, 0, COVERED, "srv1")?;
    let index = index(&net.server, "srv1")?;
    let other = Namespace::new("other")?;
    net.server.ip(&format!("link set srv1 netns {}", other.path().display()))?;
    wait(&agent, 0, LOST, "srv1")?;
    assert!(!agent.bpffs_dir().join(format!("link-{index}")).exists());
    // The kernel ends a link some time after its last reference has gone, and notifies nobody.
    let deadline = Instant::now() + PATIENCE;
    while has_xdp(&other, "srv1")? {
        ensure!(Instant::now() < deadline, "the program stays on an interface that has left");
    }
    assert_eq!(names(&agent.status()?["interfaces"]), ["srv0"]);
    Ok(())
}

#[test]
fn packets_without_ethernet_headers_are_filtered_too() -> Result<()> {
    const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    let net = Topology::new()?;
    let _echo = UdpServer::echo(&net.server, "0.0.0.0:3389")?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["auto"]).port(Port::udp(3389)))?;
    let mut tun = Tun::new(&net.server, "tun0", "198.51.100.1/24")?;
    wait(&agent, 0, COVERED, "tun0")?;
    let view = interface(&agent, "tun0")?;
    assert_eq!((view["attached"].as_str(), view["layer"].as_str()), (Some("tcx"), Some("network")), "{view}");
    let packet = datagram(CLIENT, Ipv4Addr::new(192, 0, 2, 1), 3389);
    let is_answer =
        |packet: &[u8]| packet.get(9) == Some(&protocol::UDP) && packet.get(16..20) == Some(&CLIENT.octets());
    let before = agent.counted("no_grant")?;
    tun.send(&packet)?;
    assert_eq!(tun.receive(is_answer, SILENCE)?, None);
    assert_eq!(agent.counted("no_grant")?, before + 1);
    agent.grant(3389, "UDP", &CLIENT.to_string(), 600)?;
    tun.send(&packet)?;
    assert!(tun.receive(is_answer, PATIENCE)?.is_some_and(|answer| answer.ends_with(b"hi")));
    Ok(())
}

#[test]
fn what_is_covered_by_tcx_stays_so_without_the_agent_and_with_its_successor() -> Result<()> {
    const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 8);
    let net = Topology::new()?;
    let _echo = UdpServer::echo(&net.server, "0.0.0.0:3389")?;
    let mut agent = Agent::start(&net.sandbox, &net.server, of(&["auto"]).port(Port::udp(3389)))?;
    let mut tun = Tun::new(&net.server, "tun0", "198.51.100.1/24")?;
    wait(&agent, 0, COVERED, "tun0")?;
    let is_answer =
        |packet: &[u8]| packet.get(9) == Some(&protocol::UDP) && packet.get(16..20) == Some(&STRANGER.octets());
    agent.kill9();
    for _ in 0..3 {
        tun.send(&datagram(STRANGER, Ipv4Addr::new(192, 0, 2, 1), 3389))?;
        assert_eq!(tun.receive(is_answer, SILENCE)?, None);
    }
    agent.launch()?;
    assert_eq!(interface(&agent, "tun0")?["attached"], "tcx");
    tun.send(&datagram(STRANGER, Ipv4Addr::new(192, 0, 2, 1), 3389))?;
    assert_eq!(tun.receive(is_answer, SILENCE)?, None);
    Ok(())
}

#[test]
fn a_detached_program_is_attached_again_and_both_acts_are_in_the_audit_log() -> Result<()> {
    let net = Topology::new()?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["auto"]))?;
    let start = mark(&agent)?;
    fs::remove_file(agent.bpffs_dir().join(format!("link-{}", index(&net.server, "srv0")?)))?;
    wait(&agent, start, LOST, "srv0")?;
    wait(&agent, start, COVERED, "srv0")?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    let (lost, back) = (last_row(&agent, "detached", "srv0")?, last_row(&agent, "attached", "srv0")?);
    assert!(lost["detail"]["reason"].as_str().is_some_and(|reason| reason.contains("took the program off")), "{lost}");
    assert!(back["seq"].as_i64() > lost["seq"].as_i64(), "{lost} {back}");
    assert_eq!(agent.faults()?, "");
    Ok(())
}

#[test]
fn another_xdp_program_is_left_alone_and_the_ports_are_shut_all_the_same() -> Result<()> {
    let net = Topology::new()?;
    let rival = Agent::start(&net.sandbox, &net.server, Config::enforcing("srv0").port(Port::tcp(80)))?;
    let shown = net.server.ip("-json link show dev srv0")?.json()?;
    let id = shown[0]["xdp"]["prog"]["id"].as_u64().context("the rival has no program")?;
    let mut agent = Agent::prepare_named(&net.sandbox, &net.server, "second", of(&["auto"]))?;
    agent.launch()?;
    for _ in 0..2 {
        let view = interface(&agent, "srv0")?;
        assert_eq!(view["attached"], "tcx", "{view}");
        let note = view["note"].as_str().unwrap_or_default();
        assert_eq!(note, format!("XDP program {id} (native) of somebody else is left in place"));
        agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
        rival.expect_drop(&net.client, ALICE, "192.0.2.1:80", "no_grant")?;
        // A restarted agent adopts its own link.
        agent.restart()?;
    }
    assert!(has_xdp(&net.server, "srv0")?);
    agent.grant(22, "TCP", ALICE, 600)?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "granted: the host itself answers");
    Ok(())
}

#[test]
fn a_program_that_gets_before_ours_is_noticed_and_overtaken() -> Result<()> {
    let net = Topology::new()?;
    let _tun = Tun::new(&net.server, "tun0", "198.51.100.1/24")?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["tun0"]))?;
    assert_eq!(interface(&agent, "tun0")?["attached"], "tcx");
    let start = mark(&agent)?;
    // The rival puts itself at the head and stays there, since nobody detaches its link.
    let mut rival = Agent::prepare_named(&net.sandbox, &net.server, "rival", of(&["tun0"]))?;
    rival.launch()?;
    rival.kill9();
    wait(&agent, start, LOST, "tun0")?;
    wait(&agent, start, COVERED, "tun0")?;
    let lost = last_row(&agent, "detached", "tun0")?;
    let reason = lost["detail"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("of somebody else sees packets first"), "{reason}");
    assert_eq!((interface(&agent, "tun0")?["attached"].as_str(), agent.faults()?.as_str()), (Some("tcx"), ""));
    let index = index(&net.server, "tun0")?;
    assert!(agent.bpffs_dir().join(format!("tcx-{index}")).exists());
    assert!(!agent.bpffs_dir().join(format!("new-tcx-{index}")).exists());
    Ok(())
}

#[test]
fn an_interface_that_the_owner_leaves_out_is_listed_with_its_addresses_but_is_no_fault() -> Result<()> {
    let net = Topology::new()?;
    second_link(&net, "srv1", "cli1")?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["srv0"]))?;
    let status = agent.status()?;
    assert_eq!(names(&status["uncovered"]), ["srv1"]);
    assert!(status["uncovered"][0]["addresses"].as_array().is_some_and(|all| all.contains(&"198.51.100.1/24".into())));
    assert_eq!(
        (tcp_connects(&net.client, NEW_ALICE, NEW_SSH, PATIENCE)?, agent.faults()?.as_str()),
        (Reach::Refused, "")
    );
    let shown = agent.jitctl(&["status"])?;
    assert_eq!(shown.code(), Some(0), "{shown:?}");
    ensure!(shown.stdout.contains("interface srv1 unseen") && shown.stdout.contains("NOT COVERED"), "{shown:?}");
    assert!(agent.api("GET", "/metrics", None)?.body.contains("jit_agent_uncovered_interfaces 1\n"));
    Ok(())
}

#[test]
fn a_reload_covers_what_is_new_at_once_and_uncovers_only_what_is_named() -> Result<()> {
    let net = Topology::new()?;
    second_link(&net, "srv1", "cli1")?;
    let agent = Agent::start(&net.sandbox, &net.server, of(&["srv0"]))?;
    agent.configure(of(&["srv[0-9]"]))?;
    agent.jitctl(&["reload"])?.success()?;
    agent.expect_drop(&net.client, NEW_ALICE, NEW_SSH, "no_grant")?;
    agent.configure(of(&["srv0"]))?;
    let refused = agent.jitctl(&["reload", "--yes"])?;
    ensure!(refused.code() == Some(3) && refused.stderr.contains("interface=srv1"), "{refused:?}");
    agent.expect_drop(&net.client, NEW_ALICE, NEW_SSH, "no_grant")?;
    agent.jitctl(&["reload", "--allow-open", "interface=srv1"])?.success()?;
    assert_eq!(tcp_connects(&net.client, NEW_ALICE, NEW_SSH, PATIENCE)?, Reach::Refused);
    assert!(!has_xdp(&net.server, "srv1")?);
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")
}

#[test]
fn nothing_to_cover_is_a_fault_until_something_appears() -> Result<()> {
    let net = Topology::new()?;
    let empty = Namespace::new("empty")?;
    let agent = Agent::start(&net.sandbox, &empty, of(&["auto"]))?;
    assert!(agent.faults()?.contains("interface auto: this stands for no interface now"), "{}", agent.faults()?);
    assert_eq!(agent.jitctl(&["status"])?.code(), Some(7));
    Link::new(&empty, "late0", &net.client, "late1").address_a("203.0.113.1/24").up()?;
    wait(&agent, 0, COVERED, "late0")?;
    assert_eq!(agent.faults()?, "");
    Ok(())
}

#[test]
fn check_says_how_each_interface_would_be_attached_and_changes_nothing() -> Result<()> {
    let net = Topology::new()?;
    let _tun = Tun::new(&net.server, "tun0", "198.51.100.1/24")?;
    net.server.ip("tuntap add mode tap name tap0")?;
    net.server.ip("link set tap0 mtu 9000 up")?;
    net.server.ip("link add br0 type bridge")?;
    net.server.ip("link set br0 up")?;
    let agent = Agent::prepare(&net.sandbox, &net.server, of(&["auto", "br0"]))?;
    let checked = agent.subcommand("check")?.success()?;
    for part in [
        ", veth, MTU 1500): native XDP\n",
        ", tun, MTU 1500): TCX, not native XDP: packets have no Ethernet header\n",
        ", tun, MTU 9000): native XDP, or TCX if the driver refuses that, which may be: MTU 9000 is more than fits one \
         buffer, and the driver takes no more\n",
        ", bridge, MTU 1500): TCX, not native XDP: the driver has none\n",
    ] {
        ensure!(checked.stdout.contains(part), "{part:?} is not in {checked:?}");
    }
    assert!(!has_xdp(&net.server, "srv0")? && !agent.bpffs_dir().exists());
    let mut rival = Agent::prepare_named(&net.sandbox, &net.server, "rival", of(&["srv0"]))?;
    rival.launch()?;
    let checked = agent.subcommand("check")?.success()?;
    ensure!(checked.stdout.contains("TCX, not native XDP: XDP program"), "{checked:?}");
    let missing = Agent::prepare_named(&net.sandbox, &net.server, "missing", of(&["nic7"]))?.subcommand("check")?;
    ensure!(missing.code() == Some(1) && missing.stderr.contains("nic7"), "{missing:?}");
    Ok(())
}
