//! The XDP program: entry points and the one exit that counts. The logic is `jit-common`'s, inlined.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![deny(unsafe_code)]
#![expect(clippy::needless_pass_by_value, reason = "the attribute xdp wants its function so")]

mod forward;
mod frame;
mod maps;

use aya_ebpf::{EbpfContext as _, bindings::xdp_action, macros::xdp, programs::XdpContext};
use jit_common::{
    abi::{Event, Mode},
    activity::opens_connection,
    decide::{Tables as _, decide},
    parse::{Flow, parse},
    reason::{Reason, Verdict},
};

use crate::{
    frame::{BufferedFrame, LinearFrame, PacketFrame},
    maps::{Context, KernelTables},
};

/// For kernels and drivers without multi-buffer packets (before 5.18).
#[xdp]
fn jit_xdp(context: XdpContext) -> u32 {
    let frame = LinearFrame::new(context.as_ptr());
    finish(parse(&frame), &frame)
}

/// For packets in one or several buffers.
#[xdp(frags)]
fn jit_xdp_frags(context: XdpContext) -> u32 {
    let frame = LinearFrame::new(context.as_ptr());
    match parse(&frame) {
        // What the first buffer lacks, a later one may hold. Reading again keeps the common way free of calls.
        Err(reason) if reason.is_truncation() => buffered(context.as_ptr()),
        parsed => finish(parsed, &frame),
    }
}

#[inline(never)]
fn buffered(context: Context) -> u32 {
    let frame = BufferedFrame::new(context);
    finish(parse(&frame), &frame)
}

/// The one exit: decides, counts, and turns the reason into the kernel's verdict.
#[inline(always)]
fn finish<F: PacketFrame>(parsed: Result<Flow, Reason>, frame: &F) -> u32 {
    let tables = KernelTables::<F>::new(frame.context());
    let decision = decide(parsed, &tables);
    let mut connection = false;
    if let (Some((slot, now)), Ok(flow)) = (decision.admitted, &parsed) {
        connection = maps::note_use(slot, now, opens_connection(frame, flow));
    }
    let settings = maps::settings();
    let mode = settings.mode(|| tables.now());
    let is_drop = matches!(decision.reason.verdict(), Verdict::Drop);
    if maps::count(&decision, mode, is_drop || connection, settings.event_allowance) {
        report::<F>(frame.context(), decision.reason as u32, mode as u32, u32::from(decision.counters));
    }
    #[cfg(feature = "log")]
    aya_log_ebpf::info!(&XdpContext::new(frame.context()), "{}", decision.reason.name());
    match (mode, is_drop) {
        (Mode::Enforce, true) => xdp_action::XDP_DROP,
        _ => xdp_action::XDP_PASS,
    }
}

/// Reports a packet. Parses it once more, so that the common way need not keep what only a report has use for.
#[inline(never)]
fn report<F: PacketFrame>(context: Context, reason: u32, mode: u32, counters: u32) {
    let frame = F::new(context);
    let now = KernelTables::<F>::new(context).now();
    let mut event = Event::new(now, frame.interface(), mode as u8, reason as u8);
    if let Ok(flow) = parse(&frame) {
        event.set_flow(&flow);
    }
    maps::send(&event, counters);
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
