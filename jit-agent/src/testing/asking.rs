//! A core that is asked on the thread of the test, without a loop of its own.

use std::{
    pin::pin,
    task::{Context, Waker},
};

use tokio::runtime::Builder;

use crate::core::{Core, CoreHandle, refusal::Refusal};

/// Sends one command, lets the core carry it out, and returns the answer.
///
/// # Errors
/// The core refuses.
pub fn ask<T>(core: &mut Core, ask: impl AsyncFnOnce(CoreHandle) -> Result<T, Refusal>) -> Result<T, Refusal> {
    let (handle, mut commands) = CoreHandle::of(core);
    let mut answer = pin!(ask(handle));
    let mut context = Context::from_waker(Waker::noop());
    assert!(answer.as_mut().poll(&mut context).is_pending(), "the core was not asked");
    core.carry_out(vec![commands.try_recv().unwrap()]);
    drop(commands);
    // Without the core, the answer may still be completed on threads of a runtime.
    Builder::new_current_thread().build().unwrap().block_on(answer)
}
