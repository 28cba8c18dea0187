//! The user at the other end of a connection, as the kernel reports.

#![expect(unsafe_code, reason = "no safe wrapper has getsockopt(SO_PEERGROUPS) or (SO_PEERPIDFD)")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd},
    sync::Arc,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{net::UnixStream, sync::OnceCell};

use super::names::{Name, Names};
use crate::core::peer::{LoginUnknown, Peer};

/// The largest number of groups that a process may have (NGROUPS_MAX).
const MOST_GROUPS: usize = 65_536;

/// The user who opened a connection.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    uid: u32,
    groups: Vec<u32>,
    pid: Option<i32>,
    login: Login,
    names: Arc<OnceCell<(Name, Option<Name>)>>,
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
        // Nobody is told apart by the login before it is read.
        let login = Login::Unknown(LoginUnknown::Ended);
        Ok(Self { uid: credentials.uid(), groups, pid: credentials.pid(), login, names: Arc::default() })
    }

    /// Asks the kernel who logged in, of a connection that is served. This takes longer than all before.
    pub(super) fn with_login(self, stream: &UnixStream) -> Self {
        match self.pid {
            Some(_) => Self { login: login_of(self.pid, peer_pidfd(stream.as_fd())), ..self },
            None => self,
        }
    }

    /// The identity of a known user, for tests.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn known(peer: &Peer) -> Self {
        let Peer { uid, groups, name, login, login_unknown } = peer.clone();
        let (login, login_name) = login.unzip();
        let login = login_unknown.map_or(Login::Known(login), Login::Unknown);
        let names = (Name::Known(name), login_name.map(Name::Known));
        let names = Arc::new(OnceCell::new_with(Some(names)));
        Self { uid, groups, pid: None, login, names }
    }

    /// The user id.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// The user without the name, which takes no time. It is enough to know the user's roles.
    pub(super) fn nameless(&self) -> Peer {
        let (uid, groups) = (self.uid, self.groups.clone());
        Peer { uid, groups, name: String::new(), login: None, login_unknown: None }
    }

    /// The user with the name, which is looked up once for each connection. Roles never depend on the name.
    pub(super) async fn peer(&self, names: &Names) -> Peer {
        let login = self.login.uid();
        let look_up = async {
            let name = names.of(self.uid).await;
            match login {
                Some(login) if login == self.uid => (name.clone(), Some(name)),
                Some(login) => (name, Some(names.of(login).await)),
                None => (name, None),
            }
        };
        let (name, login_name) = self.names.get_or_init(|| look_up).await.clone();
        // Whoever has no name can't be told from whom a delegate names.
        let is_late = name.is_late() || login_name.as_ref().is_some_and(Name::is_late);
        let login_unknown = self.login.unknown().or(is_late.then_some(LoginUnknown::Hidden));
        let login = login.zip(login_name.map(Name::text));
        Peer { uid: self.uid, groups: self.groups.clone(), name: name.text(), login, login_unknown }
    }
}

/// The id of the login user of a process, from the kernel's audit system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    /// The id. `None`: the process does not belong to a login, or this kernel has no login ids.
    Known(Option<u32>),
    /// The id can't be told.
    Unknown(LoginUnknown),
}

impl Login {
    const fn uid(self) -> Option<u32> {
        match self {
            Self::Known(uid) => uid,
            Self::Unknown(_) => None,
        }
    }

    const fn unknown(self) -> Option<LoginUnknown> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(why),
        }
    }
}

/// The process that opened a connection, as far as the kernel has a handle for it.
enum PidFd {
    Of(OwnedFd),
    /// The process has ended.
    Ended,
    /// Kernels before 6.5 have no SO_PEERPIDFD.
    Unsupported,
}

