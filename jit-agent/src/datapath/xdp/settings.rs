//! The settings that apply to all packets, written field by field to the kernel's memory.
//!
//! What of them decides whether drops are carried out is one word, `enforce_until`.

use std::{mem::offset_of, sync::atomic::Ordering};

use jit_common::abi::{ABI_VERSION, Settings};
use jit_policy::Protection;

use super::mapped::Mapped;

/// The number of events that each CPU may report of each port in a second.
const EVENTS_PER_SECOND: u64 = 16;

/// The array, whose one element is the settings.
pub(super) struct KernelSettings(Mapped<Settings>);

impl KernelSettings {
    pub(super) const fn new(array: Mapped<Settings>) -> Self {
        Self(array)
    }

    /// The settings as they are now.
    pub(super) fn get(&self) -> Settings {
        self.0.get(0).unwrap_or(Settings::STRICT)
    }

    /// Applies the parts of a protection that concern all packets, except the scope. The program looks for break-glass
    /// sources already before they are admitted, and still after they are excluded.
    pub(super) fn apply(&self, protection: &Protection) {
        if let Some(field) = self.0.u32_at(0, offset_of!(Settings, abi_version)) {
            field.store(ABI_VERSION, Ordering::Relaxed);
        }
        self.change_flags(!Settings::LOCAL_SCOPE, protection.flags());
        if let Some(field) = self.0.u64_at(0, offset_of!(Settings, enforce_until)) {
            field.store(protection.enforce_until.0, Ordering::Release);
        }
    }

    /// Sets whether the program looks for interfaces of local scope.
    pub(super) fn set_local_scope(&self, any: bool) {
        self.change_flags(Settings::LOCAL_SCOPE, if any { Settings::LOCAL_SCOPE } else { 0 });
    }

    /// Changes the flags that are in `mask`, in one store: only the agent writes flags.
    fn change_flags(&self, mask: u32, flags: u32) {
        if let Some(field) = self.0.u32_at(0, offset_of!(Settings, flags)) {
            let others = field.load(Ordering::Relaxed) & !mask;
            field.store(others | flags & mask, Ordering::Release);
        }
    }

    /// Records that an entry was opened or its deadline moved, and that no part of this change is left to do.
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
