//! [`Frame`] over a packet in the kernel.

#![expect(unsafe_code, reason = "reads packet memory")]

use core::{arch::asm, intrinsics::is_val_statically_known, mem};

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};
use jit_common::frame::Frame;

use crate::maps::Context;

/// Above every offset that is read.
const MAX_OFFSET: usize = 0x7fff;
/// Above every length that is asked for: an IP packet of 64 KiB behind its tags.
const MAX_LENGTH: usize = 0x1ffff;

/// A packet of the kernel's, by one way or another.
pub(crate) trait PacketFrame: Frame {
    /// The packet of `context`.
    fn new(context: Context) -> Self;

    /// What the kernel handed over.
    fn context(&self) -> Context;

    /// Index of the interface that received the packet.
    #[inline(always)]
    fn interface(&self) -> u32 {
        let context: *mut xdp_md = self.context().cast();
        // SAFETY: the context is valid as long as the program runs.
        unsafe { (*context).ingress_ifindex }
    }
}

/// A packet in one buffer.
pub(crate) struct LinearFrame {
    context: Context,
    data: usize,
    data_end: usize,
}

impl PacketFrame for LinearFrame {
    #[inline(always)]
    fn new(context: Context) -> Self {
        let packet = XdpContext::new(context.cast());
        Self { context, data: packet.data(), data_end: packet.data_end() }
    }

    #[inline(always)]
    fn context(&self) -> Context {
        self.context
    }
}

impl LinearFrame {
    /// The address `offset` bytes into the packet, for an offset of at most `MAX`, a mask of ones.
    #[inline(always)]
    fn address<const MAX: usize>(&self, offset: usize) -> usize {
        // The verifier knows such an offset by itself.
        if is_val_statically_known(offset) {
            return self.data + offset;
        }
        let mut address = self.data;
        // SAFETY: arithmetic only. Written so, the verifier sees the bound, which the compiler drops where it can prove
        // it, and the address stays in the register that is compared with the packet's end, from which alone the
        // verifier derives what may be read.
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

impl Frame for LinearFrame {
    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
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
}

/// A packet in one or several buffers, each read of which is a call of the kernel.
pub(crate) struct BufferedFrame {
    context: Context,
}

impl PacketFrame for BufferedFrame {
    #[inline(always)]
    fn new(context: Context) -> Self {
        Self { context }
    }

    #[inline(always)]
    fn context(&self) -> Context {
        self.context
    }
}

impl Frame for BufferedFrame {
    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        // SAFETY: the helper reads the context only.
        unsafe { bpf_xdp_get_buff_len(self.context.cast()) >= length as u64 }
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
}

/// Room for the most that is read at once, an IPv6 header.
type Buffer = [u64; 5];

impl BufferedFrame {
    #[inline(always)]
    fn load(&self, offset: usize, length: usize) -> Option<Buffer> {
        let mut buffer: Buffer = [0; 5];
        let buffer = &raw mut buffer;
        // SAFETY: the buffer has room for all lengths that the callers ask for.
        let result = unsafe { bpf_xdp_load_bytes(self.context.cast(), offset as u32, buffer.cast(), length as u32) };
        // SAFETY: the buffer was initialised above. It is read whole, since the verifier wants accesses to the stack
        // aligned and the compiler, which may misalign others, must not narrow a volatile one.
        (result == 0).then(|| unsafe { buffer.read_volatile() })
    }
}
