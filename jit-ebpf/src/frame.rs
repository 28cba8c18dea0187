//! Implementations of [`Frame`] for a packet in the kernel.

#![expect(unsafe_code, reason = "reads packet memory")]

use core::{arch::asm, intrinsics::is_val_statically_known, marker::PhantomData, mem};

use jit_common::{
    frame::Frame,
    parse::{Flow, parse_network_then, parse_then},
    reason::Reason,
    route::{Route, route, route_of_network},
};

use crate::hook::{Context, Hook};

/// A bound above every offset that is read.
const MAX_OFFSET: usize = 0x7fff;
/// A bound above every length that is asked for: an IP packet of 64 KiB behind its tags.
const MAX_LENGTH: usize = 0x1ffff;

/// The header with which packets begin.
pub(crate) trait Layer {
    /// The number of bytes before that header.
    fn start<H: Hook>(context: Context) -> usize;

    /// Parses a packet and passes its flow to `then`.
    fn parse_then<F: Frame, R>(frame: &F, then: impl FnOnce(Flow) -> R) -> Result<R, Reason>;

    /// The fields of a packet that a route look-up needs.
    fn route<F: Frame>(frame: &F) -> Option<Route>;
}

/// An Ethernet header.
pub(crate) struct Ethernet;

impl Layer for Ethernet {
    #[inline(always)]
    fn start<H: Hook>(_: Context) -> usize {
        0
    }

    #[inline(always)]
    fn parse_then<F: Frame, R>(frame: &F, then: impl FnOnce(Flow) -> R) -> Result<R, Reason> {
        parse_then(frame, then)
    }

    #[inline(always)]
    fn route<F: Frame>(frame: &F) -> Option<Route> {
        route(frame)
    }
}

/// The IP header, as on tunnels.
pub(crate) struct Network;

impl Layer for Network {
    #[inline(always)]
    fn start<H: Hook>(context: Context) -> usize {
        H::before_network(context)
    }

    #[inline(always)]
    fn parse_then<F: Frame, R>(frame: &F, then: impl FnOnce(Flow) -> R) -> Result<R, Reason> {
        parse_network_then(frame, then)
    }

    #[inline(always)]
    fn route<F: Frame>(frame: &F) -> Option<Route> {
        route_of_network(frame)
    }
}

/// A packet in the kernel, for all ways to read it.
pub(crate) trait PacketFrame: Frame {
    /// The hook at which the kernel hands over the packet.
    type Hook: Hook;
    /// The header with which the packet begins.
    type Layer: Layer;

    /// The packet of `context`.
    fn new(context: Context) -> Self;

    /// The context that the kernel handed over.
    fn context(&self) -> Context;

    /// Index of the interface that received the packet.
    #[inline(always)]
    fn interface(&self) -> u32 {
        Self::Hook::interface(self.context())
    }
}

/// A packet in one buffer, or the directly readable part of a packet in several buffers.
pub(crate) struct LinearFrame<H, L> {
    context: Context,
    data: usize,
    data_end: usize,
    kind: PhantomData<(H, L)>,
}

impl<H: Hook, L: Layer> PacketFrame for LinearFrame<H, L> {
    type Hook = H;
    type Layer = L;

    #[inline(always)]
    fn new(context: Context) -> Self {
        let (data, data_end) = H::bounds(context);
        Self { context, data, data_end, kind: PhantomData }
    }

    #[inline(always)]
    fn context(&self) -> Context {
        self.context
    }
}

impl<H, L> LinearFrame<H, L> {
    /// The address `offset` bytes into the packet, for an offset of at most `MAX`, a mask of ones.
    #[inline(always)]
    fn address<const MAX: usize>(&self, offset: usize) -> usize {
        // The verifier knows the bound of a constant offset by itself.
        if is_val_statically_known(offset) {
            return self.data + offset;
        }
        let mut address = self.data;
        // SAFETY: the assembly does arithmetic only. It shows the bound to the verifier, while the compiler would drop
        // the bound where it can prove it. It also keeps the address in the register that is compared with the packet's
        // end, since the verifier derives from that register alone what may be read.
        unsafe {
            asm!(
                "{offset} &= {max}",
                "{address} += {offset}",
                offset = inout(reg) offset => _,
                address = inout(reg) address,
                max = const MAX,
                options(pure, nomem, nostack)
            );
        }
        address
    }
}

impl<H: Hook, L: Layer> Frame for LinearFrame<H, L> {
    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        if H::KNOWS_LENGTH {
            return length <= H::length(self.context);
        }
        length <= MAX_LENGTH && self.address::<MAX_LENGTH>(length) <= self.data_end
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.address::<MAX_OFFSET>(offset);
        if start + N > self.data_end {
            return None;
        }
        // SAFETY: the N bytes from start end within the packet, as just compared; bytes need no alignment.
        Some(unsafe { *(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.address::<MAX_OFFSET>(offset);
        if start + 4 * N > self.data_end {
            return None;
        }
        // SAFETY: as above, for 4 * N bytes; the words need not be aligned.
        let words = unsafe { (start as *const [u32; N]).read_unaligned() };
        Some(words.map(u32::from_be))
    }

    #[inline(always)]
    fn tag_is_apart(&self) -> bool {
        H::tag_is_apart(self.context)
    }

    #[inline(always)]
    fn is_merged(&self) -> bool {
        H::is_merged(self.context)
    }
}

/// A packet in one or several buffers. Each read is a call of the kernel.
pub(crate) struct BufferedFrame<H, L> {
    context: Context,
    start: usize,
    kind: PhantomData<(H, L)>,
}

impl<H: Hook, L: Layer> PacketFrame for BufferedFrame<H, L> {
    type Hook = H;
    type Layer = L;

    #[inline(always)]
    fn new(context: Context) -> Self {
        Self { context, start: L::start::<H>(context), kind: PhantomData }
    }

    #[inline(always)]
    fn context(&self) -> Context {
        self.context
    }
}

impl<H: Hook, L: Layer> Frame for BufferedFrame<H, L> {
    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        H::length(self.context) - self.start >= length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        const { assert!(N <= size_of::<Buffer>()) };
        let buffer = self.load(offset, N)?;
        // SAFETY: the buffer has the N bytes, as just asserted, and bytes may have any value.
        Some(unsafe { mem::transmute_copy(&buffer) })
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        const { assert!(4 * N <= size_of::<Buffer>()) };
        let buffer = self.load(offset, 4 * N)?;
        // SAFETY: as above, for 4 * N bytes.
        let words: [u32; N] = unsafe { mem::transmute_copy(&buffer) };
        Some(words.map(u32::from_be))
    }

    #[inline(always)]
    fn tag_is_apart(&self) -> bool {
        H::tag_is_apart(self.context)
    }

    #[inline(always)]
    fn is_merged(&self) -> bool {
        H::is_merged(self.context)
    }
}

/// A buffer with room for the longest read, an IPv6 header.
type Buffer = [u64; 5];

impl<H: Hook, L: Layer> BufferedFrame<H, L> {
    #[inline(always)]
    fn load(&self, offset: usize, length: usize) -> Option<Buffer> {
        let mut buffer: Buffer = [0; 5];
        let buffer = &raw mut buffer;
        // SAFETY: the buffer has room for all lengths that the callers ask for.
        let loaded = unsafe { H::load(self.context, self.start + offset, buffer.cast(), length) };
        // SAFETY: the buffer was initialised above. It is read whole by a volatile access, since the verifier requires
        // accesses to the stack to be aligned. The compiler may misalign other accesses, but must not narrow a volatile
        // one.
        loaded.then(|| unsafe { buffer.read_volatile() })
    }
}
