//! The outside: a namespace with two addresses on the machine's wire, a stranger who knocks at the machine's ports all
//! the time, and a record of every packet that the machine sends.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jit_tests::{FrameSender, Namespace, PATIENCE, Reach, SILENCE, tcp_connects};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

/// The network device of the outside.
pub(crate) const TAP: &str = "tap0";
/// The machine's hardware address.
pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 2, 1];
const OWN_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 2, 2];

/// The machine's address.
pub(crate) const MACHINE: &str = "192.0.2.1";
/// The address of the client that is granted access.
pub(crate) const CLIENT: &str = "192.0.2.10";
/// The address of the stranger, who is never granted access.
pub(crate) const STRANGER: &str = "192.0.2.11";

/// SSH's port, on which a socket listens from early in the boot on.
pub(crate) const SSH: u16 = 22;
/// An unprotected port on which nothing listens: the machine's refusal shows that the machine can be reached.
pub(crate) const CONTROL: u16 = 81;

/// The pause between two knocks at each port.
const PACE: Duration = Duration::from_millis(50);

/// A packet that the machine sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    at: Instant,
    to: Ipv4Addr,
    /// The source port, for TCP and UDP.
    from: Option<u16>,
}

/// The namespace, the knocking and the record, which all last as long as the process.
pub(crate) struct Wire {
    pub(crate) outside: Namespace,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Wire {
    /// Creates the namespace with the wire's end, and starts to knock and to record.
    pub(crate) fn new() -> Result<Self> {
        let outside = Namespace::new("outside")?;
        outside.ip(&format!("tuntap add dev {TAP} mode tap"))?;
        outside.ip(&format!("link set {TAP} address {}", OWN_MAC.map(|byte| format!("{byte:02x}")).join(":")))?;
        for address in [CLIENT, STRANGER] {
            outside.ip(&format!("address add {address}/24 dev {TAP}"))?;
        }
        outside.ip(&format!("link set {TAP} up"))?;
        // The hardware address is set, since a host that asks a machine in vain for its address gives up for a while.
        let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
        outside.ip(&format!("neighbour add {MACHINE} lladdr {mac} nud permanent dev {TAP}"))?;
        let wire = Self { outside, sent: Arc::default() };
        wire.record()?;
        wire.knock()?;
        Ok(wire)
    }

    /// Adds an address to the outside.
    pub(crate) fn address(&self, address: &str) -> Result<()> {
        self.outside.ip(&format!("address add {address}/24 dev {TAP}")).map(drop)
    }

    /// Sends TCP SYNs as the stranger, to a locked port and to a port that is never locked.
    fn knock(&self) -> Result<()> {
        let mut sender = FrameSender::new(&self.outside, TAP)?;
        thread::spawn(move || {
            let mut source = 20_000_u16;
            loop {
                source = if source == u16::MAX { 20_000 } else { source + 1 };
                for port in [SSH, CONTROL] {
                    // Sending fails until QEMU has started.
                    let _ = sender.send(&syn(STRANGER, source, port));
                }
                thread::sleep(PACE);
            }
        });
        Ok(())
    }

    fn record(&self) -> Result<()> {
        /// ETH_P_ALL, in network order.
        const ALL: u32 = 0x0300;
        let open = || {
            let protocol = Protocol::from_raw(std::num::NonZeroU32::new(ALL)?);
            Some(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol)))
        };
        let socket = self.outside.enter(open)?.context("no protocol")?.context("cannot read the wire")?;
        let sent = Arc::clone(&self.sent);
        thread::spawn(move || {
            let mut frame = [0; 2048];
            while let Ok((length, _)) = recv(&socket, &mut frame, RecvFlags::empty()) {
                if let Some(one) = sent_by_machine(&frame[..length]) {
                    sent.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            }
        });
        Ok(())
    }

