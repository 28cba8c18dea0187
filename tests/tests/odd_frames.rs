//! Frames of odd sizes over a real veth with a program attached: shorter than a header, and larger than a buffer.

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use jit_agent::{
    clock::{Clock as _, SystemClock},
    datapath::{Counter, Datapath as _, xdp::XdpDatapath},
};
use jit_common::{
    abi::{Mode, Transport},
    reason::Reason,
};
use jit_policy::{BootTime, EntryKey, Interfaces, Way, parse_source};
use jit_tests::{
    FrameSender, Link, Namespace, PATIENCE, Reach, SILENCE, Sandbox, UdpServer,
    verdicts::{
        HostJudge, Judge as _,
        frame::{Ipv4, Ipv6, extension, protocol, segment},
        populate, protection,
    },
};

/// The place of the program.
#[derive(Clone, Copy, Debug)]
enum At {
    /// XDP on the server's end of the veth.
    Veth,
    /// A classifier on a bridge over the veth. It gets large frames with the Ethernet header alone in the first buffer.
    Bridge,
}

const BOTH: [At; 2] = [At::Veth, At::Bridge];

/// A veth with a program on the server's side and the packet table's world behind that program.
struct Wire {
    _sandbox: Sandbox,
    server: Namespace,
    client: Namespace,
    datapath: XdpDatapath,
    host: HostJudge,
}

impl Wire {
    /// Creates a wire without any traffic of its own, so that the counters show what happened to a single frame.
    fn new(mtu: u32, at: At) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new()?;
        let (server, client) = (Namespace::new("server")?, Namespace::new("client")?);
        for namespace in [&server, &client] {
            namespace.enter(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"))??;
        }
        let link = Link::new(&server, "srv0", &client, "cli0").address_b("192.0.2.10/24").mtu(mtu);
        let (interface, way) = match at {
            At::Veth => {
                link.address_a("192.0.2.1/24").up()?;
                ("srv0", Way::Native)
            }
            At::Bridge => {
                link.up()?;
                // If the kernel has iptables for bridges, iptables drops damaged packets before any program of ours
                // sees them.
                for family in ["iptables", "ip6tables"] {
                    let switch = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
                    server.enter(|| if fs::exists(&switch)? { fs::write(&switch, "0") } else { Ok(()) })??;
                }
                // The bridge does not forward frames for other addresses than its own.
                server.ip("link add br0 address 02:00:00:00:00:02 type bridge")?;
                server.ip("link set srv0 master br0")?;
                server.ip("address add 192.0.2.1/24 dev br0")?;
                server.ip("link set br0 up")?;
                ("br0", Way::Tcx)
            }
        };
        let world = protection(Mode::Enforce, false);
        let pins: PathBuf = sandbox.bpffs().join("jit-agent");
        let mut datapath = XdpDatapath::load(&pins)?;
        populate(&mut datapath, &world)?;
        let interfaces = Interfaces::parse(&[interface]).map_err(anyhow::Error::msg)?;
        server.enter(|| datapath.attach(&interfaces))?.map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let view = server.enter(|| datapath.interfaces())?;
        ensure!(view.iter().all(|view| view.attached == Some(way)), "not attached by {way}: {view:?}");
        Ok(Self { _sandbox: sandbox, server, client, datapath, host: HostJudge::new(&world)? })
    }

    /// Sends a frame and returns the reason under which it was counted.
    fn count(&self, frame: &[u8]) -> anyhow::Result<Reason> {
        let before = self.datapath.counters()?;
        FrameSender::new(&self.client, "cli0")?.send(frame)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let grown = growth(&before, &self.datapath.counters()?);
            match grown[..] {
                [] if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                [(Mode::Enforce, reason, 1)] => return Ok(reason),
                _ => anyhow::bail!("a frame of {} bytes was counted as {grown:?}", frame.len()),
            }
        }
    }

    fn is_counted_as_the_host_judges(&self, what: &str, frame: &[u8]) -> anyhow::Result<Reason> {
        let expected = self.host.judge(frame)?;
        let found = self.count(frame).with_context(|| format!("{what}, {}", expected.name()))?;
        assert_eq!(found, expected, "{what}, {} bytes", frame.len());
        Ok(found)
    }

    /// Whether a datagram of so many bytes comes back from the server's protected port 3389.
    fn datagram_echoes(&self, length: usize, within: Duration) -> anyhow::Result<Reach> {
        let from: IpAddr = "192.0.2.10".parse()?;
        let socket = self.client.enter(|| UdpSocket::bind((from, 0)))??;
        socket.connect("192.0.2.1:3389")?;
        socket.set_read_timeout(Some(within))?;
        let sent = vec![0x5a; length];
        socket.send(&sent)?;
        let mut answer = vec![0; length + 1];
        Ok(match socket.recv(&mut answer) {
            Ok(received) if answer[..received] == sent => Reach::Open,
            Ok(received) => anyhow::bail!("{received} of {length} bytes came back"),
            Err(_) => Reach::Silent,
        })
    }
}

