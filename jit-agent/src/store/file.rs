//! The store's file. It is created completely or not at all. A file that another program wrote is never touched.

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
use crate::config::trust;

const FILE_NAME: &str = "jit-agent.sqlite";
/// The application id in SQLite's header that marks a database as ours: "JITA".
const APPLICATION_ID: i32 = 0x4a49_5441;
/// An agent reads every schema of its own major version; minor versions only add what older agents may ignore.
const SCHEMA_MAJOR: i32 = 1;
const SCHEMA_MINOR: i32 = 3;
/// The factor of the major version in `user_version`, which is major times this factor, plus minor.
const MAJOR: i32 = 1000;
pub(super) const VERSION: i32 = SCHEMA_MAJOR * MAJOR + SCHEMA_MINOR;
/// The additions of each minor version, from 1 on. The additions leave existing parts alone.
const ADDITIONS: [&str; SCHEMA_MINOR as usize] =
    [include_str!("schema-1.sql"), include_str!("schema-2.sql"), include_str!("schema-3.sql")];
/// The time to wait for another process that reads or backs up the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The size of the largest file that is checked as a whole on opening, in bytes.
const CHECKED_WHOLE: u64 = 64 << 20;

/// The number of statements that are kept prepared. The program has fewer statements.
const STATEMENTS: usize = 128;
/// The number of pages in the write-ahead log after which the log is copied into the file: 16 MiB. The copy takes two
/// waits for the disk.
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

/// Opens an existing store.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let attempt = || {
        let connection = open(path)?;
        // If the file turns out to be unusable, the file and its write-ahead log stay unchanged.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // The version in the header may be older than the version in the write-ahead log.
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
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
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

/// The tables that are checked on opening: all tables, or for a large file only the tables that decide what is opened.
/// The bulk of a large file is the audit log, which has its own check and would delay the agent's start by seconds.
fn to_check(path: &Path) -> Result<&'static [&'static str], StoreError> {
    let length = fs::metadata(path).map_err(io_error("examining", path))?.len();
    Ok(if length <= CHECKED_WHOLE { &[""] } else { &["(requests)", "(grants)", "(checkpoint)"] })
}

/// Adds the parts that an older agent's store lacks: all parts or nothing.
fn migrate(connection: &Connection) -> Result<(), Failure> {
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < VERSION {
        let known = usize::try_from(version % MAJOR).unwrap_or(0);
        let additions: String = ADDITIONS.into_iter().skip(known).collect();
        connection.execute_batch(&format!("BEGIN IMMEDIATE; {additions} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    }
    Ok(())
}

/// Opens an existing store for reading only, beside the connection that writes.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let attempt = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    let opened = trust::with_rights_at(path.parent().unwrap_or(path), attempt).map_err(StoreError::Distrusted)?;
    opened.map_err(|failure: Failure| failure.report(path, "opening the store for reading"))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The service has no directory for temporary files, so a statement that needs a temporary file would fail.
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure(&connection)?;
    Ok(connection)
}

/// Whether the file is a store of ours; `false`: there is no file. The header is read without SQLite, because SQLite
/// may replay a journal or create files.
fn is_ours(path: &Path) -> Result<bool, StoreError> {
    // The flag is NONBLOCK because opening a FIFO would otherwise wait for a writer.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or(0);
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return refuse_leftover(path).map(|()| false),
        other => other.map_err(io_error("opening", path))?,
    };
    let foreign = |found: &str| StoreError::Foreign { path: path.to_owned(), found: found.to_owned() };
    if !file.metadata().map_err(io_error("examining", path))?.is_file() {
        return Err(foreign("it is not a regular file"));
    }
    let mut header = Vec::new();
    file.take(HEADER as u64).read_to_end(&mut header).map_err(io_error("reading", path))?;
    if header.is_empty() {
        return refuse_leftover(path).map(|()| false);
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

/// Refuses a left-over journal. SQLite would replay the journal of a missing database into its replacement.
fn refuse_leftover(path: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-journal"] {
        let beside = with_suffix(path, suffix);
        if fs::symlink_metadata(&beside).is_ok() {
            return Err(StoreError::Leftover { path: beside });
        }
    }
    Ok(())
}

/// Creates the store under another name and renames it, so that a crash leaves either no store or a complete store.
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

/// The statements that make all parts of a store.
pub(super) fn schema() -> String {
    [include_str!("schema.sql"), &ADDITIONS.concat()].concat()
}

fn write_schema(path: &Path) -> Result<(), Failure> {
    let connection = open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = FULL; BEGIN; PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; \
         {} COMMIT; PRAGMA journal_mode = WAL;",
        schema()
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
