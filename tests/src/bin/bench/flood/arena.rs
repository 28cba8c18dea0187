//! The place of a flood: two namespaces joined by a veth, with a filter at the receiving end.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jit_agent::datapath::{Datapath as _, xdp::XdpDatapath};
use jit_common::{abi::Mode, reason::Reason};
use jit_tests::{Link, Namespace, PATIENCE, Program, Sandbox};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

use super::{
    filter::{Fate, Filter, Installed},
    generator::Generator,
    traffic::{SOURCES, Traffic, station},
};

/// The receiving host's address.
pub(crate) const SERVER4: &str = "192.0.2.1";
/// The sending end's device.
const SENDER: &str = "flood0";
/// The time within which all frames that were sent must be received.
const SETTLED: Duration = Duration::from_millis(20);

/// One kind of traffic before one filter.
pub(crate) struct Arena {
    /// The filter before the port.
    pub(crate) filter: Filter,
    /// The receiving end.
    pub(crate) server: Namespace,
    /// The sending end.
    pub(crate) client: Namespace,
    traffic: Traffic,
    installed: Installed,
    frame: Vec<u8>,
    sender: u32,
    receiver: Receiver,
}

/// The result of a flood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flooded {
    /// Frames that were sent.
    pub(crate) sent: u64,
    /// Frames that the receiving device has processed.
    pub(crate) received: u64,
    /// From the first frame's sending until the last one was processed.
    pub(crate) elapsed: Duration,
}

/// The sending end of a paced flood. The value may go to another thread, in the namespace of the sender.
pub(crate) struct Sender<'a> {
    generator: &'a Generator,
    frame: &'a [u8],
    interface: u32,
}

impl Sender<'_> {
    /// Sends a paced flood, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel refuses to send the frames.
    pub(crate) fn send_paced(&self, sweeps: u32) -> Result<()> {
        self.generator.send_paced(self.frame, self.interface, sweeps)
    }

    /// Makes frames that go nowhere.
    ///
    /// # Errors
    /// The kernel refuses to run the program.
    pub(crate) fn discard(&self, sweeps: u32) -> Result<()> {
        self.generator.discard(self.frame, self.interface, sweeps)
    }
}

impl Arena {
    /// Creates the arena, with a device of the given name at the receiving end: xdp-filter derives the names of its
    /// pins from the device.
    ///
    /// # Errors
    /// A part can't be made, or the filter can't be installed.
    pub(crate) fn new(sandbox: &Sandbox, traffic: Traffic, filter: Filter, device: &str) -> Result<Self> {
        let (server, client) = (Namespace::new("flooded")?, Namespace::new("flooding")?);
        Link::new(&server, device, &client, SENDER)
            .address_a(&format!("{SERVER4}/24"))
            .address_a("2001:db8::1/64")
            .address_b("192.0.2.10/24")
            .address_b("2001:db8::10/64")
            .up()?;
        // Answers go back where the frames came from, by way of one neighbour.
        server.ip(&format!("route add 198.18.0.0/16 via 192.0.2.10 dev {device}"))?;
        server.ip(&format!("route add 2001:db8:ffff::/64 via 2001:db8::10 dev {device}"))?;
        // Without this offload, a veth takes frames from XDP only while it has an XDP program of its own.
        offload(&server, device, "gro on")?;
        // With this offload, a veth lets TCP's own packets overtake the queue that the flood fills, unless XDP is at
        // its other end.
        offload(&client, SENDER, "tso off")?;
        let receiver = server.enter(|| Receiver::new(device))??;
        let (sender, from) = client.enter(|| interface(&client, SENDER))??;
        let (index, to) = server.enter(|| interface(&server, device))??;
        let pins = sandbox.bpffs().join(format!("{}-{}", traffic.name(), filter.name()));
        let installed = filter.install(traffic, &server, (device, index), &pins)?;
        let frame = traffic.frame(to, from);
        Ok(Self { filter, server, client, traffic, installed, frame, sender, receiver })
    }

