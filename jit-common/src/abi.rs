//! The layout of the kernel's maps. Both sides check [`ABI_VERSION`]; all structs are free of padding.

mod traffic;

pub use self::traffic::{Activity, COUNTER_INDICES, Counters, Event, counter_index};

/// Version of the maps. It is raised with every change to a map's layout or meaning, so that an agent never adopts maps
/// that it would misread.
pub const ABI_VERSION: u32 = 3;

/// Names of the maps, as the object declares them and as they are pinned.
pub mod map {
    /// `[Settings; 1]`.
    pub const SETTINGS: &str = "SETTINGS";
    /// `[PortEntry; 65536]`, indexed by destination port.
    pub const PORTS: &str = "PORTS";
    /// `HostKey4 -> slot number`.
    pub const HOSTS4: &str = "HOSTS4";
    /// `HostKey6 -> slot number`.
    pub const HOSTS6: &str = "HOSTS6";
    /// `prefix of PrefixKey4 -> slot number`.
    pub const PREFIXES4: &str = "PREFIXES4";
    /// `prefix of PrefixKey6 -> slot number`.
    pub const PREFIXES6: &str = "PREFIXES6";
    /// `[Slot; SLOTS]`, memory-mapped by the agent.
    pub const SLOTS: &str = "SLOTS";
    /// `[Activity; SLOTS]`, memory-mapped by the agent and indexed by the same numbers as [`SLOTS`].
    pub const ACTIVITY: &str = "ACTIVITY";
    /// Per CPU `[Counters; COUNTERS]`, indexed by [`PortEntry::counters`](super::PortEntry::counters).
    pub const COUNTERS: &str = "COUNTERS";
    /// `index of an interface with local scope -> unused`. The map is new with each agent, since the kernel reuses
    /// indices.
    pub const LOCAL_INTERFACES: &str = "LOCAL_INTERFACES";
    /// Ring buffer of [`Event`](super::Event)s, new with each agent.
    pub const EVENTS: &str = "EVENTS";
    /// The maps that are pinned and outlive the agent.
    pub const PINNED: [&str; 9] = [SETTINGS, PORTS, HOSTS4, HOSTS6, PREFIXES4, PREFIXES6, SLOTS, ACTIVITY, COUNTERS];
}

/// Number of ports.
pub const PORTS: usize = 1 << 16;
/// Capacity of each host map and of each prefix map, in entries.
pub const ENTRIES: usize = 1 << 16;
/// Number of slots. All host and prefix entries share them.
pub const SLOTS: usize = 1 << 17;
/// Number of elements of the counters' map. The first element is for packets that concern no protected port. The last
/// element is for all protected ports that have no element of their own.
pub const COUNTERS: usize = 256;
/// Size of the ring buffer in bytes.
pub const EVENT_BYTES: usize = 1 << 18;
/// Largest number of interfaces with local scope.
pub const LOCAL_INTERFACES: usize = 1024;
/// How many events of one port a CPU may report at once, after a time without events of that port.
pub const EVENT_BURST: u64 = 32;
/// Least time between two changes of the same field of an [`Activity`], in nanoseconds.
pub const ACTIVITY_INTERVAL: u64 = 1_000_000_000;
/// After this time without a packet, in nanoseconds, a datagram counts as a new connection: the time after which Linux'
/// connection tracking forgets an unanswered UDP flow.
pub const DATAGRAM_PAUSE: u64 = 30_000_000_000;

/// Length in bits of the head of a prefix-map key: port, protocol and a zero byte, in front of the address.
pub const PREFIX_KEY_HEAD_BITS: u32 = 32;
/// Number of bits by which a prefix length grows when an IPv4 prefix is written as an IPv4-mapped IPv6 prefix.
pub const MAPPED_BITS: u32 = 96;

/// Transport protocols that have ports to protect, by IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Transport {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
    /// SCTP.
    Sctp = 132,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The transport's name as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The transport of an IP protocol number, if it has ports to protect.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }
}

/// A port's entry. It says for which transports the port is protected, whether any grant for the port is live, and
/// where the port's packets are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PortEntry(pub u16);

