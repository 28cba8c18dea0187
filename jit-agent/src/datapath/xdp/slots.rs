//! The slot array: which slots are free, and deadlines as single atomic stores.

use std::{
    collections::HashSet,
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use jit_common::abi::{Activity, SLOTS, Slot};
use jit_policy::BootTime;
use rustix::thread::{MembarrierCommand, membarrier};

use super::mapped::Mapped;

/// The longest time that a program run can take. The agent waits for so long where the kernel can't tell that all runs
/// have ended.
const LONGEST_RUN: Duration = Duration::from_secs(1);

/// The slot array with the use of each slot.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Mapped<Slot>,
    activity: Mapped<Activity>,
    /// Slots that no program can hold.
    free: Vec<u32>,
    /// Closed slots whose number a program that runs right now may still hold.
    closed: Vec<u32>,
}

impl Slots {
    /// All slots count as free until [`adopt`](Self::adopt) says otherwise.
    pub(super) fn new(slots: Mapped<Slot>, activity: Mapped<Activity>) -> Self {
        Self { slots, activity, free: (0..SLOTS as u32).rev().collect(), closed: Vec::new() }
    }

    fn deadline_of(&self, number: u32) -> Option<&AtomicU64> {
        self.slots.u64_at(number as usize, offset_of!(Slot, deadline))
    }

    /// The slot's content.
    pub(super) fn get(&self, number: u32) -> Option<Slot> {
        self.slots.get(number as usize)
    }

    /// The slot's deadline; 0 for a number out of range.
    pub(super) fn deadline(&self, number: u32) -> BootTime {
        BootTime(self.deadline_of(number).map_or(0, |deadline| deadline.load(Ordering::Relaxed)))
    }

    /// When the slot let packets pass.
    pub(super) fn activity(&self, number: u32) -> Activity {
        self.activity.get(number as usize).unwrap_or_default()
    }

    /// Moves the slot's deadline: one store, in force for every packet from then on.
    pub(super) fn set_deadline(&self, number: u32, deadline: BootTime) {
        if let Some(slot) = self.deadline_of(number) {
            slot.store(deadline.0, Ordering::Release);
        }
    }

    /// Takes a free slot and fills it; `None` if no slot is free.
    pub(super) fn open(&mut self, content: Slot, deadline: BootTime) -> Option<u32> {
        if self.free.is_empty() {
            self.wait_for_programs();
            self.free.append(&mut self.closed);
        }
        let number = self.free.pop()?;
        self.set_deadline(number, BootTime(0));
        // No program holds the number of a free slot, so no program reads or writes these elements meanwhile.
        self.activity.set(number as usize, Activity::default());
        self.slots.set(number as usize, content);
        self.set_deadline(number, deadline);
        Some(number)
    }

    /// Frees a slot whose number is no longer in any map. The slot keeps its deadline until it is reused.
    pub(super) fn close(&mut self, number: u32) {
        self.closed.push(number);
    }

    /// Keeps the slots that `used` names, zeroes the deadlines of all other slots and counts those as free.
    pub(super) fn adopt(&mut self, used: &HashSet<u32>) {
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
        // This call waits for an RCU grace period; programs run inside RCU read sections. Kernels with nohz_full don't
        // offer it.
        if membarrier(MembarrierCommand::Global).is_err() {
            std::thread::sleep(LONGEST_RUN);
        }
    }
}
