//! The programs: the entry points and the one exit that counts. Their logic is that of `jit-common`, inlined.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics, stmt_expr_attributes)]
#![expect(internal_features, reason = "core_intrinsics: only the compiler can tell whether it knows an offset")]
#![deny(unsafe_code)]
#![expect(clippy::needless_pass_by_value, reason = "the attributes want their functions so")]

mod forward;
mod frame;
mod hook;
mod maps;

#[cfg(feature = "log")]
use aya_ebpf::programs::XdpContext as LogContext;
use aya_ebpf::{
    EbpfContext as _,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use jit_common::{
    abi::{Event, Mode},
    activity::opens_connection,
    decide::{Decision, Tables as _, decide_flow, decide_without_flow},
    reason::{Reason, Verdict},
};

use crate::{
    frame::{BufferedFrame, Ethernet, Layer, LinearFrame, Network, PacketFrame},
    hook::{Context, Hook, Tc, Xdp},
    maps::KernelTables,
};

/// The XDP program for kernels and drivers without multi-buffer packets (before 5.18).
#[xdp]
#[inline(always)]
fn jit_xdp(context: XdpContext) -> u32 {
    whole::<LinearFrame<Xdp, Ethernet>>(context.as_ptr())
}

/// The XDP program for packets in one or several buffers.
#[xdp(frags)]
#[inline(always)]
fn jit_xdp_frags(context: XdpContext) -> u32 {
    in_parts::<Xdp, Ethernet>(context.as_ptr())
}

/// The program at the entry of the network stack, for interfaces where XDP is not possible.
#[classifier]
#[inline(always)]
fn jit_tc(context: TcContext) -> i32 {
    in_parts::<Tc, Ethernet>(context.as_ptr()) as i32
}

/// Like `jit_tc`, for interfaces without Ethernet headers. These interfaces have no XDP program, because XDP can't tell
/// where their packets begin.
#[classifier]
#[inline(always)]
fn jit_tc_l3(context: TcContext) -> i32 {
    in_parts::<Tc, Network>(context.as_ptr()) as i32
}

/// The verdict on a packet of which `F` can read everything.
#[inline(always)]
fn whole<F: PacketFrame>(context: Context) -> u32 {
    let frame = F::new(context);
    judge(&frame).unwrap_or_else(
        #[inline(always)]
        |reason| settle(reason, &frame),
    )
}

/// The verdict on a packet of which only the first part may be readable directly.
#[inline(always)]
fn in_parts<H: Hook, L: Layer>(context: Context) -> u32 {
    if L::start::<H>(context) != 0 {
        return buffered::<H, L>(context);
    }
    let frame = LinearFrame::<H, L>::new(context);
    match judge(&frame) {
        Ok(action) => action,
        // A later buffer may have what the first buffer lacks. Parsing again keeps calls out of the common path.
        Err(reason) if reason.is_truncation() => buffered::<H, L>(context),
        Err(reason) => settle(reason, &frame),
    }
}

#[inline(never)]
fn buffered<H: Hook, L: Layer>(context: Context) -> u32 {
    whole::<BufferedFrame<H, L>>(context)
}

/// Judges a packet by its flow, or returns the reason why the packet has no flow.
#[inline(always)]
#[rustfmt::skip]
fn judge<F: PacketFrame>(frame: &F) -> Result<u32, Reason> {
    // Without the attributes the compiler turns the closures into functions, whose calls cost more than most of what
    // the closures do.
    let mut action = F::Hook::PASS;
    F::Layer::parse_then(frame, #[inline(always)] |flow| {
        action = decide_flow(&flow, &KernelTables::new(frame), #[inline(always)] |decision| {
            let opens = match decision.admitted {
                Some((slot, now)) => maps::note_use(slot, now, opens_connection(frame, &flow)),
                None => false,
            };
            finish(&decision, frame, opens, #[inline(always)] |event| event.set_flow(&flow))
        });
    })?;
    Ok(action)
}

/// Judges a packet that has no flow, by the reason that parsing gave.
#[inline(always)]
#[rustfmt::skip]
fn settle<F: PacketFrame>(reason: Reason, frame: &F) -> u32 {
    decide_without_flow(reason, &KernelTables::new(frame), #[inline(always)] |decision| {
        finish(&decision, frame, false, |_| {})
    })
}

/// The one exit. It counts and reports the packet, and turns the reason into the kernel's verdict.
#[inline(always)]
fn finish<F: PacketFrame>(
    decision: &Decision,
    frame: &F,
    opens_connection: bool,
    add_flow: impl FnOnce(&mut Event),
) -> u32 {
    let tables = KernelTables::new(frame);
    let mode = decision.settings.enforce_until.mode(|| tables.now());
    let is_drop = matches!(decision.reason.verdict(), Verdict::Drop);
    if maps::count(decision, mode, is_drop || opens_connection) {
        let mut event = Event::new(tables.now(), frame.interface(), mode as u8, decision.reason as u8);
        add_flow(&mut event);
        maps::send(&event, u32::from(decision.counters));
    }
    #[cfg(feature = "log")]
    aya_log_ebpf::info!(&LogContext::new(frame.context().cast()), "{}", decision.reason.name());
    match (mode, is_drop) {
        (Mode::Enforce, true) => F::Hook::DROP,
        _ => F::Hook::PASS,
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
