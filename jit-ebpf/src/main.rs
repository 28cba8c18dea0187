//! The XDP program: entry points and the one exit that counts. The logic is `jit-common`'s, inlined.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![deny(unsafe_code)]
#![expect(clippy::needless_pass_by_value, reason = "the attribute xdp wants its function so")]

mod frame;
mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use jit_common::{
    abi::{Mode, counter_index},
    decide::decide,
    parse::{Flow, parse},
    reason::{Reason, Verdict},
};

use crate::frame::{BufferedFrame, LinearFrame};

/// For kernels and drivers without multi-buffer packets (before 5.18).
#[xdp]
fn jit_xdp(context: XdpContext) -> u32 {
    finish(parse(&LinearFrame::new(&context)), &context)
}

/// For packets in one or several buffers.
#[xdp(frags)]
fn jit_xdp_frags(context: XdpContext) -> u32 {
    match parse(&LinearFrame::new(&context)) {
        // What the first buffer lacks, a later one may hold. Reading again keeps the common way free of calls.
        Err(reason) if reason.is_truncation() => finish(parse(&BufferedFrame::new(&context)), &context),
        parsed => finish(parsed, &context),
    }
}

/// The one exit: decides, counts, and turns the reason into the kernel's verdict.
#[inline(always)]
#[cfg_attr(not(feature = "log"), expect(unused_variables, reason = "only messages need the context"))]
fn finish(parsed: Result<Flow, Reason>, context: &XdpContext) -> u32 {
    let settings = maps::settings();
    let reason = decide(parsed, &maps::KernelTables, &settings);
    let mode = settings.mode();
    maps::count(counter_index(mode, reason));
    #[cfg(feature = "log")]
    aya_log_ebpf::info!(context, "{}", reason.name());
    match (mode, reason.verdict()) {
        (Mode::Enforce, Verdict::Drop) => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
