//! The layout of the kernel's maps. Both sides check [`ABI_VERSION`]; all structs are free of padding.

mod traffic;

pub use self::traffic::{Activity, COUNTER_INDICES, Counters, Event, counter_index};

/// Raised with every change to a map's layout or meaning, so that an agent never adopts what it misreads.
pub const ABI_VERSION: u32 = 2;

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
    /// `[Activity; SLOTS]`, memory-mapped by the agent; the same numbers as [`SLOTS`].
    pub const ACTIVITY: &str = "ACTIVITY";
    /// Per CPU `[Counters; COUNTERS]`, indexed by [`PortEntry::counters`](super::PortEntry::counters).
    pub const COUNTERS: &str = "COUNTERS";
    /// Index of each interface whose scope is local -> unused. New with each agent, since indices are reused.
    pub const LOCAL_INTERFACES: &str = "LOCAL_INTERFACES";
    /// Ring buffer of [`Event`](super::Event)s, new with each agent.
    pub const EVENTS: &str = "EVENTS";
    /// Those that are pinned and outlive the agent.
    pub const PINNED: [&str; 9] = [SETTINGS, PORTS, HOSTS4, HOSTS6, PREFIXES4, PREFIXES6, SLOTS, ACTIVITY, COUNTERS];
}

/// Port numbers there are.
pub const PORTS: usize = 1 << 16;
/// Entries of each host map and of each prefix map.
pub const ENTRIES: usize = 1 << 16;
/// Slots, shared by all host and prefix entries.
pub const SLOTS: usize = 1 << 17;
/// Elements of the counters' map. The first is for packets that concern no protected port, the last one for all
/// protected ports beyond the ones that have an element of their own.
pub const COUNTERS: usize = 256;
/// Bytes of the ring buffer.
pub const EVENT_BYTES: usize = 1 << 18;
/// Interfaces of local scope there may be.
pub const LOCAL_INTERFACES: usize = 1024;
/// How many events a CPU may report of one port at once, if it had no occasion before.
pub const EVENT_BURST: u64 = 32;
/// Least time between two changes of the same field of an [`Activity`], in nanoseconds.
pub const ACTIVITY_INTERVAL: u64 = 1_000_000_000;
/// After this time without a packet, in nanoseconds, a datagram counts as a new connection: the time after which Linux'
/// connection tracking forgets an unanswered UDP flow.
pub const DATAGRAM_PAUSE: u64 = 30_000_000_000;

/// Bits of an address family's prefix that a prefix-map key starts with: port, protocol and a zero byte.
pub const PREFIX_KEY_HEAD_BITS: u32 = 32;
/// What a prefix length gains when an IPv4 prefix is written as an IPv4-mapped IPv6 one.
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
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The name as people write it.
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

/// What a port's entry says: for which transports it is protected, whether any grant for it is live, and where its
/// packets are counted.
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
    /// Protected for every transport, no grant live: what an unreadable entry counts as.
    pub const SHUT: Self = Self(Self::PROTECTION);

    const fn bit(transport: Transport) -> u16 {
        match transport {
            Transport::Tcp => Self::TCP,
            Transport::Udp => Self::UDP,
            Transport::Sctp => Self::SCTP,
        }
    }

    /// The entry, also protected for `transport`.
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

    /// The entry with its packets counted in this element of the counters' map.
    #[must_use]
    pub const fn counted_in(self, element: u8) -> Self {
        Self(self.0 & (Self::PROTECTION | Self::HINTS) | (element as u16) << Self::COUNTERS_SHIFT)
    }

    /// In which element of the counters' map its packets are counted.
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

/// What applies to all packets. Each field changes by one aligned store while packets flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// [`ABI_VERSION`] of the agent that wrote the maps.
    pub abi_version: u32,
    /// Bits of [`Settings`]; none of them: enforce, and nothing else to look for.
    pub flags: u32,
    /// CLOCK_BOOTTIME in nanoseconds from which the program observes, if [`Settings::TRIAL`] is set.
    pub trial_until: u64,
    /// How many events each CPU may report of each port, counted from when the maps were made. The agent raises it as
    /// time passes; see [`Counters::admit_event`].
    pub event_allowance: u64,
    /// How often an entry was opened, or its deadline moved; raised when that is done. A program that finds no live entry
    /// although one may have been opened under its eyes, while another ended, looks once more.
    pub openings: u64,
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
    /// The name under which it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

impl Settings {
    /// Drops are not carried out.
    pub const OBSERVE: u32 = 1;
    /// All fragments but atomic ones are dropped.
    pub const DROP_FRAGMENTS: u32 = 1 << 1;
    /// Some sources are always let in.
    pub const BREAK_GLASS: u32 = 1 << 2;
    /// Some interfaces have local scope.
    pub const LOCAL_SCOPE: u32 = 1 << 3;
    /// Drops are carried out until `trial_until` only.
    pub const TRIAL: u32 = 1 << 4;

    /// What the program assumes if its settings can't be read.
    pub const STRICT: Self =
        Self { abi_version: ABI_VERSION, flags: Self::DROP_FRAGMENTS, trial_until: 0, event_allowance: 0, openings: 0 };

    /// Whether any of these bits is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, bits: u32) -> bool {
        self.flags & bits != 0
    }

    /// The mode in force; the clock is asked only during a trial.
    #[inline(always)]
    #[must_use]
    pub fn mode(&self, now: impl FnOnce() -> u64) -> Mode {
        if self.has(Self::OBSERVE | Self::TRIAL) && (self.has(Self::OBSERVE) || now() >= self.trial_until) {
            Mode::Observe
        } else {
            Mode::Enforce
        }
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

/// Data of an IPv4 prefix-map key: the first [`PREFIX_KEY_HEAD_BITS`] are always matched whole.
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
    /// CLOCK_BOOTTIME in nanoseconds from which the entry no longer matches; 0: free or closed.
    pub deadline: u64,
    /// Source prefix, upper half in host order; IPv4 is written IPv4-mapped.
    pub source_high: u64,
    /// Source prefix, lower half.
    pub source_low: u64,
    /// Destination port, transport and address family, see [`Slot::tag`]; 0: never used.
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
