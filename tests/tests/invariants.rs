//! Invariants of every frame, checked over generated frames. The fuzz target in `fuzz/` looks for counterexamples.

use jit_common::{
    abi::{PortEntry, Settings, Slot, Transport},
    decide::decide,
    parse::{Flow, Source, parse},
    reason::Reason,
};
use jit_tests::verdicts::{
    Extent, Generator, Random,
    invariants::{Answers, check},
    table::fixtures,
};

const NOW: u64 = 1000;

/// A slot that is close to the flow: often for this flow, often for one that differs a little.
fn slot(random: &mut Random, flow: Option<&Flow>) -> Option<Slot> {
    let deadline = [0, NOW - 1, NOW, NOW + 1, u64::MAX][random.below(5)];
    let length = random.below(33) as u8;
    let (source, port, transport) = match flow {
        Some(flow) if !random.one_in(4) => (flow.source, flow.port, flow.transport),
        _ => (Source::V4(random.bits() as u32), random.bits() as u16, *random.pick(&Transport::ALL)),
    };
    let length = if matches!(source, Source::V6(..)) { length * 4 } else { length };
    let mut slot = if random.one_in(3) {
        Slot::break_glass(source, length)
    } else {
        Slot::closed(source, length, port, transport)
    };
    match random.below(8) {
        0 => slot.tag ^= 1 << random.below(32),
        1 => slot.source_low ^= 1 << random.below(64),
        2 => slot.source_high ^= 1 << random.below(64),
        _ => {}
    }
    (!random.one_in(4)).then_some(Slot { deadline, ..slot })
}

fn answers(random: &mut Random, flow: Option<&Flow>) -> Answers {
    Answers {
        port: PortEntry(random.bits() as u16),
        host: slot(random, flow),
        prefix: slot(random, flow),
        break_glass: slot(random, flow),
        forwards: random.one_in(2),
        now: NOW,
        settings: Settings { flags: random.bits() as u32, ..Settings::STRICT },
    }
}

#[test]
fn every_invariant_holds_for_generated_frames_whatever_the_tables_answer() -> anyhow::Result<()> {
    let extent = Extent::from_environment()?;
    let generator = Generator::new(extent.seed);
    let mut passed = [0_u64; 4];
    for number in 0..extent.frames / 4 {
        let frame = generator.frame(number);
        let random = &mut Random::new(!extent.seed, number);
        let parsed = parse(&frame[..]);
        let answers = answers(random, parsed.as_ref().ok());
        // Most lengths that matter are short.
        let length = random.below(if number % 2 == 0 { frame.len() } else { frame.len().min(100) } + 1);
        check(&frame, length, &answers)
            .map_err(|error| anyhow::anyhow!("seed {}, frame {number}, {answers:?}: {error}", extent.seed))?;
        let causes = [Reason::HostGrant, Reason::PrefixGrant, Reason::BreakGlass, Reason::Forwarded];
        if let Some(cause) = causes.iter().position(|cause| *cause == decide(parsed, &answers).reason) {
            passed[cause] += 1;
        }
    }
    assert!(passed.iter().all(|count| *count >= extent.frames / 10_000), "the tables hardly admit anybody: {passed:?}");
    Ok(())
}

#[test]
fn every_invariant_holds_for_every_packet_of_the_table_cut_at_every_byte() -> anyhow::Result<()> {
    for fixture in fixtures() {
        for length in 0..=fixture.frame.len() {
            let answers = answers(&mut Random::new(1, length as u64), parse(&fixture.frame[..]).as_ref().ok());
            check(&fixture.frame, length, &answers).map_err(|error| anyhow::anyhow!("{}: {error}", fixture.name))?;
            check(&fixture.frame[..length], length / 2, &answers)
                .map_err(|error| anyhow::anyhow!("{}, cut to {length} bytes: {error}", fixture.name))?;
        }
    }
    Ok(())
}

#[test]
fn a_frame_of_less_than_an_ethernet_header_is_named_so() {
    for fixture in fixtures() {
        for length in 0..14 {
            assert_eq!(parse(&fixture.frame[..length]), Err(Reason::TruncatedEthernet), "{}, {length}", fixture.name);
        }
    }
}
