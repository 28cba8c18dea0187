//! Settings that change while packets flow: mode, fragments, scope, break-glass sources.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Result, ensure};
use aya::maps::{Array, Map, MapData};
use jit_agent::{
    clock::{Clock, SystemClock},
    datapath::{Datapath, xdp::XdpDatapath},
};
use jit_common::{
    abi::{EnforceUntil, Mode, Settings, Transport, map},
    reason::Reason,
};
use jit_policy::{BootTime, EntryKey, Interfaces, Packet, ProtectedPort, Protection, Way, parse_source};
use jit_tests::{
    Agent, Config, FrameSender, Link, Namespace, PATIENCE, Port, Reach, SILENCE, Sandbox, Topology, Tun, UdpServer,
    datagram, tcp_connects, udp_echoes,
    verdicts::frame::{Ipv4, protocol, segment},
};

const ALICE: &str = "192.0.2.10";
const OTHER: &str = "192.0.2.11";
const SSH: &str = "192.0.2.1:22";
const RDP: &str = "192.0.2.1:3389";

fn enforcing() -> Protection {
    let ports = vec![ProtectedPort::new(22, Transport::Tcp), ProtectedPort::new(3389, Transport::Udp)];
    Protection { ports, enforce_until: EnforceUntil::ENFORCE, ..Protection::default() }
}

/// Attaches the program to devices of a namespace.
fn on(sandbox: &Sandbox, namespace: &Namespace, devices: &[&str], protection: &Protection) -> Result<XdpDatapath> {
    let mut datapath = XdpDatapath::load(&sandbox.bpffs().join("jit-agent"))?;
    let devices = Interfaces::parse(devices).map_err(anyhow::Error::msg)?;
    let errors = namespace.enter(|| -> Result<_> {
        datapath.configure(protection)?;
        Ok(datapath.attach(&devices).err())
    })??;
    ensure!(errors.is_none(), "{errors:?}");
    Ok(datapath)
}

fn counted(datapath: &XdpDatapath, wanted: Reason) -> Result<u64> {
    let counters = datapath.counters()?;
    Ok(counters.iter().filter(|(_, reason, _)| *reason == wanted).map(|(.., packets)| packets).sum())
}

#[test]
fn the_mode_changes_for_the_next_packet() -> Result<()> {
    let net = Topology::new()?;
    let _echo = UdpServer::echo(&net.server, RDP)?;
    let mut datapath = on(&net.sandbox, &net.server, &["srv0"], &enforcing())?;
    let observing = Protection { enforce_until: EnforceUntil::OBSERVE, ..enforcing() };
    for _ in 0..3 {
        assert_eq!(udp_echoes(&net.client, ALICE, RDP, SILENCE)?, Reach::Silent);
        net.server.enter(|| datapath.configure(&observing))??;
        assert_eq!(udp_echoes(&net.client, ALICE, RDP, PATIENCE)?, Reach::Open);
        net.server.enter(|| datapath.configure(&enforcing()))??;
    }
    let counters = datapath.counters()?;
    let observed = counters.iter().find(|counter| (counter.0, counter.1) == (Mode::Observe, Reason::NoGrant));
    assert_eq!(observed.map(|counter| counter.2), Some(3), "what would have been dropped");
    Ok(())
}

#[test]
fn a_trial_ends_by_itself_and_lets_everything_pass_from_then_on() -> Result<()> {
    let net = Topology::new()?;
    let _echo = UdpServer::echo(&net.server, RDP)?;
    let until = |end: BootTime| Protection { enforce_until: end.into(), ..enforcing() };
    let mut datapath =
        on(&net.sandbox, &net.server, &["srv0"], &until(SystemClock.boot().after(Duration::from_secs(3600))))?;
    assert_eq!(udp_echoes(&net.client, ALICE, RDP, SILENCE)?, Reach::Silent, "during the trial");
    net.server.enter(|| datapath.configure(&until(SystemClock.boot())))??;
    assert_eq!(udp_echoes(&net.client, ALICE, RDP, PATIENCE)?, Reach::Open, "after its end");
    net.server.enter(|| datapath.configure(&enforcing()))??;
    assert_eq!(udp_echoes(&net.client, ALICE, RDP, SILENCE)?, Reach::Silent, "without a trial");
    Ok(())
}

