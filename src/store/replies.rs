//! What was answered to requests of the city: the same request again is answered the same.
//!
//! Guarantees: a reply is written once, in the transaction of what it answers. Kept for 30 days, and of the newest
//! [`ROWS_MAX`]; a request that comes again after that is a new one.

use rusqlite::{Connection, OptionalExtension};

use super::{StoreError, Txn};
use crate::model::Consumer;

/// Replies that are kept.
pub(super) const ROWS_MAX: i64 = 100_000;
/// How long one is kept, milliseconds.
const KEPT_MS: i64 = 30 * 86_400_000;
/// Rows that go in one step.
const CHUNK: i64 = 4096;

/// What a request has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// SHA-256 of the request, without its id.
    pub asked: [u8; 32],
    /// The answer, as who asks the store writes it.
    pub answer: String,
}

impl Txn<'_> {
    /// What this request got; none that is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reply(&self, consumer: &Consumer, request: &str) -> Result<Option<Reply>, StoreError> {
        let find = "SELECT asked, answer FROM reply WHERE consumer = ? AND request = ?";
        let row = self
            .conn
            .prepare_cached(find)?
            .query_row([consumer.as_str(), request], |row| {
                Ok(Reply { asked: row.get(0)?, answer: row.get(1)? })
            })
            .optional()?;
        Ok(row)
    }

    /// Remembers what a new request gets.
    ///
    /// # Errors
    /// [`StoreError`]; also when it has got something already.
    pub fn replied(
        &mut self,
        consumer: &Consumer,
        request: &str,
        reply: &Reply,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.conn.prepare_cached("INSERT INTO reply VALUES (?, ?, ?, ?, ?)")?.execute((
            consumer.as_str(),
            request,
            reply.asked.as_slice(),
            &reply.answer,
            now_ms,
        ))?;
        Ok(())
    }
}

/// Deletes what is too old or too much; tells how many went.
pub(super) fn trim(conn: &Connection, now_ms: i64, rows_max: i64) -> Result<u64, StoreError> {
    let old = "DELETE FROM reply WHERE (consumer, request) IN
        (SELECT consumer, request FROM reply WHERE at_ms < ? ORDER BY at_ms LIMIT ?)";
    let gone = conn.prepare_cached(old)?.execute((now_ms.saturating_sub(KEPT_MS), CHUNK))?;
    let many = "DELETE FROM reply WHERE (consumer, request) IN
        (SELECT consumer, request FROM reply ORDER BY at_ms DESC LIMIT ?2 OFFSET ?1)";
    Ok((gone + conn.prepare_cached(many)?.execute((rows_max, CHUNK))?) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Stamp;
    use crate::store::{Settings, Store};

    #[test]
    fn a_reply_is_given_back_until_it_is_old_or_one_too_many() {
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
        let consumer: Consumer = "spiffe://city.example/a".parse().expect("consumer");
        let reply = |n: u8| Reply { asked: [n; 32], answer: n.to_string() };
        let mut txn = store.begin().expect("txn");
        for n in 0..4u8 {
            assert_eq!(txn.reply(&consumer, &n.to_string()).expect("read"), None);
            txn.replied(&consumer, &n.to_string(), &reply(n), i64::from(n)).expect("written");
        }
        assert!(txn.replied(&consumer, "3", &reply(3), 9).is_err());
        assert_eq!(trim(txn.conn, KEPT_MS + 1, 2).expect("trimmed"), 2);
        let left: Vec<bool> =
            (0..4).map(|n| txn.reply(&consumer, &n.to_string()).expect("read").is_some()).collect();
        assert_eq!(left, [false, false, true, true]);
    }
}
