//! Netlink's word that interfaces or addresses have changed.

use std::{io, os::fd::OwnedFd, time::Instant};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, socket_with},
};

/// Groups of messages to listen to, see rtnetlink(7).
const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// A socket at which netlink tells of changes.
pub struct LinkWatch(OwnedFd);

impl LinkWatch {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel has no such socket for this process.
    pub fn open() -> io::Result<Self> {
        // NETLINK_ROUTE is protocol 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))?;
        Ok(Self(socket))
    }

    /// Calls `changed` with the moment of each message until it returns false; waits meanwhile. Messages that came during
    /// a call make one further call, however many they are.
    ///
    /// # Errors
    /// The socket can't be read.
    pub fn follow(self, mut changed: impl FnMut(Instant) -> bool) -> io::Result<()> {
        loop {
            self.receive(RecvFlags::empty())?;
            let told = Instant::now();
            while self.receive(RecvFlags::DONTWAIT)? {}
            if !changed(told) {
                return Ok(());
            }
        }
    }

    /// Takes one message; says whether there was one. What is in it doesn't matter, nor whether some were lost
    /// (ENOBUFS), since everything is read anew.
    fn receive(&self, flags: RecvFlags) -> io::Result<bool> {
        match recv(&self.0, &mut [0; 16], flags | RecvFlags::TRUNC) {
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