    /// The sending end for paced floods, or for frames that go nowhere.
    pub(crate) fn sender<'a>(&'a self, generator: &'a Generator) -> Sender<'a> {
        Sender { generator, frame: &self.frame, interface: self.sender }
    }

    /// Floods with so many frames from each source, until all frames have been processed.
    ///
    /// # Errors
    /// The kernel refuses to send the frames or to report the counters.
    pub(crate) fn flood(&mut self, generator: &Generator, sweeps: u32) -> Result<Flooded> {
        let receiver = &mut self.receiver;
        self.client.enter(|| {
            let before = receiver.packets()?;
            let started = Instant::now();
            generator.send(&self.frame, self.sender, sweeps)?;
            let sent = u64::from(sweeps) * u64::from(SOURCES);
            let mut ended = started.elapsed();
            let mut received = receiver.packets()? - before;
            // The kernel's own thread processes the remaining frames, on this core.
            while received < sent && started.elapsed() < ended + SETTLED {
                thread::yield_now();
                let now = receiver.packets()? - before;
                if now > received {
                    (received, ended) = (now, started.elapsed());
                }
            }
            Ok(Flooded { sent, received, elapsed: ended })
        })?
    }

    /// Frames that the receiving device has processed so far.
    ///
    /// # Errors
    /// The kernel doesn't report the counter.
    pub(crate) fn received(&mut self) -> Result<u64> {
        self.receiver.packets()
    }

    /// Checks that frames of all sources meet the filter's expected fate, and that frames are valid if no filter stops
    /// them.
    ///
    /// # Errors
    /// The frames meet another fate.
    pub(crate) fn check(&mut self, generator: &Generator) -> Result<()> {
        let before = self.observe()?;
        let Flooded { sent, received, .. } = self.flood(generator, 1)?;
        let after = self.observe()?;
        let grown = |of: fn(&Observed) -> u64| of(&after) - of(&before);
        let seen = [grown(|o| o.by_ip), grown(|o| o.delivered), grown(|o| o.answered)];
        // Neighbour discovery and the like are included in all of these numbers.
        let few = received / 1000;
        let all = |number: u64| number + few >= received;
        let none = |number: u64| number <= few;
        let right = match (self.filter.fate(), seen) {
            (Fate::Answered, [by_ip, delivered, answered]) => all(by_ip) && all(delivered) && all(answered),
            (Fate::DroppedByInput, [by_ip, delivered, answered]) => all(by_ip) && none(delivered) && none(answered),
            (Fate::DroppedByDevice, [by_ip, ..]) => none(by_ip),
        };
        let flood = format!("{} before {}", self.traffic.meaning(), self.filter.meaning());
        ensure!(received > sent / 2, "{flood}: of {sent} packets only {received} arrived");
        let [by_ip, delivered, answered] = seen;
        ensure!(
            right,
            "{flood}: of {received} packets IP saw {by_ip}, handed on {delivered}, and {answered} were valid and found \
             nobody listening, but they should have been {:?}",
            self.filter.fate()
        );
        if matches!(self.installed, Installed::Agent(_)) {
            let dropped = grown(|o| o.no_grant);
            ensure!(all(dropped), "{flood}: of {received} packets {dropped} were dropped for want of a grant");
        }
        Ok(())
    }