    /// The numbers of packets to the stranger since then: those from locked ports or without a port, and all others.
    fn to_stranger(&self, since: Instant, locked: &[u16]) -> (usize, usize) {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let stranger = sent.iter().filter(|one| one.at >= since && one.to.to_string() == STRANGER);
        // A packet without a port may be ICMP, which may report about a port.
        let shut = |one: &&Sent| one.from.is_none_or(|port| locked.contains(&port));
        let (all, shut) = (stranger.clone().count(), stranger.filter(shut).count());
        (shut, all - shut)
    }

    /// Expects that no packet from a locked port has reached the stranger since then, while the machine could be
    /// reached.
    pub(crate) fn shut_since(&self, since: Instant) -> Result<()> {
        self.wait_for_control(Instant::now())?;
        let (shut, open) = self.to_stranger(since, &[SSH, crate::traffic::PORT]);
        ensure!(open > 0, "the machine could not be reached");
        ensure!(shut == 0, "a locked port answered the stranger {shut} times, and a port that isn't {open} times");
        Ok(())
    }

    /// Waits for an answer from the port that is never locked.
    pub(crate) fn wait_for_control(&self, since: Instant) -> Result<()> {
        let deadline = Instant::now() + 12 * PATIENCE;
        while self.to_stranger(since, &[SSH]).1 == 0 {
            ensure!(Instant::now() < deadline, "the machine's network does not come up");
            thread::sleep(PACE);
        }
        Ok(())
    }

    /// The number of answers since then from the port that is never locked.
    pub(crate) fn control_since(&self, since: Instant) -> usize {
        self.to_stranger(since, &[SSH]).1
    }

    /// Whether SSH's port answers `from`.
    pub(crate) fn ssh(&self, from: &str) -> Result<Reach> {
        let within = if from == STRANGER { 3 * SILENCE } else { PATIENCE };
        tcp_connects(&self.outside, from, &format!("{MACHINE}:{SSH}"), within)
    }

    /// Expects that SSH's port answers `from`.
    pub(crate) fn open(&self, from: &str) -> Result<()> {
        let met = tcp_connects(&self.outside, from, &format!("{MACHINE}:{SSH}"), 3 * PATIENCE)?;
        ensure!(met == Reach::Open, "port {SSH} is {met:?} for {from}");
        Ok(())
    }

    /// Expects that SSH's port does not answer `from`.
    pub(crate) fn silent(&self, from: &str) -> Result<()> {
        let met = tcp_connects(&self.outside, from, &format!("{MACHINE}:{SSH}"), 5 * SILENCE)?;
        ensure!(met == Reach::Silent, "port {SSH} is {met:?} for {from}");
        Ok(())
    }
}

/// A TCP SYN to the machine.
fn syn(from: &str, source: u16, port: u16) -> Vec<u8> {
    let address = |text: &str| text.parse::<Ipv4Addr>().unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
    let (from, to) = (address(from), address(MACHINE));
    let mut segment = [source.to_be_bytes(), port.to_be_bytes()].concat();
    // The sequence and acknowledgement numbers, header length, SYN, window, checksum and urgent pointer.
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [&from[..], &to, &[0, 6, 0, segment.len() as u8], &segment].concat();
    segment[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut header = vec![0x45, 0, 0, 20 + segment.len() as u8, 0, 0, 0x40, 0, 64, 6, 0, 0];
    header.extend([from, to].concat());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&MAC[..], &OWN_MAC, &[0x08, 0x00], &header, &segment].concat()
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Parses an IPv4 packet that the machine sent.
fn sent_by_machine(frame: &[u8]) -> Option<Sent> {
    let ip = frame.get(14..).filter(|_| frame[6..12] == MAC && frame[12..14] == [0x08, 0x00])?;
    let to = Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(16..20)?).ok()?);
    let from = match ip[9] {
        6 | 17 => Some(u16::from_be_bytes(ip.get(20..22)?.try_into().ok()?)),
        _ => None,
    };
    Some(Sent { at: Instant::now(), to, from })
}
