//! Names of users. A name service may be slow or hang, and then nobody waits for it for long.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::accounts::{Threads, name_of};

/// How long a name is known without another look-up.
const KEPT: Duration = Duration::from_secs(10);
/// The number of names that are known at a time.
const MOST_KEPT: usize = 1024;
/// The number of look-ups at a time. Each may hold a thread for as long as a name service hangs.
const LOOK_UPS: usize = 8;

/// A user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// The name, or the user id of a user without a name.
    Known(String),
    /// The user id, because the name service did not answer in time.
    TooLate(String),
}

impl Name {
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::TooLate(_))
    }

    pub(super) fn text(self) -> String {
        match self {
            Self::Known(name) | Self::TooLate(name) => name,
        }
    }
}

/// The names that were looked up lately. All connections share them.
#[derive(Clone, Debug)]
pub(super) struct Names {
    known: Arc<Mutex<HashMap<u32, (String, Instant)>>>,
    threads: Threads,
    look_up: fn(u32) -> String,
}

impl Default for Names {
    fn default() -> Self {
        Self::found_by(name_of)
    }
}

impl Names {
    fn found_by(look_up: fn(u32) -> String) -> Self {
        Self { known: Arc::default(), threads: Threads::new(LOOK_UPS), look_up }
    }

    /// Returns the name of a user. A request doesn't wait long for a name. After that, the user goes by the user id.
    pub(super) async fn of(&self, uid: u32) -> Name {
        if let Some(name) = self.known_name(uid) {
            return Name::Known(name);
        }
        let find = self.look_up;
        match self.threads.in_time(move || find(uid)).await {
            Some(name) => {
                self.keep(uid, name.clone());
                Name::Known(name)
            }
            None => Name::TooLate(uid.to_string()),
        }
    }

    fn known_name(&self, uid: u32) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&uid).filter(|(_, since)| since.elapsed() < KEPT).map(|(name, _)| name.clone())
    }

    fn keep(&self, uid: u32, name: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KEPT {
            known.clear();
        }
        known.insert(uid, (name, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::future::join_all;

    use super::*;
    use crate::accounts::PATIENCE;

    #[tokio::test]
    async fn a_name_is_looked_up_once_for_many_connections() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = Names::found_by(|uid| format!("{uid} {}", ASKED.fetch_add(1, Ordering::Relaxed)));
        assert_eq!([names.of(7).await, names.of(7).await].map(Name::text), ["7 0", "7 0"]);
        assert_eq!(names.of(8).await, Name::Known("8 1".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_service_that_hangs_keeps_nobody_and_holds_few_threads() {
        static ANSWERS: OnceLock<()> = OnceLock::new();
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = Names::found_by(|uid| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            ANSWERS.wait();
            uid.to_string()
        });
        let all = join_all((0..100).map(|uid| names.of(uid)));
        let (found, ()) = tokio::join!(all, tokio::time::advance(PATIENCE));
        let asked = ASKED.load(Ordering::Relaxed);
        // The threads must end before this test does.
        ANSWERS.set(()).unwrap();
        let late: Vec<_> = (0..100).map(|uid| Name::TooLate(uid.to_string())).collect();
        assert_eq!(found, late);
        assert!(asked <= LOOK_UPS, "{asked}");
    }
}