impl PortEntry {
    const TCP: u16 = 1;
    const UDP: u16 = 1 << 1;
    const SCTP: u16 = 1 << 2;
    const HOSTS: u16 = 1 << 3;
    const PREFIXES: u16 = 1 << 4;
    const PROTECTION: u16 = Self::TCP | Self::UDP | Self::SCTP;
    const HINTS: u16 = Self::HOSTS | Self::PREFIXES;
    const COUNTERS_SHIFT: u32 = 8;
    /// An entry that protects the port for every transport while no grant is live. The program assumes this entry if it
    /// can't read the port's own.
    pub const SHUT: Self = Self(Self::PROTECTION);

    const fn bit(transport: Transport) -> u16 {
        match transport {
            Transport::Tcp => Self::TCP,
            Transport::Udp => Self::UDP,
            Transport::Sctp => Self::SCTP,
        }
    }

    /// The entry, with the port also protected for `transport`.
    #[must_use]
    pub const fn protecting(self, transport: Transport) -> Self {
        Self(self.0 | Self::bit(transport))
    }

    /// The entry with its hints set to whether host grants and prefix grants are live.
    #[must_use]
    pub const fn with_hints(self, hosts: bool, prefixes: bool) -> Self {
        let others = self.0 & !Self::HINTS;
        Self(others | if hosts { Self::HOSTS } else { 0 } | if prefixes { Self::PREFIXES } else { 0 })
    }

    /// The entry, with the port's packets counted in this element of the counters' map.
    #[must_use]
    pub const fn counted_in(self, element: u8) -> Self {
        Self(self.0 & (Self::PROTECTION | Self::HINTS) | (element as u16) << Self::COUNTERS_SHIFT)
    }

    /// The element of the counters' map in which the port's packets are counted.
    #[inline(always)]
    #[must_use]
    pub const fn counters(self) -> u8 {
        (self.0 >> Self::COUNTERS_SHIFT) as u8
    }

    /// Whether no grant is live for the port.
    #[inline(always)]
    #[must_use]
    pub const fn is_idle(self) -> bool {
        self.0 & Self::HINTS == 0
    }

    /// Whether the port is protected for any transport.
    #[must_use]
    pub const fn is_protected(self) -> bool {
        self.0 & Self::PROTECTION != 0
    }

    /// Whether the port is protected for `transport`.
    #[inline(always)]
    #[must_use]
    pub const fn protects(self, transport: Transport) -> bool {
        self.0 & Self::bit(transport) != 0
    }

    /// Whether a host grant may be live for the port.
    #[inline(always)]
    #[must_use]
    pub const fn has_hosts(self) -> bool {
        self.0 & Self::HOSTS != 0
    }

    /// Whether a prefix grant may be live for the port.
    #[inline(always)]
    #[must_use]
    pub const fn has_prefixes(self) -> bool {
        self.0 & Self::PREFIXES != 0
    }
}

/// The settings that apply to all packets. Each field changes by one aligned store while packets flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// [`ABI_VERSION`] of the agent that wrote the maps.
    pub abi_version: u32,
    /// Union of the flags [`Settings::DROP_FRAGMENTS`] to [`Settings::LOCAL_SCOPE`]. 0: look for nothing else.
    pub flags: u32,
    /// Until when drops are carried out.
    pub enforce_until: EnforceUntil,
    /// How many events each CPU may report of each port, counted from when the maps were made. The agent raises the
    /// number as time passes; see [`Counters::admit_event`].
    pub event_allowance: u64,
    /// How often an entry was opened or a deadline was moved. The agent raises the number after the change. A program
    /// that finds no live entry searches once more if the number has changed: during the search, an entry may have been
    /// opened while another entry ended.
    pub openings: u64,
}

/// Until when drops are carried out, on CLOCK_BOOTTIME in nanoseconds. The later of two is the stricter.
///
/// Mode and end are one word, so that a program reads both at once, in whatever order it reads the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct EnforceUntil(pub u64);

impl EnforceUntil {
    /// Drops are not carried out.
    pub const OBSERVE: Self = Self(0);
    /// Drops are carried out for good.
    pub const ENFORCE: Self = Self(u64::MAX);

