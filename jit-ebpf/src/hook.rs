//! The hooks at which the kernel hands over packets: what verdicts are called there, and how packets are read.

#![expect(unsafe_code, reason = "reads contexts and calls helpers")]

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action, xdp_md},
    helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
};

/// What the kernel hands over with a packet.
pub(crate) type Context = *mut c_void;

/// A hook's packets and verdicts.
pub(crate) trait Hook {
    /// The verdict by which the packet goes on.
    const PASS: u32;
    /// The verdict by which the packet is discarded.
    const DROP: u32;
    /// Whether [`length`](Self::length) costs no call.
    const KNOWS_LENGTH: bool;

    /// The address of the packet's first byte, and the address behind the last byte that can be read directly.
    fn bounds(context: Context) -> (usize, usize);

    /// The length of the whole packet in bytes.
    fn length(context: Context) -> usize;

    /// Copies bytes of the packet, whichever buffers they are in. Returns whether all the bytes are within the packet.
    ///
    /// # Safety
    /// `buffer` has room for `length` bytes.
    unsafe fn load(context: Context, offset: usize, buffer: *mut c_void, length: usize) -> bool;

    /// Index of the interface to which the program is attached.
    fn interface(context: Context) -> u32;

    /// Whether the kernel took the outer VLAN tag out of the packet and keeps it elsewhere.
    fn tag_is_apart(context: Context) -> bool;

    /// The number of bytes before the network header.
    fn before_network(context: Context) -> usize;

    /// Whether the kernel merged several TCP segments into the packet.
    fn is_merged(context: Context) -> bool;
}

/// The XDP hook, which runs before the network stack has processed the packet.
pub(crate) struct Xdp;

impl Hook for Xdp {
    const PASS: u32 = xdp_action::XDP_PASS;
    const DROP: u32 = xdp_action::XDP_DROP;
    const KNOWS_LENGTH: bool = false;

    #[inline(always)]
    fn bounds(context: Context) -> (usize, usize) {
        let context: *const xdp_md = context.cast();
        // SAFETY: the context is valid as long as the program runs.
        unsafe { ((*context).data as usize, (*context).data_end as usize) }
    }

    #[inline(always)]
    fn length(context: Context) -> usize {
        // SAFETY: the helper reads the context only.
        unsafe { bpf_xdp_get_buff_len(context.cast()) as usize }
    }

    #[inline(always)]
    unsafe fn load(context: Context, offset: usize, buffer: *mut c_void, length: usize) -> bool {
        // SAFETY: the caller's buffer has room for `length` bytes.
        unsafe { bpf_xdp_load_bytes(context.cast(), offset as u32, buffer, length as u32) == 0 }
    }

    #[inline(always)]
    fn interface(context: Context) -> u32 {
        let context: *const xdp_md = context.cast();
        // SAFETY: the context is valid as long as the program runs.
        unsafe { (*context).ingress_ifindex }
    }

    #[inline(always)]
    fn tag_is_apart(_: Context) -> bool {
        false
    }

    #[inline(always)]
    fn before_network(_: Context) -> usize {
        0
    }

    #[inline(always)]
    fn is_merged(_: Context) -> bool {
        false
    }
}

/// The hook at the entry of the network stack, where packets may be merged.
pub(crate) struct Tc;

impl Hook for Tc {
    // The next program or the network stack decides. TCX_NEXT has the same value.
    const PASS: u32 = TC_ACT_UNSPEC as u32;
    const DROP: u32 = TC_ACT_SHOT as u32;
    // Often only the headers can be read directly.
    const KNOWS_LENGTH: bool = true;

    #[inline(always)]
    fn bounds(context: Context) -> (usize, usize) {
        let context: *const __sk_buff = context.cast();
        // SAFETY: the context is valid as long as the program runs.
        unsafe { ((*context).data as usize, (*context).data_end as usize) }
    }

    #[inline(always)]
    fn length(context: Context) -> usize {
        let context: *const __sk_buff = context.cast();
        // SAFETY: as above.
        unsafe { (*context).len as usize }
    }

    #[inline(always)]
    unsafe fn load(context: Context, offset: usize, buffer: *mut c_void, length: usize) -> bool {
        // SAFETY: the caller's buffer has room for `length` bytes.
        unsafe { bpf_skb_load_bytes(context.cast(), offset as u32, buffer, length as u32) == 0 }
    }

    #[inline(always)]
    fn interface(context: Context) -> u32 {
        let context: *const __sk_buff = context.cast();
        // SAFETY: as above.
        unsafe { (*context).ifindex }
    }

    #[inline(always)]
    fn tag_is_apart(context: Context) -> bool {
        let context: *const __sk_buff = context.cast();
        // SAFETY: as above.
        unsafe { (*context).vlan_present != 0 }
    }

    #[inline(always)]
    fn before_network(context: Context) -> usize {
        let context: *const __sk_buff = context.cast();
        // SAFETY: as above.
        let (whole, from_network) = unsafe { ((*context).len as usize, (*context).wire_len as usize) };
        // Before 5.14 the outer headers of some tunnels count as link headers. The kernel then notes the packet's
        // length and puts these headers in front of the packet afterwards.
        if from_network != 0 && from_network < whole { whole - from_network } else { 0 }
    }

    #[inline(always)]
    fn is_merged(context: Context) -> bool {
        let context: *const __sk_buff = context.cast();
        // SAFETY: as above.
        unsafe { (*context).gso_size != 0 }
    }
}
