//! What protected lines let out: cells that were decided once, the ledger of their noise, and since when an aggregate is
//! protected as it is.
//!
//! Guarantees: a cell that is here is given back as it was decided, digit by digit; a cell is written once, and what was
//! paid for it in the same transaction. Kept for 400 days, and of the newest [`ROWS_MAX`] cells; what goes is counted as
//! "release_trimmed".

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};
use rust_decimal::Decimal;

use super::reader::{ReadError, Reader};
use super::{Store, StoreError, Txn, schema};
use crate::model::{Amount, Figure, LineId, Metric, Place, Withheld};
use crate::privacy::protect::released::{Released, ReleasedCell, restored};
use crate::privacy::protect::{Ratio, Reason};

/// Cells that are kept.
pub(super) const ROWS_MAX: i64 = 1_000_000;
/// How long they are kept, milliseconds: as long as an attacker is taken to remember.
const KEPT_MS: i64 = 400 * 86_400_000;
/// Rows that go in one step.
const CHUNK: i64 = 4096;

/// Windows that one question is answered with at most.
pub const WINDOWS_MAX: usize = 1000;
/// Bytes of cells that one question is answered with at most, about.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes of a cell besides its figures, about.
const CELL_BYTES: usize = 64;

/// Which cells of which windows are sought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// The aggregate.
    pub aggregate: LineId,
    /// Windows that begin here or later, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// Windows that end here or before.
    pub to_ms: i64,
    /// Of these metrics.
    pub metrics: Vec<Metric>,
    /// Of which buildings.
    pub places: Places,
}

/// Of which buildings cells are sought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Places {
    /// All of them, and the cell over all.
    All,
    /// These, and the cell over all.
    Of(Vec<Place>),
    /// This one alone.
    One(Place),
}

impl Sought {
    /// Whether a cell is one of them; `place` is empty for the cell over all.
    fn wants(&self, metric: &str, place: &str) -> bool {
        let is_place = match &self.places {
            Places::All => true,
            Places::Of(places) => place.is_empty() || places.iter().any(|known| known.as_str() == place),
            Places::One(known) => known.as_str() == place,
        };
        is_place && self.metrics.iter().any(|known| known.as_str() == metric)
    }
}

/// Since when an aggregate is protected as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The aggregate's id.
    pub aggregate: String,
    /// How, as text to be compared.
    pub policy: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
}

/// How many there were in the cells of one window, of one metric in one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its start, milliseconds since 1970 UTC.
    pub start_ms: i64,
    /// Subjects by building, in the order of their names.
    pub subjects: Vec<u64>,
    /// Subjects of all buildings together.
    pub total: u64,
    /// Cells that were held back, the total among them.
    pub held_back: u64,
}

