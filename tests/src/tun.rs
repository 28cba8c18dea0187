//! A tunnel whose other end is the test. Its packets have no Ethernet headers.

use std::{
    fs::File,
    io::{Read, Write},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Namespace, sys,
    verdicts::frame::{Ipv4, protocol},
};

/// A `tun` device, which exists as long as this value.
pub struct Tun(File);

impl Tun {
    /// Creates a device in `namespace`, with an address, and brings it up.
    ///
    /// # Errors
    /// The kernel has no such devices, or the `ip` tool fails.
    pub fn new(namespace: &Namespace, name: &str, address: &str) -> Result<Self> {
        let device = namespace.enter(|| sys::tun_device(name))?.context("cannot make a tun device")?;
        namespace.ip(&format!("address add {address} dev {name}"))?;
        namespace.ip(&format!("link set {name} up"))?;
        Ok(Self(device))
    }

    /// Lets a packet, which begins with its IP header, arrive on the device.
    ///
    /// # Errors
    /// The device is down.
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        self.0.write_all(packet).context("cannot send into the tunnel")
    }

    /// Waits for a packet that leaves by the device and is `wanted`; `None` when no such packet came within the time.
    ///
    /// # Errors
    /// The device can't be read.
    pub fn receive(&mut self, wanted: impl Fn(&[u8]) -> bool, within: Duration) -> Result<Option<Vec<u8>>> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left)?;
            if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout))? == 0 {
                return Ok(None);
            }
            let mut packet = vec![0; 65_536];
            let length = self.0.read(&mut packet)?;
            packet.truncate(length);
            if wanted(&packet) {
                return Ok(Some(packet));
            }
        }
    }
}

/// An IP packet with two bytes for a UDP port.
#[must_use]
pub fn datagram(source: Ipv4Addr, destination: Ipv4Addr, port: u16) -> Vec<u8> {
    // The packet has no UDP checksum, which IPv4 allows.
    let payload = [&4000_u16.to_be_bytes()[..], &port.to_be_bytes(), &[0, 10, 0, 0], b"hi"].concat();
    let mut packet = Ipv4::new(source, protocol::UDP, payload).bytes();
    packet[16..20].copy_from_slice(&destination.octets());
    let words = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let checksum = !((sum >> 16) + (sum & 0xffff)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}
