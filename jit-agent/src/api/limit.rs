//! How many connections may be open, so that no user takes the socket away from others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that one user may hold.
const PER_USER: usize = 32;
/// Connections that all users but root may hold together; root always has its own share.
const OTHERS: usize = 256;

/// Connections too many that are being told so.
const REFUSED: usize = 32;

/// Counts open connections by user id.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    open: Arc<Mutex<HashMap<u32, usize>>>,
    refused: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { open: Arc::default(), refused: Arc::new(Semaphore::new(REFUSED)) }
    }
}

impl Limits {
    /// Counts one more connection that is refused; `None` if there are too many even of these.
    pub(super) fn admit_to_be_refused(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refused).try_acquire_owned().ok()
    }

    /// Counts one more connection of `uid` for as long as the permit lives; `None` if it has too many.
    pub(super) fn admit(&self, uid: u32) -> Option<Permit> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize = open.iter().filter(|(uid, _)| **uid != 0).map(|(_, count)| count).sum();
        let own = open.get(&uid).copied().unwrap_or(0);
        if own >= PER_USER || (uid != 0 && others >= OTHERS) {
            return None;
        }
        open.insert(uid, own + 1);
        drop(open);
        Some(Permit { limits: self.clone(), uid })
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Permit {
    limits: Limits,
    uid: u32,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_at_the_limit_gets_in_again_when_a_connection_ends() {
        let limits = Limits::default();
        let mut permits: Vec<_> = (0..PER_USER).map(|_| limits.admit(1000).unwrap()).collect();
        assert!(limits.admit(1000).is_none());
        assert!(limits.admit(1001).is_some());
        permits.pop();
        assert!(limits.admit(1000).is_some());
        drop(permits);
        assert!(limits.open.lock().unwrap().is_empty());
    }

    #[test]
    fn many_users_together_do_not_keep_root_out() {
        let limits = Limits::default();
        let _permits: Vec<_> = (0..OTHERS).map(|index| limits.admit(1000 + index as u32).unwrap()).collect();
        assert!(limits.admit(5000).is_none());
        assert!(limits.admit(0).is_some());
    }
}