fn growth(before: &[Counter], after: &[Counter]) -> Vec<Counter> {
    let pairs = before.iter().zip(after);
    let growth = pairs.map(|((.., before), (mode, reason, after))| (*mode, *reason, after - before));
    growth.filter(|(.., growth)| *growth > 0).collect()
}

#[test]
fn the_kernel_sends_nothing_shorter_than_an_ethernet_header_and_the_rest_is_judged() -> anyhow::Result<()> {
    let wire = Wire::new(1500, At::Veth)?;
    let whole = Ipv4::new("192.0.2.12".parse()?, protocol::TCP, segment(22)).frame();
    // An empty frame is not tested: write(2) does not pass it on.
    for length in 1..14 {
        // No program on a veth ever sees such a short frame, so only the host's tests cover its verdict.
        let error = wire.count(&whole[..length]).expect_err("the kernel sent it");
        assert!(format!("{error:#}").contains("Invalid argument"), "{length} bytes: {error:#}");
    }
    for at in BOTH {
        let wire = Wire::new(1500, at)?;
        for length in 14..=whole.len() {
            wire.is_counted_as_the_host_judges("cut", &whole[..length]).with_context(|| format!("{at:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn ports_beyond_the_first_buffer_are_found() -> anyhow::Result<()> {
    // The largest frame of each MTU; the first buffer of a veth takes about 3,500 bytes.
    for (mtu, headers, at) in
        [(9000, 4, At::Veth), (65_535, 8, At::Veth), (9000, 4, At::Bridge), (65_535, 8, At::Bridge)]
    {
        let wire = Wire::new(mtu, at)?;
        for (source, admitted) in [("2001:db8::10", Reason::HostGrant), ("2001:db8::12", Reason::NoGrant)] {
            for count in 1..=headers {
                let chain = vec![extension(protocol::DESTINATION, 255); count];
                let packet = Ipv6::new(source.parse()?, &chain, protocol::TCP, &segment(22));
                let what = format!("{at:?}: {count} headers of 2,048 bytes from {source}");
                assert_eq!(wire.is_counted_as_the_host_judges(&what, &packet.frame())?, admitted);
                // The frame ends anywhere around the ports, and around the end of the first buffer.
                let whole = packet.payload.len();
                for length in [whole - 20, whole - 17, whole - 16, whole - 2048, 3000] {
                    let lying = Ipv6 { payload_length: Some(length as u16), ..packet.clone() };
                    if length < whole {
                        wire.is_counted_as_the_host_judges(&format!("{what}, length {length}"), &lying.frame())?;
                    }
                }
                let cut = &packet.frame()[..14 + 40 + whole - 18];
                assert_eq!(wire.is_counted_as_the_host_judges(&what, cut)?, Reason::TruncatedIp);
            }
        }
    }
    Ok(())
}

#[test]
fn large_ipv4_packets_are_judged_whole() -> anyhow::Result<()> {
    for (mtu, at) in [(9000_u16, At::Veth), (65_535, At::Veth), (9000, At::Bridge), (65_535, At::Bridge)] {
        let wire = Wire::new(u32::from(mtu), at)?;
        for source in ["192.0.2.10", "192.0.2.12"] {
            let mut packet = Ipv4::new(source.parse()?, protocol::TCP, segment(22));
            for length in [3400, 3500, 3520, 4096, usize::from(mtu) - 20] {
                packet.payload.resize(length, 0xa5);
                wire.is_counted_as_the_host_judges(&format!("{at:?}, {length} bytes"), &packet.frame())?;
            }
            let frame = packet.frame();
            let cut = wire.is_counted_as_the_host_judges("the last byte missing", &frame[..frame.len() - 1])?;
            assert_eq!(cut, Reason::TruncatedIp);
        }
    }
    Ok(())
}

#[test]
fn large_datagrams_need_a_grant_as_small_ones_do() -> anyhow::Result<()> {
    for (mtu, length, at) in [(9000, 8000, At::Veth), (65_535, 60_000, At::Veth), (65_535, 60_000, At::Bridge)] {
        let mut wire = Wire::new(mtu, at)?;
        let _server = UdpServer::echo(&wire.server, "192.0.2.1:3389")?;
        assert_eq!(wire.datagram_echoes(length, SILENCE)?, Reach::Silent, "MTU {mtu}");
        let entry = EntryKey { number: 3389, transport: Transport::Udp, source: parse_source("192.0.2.10")? };
        let after: BootTime = SystemClock.boot().after(Duration::from_secs(600));
        wire.datapath.set(&entry, after)?;
        assert_eq!(wire.datagram_echoes(length, PATIENCE)?, Reach::Open, "MTU {mtu}");
    }
    Ok(())
}
