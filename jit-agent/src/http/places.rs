//! Places of users: how much of the same kind one user may do at a time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The same number of places for each user.
#[derive(Clone, Debug)]
pub(super) struct Places {
    each: usize,
    of_root: usize,
    users: Arc<Mutex<HashMap<u32, Arc<Semaphore>>>>,
}

/// A place that is taken until this value is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    pub(super) fn new(each: usize, of_root: usize) -> Self {
        Self { each, of_root, users: Arc::default() }
    }

    fn of(&self, uid: u32) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, places| Arc::strong_count(places) > 1);
        let number = if uid == 0 { self.of_root } else { self.each };
        Arc::clone(users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(number))))
    }

    /// Takes a place of a user. `None`: the user has no place left.
    pub(super) fn take(&self, uid: u32) -> Option<Place> {
        self.of(uid).try_acquire_owned().ok()
    }

    /// Takes a place of a user, as soon as there is one.
    pub(super) async fn wait(&self, uid: u32) -> Option<Place> {
        // Nobody closes the semaphore.
        self.of(uid).acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_places_of_their_own_and_gets_them_back() {
        let places = Places::new(1, 2);
        let first = places.take(1000).unwrap();
        assert!(places.take(1000).is_none());
        assert!(places.take(1001).is_some());
        let of_root = [places.take(0), places.take(0), places.take(0)].map(|place| place.is_some());
        assert_eq!(of_root, [true, true, false]);
        drop(first);
        assert!(places.take(1000).is_some());
        assert_eq!(places.users.lock().unwrap().len(), 1, "users without a place are forgotten");
    }
}