impl Txn<'_> {
    /// Stores a window that was decided.
    ///
    /// # Errors
    /// [`StoreError`]; also when one of its cells is there already.
    pub fn release(&mut self, released: &Released) -> Result<(), StoreError> {
        let mut insert = self.conn.prepare_cached(
            "INSERT INTO release_cell (aggregate, start_ms, end_ms, metric, unit, place, subjects, events, reason, noise, figures)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let number = |count: Option<u64>| count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let mut held_back = 0;
        for cell in released.cells() {
            held_back += u64::from(cell.reason.is_some());
            insert.execute((
                released.aggregate().as_str(),
                released.start_ms(),
                released.end_ms(),
                cell.metric.as_str(),
                &cell.unit,
                cell.place.as_ref().map_or("", Place::as_str),
                number(cell.subjects),
                number(cell.events),
                cell.reason.map(Reason::as_str),
                &cell.noise,
                written(&cell.figures),
            ))?;
        }
        self.count("release_cells", released.cells().len() as u64)?;
        self.count("release_held_back", held_back)
    }

    /// A window as it was decided; none that was not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn released(&self, aggregate: &LineId, start_ms: i64) -> Result<Option<Released>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT end_ms, metric, unit, place, subjects, events, reason, noise, figures FROM release_cell
             WHERE aggregate = ? AND start_ms = ? ORDER BY id",
        )?;
        let mut rows = statement.query((aggregate.as_str(), start_ms))?;
        let (mut end_ms, mut cells) = (None, Vec::new());
        while let Some(row) = rows.next()? {
            end_ms = Some(row.get(0)?);
            cells.push(cell(row)?.ok_or_else(|| damaged(aggregate, start_ms))?);
        }
        Ok(end_ms.map(|end_ms| restored(aggregate.clone(), start_ms, end_ms, cells)))
    }

    /// What a period of a budget has spent: fractions, as (numerator, denominator).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn spent(&self, budget: &LineId, period_ms: i64) -> Result<Vec<(u64, u64)>, StoreError> {
        spent(self.conn, budget, period_ms)
    }

    /// Pays for a window from a period of a budget.
    ///
    /// # Errors
    /// [`StoreError`]; also when it was paid for already.
    pub fn spend(
        &mut self,
        budget: &LineId,
        period_ms: i64,
        (aggregate, start_ms): (&LineId, i64),
        epsilon: Ratio,
    ) -> Result<(), StoreError> {
        self.conn
            .prepare_cached(
                "INSERT INTO budget_ledger SELECT ?1, ?2, coalesce(max(entry), 0) + 1, ?3, ?4, ?5, ?6
                 FROM budget_ledger WHERE budget = ?1 AND period_ms = ?2",
            )?
            .execute((
                budget.as_str(),
                period_ms,
                aggregate.as_str(),
                start_ms,
                epsilon.num(),
                epsilon.den(),
            ))?;
        Ok(())
    }
}

impl Store {
    /// How each aggregate is protected, and since when.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn release_policies(&self) -> Result<Vec<Policy>, StoreError> {
        let mut statement = self.conn.prepare("SELECT aggregate, policy, since_ms FROM release_policy")?;
        let rows = statement.query_map([], |row| {
            Ok(Policy { aggregate: row.get(0)?, policy: row.get(1)?, since_ms: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Stores how aggregates are protected; others are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_release_policies(&mut self, policies: &[Policy]) -> Result<(), StoreError> {
        let transaction = self.conn.transaction()?;
        transaction.execute("DELETE FROM release_policy", [])?;
        for Policy { aggregate, policy, since_ms } in policies {
            let insert = "INSERT INTO release_policy VALUES (?, ?, ?)";
            transaction.execute(insert, (aggregate, policy, since_ms))?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// How many there were in the newest windows of an aggregate, newest first; not of those with noise.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn release_history(&self, aggregate: &LineId, windows_max: usize) -> Result<Vec<Past>, StoreError> {
        history(&self.conn, aggregate, windows_max)
    }
}

impl Reader {
    /// The cells that are sought, window by window in the order of time; of a window without any there is nothing. None
    /// where they are more than [`WINDOWS_MAX`] windows or about 4 MiB.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn released(&self, sought: Sought) -> Result<Option<Vec<Released>>, ReadError> {
        self.ask(move |conn| find(conn, &sought)).await
    }

    /// What a period of a budget has spent: fractions, as (numerator, denominator).
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn spent(&self, budget: LineId, period_ms: i64) -> Result<Vec<(u64, u64)>, ReadError> {
        self.ask(move |conn| spent(conn, &budget, period_ms)).await
    }
}

fn spent(conn: &Connection, budget: &LineId, period_ms: i64) -> Result<Vec<(u64, u64)>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT sum(epsilon_num), epsilon_den FROM budget_ledger WHERE budget = ? AND period_ms = ?
         GROUP BY epsilon_den",
    )?;
    let sums = statement.query_map((budget.as_str(), period_ms), |row| {
        Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()))
    })?;
    Ok(sums.collect::<Result<_, _>>()?)
}

