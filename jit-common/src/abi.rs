//! The layout of the kernel's maps. Both sides check [`ABI_VERSION`]; all structs are free of padding.

use crate::reason::Reason;

/// Raised with every change to a map's layout or meaning, so that an agent never adopts what it misreads.
pub const ABI_VERSION: u32 = 1;

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
    /// Per CPU `[u64; COUNTERS]`, see [`counter_index`](super::counter_index).
    pub const COUNTERS: &str = "COUNTERS";
    /// All of them.
    pub const ALL: [&str; 8] = [SETTINGS, PORTS, HOSTS4, HOSTS6, PREFIXES4, PREFIXES6, SLOTS, COUNTERS];
}

/// Port numbers there are.
pub const PORTS: usize = 1 << 16;
/// Entries of each host map and of each prefix map.
pub const ENTRIES: usize = 1 << 16;
/// Slots, shared by all host and prefix entries.
pub const SLOTS: usize = 1 << 17;
/// Counters: one for each mode and reason.
pub const COUNTERS: usize = 2 * Reason::COUNT;

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

/// What a port's byte says: for which transports it is protected, and whether any grant for it is live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct PortEntry(pub u8);

impl PortEntry {
    const TCP: u8 = 1;
    const UDP: u8 = 1 << 1;
    const SCTP: u8 = 1 << 2;
    const HOSTS: u8 = 1 << 3;
    const PREFIXES: u8 = 1 << 4;
    /// Protected for every transport, no grant live: what an unreadable entry counts as.
    pub const SHUT: Self = Self(Self::TCP | Self::UDP | Self::SCTP);

    const fn bit(transport: Transport) -> u8 {
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
        let protection = self.0 & (Self::TCP | Self::UDP | Self::SCTP);
        Self(protection | if hosts { Self::HOSTS } else { 0 } | if prefixes { Self::PREFIXES } else { 0 })
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

/// What applies to all packets; changeable while packets flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// [`ABI_VERSION`] of the agent that wrote the maps.
    pub abi_version: u32,
    /// 1: enforce; anything else: observe. See [`Settings::mode`].
    pub mode: u32,
    /// 0: later fragments pass; anything else: fragments are dropped.
    pub fragments: u32,
    /// Zero.
    pub reserved: u32,
}

/// Whether drops are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Mode {
    /// Drops are counted and the packet passes.
    Observe = 0,
    /// Drops are carried out.
    Enforce = 1,
}

impl Settings {
    /// What the program assumes if its settings can't be read.
    pub const STRICT: Self = Self::new(Mode::Enforce, true);

    /// Settings of this ABI version.
    #[must_use]
    pub const fn new(mode: Mode, drop_fragments: bool) -> Self {
        Self { abi_version: ABI_VERSION, mode: mode as u32, fragments: drop_fragments as u32, reserved: 0 }
    }

    /// The mode in force.
    #[inline(always)]
    #[must_use]
    pub const fn mode(&self) -> Mode {
        if self.mode == Mode::Observe as u32 { Mode::Observe } else { Mode::Enforce }
    }

    /// Whether all fragments but atomic ones are refused.
    #[inline(always)]
    #[must_use]
    pub const fn drops_fragments(&self) -> bool {
        self.fragments != 0
    }
}

/// Where the counter of (mode, reason) stands.
#[inline(always)]
#[must_use]
pub const fn counter_index(mode: Mode, reason: Reason) -> u32 {
    mode as u32 * Reason::COUNT as u32 + reason as u32
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
    assert!(size_of::<PortEntry>() == 1);
    assert!(size_of::<Settings>() == 16);
    assert!(size_of::<HostKey4>() == 8);
    assert!(size_of::<HostKey6>() == 20);
    assert!(size_of::<PrefixKey4>() == 8);
    assert!(size_of::<PrefixKey6>() == 20);
    assert!(size_of::<Slot>() == 32);
    assert!(core::mem::offset_of!(Slot, deadline) == 0);
};