    fn observe(&self) -> Result<Observed> {
        // The file belongs to the thread, which is in another namespace than the process.
        let read = |name: &str| {
            let path = format!("/proc/thread-self/net/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let (snmp, snmp6) = self.server.enter(|| Ok::<_, anyhow::Error>((read("snmp")?, read("snmp6")?)))??;
        let ip = |name: &str| {
            let found = if self.traffic.is_ipv6() { field6(&snmp6, name) } else { field(&snmp, "Ip", name) };
            found.with_context(|| format!("the kernel has no counter {name} of IP"))
        };
        let (group, name) = if self.traffic.protocol() == "udp" { ("Udp", "NoPorts") } else { ("Tcp", "OutRsts") };
        Ok(Observed {
            by_ip: ip("InReceives")?,
            delivered: ip("InDelivers")?,
            // Both counters grow only after the checksum was found right.
            answered: field(&snmp, group, name).with_context(|| format!("the kernel has no counter {group} {name}"))?,
            no_grant: match &self.installed {
                Installed::Agent(datapath) => no_grant(datapath)?,
                Installed::Rules | Installed::Bare(_) => 0,
            },
        })
    }
}

/// Switches an offload of a device.
fn offload(namespace: &Namespace, device: &str, switch: &str) -> Result<()> {
    let ethtool = Program::new("ethtool").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(["-K", device]);
    ethtool.args(switch.split(' ')).run_in(namespace, PATIENCE)?.success()?;
    Ok(())
}

/// Counters of the receiving namespace.
struct Observed {
    by_ip: u64,
    delivered: u64,
    answered: u64,
    no_grant: u64,
}

fn no_grant(datapath: &XdpDatapath) -> Result<u64> {
    let counters = datapath.counters()?;
    let wanted = |(mode, reason, _): &&(Mode, Reason, u64)| (*mode, *reason) == (Mode::Enforce, Reason::NoGrant);
    Ok(counters.iter().filter(wanted).map(|(.., count)| count).sum())
}

/// A value of `/proc/net/snmp`, where each group has a line of names and one of values.
fn field(snmp: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = (lines.next()?, lines.next()?);
    names.split(' ').zip(values.split(' ')).find(|(found, _)| *found == name)?.1.parse().ok()
}

/// A value of `/proc/net/snmp6`, where each line has one value.
fn field6(snmp6: &str, name: &str) -> Option<u64> {
    let line = snmp6.lines().find_map(|line| line.strip_prefix("Ip6")?.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// Index and Ethernet address of a device of the current namespace.
fn interface(namespace: &Namespace, device: &str) -> Result<(u32, [u8; 6])> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).context("cannot make a socket")?;
    let index = name_to_index(&any, device).with_context(|| format!("cannot find the device {device}"))?;
    let shown = namespace.ip(&format!("-brief link show dev {device}"))?.stdout;
    let address = shown.split_whitespace().nth(2).with_context(|| format!("{device} has no address: '{shown}'"))?;
    Ok((index, station(address)?))
}

/// The receiving device's own count of frames.
struct Receiver {
    devices: File,
    device: String,
}

impl Receiver {
    /// Opens the counters of a device in the current namespace. The file keeps showing that namespace's devices.
    fn new(device: &str) -> Result<Self> {
        const DEVICES: &str = "/proc/thread-self/net/dev";
        let devices = File::open(DEVICES).with_context(|| format!("cannot open {DEVICES}"))?;
        Ok(Self { devices, device: format!("{device}:") })
    }

    fn packets(&mut self) -> Result<u64> {
        let mut text = String::new();
        self.devices.seek(SeekFrom::Start(0))?;
        self.devices.read_to_string(&mut text)?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(self.device.as_str()));
        // Bytes come first, packets second.
        let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        packets.with_context(|| format!("the kernel doesn't tell what {} received", self.device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_group_and_name() {
        let snmp = "Ip: Forwarding InReceives\nIp: 1 7\nTcp: InSegs OutRsts\nTcp: 3 9\nUdp: NoPorts\nUdp: 4\n";
        assert_eq!((field(snmp, "Ip", "InReceives"), field(snmp, "Tcp", "OutRsts")), (Some(7), Some(9)));
        assert_eq!((field(snmp, "Udp", "OutRsts"), field(snmp, "UdpLite", "NoPorts")), (None, None));
        let snmp6 = "Ip6InReceives                   \t70\nIp6InDelivers                   \t9\n";
        assert_eq!((field6(snmp6, "InDelivers"), field6(snmp6, "InOctets")), (Some(9), None));
    }
}
