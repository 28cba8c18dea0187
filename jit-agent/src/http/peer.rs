//! The user at the other end of a connection, as the kernel reports.

#![expect(unsafe_code, reason = "no safe wrapper has getsockopt(SO_PEERGROUPS)")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    sync::Arc,
};

use nix::unistd::{Uid, User};
use tokio::{net::UnixStream, sync::OnceCell, task::spawn_blocking};

use crate::core::peer::Peer;

/// The largest number of groups that a process may have (NGROUPS_MAX).
const MOST_GROUPS: usize = 65_536;

/// The user who opened a connection.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    uid: u32,
    groups: Vec<u32>,
    login: Option<u32>,
    names: Arc<OnceCell<(String, Option<String>)>>,
}

impl Identity {
    /// Asks the kernel who opened `stream`: the credentials at the time of `connect`.
    ///
    /// # Errors
    /// The kernel does not report the credentials.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = vec![credentials.gid()];
        groups.extend(supplementary_groups(stream.as_fd())?.into_iter().filter(|group| *group != credentials.gid()));
        let login = credentials.pid().and_then(login_uid);
        Ok(Self { uid: credentials.uid(), groups, login, names: Arc::default() })
    }

    /// The identity of a known user, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn known(peer: &Peer) -> Self {
        let Peer { uid, groups, name, login } = peer.clone();
        let (login, login_name) = login.unzip();
        let names = Arc::new(OnceCell::new_with(Some((name, login_name))));
        Self { uid, groups, login, names }
    }

    /// The user id.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// The user with the name, which is looked up once for each connection. Roles never depend on the name.
    pub(super) async fn peer(&self) -> Peer {
        let (uid, login) = (self.uid, self.login);
        let names = self.names.get_or_init(|| async move {
            // A name service may be slow. Other connections do not wait for the look-up.
            let found = spawn_blocking(move || (user_name(uid), login.map(user_name))).await;
            found.unwrap_or_else(|_| (uid.to_string(), login.map(|login| login.to_string())))
        });
        let (name, login_name) = names.await.clone();
        Peer { uid, groups: self.groups.clone(), name, login: login.zip(login_name) }
    }
}

/// The id of the login user of a process, from the kernel's audit system; `None`: the process does not belong to a
/// login. The id is read when the connection is accepted, because the process most likely still exists then.
fn login_uid(pid: i32) -> Option<u32> {
    let uid = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?.trim().parse().ok()?;
    (uid != u32::MAX).then_some(uid)
}

fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}

fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let size = size_of::<libc::gid_t>() * groups.len();
        let mut length = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
        // SAFETY: `groups` has room for `length` bytes of gid_t, and both pointers are valid for the call.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let count = usize::try_from(length).map_err(io::Error::other)? / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // With ERANGE the kernel has written the required size into `length`.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > MOST_GROUPS {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::{getegid, geteuid, getgroups};

    use super::*;

    #[tokio::test]
    async fn the_peer_is_who_opened_the_socket() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Identity::of(&ours).unwrap().peer().await;
        assert_eq!(peer.uid, geteuid().as_raw());
        assert_eq!(peer.name, user_name(peer.uid));
        let mut expected: Vec<u32> = getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
        expected.push(getegid().as_raw());
        expected.sort_unstable();
        expected.dedup();
        let mut groups = peer.groups;
        groups.sort_unstable();
        assert_eq!(groups, expected);
    }

    #[test]
    fn a_user_without_a_name_goes_by_its_number() {
        assert_eq!(user_name(4_000_000_017), "4000000017");
        assert_eq!(user_name(0), "root");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_a_unix_socket_has_no_groups() {
        let listener = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert!(supplementary_groups(listener.as_fd()).is_err());
    }
}
