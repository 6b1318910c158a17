//! The database as the check reads it: read-only, in one moment, every column by its exact type.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::{CannotRun, Digest32};

/// A row, as it lies there.
#[derive(Default)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) ts_ms: i64,
    pub(super) mono_ms: i64,
    pub(super) boot: Vec<u8>,
    /// From actor to detail, in the order of the table.
    pub(super) texts: [Option<Vec<u8>>; 10],
    pub(super) previous: Digest32,
    pub(super) hash: Digest32,
}

impl Row {
    /// One of its texts; empty for NULL and for what is no text.
    pub(super) fn text(&self, at: usize) -> &str {
        self.texts[at].as_deref().and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// A size, its hash and its signature.
type Signed = (u64, Vec<u8>, Vec<u8>);
/// What was read, or in words why the database does not hold it any more.
type Read<T> = Result<Result<T, String>, CannotRun>;

/// An open database.
pub(super) struct Copy {
    path: PathBuf,
    conn: Connection,
}

impl Copy {
    pub(super) fn open(path: &Path) -> Result<Self, CannotRun> {
        let cannot = |why: String| CannotRun(format!("{}: {why}", path.display()));
        if !path.is_file() {
            return Err(cannot("no such database".into()));
        }
        let log = path.with_file_name(format!("{}-wal", path.file_name().unwrap_or_default().display()));
        // Without a log nobody writes: then it may lie where nothing can be created.
        let mode = if log.exists() { "" } else { "&immutable=1" };
        let mut uri = String::from("file:");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                    uri.push(*byte as char)
                }
                other => uri.push_str(&format!("%{other:02X}")),
            }
        }
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(format!("{uri}?mode=ro{mode}"), flags)
            .and_then(|conn| {
                conn.busy_timeout(Duration::from_secs(5))?;
                conn.pragma_update(None, "cell_size_check", true)?;
                conn.execute_batch("BEGIN")?;
                Ok(conn)
            })
            .map_err(|error| cannot(error.to_string()))?;
        Ok(Self { path: path.to_owned(), conn })
    }

    fn cannot(&self, error: &rusqlite::Error) -> CannotRun {
        CannotRun(format!("{}: {error}", self.path.display()))
    }

    /// The trail's name.
    pub(super) fn trail(&self) -> Result<Vec<u8>, CannotRun> {
        let find = "SELECT value FROM meta WHERE key = 'trail'";
        let name = self.conn.query_row(find, [], |row| row.get(0));
        name.map_err(|error| CannotRun(format!("{}: holds no trail: {error}", self.path.display())))
    }

    /// Up to where it was trimmed.
    pub(super) fn base(&self) -> Result<Option<(u64, Digest32)>, CannotRun> {
        let find = "SELECT seq, hash FROM audit_base";
        let base =
            self.conn.query_row(find, [], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)));
        base.optional().map_err(|error| self.cannot(&error))
    }

    /// Gives every row to `each`, and says what stopped it before the end.
    pub(super) fn rows(&self, mut each: impl FnMut(Row)) -> Result<Option<String>, CannotRun> {
        let find =
            "SELECT seq, ts_ms, mono_ms, boot_id, actor, actor_role, action, object, list_ref, purpose,
            approval_id, outcome, reason, detail_json, prev_hash, row_hash FROM audit ORDER BY seq";
        let mut walk = || -> rusqlite::Result<()> {
            let mut statement = self.conn.prepare(find)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(strict(row)?);
            }
            Ok(())
        };
        self.damage(walk()).map(Result::err)
    }

    pub(super) fn checkpoints(&self) -> Read<Vec<Signed>> {
        let walk = || {
            let find = "SELECT size, head, signature FROM audit_checkpoint ORDER BY size";
            let mut statement = self.conn.prepare(find)?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        self.damage(walk())
    }

    /// Consumer, lane and position.
    pub(super) fn cursors(&self) -> Read<Vec<(String, String, u64)>> {
        let walk = || {
            let mut statement = self.conn.prepare("SELECT consumer, lane, seq FROM cursor")?;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs())))?;
            rows.collect()
        };
        self.damage(walk())
    }

    /// What is wrong with the file itself is a finding; anything else is a check that could not be made.
    fn damage<T>(&self, result: rusqlite::Result<T>) -> Read<T> {
        let error = match result {
            Ok(value) => return Ok(Ok(value)),
            Err(error) => error,
        };
        let is_damage = match &error {
            rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => true,
            other => matches!(
                other.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
        };
        if is_damage {
            Ok(Err(format!("the database is damaged there: {error}")))
        } else {
            Err(self.cannot(&error))
        }
    }
}

/// A row whose columns have the types they were written with.
fn strict(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let mut read = Row::default();
    let wrong = |at: usize, value: ValueRef<'_>| {
        Err(rusqlite::Error::InvalidColumnType(at, "audit".into(), value.data_type()))
    };
    for at in 0..16 {
        let value = row.get_ref(at)?;
        match (at, value) {
            (0, ValueRef::Integer(number)) => read.seq = number,
            (1, ValueRef::Integer(number)) => read.ts_ms = number,
            (2, ValueRef::Integer(number)) => read.mono_ms = number,
            (3, ValueRef::Blob(bytes)) => read.boot = bytes.to_vec(),
            (4..=13, ValueRef::Text(bytes)) => read.texts[at - 4] = Some(bytes.to_vec()),
            (8..=10 | 12..=13, ValueRef::Null) => {}
            (14 | 15, ValueRef::Blob(bytes)) => match (at, bytes.try_into()) {
                (14, Ok(hash)) => read.previous = hash,
                (_, Ok(hash)) => read.hash = hash,
                (_, Err(_)) => return wrong(at, value),
            },
            (_, other) => return wrong(at, other),
        }
    }
    Ok(read)
}
