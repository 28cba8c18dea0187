//! The memory-mapped slot array: deadlines as single atomic stores.

#![expect(unsafe_code, reason = "maps the kernel's slot array into memory")]

use std::{
    io,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jit_common::abi::{SLOTS, Slot};
use rustix::{
    io::Errno,
    mm::{MapFlags, ProtFlags, mmap, munmap},
    thread::{MembarrierCommand, membarrier},
};

use crate::clock::BootTime;

const BYTES: usize = SLOTS * size_of::<Slot>();
/// How long a program run lasts at the very most; waited for where the kernel can't tell that all have ended.
const LONGEST_RUN: Duration = Duration::from_secs(1);

/// The slot array, and which slots are free.
#[derive(Debug)]
pub(super) struct Slots {
    base: NonNull<Slot>,
    /// Slots that no program can hold.
    free: Vec<u32>,
    /// Closed slots whose number a program that runs right now may still hold.
    closed: Vec<u32>,
}

// SAFETY: the mapping belongs to this value alone, and all access goes through `&self` with atomic stores of the
// deadline, or through `&mut self`.
unsafe impl Send for Slots {}

impl Slots {
    /// Maps the array; all slots count as free until [`adopt`](Self::adopt) says otherwise.
    pub(super) fn map(array: impl AsFd) -> io::Result<Self> {
        // SAFETY: a new shared mapping of the whole array, at an address the kernel chooses.
        let address = unsafe {
            mmap(std::ptr::null_mut(), BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, array, 0)
        }?;
        let base = NonNull::new(address.cast()).ok_or(Errno::FAULT)?;
        let free = (0..SLOTS as u32).rev().collect();
        Ok(Self { base, free, closed: Vec::new() })
    }

    fn slot(&self, number: u32) -> Option<NonNull<Slot>> {
        // SAFETY: the offset stays within the mapping of SLOTS slots.
        ((number as usize) < SLOTS).then(|| unsafe { self.base.add(number as usize) })
    }

    fn deadline_of(&self, number: u32) -> Option<&AtomicU64> {
        let slot = self.slot(number)?;
        // SAFETY: the deadline is an aligned u64 within the mapping, which lives as long as self, and everybody who
        // writes it while it is shared does so in one store.
        Some(unsafe { AtomicU64::from_ptr(&raw mut (*slot.as_ptr()).deadline) })
    }

    /// The slot's content.
    pub(super) fn get(&self, number: u32) -> Option<Slot> {
        // SAFETY: in bounds; any bit pattern is a Slot; volatile, as the file system's other users may write it.
        self.slot(number).map(|slot| unsafe { slot.read_volatile() })
    }

    /// The slot's deadline; 0 for a number out of range.
    pub(super) fn deadline(&self, number: u32) -> BootTime {
        BootTime(self.deadline_of(number).map_or(0, |deadline| deadline.load(Ordering::Relaxed)))
    }

    /// Moves the slot's deadline: one store, in force for every packet from then on.
    pub(super) fn set_deadline(&self, number: u32, deadline: BootTime) {
        if let Some(slot) = self.deadline_of(number) {
            slot.store(deadline.0, Ordering::Release);
        }
    }

    /// Takes a free slot and fills it; `None` if there is none.
    pub(super) fn open(&mut self, content: Slot, deadline: BootTime) -> Option<u32> {
        if self.free.is_empty() {
            self.wait_for_programs();
            self.free.append(&mut self.closed);
        }
        let number = self.free.pop()?;
        let slot = self.slot(number)?;
        self.set_deadline(number, BootTime(0));
        // SAFETY: in bounds, and no program holds the number of a free slot, so nobody reads while this writes.
        unsafe { slot.write_volatile(content) };
        self.set_deadline(number, deadline);
        Some(number)
    }

    /// Gives back a slot whose number is in no map any more. Its deadline stays as it is until it is reused.
    pub(super) fn close(&mut self, number: u32) {
        self.closed.push(number);
    }

    /// Keeps the slots that `used` names, zeroes the deadlines of all others and counts them free.
    pub(super) fn adopt(&mut self, used: &std::collections::HashSet<u32>) {
        self.free = (0..SLOTS as u32).rev().filter(|number| !used.contains(number)).collect();
        for number in &self.free {
            if self.deadline(*number) != BootTime(0) {
                self.set_deadline(*number, BootTime(0));
            }
        }
        // A program may hold a number that the agent's predecessor closed just before it ended.
        self.wait_for_programs();
    }

    /// Returns when every program run that is under way has ended.
    fn wait_for_programs(&self) {
        // Waits for an RCU grace period; programs run inside RCU read sections. Not offered with nohz_full.
        if membarrier(MembarrierCommand::Global).is_err() {
            std::thread::sleep(LONGEST_RUN);
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: unmaps what `map` mapped; nothing else refers to it.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), BYTES) };
        if let Err(error) = unmapped {
            tracing::error!(%error, "the slot array could not be unmapped");
        }
    }
}