/// Changes the settings that an agent left pinned.
fn change_pinned(sandbox: &Sandbox, change: impl FnOnce(&mut Settings)) -> Result<()> {
    let pin = sandbox.bpffs().join("jit-agent/maps").join(map::SETTINGS);
    let mut array = Array::<_, Settings>::try_from(Map::from_map_data(MapData::from_pin(pin)?)?)?;
    let mut settings = array.get(&0, 0)?;
    change(&mut settings);
    Ok(array.set(0, settings, 0)?)
}

#[test]
fn the_program_of_an_earlier_version_stays_for_its_grants_only_if_it_does_not_open_before_this_one() -> Result<()> {
    /// The flag of version 2 for a trial, whose end is in the word.
    const TRIAL: u32 = 1 << 4;
    let net = Topology::new()?;
    let _echo = UdpServer::echo(&net.server, RDP)?;
    let granted = EntryKey { number: 3389, transport: Transport::Udp, source: parse_source(ALICE)? };
    let hour = SystemClock.boot().after(Duration::from_secs(3600));
    let until = |end: BootTime| Protection { enforce_until: end.into(), ..enforcing() };
    for (flags, word, now, stays) in [
        (0, EnforceUntil::OBSERVE, enforcing(), true),
        (TRIAL, hour.into(), enforcing(), false),
        (TRIAL, hour.into(), until(hour), true),
    ] {
        let mut earlier = on(&net.sandbox, &net.server, &["srv0"], &enforcing())?;
        earlier.set(&granted, hour)?;
        earlier.keep()?;
        drop(earlier);
        change_pinned(&net.sandbox, |settings| {
            // The program that stays in this test reads no version, and the word as this version does.
            (settings.abi_version, settings.flags, settings.enforce_until) = (2, flags, word);
        })?;
        let mut datapath = on(&net.sandbox, &net.server, &["srv0"], &now)?;
        ensure!(!datapath.adopted());
        let reach = |source, within| udp_echoes(&net.client, source, RDP, within);
        // The new maps have no grant yet.
        if stays {
            assert_eq!(reach(ALICE, PATIENCE)?, Reach::Open, "{flags} {word:?}");
        } else {
            assert_eq!(reach(ALICE, SILENCE)?, Reach::Silent, "{flags} {word:?}");
            assert_eq!(reach(OTHER, SILENCE)?, Reach::Silent, "{flags} {word:?}");
        }
        net.server.enter(|| datapath.keep())??;
        assert_eq!(reach(OTHER, SILENCE)?, Reach::Silent, "{flags} {word:?}");
    }
    Ok(())
}

#[test]
fn fragments_are_refused_as_soon_as_the_setting_is_on() -> Result<()> {
    let net = Topology::new()?;
    let mut datapath = on(&net.sandbox, &net.server, &["srv0"], &enforcing())?;
    let mut sender = FrameSender::new(&net.client, "cli0")?;
    let later = |kind| {
        let mut packet = Ipv4::new([192, 0, 2, 10].into(), kind, segment(22));
        packet.fragment = 1;
        packet.frame()
    };
    let first_of_icmp = {
        let mut packet = Ipv4::new([192, 0, 2, 10].into(), protocol::ICMP, segment(22));
        packet.fragment = 0x2000;
        packet.frame()
    };
    let dropping = Protection { drop_fragments: true, ..enforcing() };
    let rounds = [
        (enforcing(), Reason::LaterFragment, Reason::OtherFragment),
        (dropping, Reason::FragmentRefused, Reason::FragmentRefused),
    ];
    for (protection, of_later, of_other) in rounds {
        net.server.enter(|| datapath.configure(&protection))??;
        for (frame, reason) in
            [(later(protocol::TCP), of_later), (later(protocol::ICMP), of_later), (first_of_icmp.clone(), of_other)]
        {
            let before = counted(&datapath, reason)?;
            sender.send(&frame)?;
            assert_eq!(counted(&datapath, reason)?, before + 1, "{reason:?}");
        }
    }
    Ok(())
}

