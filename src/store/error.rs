//! What SQLite says, sorted by what has to be done about it.

use std::path::PathBuf;

use rusqlite::ErrorCode;

/// The store cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room: make some, then try the same batch again.
    #[error("store: no room left ({0}): free space on the disk or raise store.size_max")]
    Full(String),
    /// Somebody else holds the database for longer than the busy timeout: try again.
    #[error("store: the database is held by another process ({0})")]
    Busy(String),
    /// The medium does not do what it is told: this file handle must not be used again.
    #[error("store: the medium failed ({0}): nothing is acknowledged; check the disk")]
    Medium(String),
    /// The database is damaged.
    #[error("store: the database is damaged ({0}): restore a backup, or move it aside to begin anew")]
    Damaged(String),
    /// A file beside the database.
    #[error("{}: {error}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
    /// Two daemons on one directory.
    #[error("{}: in use by another smallbrain: stop it first, or give this one a store.dir of its own", .0.display())]
    Locked(PathBuf),
    /// The SQLite in use has a known defect.
    #[error("SQLite {found} can lose committed rows when it resets its log: {needed} or newer is needed")]
    Sqlite {
        /// The version in use.
        found: String,
        /// The oldest good one.
        needed: &'static str,
    },
    /// The database was written by a newer program.
    #[error("{}: written by a newer smallbrain (schema {found}, this one knows {known}): install that version again", .path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A mistake of ours.
    #[error("store: {0}")]
    Internal(String),
}

impl StoreError {
    /// Whether the same batch may be tried again on the same handle.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, StoreError::Full(_) | StoreError::Busy(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::Full(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy(text),
            Some(ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                StoreError::Medium(text)
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(text),
            _ => StoreError::Internal(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_to_do() {
        let from =
            |code| StoreError::from(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        assert!(matches!(from(rusqlite::ffi::SQLITE_FULL), StoreError::Full(_)));
        assert!(matches!(from(rusqlite::ffi::SQLITE_BUSY), StoreError::Busy(_)));
        assert!(matches!(from(rusqlite::ffi::SQLITE_IOERR_FSYNC), StoreError::Medium(_)));
        assert!(matches!(from(rusqlite::ffi::SQLITE_READONLY), StoreError::Medium(_)));
        assert!(matches!(from(rusqlite::ffi::SQLITE_CORRUPT), StoreError::Damaged(_)));
        assert!(matches!(from(rusqlite::ffi::SQLITE_NOTADB), StoreError::Damaged(_)));
        assert!(
            from(rusqlite::ffi::SQLITE_FULL).is_passing() && !from(rusqlite::ffi::SQLITE_IOERR).is_passing()
        );
    }
}
