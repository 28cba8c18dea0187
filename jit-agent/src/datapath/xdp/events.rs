//! The packets that the program reports.

use std::io;

use aya::maps::{Map, MapData, RingBuf};
use jit_common::abi::{Event, map};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::datapath::DatapathError;

/// The reading end of the ring buffer.
pub struct EventSource(RingBuf<MapData>);

impl EventSource {
    pub(super) fn new(map: Map) -> Result<Self, DatapathError> {
        let buffer = RingBuf::try_from(map)
            .map_err(|error| DatapathError::kernel(format!("opening map {}", map::EVENTS), error))?;
        Ok(Self(buffer))
    }

    /// Hands over each event as it comes, until it returns false; waits meanwhile.
    ///
    /// # Errors
    /// The ring buffer can't be waited for.
    pub fn follow(mut self, mut take: impl FnMut(&Event) -> bool) -> io::Result<()> {
        loop {
            while let Some(bytes) = self.0.next() {
                match Event::read(&bytes) {
                    Some(event) if take(&event) => {}
                    Some(_) => return Ok(()),
                    None => tracing::error!(bytes = bytes.len(), "an event of an unknown size was left out"),
                }
            }
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
