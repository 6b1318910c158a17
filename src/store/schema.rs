//! Opening the database: the version gate, the settings and why each is what it is, the migrations.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};

use super::error::StoreError;
use super::identity::own_file;

/// "smbr": tells our files from any other SQLite database.
const APPLICATION_ID: i64 = 0x736d_6272;

/// From here on two connections can no longer lose committed rows when one of them resets the log.
const SQLITE_NEEDED: (i32, &str) = (3_051_003, "3.51.3");

const STEPS: &[M<'static>] = &[
    M::up(include_str!("migrations/0001-store.sql")),
    M::up(include_str!("migrations/0002-sessions.sql")),
    M::up(include_str!("migrations/0003-alarms.sql")),
    M::up(include_str!("migrations/0004-governance.sql")),
    M::up(include_str!("migrations/0005-release.sql")),
    M::up(include_str!("migrations/0006-lanes.sql")),
    M::up(include_str!("migrations/0007-commands.sql")),
    M::up(include_str!("migrations/0008-shared.sql")),
];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);
const SCHEMA_VERSION: i64 = 8;

/// Bytes of a page.
pub(super) const PAGE_BYTES: u64 = 4096;

/// Opens the one writing connection.
pub(super) fn open_writer(path: &Path, bytes_max: u64) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_NEEDED.0 {
        return Err(StoreError::Sqlite { found: rusqlite::version().to_owned(), needed: SQLITE_NEEDED.1 });
    }
    // SQLite gives the log beside the database the database's own permissions.
    own_file(path, false).map_err(|error| StoreError::File { path: path.to_owned(), error })?;
    let mut conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(5))?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known: SCHEMA_VERSION });
    }
    if version == 0 {
        // Can only be chosen while the file is empty: lets freed pages be given back a few at a time.
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // The promise itself: COMMIT returns after the log is on the medium.
    conn.pragma_update(None, "synchronous", "FULL")?;
    // Only the writer checkpoints, and when it chooses to.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
    conn.pragma_update(None, "cache_size", -4096)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "mmap_size", 0)?;
    // A damaged page is refused when it is read, not believed.
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    // Deleted rows are overwritten where that costs no extra write.
    conn.pragma_update(None, "secure_delete", "FAST")?;
    conn.set_prepared_statement_cache_capacity(64);
    MIGRATIONS.to_latest(&mut conn).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => StoreError::from(err),
        other => StoreError::Internal(other.to_string()),
    })?;
    // Only now: the few pages of a migration are not refused to a store that is full.
    conn.pragma_update(None, "max_page_count", (bytes_max / PAGE_BYTES).max(256) as i64)?;
    Ok(conn)
}

/// Opens a connection that only reads and never checkpoints.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(Duration::from_secs(5))?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.pragma_update(None, "cache_size", -1024)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_are_sound_and_the_version_is_theirs() {
        MIGRATIONS.validate().expect("the migrations apply to an empty database");
        let dir = tempfile::tempdir().expect("a directory");
        let conn = open_writer(&dir.path().join("db"), 64 << 20).expect("a new database");
        let version: i64 =
            conn.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a version");
        assert_eq!(version, SCHEMA_VERSION);
    }

    #[test]
    fn what_makes_the_promise_is_set() {
        let dir = tempfile::tempdir().expect("a directory");
        let conn = open_writer(&dir.path().join("db"), 64 << 20).expect("a new database");
        for (pragma, expected) in [
            ("journal_mode", "wal"),
            ("synchronous", "2"),
            ("wal_autocheckpoint", "0"),
            ("auto_vacuum", "2"),
            ("cell_size_check", "1"),
            ("max_page_count", "16384"),
        ] {
            let value: String = conn
                .pragma_query_value(None, pragma, |row| {
                    row.get::<_, String>(0).or_else(|_| row.get::<_, i64>(0).map(|number| number.to_string()))
                })
                .expect(pragma);
            assert_eq!(value, expected, "{pragma}");
        }
    }

    #[test]
    fn a_newer_database_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("db");
        let conn = open_writer(&path, 64 << 20).expect("a new database");
        conn.pragma_update(None, "user_version", 99).expect("set");
        drop(conn);
        assert!(matches!(open_writer(&path, 64 << 20), Err(StoreError::Newer { found: 99, .. })));
    }
}
