//! Approvals and the votes on them.
//!
//! Guarantees: one that is not over stays; of those that are over the newest [`ENDED_MAX`] are kept, and one goes with its
//! votes. What it does not do: decide what may follow what (`approval::register` does), or hide anything: names of persons
//! and what they wrote lie here, and leave by the local socket alone. The trail keeps of each act what has to stay.

use rusqlite::{Connection, Row};

use super::error::StoreError;
use super::reader::{ReadError, Reader};
use super::{Store, Txn};
use crate::approval::{Approval, ApprovalId, Asked, State, Vote, Words};
use crate::model::{Consumer, LineId};

/// Approvals that are over and kept.
pub const ENDED_MAX: usize = 10_000;
/// Approvals in an answer at most.
pub const ROWS_MAX: usize = 1000;

const COLUMNS: &str = "id, share, consumer, certificate, requester, purpose, tier, asked_ms, not_before_ms, not_after_ms, \
     max_uses, reason, state, uses, used_ms, changed_ms, revoked_by, revoked_reason";
const OPEN: &str = "state IN ('pending', 'granted')";
const VOTES: &str = "SELECT approver, role, vote, at_ms, reason, signature FROM approval_vote WHERE approval = ? ORDER BY place";
/// SQLite takes the other columns from the row with the maximum.
const ENDED: &str = "SELECT share, consumer, state, max(changed_ms) FROM approval
    WHERE state NOT IN ('pending', 'granted') GROUP BY share, consumer";
const BEYOND: &str = "SELECT id FROM approval WHERE state NOT IN ('pending', 'granted')
    ORDER BY changed_ms DESC LIMIT -1 OFFSET ?";

impl Txn<'_> {
    /// Stores an approval as it is now, with its votes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_approval(&mut self, approval: &Approval) -> Result<(), StoreError> {
        put(self.conn, approval)?;
        if approval.state.is_final() { trim(self.conn, ENDED_MAX) } else { Ok(()) }
    }

    /// An approval by its handle, over or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
        one(self.conn, id)
    }
}

impl Store {
    /// Those that are not over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn approvals_open(&self) -> Result<Vec<Approval>, StoreError> {
        some(&self.conn, &format!("{OPEN} ORDER BY asked_ms, id LIMIT ?"), usize::MAX)
    }

    /// How the last one of each line and consumer ended.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn approvals_ended(&self) -> Result<Vec<(LineId, Consumer, State)>, StoreError> {
        let mut statement = self.conn.prepare(ENDED)?;
        let mut rows = statement.query([])?;
        let mut ended = Vec::new();
        while let Some(row) = rows.next()? {
            ended.push((word(row, 0)?, word(row, 1)?, state(row, 2)?));
        }
        Ok(ended)
    }
}

impl Reader {
    /// Approvals, the newest first, at most [`ROWS_MAX`]; without those that are over unless `ended`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn approvals(&self, ended: bool, limit: usize) -> Result<Vec<Approval>, ReadError> {
        let which = if ended { "TRUE" } else { OPEN };
        let find = format!("{which} ORDER BY asked_ms DESC, id LIMIT ?");
        self.ask(move |conn| some(conn, &find, limit.min(ROWS_MAX))).await
    }

    /// An approval by its handle.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn approval(&self, id: ApprovalId) -> Result<Option<Approval>, ReadError> {
        self.ask(move |conn| one(conn, id)).await
    }
}

fn put(conn: &Connection, approval: &Approval) -> Result<(), StoreError> {
    let Approval { id, asked, state, votes, uses, used_ms, changed_ms, revoked } = approval;
    conn.prepare_cached(
        "INSERT OR REPLACE INTO approval VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?
    .execute(rusqlite::params![
        id.0,
        asked.share.as_str(),
        asked.consumer.as_str(),
        asked.certificate,
        asked.requester,
        asked.purpose,
        asked.tier.as_str(),
        asked.asked_ms,
        asked.not_before_ms,
        asked.not_after_ms,
        asked.max_uses,
        asked.reason,
        state.as_str(),
        uses,
        used_ms,
        changed_ms,
        revoked.by,
        revoked.reason,
    ])?;
    let insert = "INSERT OR IGNORE INTO approval_vote VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    for (place, vote) in votes.iter().enumerate() {
        conn.prepare_cached(insert)?.execute(rusqlite::params![
            id.0,
            place as i64,
            vote.approver.as_str(),
            vote.role.as_str(),
            crate::approval::vote::word(vote.yes),
            vote.at_ms,
            vote.reason,
            vote.signature,
        ])?;
    }
    Ok(())
}

/// Forgets the oldest of those that are over.
fn trim(conn: &Connection, most: usize) -> Result<(), StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    for (table, key) in [("approval_vote", "approval"), ("approval", "id")] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE {key} IN ({BEYOND})"))?.execute([most])?;
    }
    Ok(())
}

fn one(conn: &Connection, id: ApprovalId) -> Result<Option<Approval>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM approval WHERE id = ?"))?;
    let mut rows = statement.query([id.0])?;
    rows.next()?.map(|row| approval(conn, row)).transpose()
}

fn some(conn: &Connection, which: &str, limit: usize) -> Result<Vec<Approval>, StoreError> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM approval WHERE {which}"))?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(approval(conn, row)?);
    }
    Ok(found)
}

