//! Acting in a directory with no more rights than whoever could change it.

use std::{io, panic, path::Path, thread};

use anyhow::{Context as _, ensure};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::thread::set_thread_groups;

use super::{Doubt, Found, Writer, find, own};

/// Acts in a directory. If root acts and the directory is another user's, then with the rights of that user: nothing
/// that this user placed there leads root to anything else.
///
/// # Errors
/// Others could change the directory, and this process can't act as they.
pub(crate) fn with_rights_at<T: Send>(directory: &Path, act: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    with_rights(doubt(directory, Found::doubt)?, act)
}

/// Acts on a place itself, such as by removing it: like [`with_rights_at`], but with the rights of whoever could put
/// something else in its place.
///
/// # Errors
/// Others could change what leads to the place, and this process can't act as they.
pub(crate) fn with_rights_to<T: Send>(place: &Path, act: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    with_rights(doubt(place, Found::doubt_on_the_way)?, act)
}

/// A doubt about a place. What is not there yet is made by whoever may change the directory above it.
fn doubt(place: &Path, which: fn(&Found) -> Option<&Doubt>) -> anyhow::Result<Option<Doubt>> {
    match find(place, own()) {
        Ok(found) => Ok(which(&found).cloned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            place.parent().map_or(Ok(None), |above| doubt(above, Found::doubt))
        }
        Err(error) => Err(error).with_context(|| place.display().to_string()),
    }
}

fn with_rights<T: Send>(doubt: Option<Doubt>, act: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    let Some(doubt) = doubt else { return Ok(act()) };
    match doubt.writer() {
        Writer::User { uid, gid } if own() == 0 => as_user(uid, gid, act),
        Writer::User { .. } | Writer::Others => Err(doubt.into()),
    }
}

/// Acts on files as this user would. The user can't touch the thread meanwhile: only the rights to files are the user's.
fn as_user<T: Send>(uid: u32, gid: u32, act: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            become_user(uid, gid).with_context(|| format!("acting as uid {uid}"))?;
            Ok(act())
        });
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Gives this thread the rights of a user to files. The thread also loses the capabilities that lead around these
/// rights, see capabilities(7).
fn become_user(uid: u32, gid: u32) -> anyhow::Result<()> {
    set_thread_groups(&[])?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setfsgid(gid);
    setfsuid(uid);
    // These calls tell of no error. They return what was in force before.
    ensure!(setfsgid(gid) == gid && setfsuid(uid) == uid, "the system does not permit it");
    Ok(())
}
