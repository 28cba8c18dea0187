//! The users and groups of the host, by the name service. Nothing here runs on the core's thread: a name service may
//! take long, or never answer.

mod numbers;

use std::{
    ffi::CString,
    fs,
    os::unix::net::UnixStream,
    sync::{Arc, LazyLock},
    time::Duration,
};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

pub use self::numbers::{Found, Number, Numbers};

/// How long anybody waits for the name service.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The number of look-ups that may be under way at a time for those who wait. A look-up that never ends keeps its place.
const LOOK_UPS: usize = 16;

/// Where sssd listens. Distributions build its module so that all names are "not found" while sssd does not run.
const SSSD: &str = "/var/lib/sss/pipes/nss";

/// The name service's answer about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The user or group exists.
    Is(Number),
    /// No user or group has the name.
    Absent,
    /// A source of names does not work, and no other source has the name.
    Unsure(String),
}

/// A function that looks up the number of a user, or of a group whose name begins with `@`.
pub type LookUp = fn(&str) -> Answer;

/// The groups of a user, or why they are not known.
pub type Groups = Result<Vec<u32>, String>;

/// Looks up the number of a user, or of a group whose name begins with `@`. This may take long.
#[must_use]
pub fn number_of(name: &str) -> Answer {
    let (found, database, file, name) = match name.strip_prefix('@') {
        Some(group) => {
            let found = Group::from_name(group).map(|group| group.map(|group| group.gid.as_raw()));
            (found, "group", "/etc/group", group)
        }
        None => {
            let found = User::from_name(name).map(|user| user.map(|user| user.uid.as_raw()));
            (found, "passwd", "/etc/passwd", name)
        }
    };
    match found {
        Ok(Some(number)) => Answer::Is(Number { number, local: is_listed(name, file) }),
        Ok(None) if uses_sssd(database) && UnixStream::connect(SSSD).is_err() => {
            Answer::Unsure("sssd does not run".to_owned())
        }
        Ok(None) => Answer::Absent,
        Err(error) => Answer::Unsure(error.desc().to_owned()),
    }
}

/// Whether a file of users or groups has a name. Such a name depends on nothing but the file.
fn is_listed(name: &str, file: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.split(':').next() == Some(name))
}

/// Whether the host asks sssd for a database.
fn uses_sssd(database: &str) -> bool {
    let text = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let sources = text.lines().filter_map(|line| line.trim().strip_prefix(database)?.trim_start().strip_prefix(':'));
    sources.flat_map(str::split_whitespace).any(|source| source == "sss")
}

/// Looks up the groups of a user. The list is empty if the user no longer exists. This may take long.
///
/// # Errors
/// The name service does not work.
pub fn groups_of(uid: u32) -> Groups {
    let found = User::from_uid(Uid::from_raw(uid)).map_err(|error| error.desc().to_owned())?;
    let Some(user) = found else { return Ok(Vec::new()) };
    let name = CString::new(user.name).unwrap_or_default();
    let groups = getgrouplist(&name, user.gid).map_err(|error| error.desc().to_owned())?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
}

/// Looks up the name of a user, or returns the user id if the user has no name. This may take long.
#[must_use]
pub fn name_of(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

/// Looks something up on another thread. `None`: there is no answer within [`PATIENCE`].
pub async fn in_time<T: Send + 'static>(look_up: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    static THREADS: LazyLock<Threads> = LazyLock::new(|| Threads::new(LOOK_UPS));
    THREADS.in_time(look_up).await
}

/// A bounded number of threads for look-ups.
#[derive(Clone, Debug)]
pub struct Threads(Arc<Semaphore>);

impl Threads {
    /// At most so many look-ups are under way at a time. A look-up that never ends keeps its thread.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }

    /// Looks something up on one of the threads. `None`: there is no answer within [`PATIENCE`].
    pub async fn in_time<T: Send + 'static>(&self, look_up: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let found = async {
            let place = Arc::clone(&self.0).acquire_owned().await.ok()?;
            // The place is held until the look-up is done, even if nobody waits for it any more.
            let work = move || {
                let _place = place;
                look_up()
            };
            spawn_blocking(work).await.ok()
        };
        timeout(PATIENCE, found).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_told_apart_and_whoever_is_not_there_is_absent() {
        assert_eq!(number_of("root"), Answer::Is(Number { number: 0, local: true }));
        assert_eq!(number_of("@root"), Answer::Is(Number { number: 0, local: true }));
        for name in ["no-such-user", "@no-such-group"] {
            assert_eq!(number_of(name), Answer::Absent, "{name}");
        }
        assert_eq!((name_of(0), name_of(4_000_000_123)), ("root".to_owned(), "4000000123".to_owned()));
        assert_eq!((groups_of(0).unwrap().contains(&0), groups_of(4_000_000_123)), (true, Ok(Vec::new())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_never_ends_is_given_up_and_does_not_keep_others_from_theirs() {
        assert_eq!(in_time(|| 7).await, Some(7));
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let hanging = in_time(move || ended.recv().is_ok());
        let others = async {
            let other = in_time(|| 8).await;
            tokio::time::advance(PATIENCE).await;
            other
        };
        assert_eq!(tokio::join!(hanging, others), (None, Some(8)));
        drop(end);
    }
}