fn find(conn: &Connection, sought: &Sought) -> Result<Option<Vec<Released>>, StoreError> {
    let aggregate = &sought.aggregate;
    let mut statement = conn.prepare_cached(
        "SELECT end_ms, metric, unit, place, subjects, events, reason, noise, figures, start_ms FROM release_cell
         WHERE aggregate = ?1 AND start_ms >= ?2 AND start_ms < ?3 AND end_ms <= ?3 ORDER BY start_ms, id",
    )?;
    let mut rows = statement.query((aggregate.as_str(), sought.from_ms, sought.to_ms))?;
    let mut windows: Vec<(i64, i64, Vec<ReleasedCell>)> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if !sought.wants(row.get_ref(1)?.as_str().unwrap_or(""), row.get_ref(3)?.as_str().unwrap_or("")) {
            continue;
        }
        let (start_ms, end_ms): (i64, i64) = (row.get(9)?, row.get(0)?);
        if windows.last().is_none_or(|(last_ms, ..)| *last_ms != start_ms) {
            windows.push((start_ms, end_ms, Vec::new()));
        }
        bytes += CELL_BYTES + row.get_ref(8)?.as_str().map_or(0, str::len);
        if windows.len() > WINDOWS_MAX || bytes > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        let Some((.., cells)) = windows.last_mut() else { continue };
        cells.push(cell(row)?.ok_or_else(|| damaged(aggregate, start_ms))?);
    }
    let whole = |(start_ms, end_ms, cells)| restored(aggregate.clone(), start_ms, end_ms, cells);
    Ok(Some(windows.into_iter().map(whole).collect()))
}

/// The same of a store that somebody else may be writing to; nothing where there is none, or one of an earlier build.
///
/// # Errors
/// [`StoreError`].
pub fn history_in(dir: &Path, aggregate: &LineId, windows_max: usize) -> Result<Vec<Past>, StoreError> {
    let path = dir.join("smallbrain.db");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let conn = schema::open_reader(&path)?;
    let has = "SELECT 1 FROM sqlite_schema WHERE name = 'release_cell'";
    match conn.query_row(has, [], |_| Ok(())).optional()? {
        Some(()) => history(&conn, aggregate, windows_max),
        None => Ok(Vec::new()),
    }
}

fn history(conn: &Connection, aggregate: &LineId, windows_max: usize) -> Result<Vec<Past>, StoreError> {
    let mut statement = conn.prepare(
        "SELECT start_ms, metric, unit, place, subjects, reason IS NOT NULL FROM release_cell
         WHERE aggregate = ?1 AND subjects IS NOT NULL AND start_ms IN
           (SELECT DISTINCT start_ms FROM release_cell WHERE aggregate = ?1 ORDER BY start_ms DESC LIMIT ?2)
         ORDER BY start_ms DESC, metric, unit, place",
    )?;
    let limit = i64::try_from(windows_max).unwrap_or(i64::MAX);
    let mut rows = statement.query((aggregate.as_str(), limit))?;
    let (mut history, mut table): (Vec<Past>, Option<(i64, String, String)>) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let own = (row.get(0)?, row.get(1)?, row.get(2)?);
        if table.as_ref() != Some(&own) {
            history.push(Past { start_ms: own.0, subjects: Vec::new(), total: 0, held_back: 0 });
            table = Some(own);
        }
        let Some(past) = history.last_mut() else { continue };
        let subjects = row.get::<_, i64>(4)?.unsigned_abs();
        match row.get::<_, String>(3)?.as_str() {
            "" => past.total = subjects,
            _ => past.subjects.push(subjects),
        }
        past.held_back += u64::from(row.get::<_, bool>(5)?);
    }
    Ok(history)
}

/// Lets go what is too old or too much; tells how many rows went.
pub(super) fn trim(conn: &Connection, now_ms: i64, rows_max: i64) -> Result<u64, StoreError> {
    let before_ms = now_ms.saturating_sub(KEPT_MS);
    let cells = conn
        .prepare_cached(
            "DELETE FROM release_cell WHERE id IN (SELECT id FROM release_cell ORDER BY id LIMIT ?3)
             AND (start_ms < ?1 OR id <= (SELECT max(id) FROM release_cell) - ?2)",
        )?
        .execute((before_ms, rows_max, CHUNK))? as u64;
    let paid =
        conn.prepare_cached("DELETE FROM budget_ledger WHERE period_ms < ?")?.execute([before_ms])? as u64;
    if cells > 0 {
        conn.prepare_cached(
            "INSERT INTO tally VALUES ('release_trimmed', ?1) ON CONFLICT (name) DO UPDATE SET count = count + ?1",
        )?
        .execute([cells as i64])?;
    }
    Ok(cells + paid)
}

