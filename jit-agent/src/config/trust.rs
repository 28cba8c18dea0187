//! Whom a file belongs to, and who else could change it. The agent and root's commands use only what nobody but root
//! and the agent's own user can change, and follow only links that nobody else could have placed.

mod acting;

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::Errno,
    process::geteuid,
};

pub(crate) use self::acting::{with_rights_at, with_rights_to};

/// The largest file that is read, in bytes. The agent writes no larger files, and nobody writes a larger configuration.
const LARGEST: u64 = 64 << 20;
/// The number of links that a path may go through, as in path_resolution(7).
const MOST_LINKS: u32 = 40;
/// The permission to write for the group and for others.
const WRITTEN_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Who could change a file, besides root and the user of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// One other user.
    User { uid: u32, gid: u32 },
    /// A group, everybody, or several users.
    Others,
}

/// Why a file can't be trusted: somebody else could change it, or what leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    path: PathBuf,
    uid: u32,
    mode: u32,
    own: u32,
    writer: Writer,
}

impl std::error::Error for Doubt {}

impl fmt::Display for Doubt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, uid, mode, own, writer: _ } = self;
        let path = path.display();
        if is_foreign(*uid, *own) {
            write!(formatter, "{path} belongs to uid {uid}, who is not root")?;
            if *own != 0 {
                write!(formatter, " or the agent's user (uid {own})")?;
            }
            return write!(formatter, ", and could change it: run `chown root {path}`");
        }
        let mode = mode & 0o7777;
        write!(formatter, "{path} has mode {mode:04o}, so others could change it: run `chmod go-w {path}`")
    }
}

impl Doubt {
    /// Who could change the file.
    pub(crate) const fn writer(&self) -> Writer {
        self.writer
    }

    /// Whether one user alone is the cause of both doubts.
    pub(crate) fn is_of_the_same_user(&self, other: &Self) -> bool {
        matches!(self.writer, Writer::User { .. }) && self.writer == other.writer
    }

    /// The doubt about one file, if there is any.
    fn about(stat: &Stat, path: &Path, own: u32) -> Option<Self> {
        let doubt = |writer| Self { path: path.to_owned(), uid: stat.st_uid, mode: stat.st_mode, own, writer };
        if is_foreign(stat.st_uid, own) {
            return Some(doubt(Writer::User { uid: stat.st_uid, gid: stat.st_gid }));
        }
        // In a sticky directory, nobody can replace what belongs to somebody else. The mode of a link says nothing.
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_shared = kind == FileType::Directory && stat.st_mode & STICKY != 0;
        let is_written = stat.st_mode & WRITTEN_BY_OTHERS != 0 && kind != FileType::Symlink;
        (is_written && !is_shared).then(|| doubt(Writer::Others))
    }
}

const fn is_foreign(uid: u32, own: u32) -> bool {
    uid != 0 && uid != own
}

/// A place in a directory that was reached without following a link that is not counted in the doubt.
#[derive(Debug)]
pub(crate) struct Found {
    directory: OwnedFd,
    name: OsString,
    shown: PathBuf,
    own: u32,
    doubt: Option<Doubt>,
    /// The doubt about the way to the place, without the place itself.
    way: Option<Doubt>,
}

/// The user of this process.
pub(crate) fn own() -> u32 {
    geteuid().as_raw()
}

/// Looks for a path. The last name need not exist.
///
/// # Errors
/// A directory of the path does not exist or can't be searched.
pub(crate) fn find(path: &Path, own: u32) -> io::Result<Found> {
    let root = || openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut found =
        Found { directory: root()?, name: OsString::new(), shown: PathBuf::from("/"), own, doubt: None, way: None };
    found.examine(&fstat(&found.directory)?, Path::new("/"));
    let mut rest = names(&std::path::absolute(path)?);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        let shown = found.shown.join(&name);
        let stat = match statat(&found.directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) if rest.is_empty() => None,
            stat => Some(stat?),
        };
        if let Some(stat) = stat {
            found.way.clone_from(&found.doubt);
            found.examine(&stat, &shown);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::LOOP.into());
                }
                let target =
                    PathBuf::from(OsString::from_vec(readlinkat(&found.directory, &name, Vec::new())?.into_bytes()));
                if target.is_absolute() {
                    (found.directory, found.shown) = (root()?, PathBuf::from("/"));
                }
                rest.extend(names(&target));
                continue;
            }
        }
        if rest.is_empty() {
            if stat.is_none() {
                found.way.clone_from(&found.doubt);
            }
            found.name = name;
            return Ok(found);
        }
        found.directory = found.open_directory(&name, OFlags::PATH)?;
        found.shown = shown;
    }
    // The path is the root, or a link that leads there.
    found.name = OsString::from(".");
    Ok(found)
}

/// The names in a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        Component::ParentDir => Some(OsString::from("..")),
        Component::Normal(name) => Some(name.to_owned()),
    };
    path.components().rev().filter_map(name).collect()
}

impl Found {
    /// Why the place can't be trusted.
    pub(crate) const fn doubt(&self) -> Option<&Doubt> {
        self.doubt.as_ref()
    }

    /// Why the way to the place can't be trusted.
    pub(crate) const fn doubt_on_the_way(&self) -> Option<&Doubt> {
        self.way.as_ref()
    }

    fn examine(&mut self, stat: &Stat, path: &Path) {
        let Some(new) = Doubt::about(stat, path, self.own) else { return };
        match &mut self.doubt {
            None => self.doubt = Some(new),
            Some(doubt) if doubt.writer == new.writer => {}
            Some(doubt) => doubt.writer = Writer::Others,
        }
    }

    fn open_directory(&self, name: &OsStr, how: OFlags) -> rustix::io::Result<OwnedFd> {
        openat(&self.directory, name, how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens the place as a directory.
    pub(crate) fn as_directory(&self) -> io::Result<OwnedFd> {
        Ok(self.open_directory(&self.name, OFlags::RDONLY)?)
    }

    /// Reads the place as a file.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let (content, stat) = read_at(&self.directory, &self.name)?;
        let shown = self.shown.join(&self.name);
        self.examine(&stat, &shown);
        Ok(content)
    }
}

/// Reads a file, and says why it can't be trusted.
///
/// # Errors
/// The file can't be read, or it is not a regular file.
pub(crate) fn read(path: &Path, own: u32) -> io::Result<(Vec<u8>, Option<Doubt>)> {
    let mut found = find(path, own)?;
    let content = found.read()?;
    Ok((content, found.doubt))
}

/// Reads a file of a directory. Nothing but a regular file is read, since reading a pipe could block for ever.
pub(crate) fn read_at(directory: impl AsFd, name: &OsStr) -> io::Result<(Vec<u8>, Stat)> {
    let other = |kind| {
        let text = format!("it is no file, but {}", named(kind));
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
    let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind(&stat) != FileType::RegularFile {
        return Err(other(kind(&stat)));
    }
    let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&directory, name, how, Mode::empty())?;
    let stat = fstat(&file)?;
    if kind(&stat) != FileType::RegularFile {
        return Err(other(kind(&stat)));
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > LARGEST) {
        let text = format!("it has {} bytes, more than anything that is kept there", stat.st_size);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut content = Vec::new();
    File::from(file).take(LARGEST).read_to_end(&mut content)?;
    Ok((content, stat))
}

/// The content of a file as text.
pub(crate) fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not valid UTF-8"))
}

const fn named(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        _ => "a pipe, a socket or a device",
    }
}

#[cfg(test)]
mod tests;
