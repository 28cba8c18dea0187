//! What the program writes: counters, events, the use of grants.

#[cfg(doc)]
use super::{ACTIVITY_INTERVAL, Settings, Slot};
use super::{EVENT_BURST, Mode};
use crate::reason::Reason;

/// One CPU's counts for one port, or for all packets that concern no protected port. Only the program writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Numbers of packets, indexed by [`counter_index`].
    pub packets: [u64; COUNTER_INDICES],
    /// How much of [`Settings::event_allowance`] is used up.
    pub spent: u64,
    /// Number of events that went into the ring buffer.
    pub sent: u64,
}

/// Number of reasons for which each mode has room.
const REASONS: usize = 32;
/// Number of counters in one element: each mode has a counter for every reason for which there is room.
pub const COUNTER_INDICES: usize = 2 * REASONS;

impl Counters {
    /// Returns whether one more event may be reported, and counts the event if so. A CPU without events for a while may
    /// catch up by [`EVENT_BURST`] events, not by all the events that it might have reported.
    #[inline(always)]
    pub fn admit_event(&mut self, allowance: u64) -> bool {
        if self.spent >= allowance {
            return false;
        }
        let oldest = allowance.saturating_sub(EVENT_BURST);
        self.spent = if self.spent < oldest { oldest } else { self.spent } + 1;
        true
    }
}

/// The index of the counter for a mode and a reason.
#[inline(always)]
#[must_use]
pub const fn counter_index(mode: Mode, reason: Reason) -> u32 {
    mode as u32 * REASONS as u32 + reason as u32
}

/// A report about one packet. The packet was dropped, or would have been dropped in [`Mode::Enforce`], or it passed and
/// was the first of a connection.
///
/// All fields are whole words, because the program makes the event on its stack, where the verifier requires every
/// store to be aligned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// CLOCK_BOOTTIME in nanoseconds.
    pub time: u64,
    /// Source address, upper half in host order; IPv4 is written IPv4-mapped.
    pub source_high: u64,
    /// Source address, lower half.
    pub source_low: u64,
    /// [`Slot::tag`] of the packet's flow; 0: the packet has no readable flow, and the source is zero too.
    pub tag: u64,
    /// Index of the interface in the upper half, then [`Mode`] and [`Reason`] as a byte each.
    pub verdict: u64,
}

impl Event {
    /// An event without a flow.
    #[inline(always)]
    #[must_use]
    pub const fn new(time: u64, interface: u32, mode: u8, reason: u8) -> Self {
        let verdict = (interface as u64) << 32 | (mode as u64) << 8 | reason as u64;
        Self { time, source_high: 0, source_low: 0, tag: 0, verdict }
    }

    /// Reads an event from its bytes in the ring buffer. `None` if the bytes are more or fewer than an event has.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut words = bytes.chunks_exact(8).filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)));
        let mut next = || words.next();
        let event = Self { time: next()?, source_high: next()?, source_low: next()?, tag: next()?, verdict: next()? };
        (bytes.len() == size_of::<Self>()).then_some(event)
    }

    /// Index of the interface.
    #[must_use]
    pub const fn interface(&self) -> u32 {
        (self.verdict >> 32) as u32
    }

    /// The mode that was in force, and so whether a drop was carried out.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        if self.verdict >> 8 & 0xff == Mode::Observe as u64 { Mode::Observe } else { Mode::Enforce }
    }

    /// The packet's reason; `None` for a number that no reason has.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.get((self.verdict & 0xff) as usize).copied()
    }
}

/// When the entry of a slot was used, as CLOCK_BOOTTIME in nanoseconds; 0: never. Each field is written at most once in
/// [`ACTIVITY_INTERVAL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Activity {
    /// Time of the first new connection.
    pub first_connection: u64,
    /// Time of the last new connection.
    pub last_connection: u64,
    /// Time of the last packet.
    pub last_packet: u64,
}

const _: () = {
    assert!(size_of::<Counters>() == 8 * (COUNTER_INDICES + 2));
    assert!(size_of::<Event>() == 40);
    assert!(size_of::<Activity>() == 24);
    assert!(Reason::COUNT <= REASONS);
};
