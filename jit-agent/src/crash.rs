//! Lets the agent die at the steps of its work that outlive it, in tests.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

thread_local! {
    /// How many steps are done before the next one kills.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Comes before each step.
pub(crate) fn step() {
    match LEFT.get() {
        None => {}
        Some(0) => {
            LEFT.set(None);
            // Unwinds without a word: this is no failure.
            resume_unwind(Box::new("killed"));
        }
        Some(left) => LEFT.set(Some(left - 1)),
    }
}

/// Does `work` until it comes to a step when `steps` are done; says whether it came to that.
pub(crate) fn killed_after(steps: usize, work: impl FnOnce()) -> bool {
    LEFT.set(Some(steps));
    let killed = catch_unwind(AssertUnwindSafe(work)).is_err();
    LEFT.set(None);
    killed
}