/// Returns the login user of the process that opened a connection. The id is read when the connection is accepted,
/// because the process most likely still exists then. The handle shows whether it was this process that `/proc` showed:
/// another process may get the number of a process that has ended.
fn login_of(pid: Option<i32>, process: PidFd) -> Login {
    let login = pid.and_then(login_uid);
    match process {
        PidFd::Of(process) if is_running(&process) => login.unwrap_or(Login::Unknown(LoginUnknown::Hidden)),
        PidFd::Of(_) | PidFd::Ended => Login::Unknown(LoginUnknown::Ended),
        // Before Linux 6.5 a process that has ended and one that is hidden look alike.
        PidFd::Unsupported => login.unwrap_or(Login::Unknown(LoginUnknown::Ended)),
    }
}

/// Returns the login user of a process. `None`: `/proc` does not show the process.
fn login_uid(pid: i32) -> Option<Login> {
    let read = |process: &str| std::fs::read_to_string(format!("/proc/{process}/loginuid"));
    match read(&pid.to_string()).ok().and_then(|text| text.trim().parse().ok()) {
        Some(u32::MAX) => Some(Login::Known(None)),
        Some(uid) => Some(Login::Known(Some(uid))),
        // A kernel without audit has this file for no process.
        None => read("self").is_err_and(|error| error.kind() == io::ErrorKind::NotFound).then_some(Login::Known(None)),
    }
}

/// Whether a process has not ended: the handle of a process that has ended can be read.
fn is_running(process: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())) == Ok(0)
}

/// Returns the kernel's handle of the process that opened a connection.
fn peer_pidfd(socket: BorrowedFd<'_>) -> PidFd {
    const SIZE: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
    let (mut descriptor, mut length): (libc::c_int, _) = (-1, SIZE);
    // SAFETY: `descriptor` has room for `length` bytes, and both pointers are valid for the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
        return PidFd::Of(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOPROTOOPT) => PidFd::Unsupported,
        // Kernels differ in what they answer for a process that has ended and was waited for. Any other error, such as a
        // lack of descriptors, costs only the login: who connected is known without it.
        _ => PidFd::Ended,
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
    use crate::accounts::name_of;

    #[tokio::test]
    async fn the_peer_is_who_opened_the_socket() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Identity::of(&ours).unwrap().with_login(&ours).peer(&Names::default()).await;
        assert_eq!(peer.uid, geteuid().as_raw());
        assert_eq!(peer.name, name_of(peer.uid));
        let mut expected: Vec<u32> = getgroups().unwrap().into_iter().map(nix::unistd::Gid::as_raw).collect();
        expected.push(getegid().as_raw());
        expected.sort_unstable();
        expected.dedup();
        let mut groups = peer.groups;
        groups.sort_unstable();
        assert_eq!(groups, expected);
    }

    #[test]
    fn the_login_of_a_process_that_has_ended_is_not_known_whoever_has_its_number_now() {
        let ours = i32::try_from(std::process::id()).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        assert_eq!(login_of(Some(pid.as_raw_pid()), PidFd::Unsupported), Login::Unknown(LoginUnknown::Ended));
        assert_eq!(
            login_of(Some(ours), PidFd::Of(process)),
            Login::Unknown(LoginUnknown::Ended),
            "its number is that of a process that runs"
        );
        assert_eq!(login_of(Some(ours), PidFd::Ended), Login::Unknown(LoginUnknown::Ended));
        assert_eq!(login_of(Some(ours), PidFd::Unsupported).unknown(), None);
        assert_eq!(login_of(None, PidFd::Unsupported), Login::Unknown(LoginUnknown::Ended));
    }

    #[tokio::test]
    async fn the_login_of_a_process_that_runs_is_known() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(Identity::of(&ours).unwrap().with_login(&ours).peer(&Names::default()).await.login_unknown.is_none());
    }

    #[tokio::test]
    async fn a_socket_that_is_not_a_unix_socket_has_no_groups() {
        let listener = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        assert!(supplementary_groups(listener.as_fd()).is_err());
    }
}
