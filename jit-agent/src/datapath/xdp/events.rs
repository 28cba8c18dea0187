//! The packets that the program reports.

use std::{
    io, mem,
    sync::{Arc, Mutex, PoisonError},
};

use aya::maps::{Map, MapData, RingBuf};
use jit_common::abi::{Event, map};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::datapath::DatapathError;

/// The ring buffer, which stays open as long as programs may be loaded that write to it.
pub(super) struct Events {
    buffer: Arc<Mutex<RingBuf<MapData>>>,
    has_source: bool,
}

impl Events {
    pub(super) fn new(map: Map) -> Result<Self, DatapathError> {
        let buffer = RingBuf::try_from(map)
            .map_err(|error| DatapathError::kernel(format!("opening map {}", map::EVENTS), error))?;
        Ok(Self { buffer: Arc::new(Mutex::new(buffer)), has_source: false })
    }

    /// The reading end; `None` if an earlier call returned the reading end.
    pub(super) fn source(&mut self) -> Option<EventSource> {
        (!mem::replace(&mut self.has_source, true)).then(|| EventSource(Arc::clone(&self.buffer)))
    }
}

/// The reading end of the ring buffer.
pub struct EventSource(Arc<Mutex<RingBuf<MapData>>>);

impl EventSource {
    /// Hands each event to `take` as it comes, until `take` returns false. Waits for events meanwhile.
    ///
    /// # Errors
    /// The ring buffer can't be waited for.
    pub fn follow(self, mut take: impl FnMut(&Event) -> bool) -> io::Result<()> {
        // No other thread reads.
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(bytes) = buffer.next() {
                match Event::read(&bytes) {
                    Some(event) if take(&event) => {}
                    Some(_) => return Ok(()),
                    None => tracing::error!(bytes = bytes.len(), "an event of an unknown size was left out"),
                }
            }
            match poll(&mut [PollFd::new(&*buffer, PollFlags::IN)], None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