fn damaged(aggregate: &LineId, start_ms: i64) -> StoreError {
    StoreError::Damaged(format!("a released cell of {aggregate} at {start_ms} cannot be read"))
}

/// None when it was not written by this module.
fn cell(row: &Row<'_>) -> Result<Option<ReleasedCell>, StoreError> {
    let (metric, place): (String, String) = (row.get(1)?, row.get(3)?);
    let reason: Option<String> = row.get(6)?;
    let figures: String = row.get(8)?;
    let number = |at| Ok::<_, StoreError>(row.get::<_, Option<i64>>(at)?.map(i64::unsigned_abs));
    let (subjects, events) = (number(4)?, number(5)?);
    let (unit, noise) = (row.get(2)?, row.get(7)?);
    let read = || {
        Some(ReleasedCell {
            metric: metric.parse().ok()?,
            unit,
            place: if place.is_empty() { None } else { Some(place.parse().ok()?) },
            subjects,
            events,
            reason: match reason {
                Some(word) => Some(Reason::parse(&word)?),
                None => None,
            },
            noise,
            figures: figures.lines().map(figure).collect::<Option<_>>()?,
        })
    };
    Ok(read())
}

/// A line each: statistic, edge, kind and amount with tabs between them. Floats are written so that they are read again as
/// they were.
fn written(figures: &[Figure]) -> String {
    let line = |Figure { statistic, le, amount }: &Figure| {
        let (kind, amount) = match amount {
            Amount::Count(count) => ("count", count.to_string()),
            Amount::Exact(number) => ("exact", number.to_string()),
            Amount::Near(number) => ("near", number.to_string()),
            Amount::Percent(percent) => ("percent", percent.to_string()),
            Amount::Withheld(why) => ("withheld", why.as_str().to_owned()),
        };
        format!("{statistic}\t{}\t{kind}\t{amount}\n", le.as_deref().unwrap_or(""))
    };
    figures.iter().map(line).collect()
}

fn figure(line: &str) -> Option<Figure> {
    let mut parts = line.split('\t');
    let (statistic, le, kind, amount) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let decimal = || Decimal::from_str_exact(amount).ok();
    let amount = match kind {
        "count" => Amount::Count(amount.parse().ok()?),
        "exact" => Amount::Exact(decimal()?),
        "near" => Amount::Near(amount.parse().ok()?),
        "percent" => Amount::Percent(decimal()?),
        "withheld" => {
            let known = [Withheld::Protected, Withheld::Budget, Withheld::Policy];
            Amount::Withheld(known.into_iter().find(|why| why.as_str() == amount)?)
        }
        _ => return None,
    };
    Some(Figure {
        statistic: statistic.into(),
        le: Some(le).filter(|le| !le.is_empty()).map(Into::into),
        amount,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_back_as_they_were() {
        let exact = |text: &str| Decimal::from_str_exact(text).expect("a number");
        let figures: Vec<Figure> = [
            Amount::Count(u64::MAX),
            Amount::Exact(exact("-0.1000")),
            Amount::Near(0.1 + 0.2),
            Amount::Near(1e-300),
            Amount::Percent(exact("99.5")),
            Amount::Withheld(Withheld::Protected),
            Amount::Withheld(Withheld::Budget),
            Amount::Withheld(Withheld::Policy),
        ]
        .into_iter()
        .map(|amount| Figure { statistic: "sum".into(), le: Some("+Inf".into()), amount })
        .collect();
        let text = written(&figures);
        let back: Vec<Figure> = text.lines().map(|line| figure(line).expect("a figure")).collect();
        assert_eq!(format!("{back:?}"), format!("{figures:?}"));
        for broken in ["", "sum", "sum\t\tcount\t-1", "sum\t\tother\t1", "sum\t\twithheld\tx"] {
            assert_eq!(figure(broken), None, "{broken:?}");
        }
    }
}
