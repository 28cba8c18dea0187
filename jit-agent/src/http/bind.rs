//! Creation of the socket. The socket has the right mode from the first moment at its path. It never replaces another
//! agent's socket or another file.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
        net::UnixListener as StdListener,
    },
    path::{Path, PathBuf},
    process,
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use tokio::net::UnixListener;

/// The socket's mode. Every user may connect; the user's role decides what the user may do.
const SOCKET_MODE: u32 = 0o666;
const DIRECTORY_MODE: u32 = 0o755;
/// The largest length of a socket's path in bytes: the size of `sun_path` without the closing zero.
const LONGEST_PATH: usize = 107;

/// The reason why the socket can't be created, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens at the path.
    #[error("another jit-agent is listening on {path}; stop it (`systemctl stop jit-agent`) or set another `socket`", path = .0.display())]
    InUse(PathBuf),
    /// The file at the path is not a socket.
    #[error("{path} exists and is not a socket; move it away or set another `socket`", path = .0.display())]
    NotASocket(PathBuf),
    /// The path does not name a file.
    #[error("socket path `{path}` does not name a file; set `socket` to one like /run/jit-agent/jit-agent.sock", path = .0.display())]
    NoName(PathBuf),
    /// The path is longer than a socket's path may be.
    #[error("socket path {path} is too long; use one of at most {longest} bytes", path = .path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// The largest length in bytes that a path in this directory may have.
        longest: usize,
    },
    /// A system call failed.
    #[error("can't {what} {path}: {error}; check that the directory exists and the agent may write there", path = .path.display())]
    Io {
        /// The action that failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error. It is no `source`, since the text includes it.
        error: io::Error,
    },
}

/// Creates the socket at `path` with mode 0666. If the directory is missing, it is created with mode 0755. A socket
/// without a listener is replaced.
///
/// This function does not detect another agent that starts at the same moment; the caller must hold the agent's lock.
/// It must be called within a tokio runtime.
///
/// # Errors
/// See [`BindError`]. After an error, the file at `path` is unchanged.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(BindError::NoName(path.to_owned()));
    };
    // The socket is created under another name and then moved. So there is never a socket with another mode at `path`,
    // and an old socket is replaced without a gap.
    let mut new_name = OsString::from(format!(".{}-", process::id()));
    new_name.push(name);
    let new = directory.join(new_name);
    let excess = new.as_os_str().len().saturating_sub(LONGEST_PATH);
    if excess > 0 {
        let longest = path.as_os_str().len().saturating_sub(excess);
        return Err(BindError::TooLong { path: path.to_owned(), longest });
    }

    if !directory.as_os_str().is_empty() {
        make_directory(directory)?;
    }
    check_vacant(path)?;
    remove_if_there(&new)?;
    let listener = StdListener::bind(&new).map_err(failed("make the socket", &new))?;
    let moved = move_into_place(&new, path).and_then(|()| {
        listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener)).map_err(failed("use", path))
    });
    if moved.is_err() {
        // The first error is reported; an error of this removal is ignored.
        drop(fs::remove_file(&new));
    }
    moved
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    move |error| BindError::Io { what, path: path.to_owned(), error }
}

fn make_directory(directory: &Path) -> Result<(), BindError> {
    if directory.exists() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        // The umask may have removed permissions that clients need to reach the socket.
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE)))
        .map_err(failed("make the directory", directory))
}

fn check_vacant(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at", path)(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match try_connect(path) {
        // EAGAIN means that a process listens, and the queue of its socket is full.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse(path.to_owned())),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(()),
        Err(error) => Err(failed("find out whether anyone listens on", path)(error.into())),
    }
}

fn try_connect(path: &Path) -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

fn remove_if_there(path: &Path) -> Result<(), BindError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove the stale", path)(error)),
        _ => Ok(()),
    }
}

fn move_into_place(new: &Path, path: &Path) -> Result<(), BindError> {
    fs::set_permissions(new, Permissions::from_mode(SOCKET_MODE)).map_err(failed("set the mode of", new))?;
    fs::rename(new, path).map_err(failed("make the socket", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::MetadataExt, net::UnixStream};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[tokio::test]
    async fn the_socket_is_open_to_all_and_its_directory_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/agent.sock");
        let _listener = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o666);
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "something else was left behind");
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_directory_that_is_there_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o710)).unwrap();
        let _listener = bind(&directory.path().join("agent.sock")).unwrap();
        assert_eq!(mode(directory.path()), 0o710);
    }

    #[tokio::test]
    async fn a_socket_nobody_listens_on_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        drop(bind(&path).unwrap());
        assert!(path.exists(), "no stale socket to replace");
        let _second = bind(&path).unwrap();
        assert_eq!(
            bind(&path).unwrap_err().to_string(),
            format!(
                "another jit-agent is listening on {}; stop it (`systemctl stop jit-agent`) or set another `socket`",
                path.display()
            )
        );
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_listener_with_a_full_queue_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let _waiting = UnixStream::connect(&path).unwrap();
        assert_eq!(try_connect(&path), Err(Errno::AGAIN), "the queue is not full");
        assert!(matches!(bind(&path), Err(BindError::InUse(_))));
    }

    #[tokio::test]
    async fn an_error_with_all_its_causes_says_each_thing_once() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = bind(&file.join("agent.sock")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("Not a directory"), "{text}");
        assert_eq!(format!("{:#}", anyhow::Error::from(error)), text);
    }

    #[tokio::test]
    async fn what_is_not_a_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "precious").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for path in [&file, &link, &directory.path().to_owned()] {
            assert!(matches!(bind(path), Err(BindError::NotASocket(_))), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_refused_with_what_would_fit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x".repeat(120));
        let Err(BindError::TooLong { longest, .. }) = bind(&path) else { panic!("bound {}", path.display()) };
        let fits = &path.to_str().unwrap()[..longest];
        assert!(bind(Path::new(fits)).is_ok());
        assert!(matches!(bind(Path::new("/")), Err(BindError::NoName(_))));
    }
}
