//! Invariants that hold for every frame, whatever the frame contains and whatever the tables answer. The fuzz target in
//! `fuzz/` includes this file, so this file needs nothing but `jit-common`.

use jit_common::{
    abi::{PortEntry, Settings, Slot},
    decide::{Tables, decide},
    parse::{Flow, Source, parse},
    reason::{Reason, Verdict},
};

/// Tables that give the same answers to all questions. The result of a look-up need not be the entry that was looked
/// for, since the kernel reuses a deleted element at once.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// The answer for every port.
    pub port: PortEntry,
    /// The answer to every look-up of a host.
    pub host: Option<Slot>,
    /// The answer to every look-up of a prefix.
    pub prefix: Option<Slot>,
    /// The answer to every look-up of a break-glass source.
    pub break_glass: Option<Slot>,
    /// Whether the kernel would forward the packet.
    pub forwards: bool,
    /// The time.
    pub now: u64,
    /// The settings, which apply to all packets.
    pub settings: Settings,
}

const HOST: u32 = 1;
const PREFIX: u32 = 2;
const BREAK_GLASS: u32 = 3;

impl Tables for Answers {
    fn settings(&self) -> Settings {
        self.settings
    }

    fn port(&self, _: u16) -> PortEntry {
        self.port
    }

    fn host(&self, _: &Flow) -> Option<(u32, Slot)> {
        self.host.map(|slot| (HOST, slot))
    }

    fn prefix(&self, _: &Flow) -> Option<(u32, Slot)> {
        self.prefix.map(|slot| (PREFIX, slot))
    }

    fn break_glass(&self, _: Source) -> Option<(u32, Slot)> {
        self.break_glass.map(|slot| (BREAK_GLASS, slot))
    }

    fn forwards(&self) -> bool {
        self.forwards
    }

    fn now(&self) -> u64 {
        self.now
    }
}

/// Checks all invariants for a frame and its first `length` bytes.
///
/// # Errors
/// An invariant does not hold; the text names the invariant.
pub fn check(frame: &[u8], length: usize, answers: &Answers) -> Result<(), String> {
    let parsed = parse(frame);
    cutting_hides_but_never_changes(frame, length.min(frame.len()), parsed)?;
    padding_lets_nothing_pass(frame, parsed)?;
    another_tag_changes_nothing(frame, parsed)?;
    the_flow_stands_in_the_frame(frame, parsed)?;
    a_packet_passes_for_a_cause(parsed, answers)
}

/// A cut frame is judged like the whole frame, or dropped as cut. So no cut changes the flow or makes the frame pass.
fn cutting_hides_but_never_changes(frame: &[u8], length: usize, parsed: Result<Flow, Reason>) -> Result<(), String> {
    match parse(&frame[..length]) {
        cut if cut == parsed => Ok(()),
        Err(reason) if reason.is_truncation() && reason.verdict() == Verdict::Drop => Ok(()),
        cut => Err(format!("cut to {length} bytes, {parsed:?} became {cut:?}")),
    }
}

/// The bytes beyond the end that the IP header states are padding of the wire, which the kernel never looks at. Padding
/// may change the reason for which a packet is dropped, but makes no packet pass.
fn padding_lets_nothing_pass(frame: &[u8], parsed: Result<Flow, Reason>) -> Result<(), String> {
    let Some(packet) = end_of_ip(frame).and_then(|end| frame.get(..end)) else { return Ok(()) };
    let drops = |parsed: Result<Flow, Reason>| parsed.is_err_and(|reason| reason.verdict() == Verdict::Drop);
    let bare = parse(packet);
    if bare == parsed || drops(bare) && drops(parsed) {
        return Ok(());
    }
    Err(format!("without its padding, {parsed:?} is {bare:?}"))
}

/// The end of the IP packet, if the packet states its length.
fn end_of_ip(frame: &[u8]) -> Option<usize> {
    let mut start = 12;
    while [[0x81, 0x00], [0x88, 0xa8]].contains(frame.get(start..)?.first_chunk()?) && start < 20 {
        start += 4;
    }
    let ethertype: &[u8; 2] = frame.get(start..)?.first_chunk()?;
    let header = frame.get(start + 2..)?;
    let stated = |offset| Some(usize::from(u16::from_be_bytes(*header.get(offset..)?.first_chunk()?)));
    match (ethertype, header.first()? >> 4) {
        ([0x08, 0x00], 4) => Some(start + 2 + stated(2)?.max(20)),
        // A jumbo payload does not state its length here.
        ([0x86, 0xdd], 6) if stated(4)? > 0 || *header.get(6)? != 0 => Some(start + 2 + 40 + stated(4)?),
        _ => None,
    }
}

