//! Errors of the store.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::audit::ChainFault;

/// The reason why the store can't carry out an operation. The store is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refuses an operation.
    #[error("{action} {path}: {source}; the agent needs a state_dir that it may write to", path = path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Others could change the store's directory, and so what the store says. The text includes the cause.
    #[error("the store can't be trusted: {0:#}")]
    Distrusted(anyhow::Error),
    /// This program did not write the file.
    #[error(
        "{path} is not a store of jit-agent: {found}; it was left as it is. Move it away, or set another state_dir",
        path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The description of the file found instead.
        found: String,
    },
    /// A part of a database is left over whose main file is missing. SQLite would mix this part into a new database.
    #[error(
        "{path} is left over from a store whose main file is gone; put that back beside it, or move this file away \
         as well",
        path = path.display()
    )]
    Leftover {
        /// The file that is left over.
        path: PathBuf,
    },
    /// A later version wrote the file.
    #[error(
        "{path} has schema version {found}, and this version of jit-agent reads {supported}; it was left as it is. Run \
         the newer jit-agent, or move the file and those beside it away to start afresh",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The major version of the file.
        found: i32,
        /// The major version of this program.
        supported: i32,
    },
    /// The file's structure is broken.
    #[error(
        "{path} is damaged: {found}; restore it from a backup, or move it and the files beside it away to start \
         afresh, without the grants in it",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The description of the damage, mostly by SQLite.
        found: String,
    },
    /// The store has a value that this program never writes.
    #[error(
        "table {table}, id {id}: {column} is `{value}`, which is not valid; correct it, or restore the store from a \
         backup"
    )]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The row.
        id: i64,
        /// The column.
        column: &'static str,
        /// The value; a long value is cut.
        value: String,
    },
    /// The audit chain is broken.
    #[error("{0}; from there on the log proves nothing, so compare it with a backup and with the heads in the journal")]
    Audit(ChainFault),
    /// A row of the audit log was not added, although SQLite reports no error.
    #[error(
        "audit row {seq} was not added: somebody added a trigger to the store; restore the store from a backup, or move \
         it and the files beside it away to start afresh"
    )]
    Silenced {
        /// The row.
        seq: i64,
    },
    /// The disk is full.
    #[error("{action}: there is no space left for {path}; free some on its file system", path = path.display())]
    Full {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the lock.
    #[error("{action}: another process has locked {path}; end it and try again", path = path.display())]
    Busy {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("{action} in {path}: {source}; see to the disk, and to the free space on it", path = path.display())]
    Disk {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// SQLite reports another error.
    #[error("{action} in {path}: {source}", path = path.display())]
    Sqlite {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// The store has no such request.
    #[error("there is no request {0} in the store")]
    NoRequest(i64),
    /// The transaction that contained this record was undone.
    #[error("nothing was recorded, since the transaction that this was part of was undone")]
    Lost,
    /// The store has no such grant, or the grant has ended.
    #[error("there is no live grant {0} in the store")]
    NoGrant(i64),
}

/// An error before the file and the action are added.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    pub(super) fn report(self, path: &Path, action: &'static str) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Store(error) => error,
            Self::Sqlite(source) => match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => StoreError::Full { action, path },
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { action, path },
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                    StoreError::Damaged { path, found: source.to_string() }
                }
                Some(ErrorCode::SystemIoFailure) => StoreError::Disk { action, path, source },
                _ => StoreError::Sqlite { action, path, source },
            },
        }
    }
}
