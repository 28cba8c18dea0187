//! The maps, and [`Tables`] over them.

#![expect(unsafe_code, reason = "reads and writes map memory")]

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
    helpers::generated::bpf_ktime_get_boot_ns,
    macros::btf_map,
};
use jit_common::{
    abi::{self, HostKey4, HostKey6, PREFIX_KEY_HEAD_BITS, PortEntry, PrefixKey4, PrefixKey6, Settings, Slot},
    decide::Tables,
    parse::{Flow, Source},
};

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static PORTS: Array<PortEntry, { abi::PORTS }> = Array::new();
#[btf_map]
static HOSTS4: HashMap<HostKey4, u32, { abi::ENTRIES }> = HashMap::new();
#[btf_map]
static HOSTS6: HashMap<HostKey6, u32, { abi::ENTRIES }> = HashMap::new();
#[btf_map]
static PREFIXES4: LpmTrie<PrefixKey4, u32, { abi::ENTRIES }, { BPF_F_NO_PREALLOC as usize }> = LpmTrie::new();
#[btf_map]
static PREFIXES6: LpmTrie<PrefixKey6, u32, { abi::ENTRIES }, { BPF_F_NO_PREALLOC as usize }> = LpmTrie::new();
#[btf_map]
static SLOTS: Array<Slot, { abi::SLOTS }, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<u64, { abi::COUNTERS }> = PerCpuArray::new();

/// The settings in force; the strictest ones if they can't be read.
#[inline(always)]
pub(crate) fn settings() -> Settings {
    SETTINGS.get(0).copied().unwrap_or(Settings::STRICT)
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the pointer is to this CPU's element, and the program isn't interrupted by itself.
        unsafe { *counter += 1 };
    }
}

/// The maps as decisions read them.
pub(crate) struct KernelTables;

impl KernelTables {
    #[inline(always)]
    fn slot(number: Option<&u32>) -> Option<Slot> {
        let slot = SLOTS.get_ptr(*number?)?;
        // SAFETY: the element exists for the map's lifetime. The agent may store a deadline meanwhile, in one aligned
        // word; the other fields change only while no program can hold the number.
        Some(unsafe { slot.read_volatile() })
    }
}

impl Tables for KernelTables {
    #[inline(always)]
    fn port(&self, port: u16) -> PortEntry {
        PORTS.get(u32::from(port)).copied().unwrap_or(PortEntry::SHUT)
    }

    #[inline(always)]
    fn host(&self, flow: &Flow) -> Option<Slot> {
        // SAFETY: values are never overwritten; one of a reused element is another slot's number, which the slot's
        // own key tells.
        let number = unsafe {
            match flow.source {
                Source::V4(address) => HOSTS4.get(HostKey4::new(address, flow.port, flow.transport)),
                Source::V6(high, low) => HOSTS6.get(HostKey6::new(high, low, flow.port, flow.transport)),
            }
        };
        Self::slot(number)
    }

    #[inline(always)]
    fn prefix(&self, flow: &Flow) -> Option<Slot> {
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
    fn now(&self) -> u64 {
        // SAFETY: the helper takes nothing and touches no memory.
        unsafe { bpf_ktime_get_boot_ns() }
    }
}

/// The kernel's GPL-only helpers are not used, but the verifier's messages and tracing tools expect a licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
