//! What the store kept of alarms and of what became of them, for the loops of the governance list.
//!
//! Guarantees: writes nothing; the newest [`CASES_MAX`] incidents that became an alarm, open or closed.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::reader::{ReadError, Reader};
use super::{StoreError, schema};
use crate::lists::loops::Case;

/// Incidents that are looked at.
const CASES_MAX: i64 = 100_000;

impl Reader {
    /// Alarms and what became of them.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn cases(&self) -> Result<Vec<Case>, ReadError> {
        self.ask(cases).await
    }
}

/// The same of a store in `dir`, beside a daemon or without one; nothing where there is no store yet.
///
/// # Errors
/// [`StoreError`].
pub fn cases_in(dir: &Path) -> Result<Vec<Case>, StoreError> {
    let path = dir.join("smallbrain.db");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let conn = schema::open_reader(&path)?;
    let has = "SELECT 1 FROM sqlite_schema WHERE name = 'record_incident'";
    match conn.query_row(has, [], |_| Ok(())).optional()? {
        Some(()) => cases(&conn),
        None => Ok(Vec::new()),
    }
}

fn cases(conn: &Connection) -> Result<Vec<Case>, StoreError> {
    let find = "SELECT alarm, raised_ms,
            (SELECT min(at_ms) FROM history WHERE history.incident = incident.id
                AND step IN ('confirmed', 'dispatched', 'handled', 'closed')),
            CASE life WHEN 'closed' THEN changed_ms END,
            EXISTS (SELECT 1 FROM record_incident WHERE record_incident.incident = incident.id),
            EXISTS (SELECT 1 FROM feedback WHERE feedback.incident = incident.id)
        FROM incident WHERE raised_ms IS NOT NULL ORDER BY id DESC LIMIT ?";
    let mut statement = conn.prepare_cached(find)?;
    let rows = statement.query_map([CASES_MAX], |row| {
        let (accepted_ms, closed_ms): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
        Ok(Case {
            alarm: row.get(0)?,
            raised_ms: row.get(1)?,
            accepted_ms: accepted_ms.or(closed_ms),
            closed_ms,
            delivered: row.get(4)?,
            returned: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