#[test]
fn a_break_glass_source_is_admitted_to_every_protected_port_and_no_other_source_is() -> Result<()> {
    let net = Topology::new()?;
    let _echo = UdpServer::echo(&net.server, RDP)?;
    let config = |sources: &[&str]| {
        let ports = Config::enforcing("srv0").port(Port::tcp(22)).port(Port::udp(3389));
        ports.set("break_glass", sources.to_vec())
    };
    let mut agent = Agent::start(&net.sandbox, &net.server, config(&["192.0.2.10", "2001:db8::/120"]))?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "the host itself answers");
    assert_eq!(udp_echoes(&net.client, ALICE, RDP, PATIENCE)?, Reach::Open);
    assert_eq!(tcp_connects(&net.client, "2001:db8::11", "[2001:db8::1]:22", PATIENCE)?, Reach::Refused);
    agent.expect_drop(&net.client, OTHER, SSH, "no_grant")?;
    agent.expect_drop(&net.client, "2001:db8:1::10", "[2001:db8:1::1]:22", "no_grant")?;
    ensure!(agent.counted("break_glass")? >= 3, "{}", agent.status()?);

    // The restarted agent adopts the maps, and entries disappear that the configuration no longer lists.
    agent.stop()?;
    agent.configure(config(&["192.0.2.11"]))?;
    agent.subcommand("accept")?.success()?;
    agent.launch()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")?;
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused);
    agent.kill9();
    assert_eq!(tcp_connects(&net.client, OTHER, SSH, PATIENCE)?, Reach::Refused, "also without the agent");
    Ok(())
}

#[test]
fn break_glass_and_grants_of_the_same_source_do_not_touch_each_other() -> Result<()> {
    let net = Topology::new()?;
    let config = |sources: &[&str]| Config::enforcing("srv0").port(Port::tcp(22)).set("break_glass", sources.to_vec());
    let mut agent = Agent::start(&net.sandbox, &net.server, config(&["192.0.2.0/24"]))?;
    let grant = agent.grant(22, "TCP", "192.0.2.0/24", 600)?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused);
    ensure!(agent.counted("prefix_grant")? > 0 && agent.counted("break_glass")? == 0, "{}", agent.status()?);
    agent.jitctl(&["revoke", &grant.id.to_string()])?.success()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "break-glass is not revoked");
    agent.grant(22, "TCP", "192.0.2.0/24", 600)?;
    agent.stop()?;
    agent.configure(config(&[]))?;
    agent.launch()?;
    assert_eq!(tcp_connects(&net.client, ALICE, SSH, PATIENCE)?, Reach::Refused, "the grant outlives break-glass");
    agent.jitctl(&["revoke", "--all"])?.success()?;
    agent.expect_drop(&net.client, ALICE, SSH, "no_grant")
}

/// A client, a router with the program, and a host behind the router.
struct Routed {
    sandbox: Sandbox,
    client: Namespace,
    router: Namespace,
    _inner: Namespace,
    _echo: UdpServer,
}

const ROUTER: &str = "192.0.2.1:3389";
const INNER: &str = "198.51.100.2:3389";
const INNER6: &str = "[2001:db8:2::2]:3389";

