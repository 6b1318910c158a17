//! Lists that the city shares: the newest version of each, with its entries.
//!
//! Guarantees: a list is replaced as a whole in one transaction; what it holds is bounded by the configuration. Entries go
//! when they are over, counted as "shared_entries_over"; the row of a list stays, so that no older version comes back.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Store, StoreError, Txn, schema};
use crate::model::{Consumer, LineId};
use crate::rules::listed::{Entry, Held};

/// Entries that go in one step.
const CHUNK: i64 = 4096;

/// A list, without its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its id.
    pub list: LineId,
    /// As the city counts.
    pub version: u64,
    /// Who put it.
    pub consumer: Consumer,
    /// When, milliseconds since 1970 UTC.
    pub put_ms: i64,
    /// When it is over, likewise, exclusive.
    pub until_ms: i64,
    /// SHA-256 of its end and its entries.
    pub digest: [u8; 32],
    /// Its time is over, and its entries are gone.
    pub over: bool,
}

impl Txn<'_> {
    /// Puts a list in place of the one before.
    ///
    /// # Errors
    /// [`StoreError`]; also when a key stands twice.
    pub fn set_shared(&mut self, head: &Head, entries: &[Entry]) -> Result<(), StoreError> {
        let list = head.list.as_str();
        self.conn.prepare_cached("DELETE FROM shared_entry WHERE list = ?")?.execute([list])?;
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO shared_list VALUES (?, ?, ?, ?, ?, ?, ?)")?
            .execute((
                list,
                i64::try_from(head.version).unwrap_or(i64::MAX),
                head.consumer.as_str(),
                head.put_ms,
                head.until_ms,
                head.digest.as_slice(),
                head.over,
            ))?;
        let mut insert = self.conn.prepare_cached("INSERT INTO shared_entry VALUES (?, ?, ?, ?)")?;
        for Entry { key, from_ms, until_ms } in entries {
            insert.execute((list, &**key, from_ms, until_ms))?;
        }
        Ok(())
    }

    /// Forgets a list and everything of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_shared(&mut self, list: &LineId) -> Result<(), StoreError> {
        for delete in ["DELETE FROM shared_entry WHERE list = ?", "DELETE FROM shared_list WHERE id = ?"] {
            self.conn.prepare_cached(delete)?.execute([list.as_str()])?;
        }
        Ok(())
    }
}

impl Store {
    /// Every list that there is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn shared(&self) -> Result<Vec<Head>, StoreError> {
        heads(&self.conn)
    }

    /// The entries of a list.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn shared_entries(&self, head: &Head) -> Result<Held, StoreError> {
        Ok(Held::new(head.version, head.until_ms, entries(&self.conn, &head.list)?))
    }
}

/// Every list of a store in `dir`, with its entries, beside a daemon or without one; none where there is no store yet.
/// Writes nothing.
///
/// # Errors
/// [`StoreError`].
pub fn shared_in(dir: &Path) -> Result<Vec<(Head, Held)>, StoreError> {
    let path = dir.join("smallbrain.db");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let conn = schema::open_reader(&path)?;
    let has = "SELECT 1 FROM sqlite_schema WHERE name = 'shared_list'";
    if conn.query_row(has, [], |_| Ok(())).optional()?.is_none() {
        return Ok(Vec::new());
    }
    // Head and entries of one moment.
    let moment = conn.unchecked_transaction()?;
    let held = |head: Head| {
        let entries = entries(&moment, &head.list)?;
        let held = Held::new(head.version, head.until_ms, entries);
        Ok((head, held))
    };
    heads(&moment)?.into_iter().map(held).collect()
}

fn heads(conn: &Connection) -> Result<Vec<Head>, StoreError> {
    let find = "SELECT id, version, consumer, put_ms, until_ms, digest, over FROM shared_list ORDER BY id";
    let mut statement = conn.prepare_cached(find)?;
    let mut rows = statement.query([])?;
    let mut heads = Vec::new();
    while let Some(row) = rows.next()? {
        heads.push(head(row)?);
    }
    Ok(heads)
}

