//! What applies to all packets, field by field in the kernel's memory.

use std::{mem::offset_of, sync::atomic::Ordering};

use jit_common::abi::{ABI_VERSION, Settings};
use jit_policy::Protection;

use super::mapped::Mapped;

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

    /// Applies what a protection says of all packets, bar its scope. Sources of break-glass are looked for before they
    /// are there and after they are gone.
    pub(super) fn apply(&self, protection: &Protection) {
        if let Some(field) = self.0.u32_at(0, offset_of!(Settings, abi_version)) {
            field.store(ABI_VERSION, Ordering::Relaxed);
        }
        if let (Some(field), Some(end)) = (self.0.u64_at(0, offset_of!(Settings, trial_until)), protection.trial_until)
        {
            field.store(end.0, Ordering::Release);
        }
        self.change_flags(!Settings::LOCAL_SCOPE, protection.flags());
    }

    /// Whether the program looks for interfaces of local scope.
    pub(super) fn set_local_scope(&self, any: bool) {
        self.change_flags(Settings::LOCAL_SCOPE, if any { Settings::LOCAL_SCOPE } else { 0 });
    }

    /// Changes those flags that are in `mask`, in one store: the agent is the only one who writes them.
    fn change_flags(&self, mask: u32, flags: u32) {
        if let Some(field) = self.0.u32_at(0, offset_of!(Settings, flags)) {
            let others = field.load(Ordering::Relaxed) & !mask;
            field.store(others | flags & mask, Ordering::Release);
        }
    }

    /// Says that an entry was opened, or its deadline moved, and nothing of it is left to do.
    pub(super) fn note_opening(&self) {
        if let Some(field) = self.0.u64_at(0, offset_of!(Settings, openings)) {
            field.fetch_add(1, Ordering::Release);
        }
    }

    /// Grants the events of another second.
    pub(super) fn allow_events(&self) {
        if let Some(field) = self.0.u64_at(0, offset_of!(Settings, event_allowance)) {
            field.fetch_add(EVENTS_PER_SECOND, Ordering::Relaxed);
        }
    }
}