impl Routed {
    fn new() -> Result<Self> {
        let sandbox = Sandbox::new()?;
        let (client, router, inner) = (Namespace::new("client")?, Namespace::new("router")?, Namespace::new("inner")?);
        let outside =
            Link::new(&router, "out0", &client, "cli0").address_a("192.0.2.1/24").address_a("2001:db8:1::1/64");
        outside.address_b("192.0.2.10/24").address_b("2001:db8:1::10/64").up()?;
        let inside =
            Link::new(&router, "in0", &inner, "eth0").address_a("198.51.100.1/24").address_a("2001:db8:2::1/64");
        inside.address_b("198.51.100.2/24").address_b("2001:db8:2::2/64").up()?;
        for (namespace, device) in [(&client, "cli0"), (&inner, "eth0")] {
            let (gateway, gateway6) =
                if device == "cli0" { ("192.0.2.1", "2001:db8:1::1") } else { ("198.51.100.1", "2001:db8:2::1") };
            namespace.ip(&format!("route add default via {gateway} dev {device}"))?;
            namespace.ip(&format!("-6 route add default via {gateway6} dev {device}"))?;
        }
        let echo = UdpServer::echo(&inner, "[::]:3389")?;
        Ok(Self { sandbox, client, router, _inner: inner, _echo: echo })
    }

    /// Turns forwarding by the router on or off.
    fn set_forwarding(&self, on: bool) -> Result<()> {
        self.router.enter(|| -> std::io::Result<()> {
            for family in ["ipv4", "ipv6"] {
                std::fs::write(format!("/proc/sys/net/{family}/conf/all/forwarding"), if on { "1" } else { "0" })?;
            }
            Ok(())
        })??;
        Ok(())
    }
}

#[test]
fn an_interface_of_local_scope_lets_pass_what_the_host_forwards_and_nothing_for_the_host_itself() -> Result<()> {
    let net = Routed::new()?;
    let _own = UdpServer::echo(&net.router, ROUTER)?;
    net.set_forwarding(true)?;
    // A veth has local scope whatever the configuration says.
    let mut datapath = on(&net.sandbox, &net.router, &["out0"], &enforcing())?;
    assert_eq!(udp_echoes(&net.client, ALICE, INNER, PATIENCE)?, Reach::Open, "forwarded");
    assert_eq!(udp_echoes(&net.client, "2001:db8:1::10", INNER6, PATIENCE)?, Reach::Open, "forwarded");
    assert_eq!(counted(&datapath, Reason::Forwarded)?, 2);
    assert_eq!(udp_echoes(&net.client, ALICE, ROUTER, SILENCE)?, Reach::Silent, "for the router");
    assert_eq!(udp_echoes(&net.client, ALICE, "198.51.100.1:3389", SILENCE)?, Reach::Silent, "its other address");
    assert_eq!(counted(&datapath, Reason::NoGrant)?, 2);
    let asked = |to: &str| {
        let (source, destination) = (ALICE.parse()?, to.parse()?);
        let (transport, interface) = (Transport::Udp, Some("out0".to_owned()));
        let packet = Packet { source, number: 3389, transport, destination: Some(destination), interface };
        Ok::<_, anyhow::Error>(net.router.enter(|| datapath.trace(&packet))??.reason)
    };
    assert_eq!((asked("198.51.100.2")?, asked("192.0.2.1")?), (Reason::Forwarded, Reason::NoGrant), "trace agrees");

    // A host that stops forwarding needs no look-up of routes: every packet that arrives is for the host itself.
    net.set_forwarding(false)?;
    net.router.enter(|| datapath.tend())??;
    let before = counted(&datapath, Reason::Forwarded)?;
    assert_eq!(udp_echoes(&net.client, ALICE, INNER, SILENCE)?, Reach::Silent);
    assert_eq!(counted(&datapath, Reason::Forwarded)?, before);
    net.set_forwarding(true)?;
    net.router.enter(|| datapath.tend())??;
    assert_eq!(udp_echoes(&net.client, ALICE, INNER, PATIENCE)?, Reach::Open);
    Ok(())
}

