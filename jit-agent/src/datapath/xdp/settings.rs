//! What applies to all packets, field by field in the kernel's memory.

use std::{mem::offset_of, sync::atomic::Ordering};

use jit_common::abi::{ABI_VERSION, Mode, Settings};

use super::mapped::Mapped;
use crate::datapath::Protection;

/// Events that each CPU may report of each port in a second.
const EVENTS_PER_SECOND: u64 = 16;

/// The array of the one element.
pub(super) struct KernelSettings(Mapped<Settings>);

impl KernelSettings {
    pub(super) const fn new(array: Mapped<Settings>) -> Self {
        Self(array)
    }

    /// As they stand.
    pub(super) fn get(&self) -> Settings {
        self.0.get(0).unwrap_or(Settings::STRICT)
    }

    fn set(&self, offset: usize, value: u32) {
        if let Some(field) = self.0.u32_at(0, offset) {
            field.store(value, Ordering::Release);
        }
    }

    /// Takes over what a protection says of all packets, bar its scope and break-glass sources.
    pub(super) fn apply(&self, protection: &Protection) {
        if let Some(field) = self.0.u64_at(0, offset_of!(Settings, trial_until)) {
            field.store(protection.trial_until.map_or(0, |end| end.0.max(1)), Ordering::Release);
        }
        self.set(offset_of!(Settings, abi_version), ABI_VERSION);
        self.set(offset_of!(Settings, fragments), u32::from(protection.drop_fragments));
        self.set(offset_of!(Settings, mode), if protection.mode == Mode::Enforce { 1 } else { 0 });
    }

    /// Whether the program looks for break-glass sources.
    pub(super) fn set_break_glass(&self, any: bool) {
        self.set(offset_of!(Settings, break_glass), u32::from(any));
    }

    /// Whether the program looks for interfaces of local scope.
    pub(super) fn set_local_scope(&self, any: bool) {
        self.set(offset_of!(Settings, local_scope), u32::from(any));
    }

    /// Grants the events of another second.
    pub(super) fn allow_events(&self) {
        if let Some(field) = self.0.u64_at(0, offset_of!(Settings, event_allowance)) {
            field.fetch_add(EVENTS_PER_SECOND, Ordering::Relaxed);
        }
    }
}
