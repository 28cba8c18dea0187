//! Checks for every frame and every answer of the tables that the invariants hold and nothing panics.
#![no_main]

use arbitrary::Arbitrary;
use jit_common::abi::{EnforceUntil, PortEntry, Settings, Slot};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/src/verdicts/invariants.rs"]
mod invariants;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    port: u16,
    host: Option<SlotFields>,
    prefix: Option<SlotFields>,
    break_glass: Option<SlotFields>,
    forwards: bool,
    now: u64,
    flags: u32,
    enforce_until: u64,
    cut: u16,
    frame: &'a [u8],
}

#[derive(Arbitrary, Debug)]
struct SlotFields {
    deadline: u64,
    source_high: u64,
    source_low: u64,
    tag: u32,
    prefix_length: u32,
}

impl From<SlotFields> for Slot {
    fn from(SlotFields { deadline, source_high, source_low, tag, prefix_length }: SlotFields) -> Self {
        Self { deadline, source_high, source_low, tag, prefix_length }
    }
}

fuzz_target!(|input: Input<'_>| {
    let enforce_until = EnforceUntil(input.enforce_until);
    let settings = Settings { flags: input.flags, enforce_until, ..Settings::STRICT };
    let answers = invariants::Answers {
        port: PortEntry(input.port),
        host: input.host.map(Slot::from),
        prefix: input.prefix.map(Slot::from),
        break_glass: input.break_glass.map(Slot::from),
        forwards: input.forwards,
        now: input.now,
        settings,
    };
    if let Err(error) = invariants::check(input.frame, usize::from(input.cut), &answers) {
        panic!("{error}");
    }
});
