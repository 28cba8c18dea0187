//! Limits for open connections and for requests. So no user can block the socket for others, or fill the disk with the
//! records of changes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The number of connections that one user may hold.
const PER_USER: usize = 32;
/// The number of connections that all users with a role may hold together. Root always has its own share.
const OTHERS: usize = 256;
/// The number of connections that all users without a role may hold together.
const STRANGERS: usize = 16;
/// The shortest time between two lines of the log about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The number of excess connections that may be answered with a refusal at the same time.
const REFUSED: usize = 32;
const REFUSED_STRANGERS: usize = 4;

/// The rate of requests for one user: per second, and at once after a pause. Root has no limit.
const REQUEST_RATE: Rate = Rate { per_second: 100.0, burst: 400.0 };
/// The rate of requests that change something, for one user. These requests also count towards [`REQUEST_RATE`].
const CHANGE_RATE: Rate = Rate { per_second: 5.0, burst: 200.0 };
/// The number of users whose requests are counted before users without recent requests are forgotten.
const TRACKED_USERS: usize = 1024;

/// The rate at which a token bucket fills, and its size.
#[derive(Clone, Copy, Debug)]
struct Rate {
    per_second: f64,
    burst: f64,
}

/// The requests that a user may still make, as tokens that come back with time.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    fn full(rate: Rate, at: Instant) -> Self {
        Self { tokens: rate.burst, at }
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        *self = Self { tokens: (self.tokens + passed * rate.per_second).min(rate.burst), at: now };
    }

    fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

/// Counts the requests of each user, by user id. All users without a role are `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct RateLimits(Arc<Mutex<HashMap<Option<u32>, [TokenBucket; 2]>>>);

impl RateLimits {
    /// Whether a user may make a request now. If so, the request is counted. `None`: a user without a role.
    pub(super) fn admit(&self, user: Option<u32>, changes: bool, now: Instant) -> bool {
        if user == Some(0) {
            return true;
        }
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= TRACKED_USERS && !users.contains_key(&user) {
            users.retain(|_, [asked, changes]| {
                asked.refill(REQUEST_RATE, now);
                changes.refill(CHANGE_RATE, now);
                asked.tokens < REQUEST_RATE.burst || changes.tokens < CHANGE_RATE.burst
            });
        }
        let full = || [TokenBucket::full(REQUEST_RATE, now), TokenBucket::full(CHANGE_RATE, now)];
        let [asked, changed] = users.entry(user).or_insert_with(full);
        asked.take(REQUEST_RATE, now) && (!changes || changed.take(CHANGE_RATE, now))
    }
}

/// A user, as connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum User {
    /// A user without a role, or one whom the kernel does not name.
    Stranger(u32),
    /// A user with a role.
    Known(u32),
}

impl User {
    /// Whether a user counts towards the share of this user. Root has a share of its own.
    const fn shares(self, other: Self) -> bool {
        match (self, other) {
            (Self::Known(0), _) | (_, Self::Known(0)) => false,
            (Self::Known(_), Self::Known(_)) | (Self::Stranger(_), Self::Stranger(_)) => true,
            (Self::Known(_), Self::Stranger(_)) | (Self::Stranger(_), Self::Known(_)) => false,
        }
    }

    /// The number of connections that all users of the share may hold together.
    const fn share(self) -> usize {
        match self {
            Self::Stranger(_) => STRANGERS,
            Self::Known(_) => OTHERS,
        }
    }
}

/// Counts open connections by user.
#[derive(Clone, Debug)]
pub(super) struct ConnectionLimits {
    open: Arc<Mutex<HashMap<User, usize>>>,
    refused: Arc<Semaphore>,
    refused_strangers: Arc<Semaphore>,
    unlogged: Arc<Mutex<Unlogged>>,
}

/// The refusals of connections that the agent's log does not have yet.
#[derive(Debug, Default)]
struct Unlogged {
    count: u64,
    logged: Option<Instant>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            open: Arc::default(),
            refused: Arc::new(Semaphore::new(REFUSED)),
            refused_strangers: Arc::new(Semaphore::new(REFUSED_STRANGERS)),
            unlogged: Arc::default(),
        }
    }
}

impl ConnectionLimits {
    /// Counts one more connection that gets a refusal; `None`: too many connections are being refused already.
    pub(super) fn admit_for_refusal(&self, user: User) -> Option<OwnedSemaphorePermit> {
        let refused = match user {
            User::Known(_) => &self.refused,
            User::Stranger(_) => &self.refused_strangers,
        };
        Arc::clone(refused).try_acquire_owned().ok()
    }