fn approval(conn: &Connection, row: &Row<'_>) -> Result<Approval, StoreError> {
    let id = ApprovalId(row.get(0)?);
    let text = |at| -> Result<Box<str>, StoreError> { Ok(row.get::<_, String>(at)?.into()) };
    let asked = Asked {
        share: word(row, 1)?,
        consumer: word(row, 2)?,
        certificate: row.get(3)?,
        requester: text(4)?,
        purpose: row.get(5)?,
        tier: word(row, 6)?,
        asked_ms: row.get(7)?,
        not_before_ms: row.get(8)?,
        not_after_ms: row.get(9)?,
        max_uses: row.get(10)?,
        reason: text(11)?,
    };
    let mut statement = conn.prepare_cached(VOTES)?;
    let mut rows = statement.query([id.0])?;
    let mut votes = Vec::new();
    while let Some(row) = rows.next()? {
        votes.push(Vote {
            approver: word(row, 0)?,
            role: word(row, 1)?,
            yes: row.get::<_, String>(2)? == "yes",
            at_ms: row.get(3)?,
            reason: row.get::<_, String>(4)?.into(),
            signature: row.get(5)?,
        });
    }
    Ok(Approval {
        id,
        asked,
        state: state(row, 12)?,
        votes,
        uses: row.get(13)?,
        used_ms: row.get(14)?,
        changed_ms: row.get(15)?,
        revoked: Words { by: text(16)?, reason: text(17)? },
    })
}

/// A name of the project's; the error does not repeat it.
fn word<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> Result<T, StoreError> {
    let text: String = row.get(at)?;
    text.parse().map_err(|_| StoreError::Damaged(format!("approval: column {at} is no name")))
}

fn state(row: &Row<'_>, at: usize) -> Result<State, StoreError> {
    let text: String = row.get(at)?;
    State::named(&text).ok_or_else(|| StoreError::Damaged(format!("approval: no state {text:?}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Stamp;
    use crate::store::Settings;

    fn store(dir: &std::path::Path) -> Store {
        let settings = Settings {
            dir: dir.to_owned(),
            bytes_max: 64 << 20,
            reserve_bytes: 0,
            group_window: Duration::ZERO,
            retention: Duration::from_secs(3600),
            promises: crate::store::room::Promises::of(64 << 20),
        };
        Store::open(settings, [1; 32], Stamp { wall_ms: 0, mono_ms: 0 }).expect("a store")
    }

    fn approval(number: u8, state: State, changed_ms: i64) -> Approval {
        let vote = |name: &str, yes| Vote {
            approver: name.parse().expect("a name"),
            role: "street.data_officer".parse().expect("a role"),
            yes,
            at_ms: 7,
            reason: "好".into(),
            signature: vec![number; 64],
        };
        Approval {
            id: ApprovalId([number; 16]),
            asked: Asked {
                share: "S-003".parse().expect("a line"),
                consumer: format!("spiffe://city.example/{}", number % 2).parse().expect("a consumer"),
                certificate: number.is_multiple_of(2).then_some([number; 32]),
                requester: "li.clerk".into(),
                purpose: "traffic.peak".into(),
                tier: "T2".parse().expect("a tier"),
                asked_ms: i64::from(number),
                not_before_ms: 5,
                not_after_ms: 500,
                max_uses: number.is_multiple_of(2).then_some(3),
                reason: "早高峰".into(),
            },
            state,
            votes: vec![vote("zhang", true), vote("wang", false)],
            uses: 2,
            used_ms: number.is_multiple_of(2).then_some(9),
            changed_ms,
            revoked: Words { by: "甲".into(), reason: "投诉".into() },
        }
    }

    #[test]
    fn what_is_kept_comes_back_also_after_a_restart() {
        let dir = tempfile::tempdir().expect("a directory");
        let all: Vec<Approval> = State::ALL
            .into_iter()
            .zip(1..)
            .map(|(state, number)| approval(number, state, i64::from(number) * 10))
            .collect();
        let mut opened = store(dir.path());
        let mut txn = opened.begin().expect("a transaction");
        for approval in &all {
            // Twice: what is stored is what is now.
            let fresh = Approval { state: State::Pending, votes: Vec::new(), ..approval.clone() };
            txn.set_approval(&fresh).expect("stored");
            txn.set_approval(approval).expect("stored");
            assert_eq!(txn.approval(approval.id).expect("read").as_ref(), Some(approval));
        }
        assert_eq!(txn.approval(ApprovalId([99; 16])).expect("read"), None);
        txn.commit().expect("committed");
        opened.close().expect("closed");
        let opened = store(dir.path());
        assert_eq!(opened.approvals_open().expect("read"), all[..2]);
        let mut ended = opened.approvals_ended().expect("read");
        ended.sort_by_key(|(_, consumer, _)| consumer.to_string());
        let states: Vec<State> = ended.into_iter().map(|(.., state)| state).collect();
        assert_eq!(states, [State::UsedUp, State::Expired], "the last of each consumer");
    }

    #[test]
    fn the_oldest_that_are_over_go_with_their_votes() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = store(dir.path());
        let mut txn = store.begin().expect("a transaction");
        for number in 1..=6 {
            let state = if number == 1 { State::Granted } else { State::Expired };
            txn.set_approval(&approval(number, state, i64::from(number))).expect("stored");
        }
        trim(txn.conn, 2).expect("trimmed");
        txn.commit().expect("committed");
        let count =
            |what: &str| -> i64 { store.conn.query_row(what, [], |row| row.get(0)).expect("counted") };
        assert_eq!(count("SELECT count(*) FROM approval"), 3, "the one that holds and the newest two");
        assert_eq!(count("SELECT count(*) FROM approval WHERE state = 'granted'"), 1);
        assert_eq!(count("SELECT count(*) FROM approval_vote"), 6);
    }
}
