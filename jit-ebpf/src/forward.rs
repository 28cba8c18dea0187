//! Whether the kernel would forward a packet, for interfaces of local scope.

#![expect(unsafe_code, reason = "calls a helper")]

use aya_ebpf::helpers::generated::bpf_fib_lookup;
use jit_common::route::Route;

use crate::{
    frame::{Layer as _, PacketFrame},
    hook::Context,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

// See `BPF_FIB_LKUP_RET_*`. All other answers mean that the packet is for this host, or for nobody.
const SUCCESS: i64 = 0;
const NO_NEIGHBOUR: i64 = 7;
const FRAGMENTATION_NEEDED: i64 = 8;

/// `struct bpf_fib_lookup` in words, since the verifier requires every store on the stack to be aligned: family,
/// protocol, ports (0: no rule asks for ports) and total length (0: no check of the MTU); interface and flow
/// information (IPv4: type of service); source; destination; the kernel's answer.
type LookUp = [u64; 8];

/// Whether there is a unicast route for the packet out of this host.
#[inline(never)]
pub(crate) fn forwards<F: PacketFrame>(context: Context) -> u32 {
    let frame = F::new(context);
    let start = |family, protocol, flow: [u8; 4]| {
        let [a, b, c, d] = frame.interface().to_ne_bytes();
        let [e, f, g, h] = flow;
        (u64::from_ne_bytes([family, protocol, 0, 0, 0, 0, 0, 0]), u64::from_ne_bytes([a, b, c, d, e, f, g, h]))
    };
    let mut look_up: LookUp = match F::Layer::route(&frame) {
        Some(Route::V4 { tos, protocol, source, destination }) => {
            let (first, second) = start(AF_INET, protocol, [tos, 0, 0, 0]);
            [first, second, word4(source), 0, word4(destination), 0, 0, 0]
        }
        Some(Route::V6 { flow_information, protocol, source, destination }) => {
            let (first, second) = start(AF_INET6, protocol, flow_information);
            let ([a, b], [c, d]) = (words6(source), words6(destination));
            [first, second, a, b, c, d, 0, 0]
        }
        None => return 0,
    };
    // SAFETY: the helper reads and writes the structure of the stated size, which is laid out as the helper expects.
    let answer = unsafe { bpf_fib_lookup(context, look_up.as_mut_ptr().cast(), size_of::<LookUp>() as i32, 0) };
    u32::from(matches!(answer, SUCCESS | NO_NEIGHBOUR | FRAGMENTATION_NEEDED))
}

#[inline(always)]
fn word4([a, b, c, d]: [u8; 4]) -> u64 {
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

#[inline(always)]
fn words6([a, b, c, d, e, f, g, h, rest @ ..]: [u8; 16]) -> [u64; 2] {
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}