    /// Returns how many connections were refused since the last line of the log, if it is time for another line: any
    /// user can cause refusals, as often as they like.
    pub(super) fn refusals_to_log(&self, now: Instant) -> Option<u64> {
        let mut unlogged = self.unlogged.lock().unwrap_or_else(PoisonError::into_inner);
        unlogged.count += 1;
        if unlogged.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LOG_INTERVAL) {
            return None;
        }
        unlogged.logged = Some(now);
        Some(std::mem::take(&mut unlogged.count))
    }

    /// Counts one more connection of a user for as long as the permit lives; `None`: the user has too many connections,
    /// or all users of the same share have.
    pub(super) fn admit(&self, user: User) -> Option<Permit> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let share: usize = open.iter().filter(|(other, _)| user.shares(**other)).map(|(_, count)| count).sum();
        let own = open.get(&user).copied().unwrap_or(0);
        if own >= PER_USER || share >= user.share() {
            return None;
        }
        open.insert(user, own + 1);
        drop(open);
        Some(Permit { limits: self.clone(), user })
    }
}

/// A permit for one open connection.
#[derive(Debug)]
pub(super) struct Permit {
    limits: ConnectionLimits,
    user: User,
}

impl Permit {
    pub(super) const fn user(&self) -> User {
        self.user
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.limits.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_at_the_limit_gets_in_again_when_a_connection_ends() {
        let limits = ConnectionLimits::default();
        let mut permits: Vec<_> = (0..PER_USER).map(|_| limits.admit(User::Known(1000)).unwrap()).collect();
        assert!(limits.admit(User::Known(1000)).is_none());
        assert!(limits.admit(User::Known(1001)).is_some());
        permits.pop();
        assert!(limits.admit(User::Known(1000)).is_some());
        drop(permits);
        assert!(limits.open.lock().unwrap().is_empty());
    }

    #[test]
    fn a_user_who_asks_too_much_waits_others_and_root_do_not_and_looking_is_cheaper_than_changing() {
        let rates = RateLimits::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let changes = |uid, now| (0..300).filter(|_| rates.admit(Some(uid), true, now)).count();
        assert_eq!((changes(1000, start), changes(1001, start), changes(0, start)), (200, 200, 300));
        assert_eq!(changes(1000, after(2)), 10);
        let looks = (0..1000).filter(|_| rates.admit(Some(1000), false, after(3600))).count();
        assert_eq!(looks, 400);
    }

    #[test]
    fn all_users_without_a_role_get_together_what_one_user_gets() {
        let rates = RateLimits::default();
        let now = Instant::now();
        assert_eq!((0..1000).filter(|_| rates.admit(None, false, now)).count(), 400);
        assert!(rates.admit(Some(1000), false, now));
    }

    #[test]
    fn users_who_were_quiet_for_long_are_forgotten() {
        let rates = RateLimits::default();
        let start = Instant::now();
        (1..=2000).for_each(|uid| assert!(rates.admit(Some(uid), true, start)));
        assert!(rates.admit(Some(5000), true, start + Duration::from_secs(3600)));
        assert_eq!(rates.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn users_with_a_role_strangers_and_root_do_not_keep_each_other_out() {
        let limits = ConnectionLimits::default();
        let strangers: Vec<_> = (0..1000).filter_map(|uid| limits.admit(User::Stranger(100_000 + uid))).collect();
        assert_eq!(strangers.len(), STRANGERS);
        let known: Vec<_> = (0..1000).filter_map(|uid| limits.admit(User::Known(1000 + uid))).collect();
        assert_eq!(known.len(), OTHERS);
        assert!(limits.admit(User::Known(0)).is_some());
        drop(strangers);
        assert!(limits.admit(User::Stranger(5)).is_some());
        assert!(limits.admit(User::Known(5)).is_none());
    }

    #[test]
    fn the_log_has_one_line_about_many_refusals() {
        let limits = ConnectionLimits::default();
        let start = Instant::now();
        let lines: Vec<u64> = (0..30_000).filter_map(|_| limits.refusals_to_log(start)).collect();
        assert_eq!(lines, [1]);
        assert_eq!(limits.refusals_to_log(start + LOG_INTERVAL), Some(30_000));
    }
}
