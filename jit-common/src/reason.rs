//! Why a packet passed or was dropped: the named causes that are counted.

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet goes on to the kernel.
    Pass,
    /// The packet is discarded.
    Drop,
}

impl Verdict {
    /// The name under which the verdict is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

/// Whether a reason rests on a whole packet.
enum Extent {
    /// Everything that the reason needs was in the packet.
    Whole,
    /// The packet ended too early.
    Truncated,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $verdict:ident $extent:ident,)+) => {
        /// The one cause that is counted for a packet. The number is the counter's index and part of the ABI.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name under which the reason is counted and shown.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What happens to a packet with this reason while enforcement is on.
            #[inline(always)]
            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self {
                    $(Self::$variant => Verdict::$verdict,)+
                }
            }

            /// Whether the packet ended too early, so that reading more of the packet could change the reason.
            #[inline(always)]
            #[must_use]
            pub const fn is_truncation(self) -> bool {
                match self {
                    $(Self::$variant => matches!(Extent::$extent, Extent::Truncated),)+
                }
            }

            /// One sentence that says when the reason applies.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc,)+),)+
                }
            }
        }
    };
}

reasons! {
    /// Not IPv4 or IPv6: ARP, LLDP and the like.
    NotIp "not_ip" Pass Whole,
    /// IP, but neither TCP nor UDP nor SCTP.
    OtherProtocol "other_protocol" Pass Whole,
    /// The destination port is not protected for this protocol.
    UnprotectedPort "unprotected_port" Pass Whole,
    /// A fragment after the first: it carries no ports and goes nowhere without its first fragment.
    LaterFragment "later_fragment" Pass Whole,
    /// A first fragment of IP that is neither TCP nor UDP nor SCTP.
    OtherFragment "other_fragment" Pass Whole,
    /// A live grant for exactly this source.
    HostGrant "host_grant" Pass Whole,
    /// A live grant for a prefix that holds this source.
    PrefixGrant "prefix_grant" Pass Whole,
    /// A source that the configuration always lets in.
    BreakGlass "break_glass" Pass Whole,
    /// The port is protected and no grant names this source, but on this interface only packets for this host count, and
    /// the kernel would forward this one.
    Forwarded "forwarded" Pass Whole,
    /// The port is protected and no grant names this source.
    NoGrant "no_grant" Drop Whole,
    /// The port is protected and the grant for this source has ended.
    GrantExpired "grant_expired" Drop Whole,
    /// A fragment, and the configuration refuses them.
    FragmentRefused "fragment_refused" Drop Whole,
    /// The Ethernet header or a VLAN tag ends beyond the packet.
    TruncatedEthernet "truncated_ethernet" Drop Truncated,
    /// More than two VLAN tags.
    TooManyVlanTags "too_many_vlan_tags" Drop Whole,
    /// The version field contradicts the EtherType.
    BadIpVersion "bad_ip_version" Drop Whole,
    /// An IPv4 header length below five words, or above the total length.
    BadIpv4HeaderLength "bad_ipv4_header_length" Drop Whole,
    /// The IP header, or the length it states, ends beyond the packet.
    TruncatedIp "truncated_ip" Drop Truncated,
    /// The TCP, UDP or SCTP ports lie beyond the packet.
    TruncatedPorts "truncated_ports" Drop Truncated,
    /// A first fragment in which the ports do not follow at once.
    FirstFragmentWithoutPorts "first_fragment_without_ports" Drop Truncated,
    /// A second IPv6 Fragment header.
    RepeatedFragmentHeader "repeated_fragment_header" Drop Whole,
    /// More than eight IPv6 extension headers.
    TooManyExtensionHeaders "too_many_extension_headers" Drop Whole,
    /// An IPv6 extension header ends beyond the packet.
    TruncatedExtensionHeader "truncated_extension_header" Drop Truncated,
    /// An IPv6 source inside ::ffff:0:0/96, which must not appear on a wire.
    MappedSource "mapped_source" Drop Whole,
}

impl Reason {
    /// Number of reasons, and so of the counters that a mode uses.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::ABI_VERSION;

    #[test]
    fn every_reason_has_its_own_name_and_the_index_of_its_place() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1, "{reason:?}");
        }
    }

    /// The reasons by their numbers, as in the maps that an agent of this version pins.
    const PINNED: (u32, [(u8, &str); 23]) = (
        3,
        [
            (0, "not_ip"),
            (1, "other_protocol"),
            (2, "unprotected_port"),
            (3, "later_fragment"),
            (4, "other_fragment"),
            (5, "host_grant"),
            (6, "prefix_grant"),
            (7, "break_glass"),
            (8, "forwarded"),
            (9, "no_grant"),
            (10, "grant_expired"),
            (11, "fragment_refused"),
            (12, "truncated_ethernet"),
            (13, "too_many_vlan_tags"),
            (14, "bad_ip_version"),
            (15, "bad_ipv4_header_length"),
            (16, "truncated_ip"),
            (17, "truncated_ports"),
            (18, "first_fragment_without_ports"),
            (19, "repeated_fragment_header"),
            (20, "too_many_extension_headers"),
            (21, "truncated_extension_header"),
            (22, "mapped_source"),
        ],
    );

    #[test]
    fn the_numbers_of_reasons_change_only_with_the_version_of_the_maps() {
        let now: [(u8, &str); Reason::COUNT] = core::array::from_fn(|index| {
            let reason = Reason::ALL[index];
            (reason as u8, reason.name())
        });
        assert_eq!(
            (ABI_VERSION, &now[..]),
            (PINNED.0, &PINNED.1[..]),
            "a reason goes to the end, here too, or ABI_VERSION is raised"
        );
    }

    #[test]
    fn reading_more_of_a_packet_can_change_a_reason_only_where_the_packet_was_cut() {
        let cut = Reason::ALL.iter().filter(|reason| reason.is_truncation()).map(|reason| reason.name());
        let expected = [
            "truncated_ethernet",
            "truncated_ip",
            "truncated_ports",
            "first_fragment_without_ports",
            "truncated_extension_header",
        ];
        assert!(cut.eq(expected));
    }
}
