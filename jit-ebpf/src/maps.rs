//! The maps, and implementations of [`Tables`] over the maps.

#![expect(unsafe_code, reason = "reads and writes map memory")]

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, lpm_trie::Key},
    helpers::generated::bpf_ktime_get_boot_ns,
    macros::btf_map,
};
use jit_common::{
    abi::{
        self, Activity, Counters, Event, HostKey4, HostKey6, Mode, PREFIX_KEY_HEAD_BITS, PortEntry, PrefixKey4,
        PrefixKey6, Settings, Slot, counter_index,
    },
    decide::{Decision, Tables, search, untagged},
    parse::{Flow, Source},
    search_end::{self, Admission, Refusal},
};

use crate::{forward, frame::PacketFrame};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
static SETTINGS: Array<Settings, 1, MMAPABLE> = Array::new();
#[btf_map]
static PORTS: Array<PortEntry, { abi::PORTS }, MMAPABLE> = Array::new();
#[btf_map]
static HOSTS4: HashMap<HostKey4, u32, { abi::ENTRIES }> = HashMap::new();
#[btf_map]
static HOSTS6: HashMap<HostKey6, u32, { abi::ENTRIES }> = HashMap::new();
#[btf_map]
static PREFIXES4: LpmTrie<PrefixKey4, u32, { abi::ENTRIES }, NO_PREALLOC> = LpmTrie::new();
#[btf_map]
static PREFIXES6: LpmTrie<PrefixKey6, u32, { abi::ENTRIES }, NO_PREALLOC> = LpmTrie::new();
#[btf_map]
static SLOTS: Array<Slot, { abi::SLOTS }, MMAPABLE> = Array::new();
#[btf_map]
static ACTIVITY: Array<Activity, { abi::SLOTS }, MMAPABLE> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<Counters, { abi::COUNTERS }> = PerCpuArray::new();
#[btf_map]
static LOCAL_INTERFACES: HashMap<u32, u32, { abi::LOCAL_INTERFACES }> = HashMap::new();
#[btf_map]
static EVENTS: RingBuf<Event, { abi::EVENT_BYTES }> = RingBuf::new();

/// Adds one to the packet's counter on this CPU. Returns whether to report the packet; only `notable` packets are
/// reported.
#[inline(always)]
pub(crate) fn count(decision: &Decision, mode: Mode, notable: bool) -> bool {
    let Some(counters) = COUNTERS.get_ptr_mut(u32::from(decision.counters)) else { return false };
    let index = counter_index(mode, decision.reason) as usize % abi::COUNTER_INDICES;
    // SAFETY: the pointer is to this CPU's element, and the program isn't interrupted by itself. The index is below the
    // length. The verifier sees this too, by the remainder's mask.
    unsafe {
        let packets: *mut u64 = (&raw mut (*counters).packets).cast();
        *packets.add(index) += 1;
        notable && (*counters).admit_event(decision.settings.event_allowance)
    }
}

/// Puts an event into the ring buffer. Sent events are counted apart from admitted events, so that it shows how many
/// events a full buffer lost.
#[inline(always)]
pub(crate) fn send(event: &Event, counters: u32) {
    if EVENTS.output(event, 0).is_ok()
        && let Some(counters) = COUNTERS.get_ptr_mut(counters)
    {
        // SAFETY: as above.
        unsafe { (*counters).sent += 1 };
    }
}

/// Notes that a slot let a packet pass. Returns whether the packet opened a connection that must be reported.
#[inline(always)]
pub(crate) fn note_use(slot: u32, now: u64, opens_connection: Option<bool>) -> bool {
    let Some(activity) = ACTIVITY.get_ptr_mut(slot) else { return false };
    // SAFETY: the element exists for the map's lifetime. Another CPU may write the element too, but in the same second
    // and so with almost the same content.
    unsafe {
        let mut noted = activity.read_volatile();
        let change = noted.note(now, opens_connection);
        if change.changed {
            activity.write_volatile(noted);
        }
        change.connection
    }
}

/// The maps, as a decision about a packet reads them.
pub(crate) struct KernelTables<'frame, F>(&'frame F);

impl<'frame, F> KernelTables<'frame, F> {
    #[inline(always)]
    pub(crate) fn new(frame: &'frame F) -> Self {
        Self(frame)
    }
}

