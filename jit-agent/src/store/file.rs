//! The store's file: made whole or not at all, and never touched before it is known to be ours.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};
use rustix::fs::OFlags;

use super::error::{Failure, StoreError};

const FILE_NAME: &str = "jit-agent.sqlite";
/// Marks a database as ours, in SQLite's header: "JITA".
const APPLICATION_ID: i32 = 0x4a49_5441;
/// An agent reads every schema of its own major version; minor versions only add what older agents may ignore.
const SCHEMA_MAJOR: i32 = 1;
const SCHEMA_MINOR: i32 = 2;
/// `user_version` is major times this, plus minor.
const MAJOR: i32 = 1000;
const VERSION: i32 = SCHEMA_MAJOR * MAJOR + SCHEMA_MINOR;
/// What each minor version adds, from 1 on. Leaves alone what is there already.
const ADDITIONS: [&str; SCHEMA_MINOR as usize] = [include_str!("schema-1.sql"), include_str!("schema-2.sql")];
/// How long to wait for another process that reads or backs up the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest file that is checked as a whole on opening, in bytes.
const CHECKED_WHOLE: u64 = 64 << 20;

/// Statements that are kept prepared: more than there are.
const STATEMENTS: usize = 128;
/// Pages that the write-ahead log may have before it is copied into the file, which takes two waits for the disk: 16 MiB.
const LOG_PAGES: i64 = 4000;

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER: usize = 100;
const USER_VERSION_AT: usize = 60;
const APPLICATION_ID_AT: usize = 68;

/// Makes sure that `dir` holds a store of ours, and returns its path.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf, StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("making the directory", dir))?;
    let path = dir.join(FILE_NAME);
    if !is_ours(&path)? {
        create(dir, &path)?;
    }
    Ok(path)
}

/// Opens a store that is there.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let attempt = || {
        let connection = open(path)?;
        // A file that turns out to be unusable is left as it is, its write-ahead log included.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // The header's version may be older than the one in the write-ahead log.
        check_version(path, connection.pragma_query_value(None, "user_version", |row| row.get(0))?)?;
        for checked in to_check(path)? {
            let verdict: String =
                connection.query_row(&format!("PRAGMA quick_check{checked}"), [], |row| row.get(0))?;
            if verdict != "ok" {
                return Err(StoreError::Damaged { path: path.to_owned(), found: verdict }.into());
            }
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        migrate(&connection)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        Ok(connection)
    };
    let connection = attempt().map_err(|failure: Failure| failure.report(path, "opening the store"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(io_error("setting the mode of", path))?;
    Ok(connection)
}

/// What is checked on opening: everything, or of a large file only what something is opened by. Its bulk is the audit log,
/// which has a check of its own, and an agent that starts should not be kept waiting by it for seconds.
fn to_check(path: &Path) -> Result<&'static [&'static str], StoreError> {
    let length = fs::metadata(path).map_err(io_error("examining", path))?.len();
    Ok(if length <= CHECKED_WHOLE { &[""] } else { &["(requests)", "(grants)", "(checkpoint)"] })
}

/// Adds what an older agent's store lacks, all of it or nothing.
fn migrate(connection: &Connection) -> Result<(), Failure> {
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < VERSION {
        let known = usize::try_from(version % MAJOR).unwrap_or(0);
        let additions: String = ADDITIONS.into_iter().skip(known).collect();
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {additions} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    }
    Ok(())
}

/// Opens a store that is there for reading only, beside the connection that writes.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let attempt = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    attempt().map_err(|failure: Failure| failure.report(path, "opening the store for reading"))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The service has no directory for temporary files, so that whatever needed one would be refused.
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure(&connection)?;
    Ok(connection)
}

/// Whether there is a store of ours; `false`: there is nothing. Only reads, and not through SQLite, which may replay a
/// journal or make files of its own.
fn is_ours(path: &Path) -> Result<bool, StoreError> {
    // Non-blocking: a FIFO would otherwise wait for its writer.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or(0);
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return no_leftover(path).map(|()| false),
        other => other.map_err(io_error("opening", path))?,
    };
    let foreign = |found: &str| StoreError::Foreign { path: path.to_owned(), found: found.to_owned() };
    if !file.metadata().map_err(io_error("examining", path))?.is_file() {
        return Err(foreign("it is not a regular file"));
    }
    let mut header = Vec::new();
    file.take(HEADER as u64).read_to_end(&mut header).map_err(io_error("reading", path))?;
    if header.is_empty() {
        return no_leftover(path).map(|()| false);
    }
    let integer = |at: usize| header.get(at..).and_then(|rest| rest.first_chunk()).copied().map(i32::from_be_bytes);
    let (Some(application), Some(version)) = (integer(APPLICATION_ID_AT), integer(USER_VERSION_AT)) else {
        return Err(foreign("it is too short to be an SQLite database"));
    };
    if !header.starts_with(MAGIC) {
        return Err(foreign("it does not start as an SQLite database does"));
    }
    if application != APPLICATION_ID {
        return Err(foreign(&format!(
            "it is an SQLite database with application_id {application:#x}, not {APPLICATION_ID:#x}"
        )));
    }
    check_version(path, version)?;
    Ok(true)
}

fn check_version(path: &Path, version: i32) -> Result<(), StoreError> {
    match version / MAJOR {
        SCHEMA_MAJOR => Ok(()),
        found if found > SCHEMA_MAJOR => {
            Err(StoreError::Newer { path: path.to_owned(), found, supported: SCHEMA_MAJOR })
        }
        _ => Err(StoreError::Damaged {
            path: path.to_owned(),
            found: format!("its user_version {version} is not one that any jit-agent writes"),
        }),
    }
}

/// SQLite would replay the journal of a database that is gone into the one that takes its place.
fn no_leftover(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-journal"] {
        let beside = with_suffix(path, suffix);
        if fs::symlink_metadata(&beside).is_ok() {
            return Err(StoreError::Leftover { path: beside });
        }
    }
    Ok(())
}

/// Makes the store under another name, so that a crash leaves either none or a whole one.
fn create(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let new = with_suffix(path, ".new");
    let discard = || -> io::Result<()> {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            match fs::remove_file(with_suffix(&new, suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    discard().map_err(io_error("removing", &new))?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(&new).map_err(io_error("making", &new))?;
    let made = write_schema(&new).map_err(|failure| failure.report(&new, "making the store")).and_then(|()| {
        fs::rename(&new, path).map_err(io_error("naming", path))?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_error("writing the directory", dir))
    });
    if made.is_err()
        && let Err(error) = discard()
    {
        tracing::warn!(%error, path = %new.display(), "an unfinished store could not be removed");
    }
    made
}

fn write_schema(path: &Path) -> Result<(), Failure> {
    let connection = open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; \
         {} {} COMMIT; PRAGMA journal_mode = WAL;",
        include_str!("schema.sql"),
        ADDITIONS.concat()
    ))?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}