fn head(row: &Row<'_>) -> Result<Head, StoreError> {
    let damaged = |column: &str| StoreError::Damaged(format!("shared_list: {column} is not one"));
    let (list, consumer): (String, String) = (row.get(0)?, row.get(2)?);
    Ok(Head {
        list: list.parse().map_err(|_| damaged("id"))?,
        version: row.get::<_, i64>(1)?.unsigned_abs(),
        consumer: consumer.parse().map_err(|_| damaged("consumer"))?,
        put_ms: row.get(3)?,
        until_ms: row.get(4)?,
        digest: row.get(5)?,
        over: row.get(6)?,
    })
}

fn entries(conn: &Connection, list: &LineId) -> Result<Vec<Entry>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT key, from_ms, until_ms FROM shared_entry WHERE list = ?")?;
    let entry = |row: &Row<'_>| Ok(Entry { key: row.get(0)?, from_ms: row.get(1)?, until_ms: row.get(2)? });
    Ok(statement.query_map([list.as_str()], entry)?.collect::<Result<_, _>>()?)
}

/// One step: deletes entries that are over; tells how many went.
pub(super) fn trim(conn: &Connection, now_ms: i64) -> Result<u64, StoreError> {
    let over = "DELETE FROM shared_entry WHERE (list, key) IN
        (SELECT list, key FROM shared_entry WHERE until_ms <= ? LIMIT ?)";
    let gone = conn.prepare_cached(over)?.execute((now_ms, CHUNK))?;
    if gone > 0 {
        conn.prepare_cached(
            "INSERT INTO tally VALUES ('shared_entries_over', ?1) ON CONFLICT (name) DO UPDATE SET count = count + ?1",
        )?
        .execute([gone as i64])?;
    }
    Ok(gone as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stamp;
    use crate::store::Settings;

    #[test]
    fn a_list_is_replaced_as_a_whole_and_its_entries_go_when_they_are_over() {
        let dir = tempfile::tempdir().expect("directory");
        let settings = Settings {
            dir: dir.path().into(),
            bytes_max: 64 << 20,
            reserve_bytes: 0,
            group_window: std::time::Duration::ZERO,
            retention: std::time::Duration::from_secs(86_400),
            promises: crate::store::room::Promises::of(64 << 20),
        };
        let mut store = Store::open(settings, [7; 32], Stamp { wall_ms: 0, mono_ms: 0 }).expect("store");
        let head = |version| Head {
            list: "plates".parse().expect("id"),
            version,
            consumer: "spiffe://city.example/a".parse().expect("consumer"),
            put_ms: 1,
            until_ms: 100,
            digest: [version as u8; 32],
            over: false,
        };
        let entry = |key: &str, until_ms| Entry { key: key.into(), from_ms: None, until_ms };
        for (version, keys) in
            [(1, [entry("a", None), entry("b", Some(10))]), (2, [entry("b", Some(10)), entry("c", None)])]
        {
            let mut txn = store.begin().expect("txn");
            txn.set_shared(&head(version), &keys).expect("set");
            txn.commit().expect("committed");
        }
        assert_eq!(store.shared().expect("read"), [head(2)]);
        let keys = |store: &Store| {
            let held = store.shared_entries(&head(2)).expect("read").entries(0);
            held.into_iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(keys(&store), ["b", "c"]);
        assert_eq!(trim(&store.conn, 9).expect("trimmed"), 0);
        assert_eq!(trim(&store.conn, 10).expect("trimmed"), 1);
        assert_eq!(keys(&store), ["c"]);
        let beside = shared_in(dir.path()).expect("read");
        assert_eq!(beside[0].1.holds("c", 50), Some(true));
        let mut txn = store.begin().expect("txn");
        assert!(txn.set_shared(&head(3), &[entry("d", None), entry("d", None)]).is_err());
        drop(txn);
        let mut txn = store.begin().expect("txn");
        txn.drop_shared(&head(2).list).expect("dropped");
        txn.commit().expect("committed");
        assert_eq!((store.shared().expect("read"), keys(&store)), (vec![], vec![]));
    }
}
