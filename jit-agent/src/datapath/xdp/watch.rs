//! Netlink's notifications that interfaces or addresses have changed.

use std::{io, time::Instant};

use rustix::net::RecvFlags;

use super::socket::NetlinkSocket;

/// Groups of messages to listen to, see rtnetlink(7).
const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// A socket at which netlink notifies changes.
pub struct LinkWatch(NetlinkSocket);

impl LinkWatch {
    /// Listens from now on.
    ///
    /// # Errors
    /// The kernel has no such socket for this process.
    pub fn open() -> io::Result<Self> {
        Ok(Self(NetlinkSocket::open(None, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR)?))
    }

    /// Calls `changed` with the moment of each notification until it returns false; waits meanwhile. Notifications that
    /// came during a call make one further call, however many they are. What they say doesn't matter, nor whether some
    /// were lost, since everything is read anew.
    ///
    /// # Errors
    /// The socket can't be read.
    pub fn follow(self, mut changed: impl FnMut(Instant) -> bool) -> io::Result<()> {
        loop {
            self.0.skip(RecvFlags::empty())?;
            let notified = Instant::now();
            while self.0.skip(RecvFlags::DONTWAIT)? {}
            if !changed(notified) {
                return Ok(());
            }
        }
    }
}