#[test]
fn classifiers_know_what_the_host_forwards_too() -> Result<()> {
    const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
    let net = Routed::new()?;
    let _own = UdpServer::echo(&net.router, ROUTER)?;
    net.set_forwarding(true)?;
    let mut tun = Tun::new(&net.router, "tun0", "203.0.113.1/24")?;
    // The rival takes the place of XDP, and lets every packet pass.
    let mut rival = XdpDatapath::load(&net.sandbox.bpffs().join("rival"))?;
    let rivals = Interfaces::parse(&["out0"]).map_err(anyhow::Error::msg)?;
    net.router.enter(|| rival.attach(&rivals))?.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
    let datapath = on(&net.sandbox, &net.router, &["out0", "tun0"], &enforcing())?;
    let ways: Vec<_> = net.router.enter(|| datapath.interfaces())?.iter().map(|view| view.attached).collect();
    assert_eq!(ways, [Some(Way::Tcx); 2]);

    assert_eq!(udp_echoes(&net.client, ALICE, INNER, PATIENCE)?, Reach::Open, "forwarded");
    assert_eq!(udp_echoes(&net.client, "2001:db8:1::10", INNER6, PATIENCE)?, Reach::Open, "forwarded");
    assert_eq!((counted(&datapath, Reason::Forwarded)?, counted(&datapath, Reason::NoGrant)?), (2, 0));
    assert_eq!(udp_echoes(&net.client, ALICE, ROUTER, SILENCE)?, Reach::Silent, "for the router");
    assert_eq!((counted(&datapath, Reason::Forwarded)?, counted(&datapath, Reason::NoGrant)?), (2, 1));

    let is_answer = |packet: &[u8]| packet.get(16..20) == Some(&FAR.octets()) && packet.ends_with(b"hi");
    tun.send(&datagram(FAR, Ipv4Addr::new(198, 51, 100, 2), 3389))?;
    assert!(tun.receive(is_answer, PATIENCE)?.is_some(), "forwarded");
    tun.send(&datagram(FAR, Ipv4Addr::new(192, 0, 2, 1), 3389))?;
    assert_eq!(tun.receive(is_answer, SILENCE)?, None, "for the router");
    assert_eq!((counted(&datapath, Reason::Forwarded)?, counted(&datapath, Reason::NoGrant)?), (3, 2));
    Ok(())
}

#[test]
fn a_forwarded_packet_that_no_route_leads_on_is_dropped() -> Result<()> {
    let net = Routed::new()?;
    net.set_forwarding(true)?;
    net.router.ip("route add blackhole 203.0.113.0/24")?;
    net.router.ip("route add unreachable 203.0.113.128/25")?;
    let datapath = on(&net.sandbox, &net.router, &["out0"], &enforcing())?;
    for (number, to) in ["203.0.113.1:3389", "203.0.113.129:3389", "192.0.3.1:3389"].iter().enumerate() {
        udp_echoes(&net.client, ALICE, to, SILENCE)?;
        assert_eq!(counted(&datapath, Reason::NoGrant)?, number as u64 + 1, "{to}");
    }
    Ok(())
}

#[test]
fn a_moment_before_its_end_a_grant_counts_and_from_then_on_it_does_not() -> Result<()> {
    let net = Topology::new()?;
    let mut datapath = on(&net.sandbox, &net.server, &["srv0"], &enforcing())?;
    let entry = EntryKey { number: 22, transport: Transport::Tcp, source: parse_source(ALICE)? };
    let (source, transport) = (ALICE.parse()?, Transport::Tcp);
    let packet = Packet { source, number: 22, transport, destination: None, interface: None };
    datapath.set(&entry, SystemClock.boot().after(Duration::from_secs(60)))?;
    assert_eq!(datapath.trace(&packet)?.reason, Reason::HostGrant);
    datapath.set(&entry, BootTime(SystemClock.boot().0))?;
    let trace = datapath.trace(&packet)?;
    assert_eq!((trace.reason, trace.entry.map(|(source, _)| source)), (Reason::GrantExpired, Some(entry.source)));
    datapath.remove(&entry, None)?;
    assert_eq!(datapath.trace(&packet)?.reason, Reason::NoGrant);
    Ok(())
}