    /// The mode in force. `now` reads the clock and is called only if enforcement has an end.
    #[inline(always)]
    #[must_use]
    pub fn mode(self, now: impl FnOnce() -> u64) -> Mode {
        if self == Self::ENFORCE || (self != Self::OBSERVE && now() < self.0) { Mode::Enforce } else { Mode::Observe }
    }
}

impl From<Mode> for EnforceUntil {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Observe => Self::OBSERVE,
            Mode::Enforce => Self::ENFORCE,
        }
    }
}

/// Whether drops are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
#[repr(u32)]
pub enum Mode {
    /// Drops are counted and the packet passes.
    #[default]
    Observe = 0,
    /// Drops are carried out.
    Enforce = 1,
}

impl Mode {
    /// The name under which the mode is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl Settings {
    /// All fragments but atomic ones are dropped.
    pub const DROP_FRAGMENTS: u32 = 1;
    /// Some sources are break-glass sources, which are always admitted.
    pub const BREAK_GLASS: u32 = 1 << 1;
    /// Some interfaces have local scope.
    pub const LOCAL_SCOPE: u32 = 1 << 2;

    /// The settings that the program assumes if it can't read the map.
    pub const STRICT: Self = Self {
        abi_version: ABI_VERSION,
        flags: Self::DROP_FRAGMENTS,
        enforce_until: EnforceUntil::ENFORCE,
        event_allowance: 0,
        openings: 0,
    };

    /// Whether any of `bits` is set in the flags.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, bits: u32) -> bool {
        self.flags & bits != 0
    }
}

/// Key of an IPv4 host grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct HostKey4 {
    /// Source address, network order.
    pub address: [u8; 4],
    /// Destination port, network order.
    pub port: [u8; 2],
    /// [`Transport`] number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
}

/// Key of an IPv6 host grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct HostKey6 {
    /// Source address, network order.
    pub address: [u8; 16],
    /// Destination port, network order.
    pub port: [u8; 2],
    /// [`Transport`] number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
}

/// Data of an IPv4 prefix-map key. The first [`PREFIX_KEY_HEAD_BITS`] bits are always matched whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PrefixKey4 {
    /// Destination port, network order.
    pub port: [u8; 2],
    /// [`Transport`] number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
    /// Source address or prefix, network order.
    pub address: [u8; 4],
}

/// Data of an IPv6 prefix-map key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PrefixKey6 {
    /// Destination port, network order.
    pub port: [u8; 2],
    /// [`Transport`] number.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
    /// Source address or prefix, network order.
    pub address: [u8; 16],
}

/// The kernel's record of one live grant entry. The deadline is written by single atomic stores; the rest is written
/// once, while the deadline is zero and no program can still hold the slot's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    /// CLOCK_BOOTTIME in nanoseconds from which the entry no longer matches; 0: the slot is free or closed.
    pub deadline: u64,
    /// Source prefix, upper half in host order; IPv4 is written IPv4-mapped.
    pub source_high: u64,
    /// Source prefix, lower half.
    pub source_low: u64,
    /// Destination port, transport and address family, see [`Slot::tag`]; 0: the slot was never used.
    pub tag: u32,
    /// Prefix length out of 128, also for IPv4.
    pub prefix_length: u32,
}

const _: () = {
    assert!(size_of::<PortEntry>() == 2);
    assert!(size_of::<Settings>() == 32);
    assert!(size_of::<HostKey4>() == 8);
    assert!(size_of::<HostKey6>() == 20);
    assert!(size_of::<PrefixKey4>() == 8);
    assert!(size_of::<PrefixKey6>() == 20);
    assert!(size_of::<Slot>() == 32);
    assert!(core::mem::offset_of!(Slot, deadline) == 0);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_only_if_enforcement_has_an_end() {
        let unread = || panic!("the clock was read");
        assert_eq!(EnforceUntil::OBSERVE.mode(unread), Mode::Observe);
        assert_eq!(EnforceUntil::ENFORCE.mode(unread), Mode::Enforce);
        let end = EnforceUntil(100);
        assert_eq!([99, 100, u64::MAX].map(|now| end.mode(|| now)), [Mode::Enforce, Mode::Observe, Mode::Observe]);
    }
}
