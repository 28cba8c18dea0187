//! Kills the agent in tests, at the steps whose effects outlive the agent.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

thread_local! {
    /// The number of steps that are done before the next step kills the agent.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Marks the beginning of a step.
pub(crate) fn step() {
    match LEFT.get() {
        None => {}
        Some(0) => {
            LEFT.set(None);
            // `resume_unwind` prints no panic message, because this is no failure.
            resume_unwind(Box::new("killed"));
        }
        Some(left) => LEFT.set(Some(left - 1)),
    }
}

/// Does `work`, and kills the agent at the step after the first `steps` steps. Returns whether `work` reached that
/// step.
pub(crate) fn killed_after(steps: usize, work: impl FnOnce()) -> bool {
    LEFT.set(Some(steps));
    let killed = catch_unwind(AssertUnwindSafe(work)).is_err();
    LEFT.set(None);
    killed
}
