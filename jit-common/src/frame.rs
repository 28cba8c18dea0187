//! Access to the bytes of a packet, wherever they are held.

/// Read access to a packet.
///
/// This is a trait because the kernel needs its own ways to read: the verifier proves bounds only where pointers are
/// compared with the packet's end, and only the first part of a multi-buffer packet is directly readable.
pub trait Frame {
    /// Whether the whole packet, parts beyond the directly readable one included, has at least `length` bytes.
    fn holds(&self, length: usize) -> bool;

    /// The `N` bytes at `offset`, or `None` if they are not all within the packet.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The `N` words of 32 bits at `offset`, which are in network order in the packet.
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]>;

    /// Whether the kernel took the outer VLAN tag out of the packet. The packet then has one tag more than its bytes
    /// show.
    #[inline(always)]
    fn tag_is_apart(&self) -> bool {
        false
    }

    /// Whether the kernel merged several TCP segments into this packet. The packet's length may then be too large for
    /// the length field of its IP header.
    #[inline(always)]
    fn is_merged(&self) -> bool {
        false
    }
}

impl Frame for [u8] {
    fn holds(&self, length: usize) -> bool {
        self.len() >= length
    }

    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let bytes = self.get(offset..)?.get(..4 * N)?;
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_be_bytes(bytes.try_into().ok()?);
        }
        Some(words)
    }
}