/// In a frame without a VLAN tag, another tag changes nothing but offsets.
fn another_tag_changes_nothing(frame: &[u8], parsed: Result<Flow, Reason>) -> Result<(), String> {
    let (Some(addresses), Some(rest)) = (frame.get(..12), frame.get(12..)) else { return Ok(()) };
    if rest.starts_with(&[0x81, 0x00]) || rest.starts_with(&[0x88, 0xa8]) {
        return Ok(());
    }
    let tagged = parse(&[addresses, &[0x81, 0x00, 0x00, 0x05], rest].concat()[..]);
    let moved = parsed.map(|flow| Flow { transport_header: flow.transport_header + 4, ..flow });
    if tagged == moved { Ok(()) } else { Err(format!("tagged, {parsed:?} became {tagged:?}")) }
}

/// The frame contains the flow's port and source at their places.
fn the_flow_stands_in_the_frame(frame: &[u8], parsed: Result<Flow, Reason>) -> Result<(), String> {
    let Ok(flow) = parsed else { return Ok(()) };
    let port = frame.get(flow.transport_header + 2..).and_then(|bytes| bytes.first_chunk()).copied();
    let source = match flow.source {
        Source::V4(address) => address.to_be_bytes().to_vec(),
        Source::V6(high, low) => [high.to_be_bytes(), low.to_be_bytes()].concat(),
    };
    let headers = frame.get(14..flow.transport_header).unwrap_or_default();
    let in_place =
        port.map(u16::from_be_bytes) == Some(flow.port) && headers.windows(source.len()).any(|window| window == source);
    if in_place { Ok(()) } else { Err(format!("{flow:?} is not what the frame says")) }
}

/// A packet to a protected port passes only for two causes: a slot in force names its source, port and transport, or
/// the packet is not for this host.
fn a_packet_passes_for_a_cause(parsed: Result<Flow, Reason>, answers: &Answers) -> Result<(), String> {
    let decision = decide(parsed, answers);
    let wrong = |what: &str| Err(format!("{parsed:?} became {decision:?}: {what}"));
    let live =
        |slot: &Option<Slot>, flow: &Flow| slot.is_some_and(|slot| names(&slot, flow) && answers.now < slot.deadline);
    let lets_in = |slot: &Option<Slot>, flow: &Flow| {
        slot.is_some_and(|slot| holds(&slot, flow) && slot.tag >> 8 == 0 && slot.deadline == u64::MAX)
    };
    let admitted = decision.admitted.map(|(slot, _)| slot);
    match (decision.reason, parsed) {
        (Reason::HostGrant, Ok(flow)) if live(&answers.host, &flow) && admitted == Some(HOST) => Ok(()),
        (Reason::PrefixGrant, Ok(flow)) if live(&answers.prefix, &flow) && admitted == Some(PREFIX) => Ok(()),
        (Reason::BreakGlass, Ok(flow)) if lets_in(&answers.break_glass, &flow) && admitted == Some(BREAK_GLASS) => {
            Ok(())
        }
        (Reason::HostGrant | Reason::PrefixGrant | Reason::BreakGlass, _) => wrong("no slot in force names it"),
        _ if admitted.is_some() => wrong("it was admitted by no grant"),
        (Reason::Forwarded, _) if answers.forwards && answers.settings.has(Settings::LOCAL_SCOPE) => Ok(()),
        (Reason::Forwarded, _) => wrong("the kernel would not forward it"),
        (Reason::UnprotectedPort, Ok(flow)) if !answers.port.protects(flow.transport) => Ok(()),
        (Reason::FragmentRefused, _) if answers.settings.has(Settings::DROP_FRAGMENTS) => Ok(()),
        (Reason::NoGrant | Reason::GrantExpired, Ok(_)) => Ok(()),
        (reason, Err(parsed)) if reason == parsed => Ok(()),
        _ => wrong("that does not follow"),
    }
}

/// Whether the slot names the flow, computed in another way than the program does.
fn names(slot: &Slot, flow: &Flow) -> bool {
    holds(slot, flow) && slot.tag >> 16 == u32::from(flow.port) && slot.tag >> 8 & 0xff == flow.transport as u32
}

fn holds(slot: &Slot, flow: &Flow) -> bool {
    let prefix = u128::from(slot.source_high) << 64 | u128::from(slot.source_low);
    let (family, address) = match flow.source {
        Source::V4(address) => (4, 0xffff_0000_0000 | u128::from(address)),
        Source::V6(high, low) => (6, u128::from(high) << 64 | u128::from(low)),
    };
    let ignored = 128_u32.saturating_sub(slot.prefix_length);
    let same = |bits: u128| bits.checked_shr(ignored).unwrap_or_default();
    slot.tag & 0xff == family && same(prefix) == same(address)
}
