//! Why a packet passed or was dropped: the named causes that are counted.

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet goes on to the kernel.
    Pass,
    /// The packet ends here.
    Drop,
}

impl Verdict {
    /// The name under which it is shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal $verdict:ident,)+) => {
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
    NotIp "not_ip" Pass,
    /// IP, but neither TCP nor UDP nor SCTP.
    OtherProtocol "other_protocol" Pass,
    /// The destination port is not protected for this protocol.
    UnprotectedPort "unprotected_port" Pass,
    /// A fragment after the first: it carries no ports and goes nowhere without its first fragment.
    LaterFragment "later_fragment" Pass,
    /// A first fragment of IP that is neither TCP nor UDP nor SCTP.
    OtherFragment "other_fragment" Pass,
    /// A live grant for exactly this source.
    HostGrant "host_grant" Pass,
    /// A live grant for a prefix that holds this source.
    PrefixGrant "prefix_grant" Pass,
    /// A source that the configuration always lets in.
    BreakGlass "break_glass" Pass,
    /// The port is protected and no grant names this source, but on this interface only packets for this host count, and
    /// the kernel would forward this one.
    Forwarded "forwarded" Pass,
    /// The port is protected and no grant names this source.
    NoGrant "no_grant" Drop,
    /// The port is protected and the grant for this source has ended.
    GrantExpired "grant_expired" Drop,
    /// A fragment, and the configuration refuses them.
    FragmentRefused "fragment_refused" Drop,
    /// The Ethernet header or a VLAN tag ends beyond the packet.
    TruncatedEthernet "truncated_ethernet" Drop,
    /// More than two VLAN tags.
    TooManyVlanTags "too_many_vlan_tags" Drop,
    /// The version field contradicts the EtherType.
    BadIpVersion "bad_ip_version" Drop,
    /// An IPv4 header length below five words, or above the total length.
    BadIpv4HeaderLength "bad_ipv4_header_length" Drop,
    /// The IP header, or the length it states, ends beyond the packet.
    TruncatedIp "truncated_ip" Drop,
    /// The TCP, UDP or SCTP ports lie beyond the packet.
    TruncatedPorts "truncated_ports" Drop,
    /// A first fragment in which the ports do not follow at once.
    FirstFragmentWithoutPorts "first_fragment_without_ports" Drop,
    /// A second IPv6 Fragment header.
    RepeatedFragmentHeader "repeated_fragment_header" Drop,
    /// More than eight IPv6 extension headers.
    TooManyExtensionHeaders "too_many_extension_headers" Drop,
    /// An IPv6 extension header ends beyond the packet.
    TruncatedExtensionHeader "truncated_extension_header" Drop,
    /// An IPv6 source inside ::ffff:0:0/96, which must not appear on a wire.
    MappedSource "mapped_source" Drop,
}

impl Reason {
    /// How many reasons there are, and so how many counters a mode has.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether the packet ended too early: reading more of it could change the reason.
    #[inline(always)]
    #[must_use]
    pub const fn is_truncation(self) -> bool {
        matches!(
            self,
            Self::TruncatedEthernet
                | Self::TruncatedIp
                | Self::TruncatedPorts
                | Self::FirstFragmentWithoutPorts
                | Self::TruncatedExtensionHeader
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_the_index_of_its_place() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1, "{reason:?}");
        }
    }
}