impl<F: PacketFrame> Tables for KernelTables<'_, F> {
    #[inline(always)]
    fn settings(&self) -> Settings {
        Maps.settings()
    }

    #[inline(always)]
    fn port(&self, port: u16) -> PortEntry {
        Maps.port(port)
    }

    #[inline(always)]
    fn host(&self, flow: &Flow) -> Option<(u32, Slot)> {
        Maps.host(flow)
    }

    #[inline(always)]
    fn prefix(&self, flow: &Flow) -> Option<(u32, Slot)> {
        Maps.prefix(flow)
    }

    #[inline(always)]
    fn break_glass(&self, source: Source) -> Option<(u32, Slot)> {
        Maps.break_glass(source)
    }

    #[inline(always)]
    fn forwards(&self) -> bool {
        // SAFETY: the element is not read, only its existence counts.
        unsafe { LOCAL_INTERFACES.get(self.0.interface()) }.is_some() && forward::forwards::<F>(self.0.context()) != 0
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        Maps.now()
    }

    #[inline(always)]
    fn search(&self, flow: &Flow) -> Result<(Admission, u32, u64), Refusal> {
        let (high, low) = flow.source.mapped();
        let tag = u64::from(Slot::tag(flow.source, flow.port, flow.transport as u8));
        let mut found = Found { slot: 0, now: 0 };
        let end = search_end::of_number(search_maps(high, low, tag, &mut found));
        end.map(|admission| (admission, found.slot as u32, found.now))
    }
}

/// The number of the slot that lets a packet pass, and when the slot was found.
#[repr(C)]
struct Found {
    slot: u64,
    now: u64,
}

/// Searches the maps and returns the [number](search_end::number) of the search's end.
///
/// This is a function of its own, so that the verifier and the processor meet the search once instead of at each place
/// that needs it, and so that the paths without a search do not pay for its stack.
#[inline(never)]
fn search_maps(source_high: u64, source_low: u64, tag: u64, found: &mut Found) -> u32 {
    let Some((source, port, transport)) = untagged(source_high, source_low, tag) else {
        return search_end::number(Err(Refusal::NoGrant));
    };
    let flow = Flow { source, port, transport, fragment: false, transport_header: 0 };
    let end = search(&flow, &Maps).map(|(admission, slot, now)| {
        *found = Found { slot: u64::from(slot), now };
        admission
    });
    search_end::number(end)
}

/// The maps themselves, without a packet.
struct Maps;

impl Maps {
    #[inline(always)]
    fn slot(number: Option<&u32>) -> Option<(u32, Slot)> {
        let number = *number?;
        let slot = SLOTS.get_ptr(number)?;
        // SAFETY: the element exists for the map's lifetime. The agent may store a deadline meanwhile, in one aligned
        // word; the other fields change only while no program can hold the number.
        Some((number, unsafe { slot.read_volatile() }))
    }
}

impl Tables for Maps {
    #[inline(always)]
    fn settings(&self) -> Settings {
        // If the settings can't be read, the strictest ones apply.
        SETTINGS.get(0).copied().unwrap_or(Settings::STRICT)
    }

    #[inline(always)]
    fn port(&self, port: u16) -> PortEntry {
        PORTS.get(u32::from(port)).copied().unwrap_or(PortEntry::SHUT)
    }

    #[inline(always)]
    fn host(&self, flow: &Flow) -> Option<(u32, Slot)> {
        // SAFETY: values are never overwritten. The value of a reused element is another slot's number, which the
        // source and tag in that slot reveal.
        let number = unsafe {
            match flow.source {
                Source::V4(address) => HOSTS4.get(HostKey4::new(address, flow.port, flow.transport)),
                Source::V6(high, low) => HOSTS6.get(HostKey6::new(high, low, flow.port, flow.transport)),
            }
        };
        Self::slot(number)
    }

    #[inline(always)]
    fn prefix(&self, flow: &Flow) -> Option<(u32, Slot)> {
        let number = match flow.source {
            Source::V4(address) => PREFIXES4
                .get(&Key::new(PREFIX_KEY_HEAD_BITS + u32::BITS, PrefixKey4::new(address, flow.port, flow.transport))),
            Source::V6(high, low) => PREFIXES6.get(&Key::new(
                PREFIX_KEY_HEAD_BITS + u128::BITS,
                PrefixKey6::new(high, low, flow.port, flow.transport),
            )),
        };
        Self::slot(number)
    }

    #[inline(always)]
    fn break_glass(&self, source: Source) -> Option<(u32, Slot)> {
        let number = match source {
            Source::V4(address) => {
                PREFIXES4.get(&Key::new(PREFIX_KEY_HEAD_BITS + u32::BITS, PrefixKey4::break_glass(address)))
            }
            Source::V6(high, low) => {
                PREFIXES6.get(&Key::new(PREFIX_KEY_HEAD_BITS + u128::BITS, PrefixKey6::break_glass(high, low)))
            }
        };
        Self::slot(number)
    }

    #[inline(always)]
    fn forwards(&self) -> bool {
        // Without a packet there is nothing to forward.
        false
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: the helper takes nothing and touches no memory.
        unsafe { bpf_ktime_get_boot_ns() }
    }
}

/// The kernel's GPL-only helpers are not used, but the verifier's messages and tracing tools expect a licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
