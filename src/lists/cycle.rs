//! The loop as rows: 需求 → 归集 → 共享 → 治理 → 需求.
//!
//! Guarantees: every line of every list is in a row: a demand has one of its own, with what serves it; what serves no demand
//! has one without. A row is open when a part of the loop is missing in it.

use std::collections::BTreeSet;

use super::{Decision, Lists};
use crate::model::{LineId, List};

/// A way round the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The demand with what became of it; none for lines that serve none.
    pub demand: Option<(LineId, Decision)>,
    /// What is taken for it.
    pub collects: BTreeSet<LineId>,
    /// What is given out for it.
    pub shares: BTreeSet<LineId>,
    /// What is done, which closes it.
    pub governance: BTreeSet<LineId>,
    /// What is missing; empty where the loop is closed, and where the demand was refused.
    pub missing: Vec<List>,
}

/// The rows: demands in their order, then what is left over.
#[must_use]
pub fn rows(lists: &Lists) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut used = BTreeSet::new();
    for demand in &lists.demands {
        let shares: BTreeSet<LineId> = lists.shares_of(demand).map(|share| share.id.clone()).collect();
        let drawn = lists.shares_of(demand).flat_map(|share| lists.sources(share));
        let serves = lists.collects.iter().filter(|line| line.serves.contains(&demand.id));
        let mut collects: BTreeSet<LineId> = drawn.chain(serves.map(|line| line.id.clone())).collect();
        let closing = || lists.governance.iter().filter(|line| line.closes.contains(&demand.id));
        collects.extend(closing().flat_map(|line| lists.sources_of(line)));
        let governance: BTreeSet<LineId> = closing().map(|line| line.id.clone()).collect();
        let row = Row {
            demand: Some((demand.id.clone(), demand.decision)),
            missing: Vec::new(),
            collects,
            shares,
            governance,
        };
        for (list, ids) in
            [(List::Collect, &row.collects), (List::Share, &row.shares), (List::Governance, &row.governance)]
        {
            used.extend(ids.iter().map(|id| (list, id.clone())));
        }
        rows.push(closed(row));
    }
    rows.extend(left_over(lists, &used));
    rows
}

/// Lines that serve no demand: a share line with what it draws from, and what not even a share line takes.
fn left_over(lists: &Lists, used: &BTreeSet<(List, LineId)>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut drawn = BTreeSet::new();
    let free = |list, id: &LineId| !used.contains(&(list, id.clone()));
    let row = |collects, shares, governance| {
        closed(Row { demand: None, collects, shares, governance, missing: Vec::new() })
    };
    let shares = lists.shares.iter().filter(|share| !share.is_forbidden() && free(List::Share, &share.id));
    for share in shares {
        let collects = lists.sources(share);
        drawn.extend(collects.iter().cloned());
        rows.push(row(collects, BTreeSet::from([share.id.clone()]), BTreeSet::new()));
    }
    for line in lists.governance.iter().filter(|line| free(List::Governance, &line.id)) {
        let collects = lists.sources_of(line);
        drawn.extend(collects.iter().cloned());
        rows.push(row(collects, BTreeSet::new(), BTreeSet::from([line.id.clone()])));
    }
    for line in
        lists.collects.iter().filter(|line| free(List::Collect, &line.id) && !drawn.contains(&line.id))
    {
        rows.push(row(BTreeSet::from([line.id.clone()]), BTreeSet::new(), BTreeSet::new()));
    }
    rows
}

fn closed(row: Row) -> Row {
    if matches!(row.demand, Some((_, Decision::Refused))) {
        return row;
    }
    let parts = [
        (List::Demand, !matches!(row.demand, Some((_, Decision::Approved)))),
        (List::Collect, row.collects.is_empty()),
        (List::Share, row.shares.is_empty()),
        (List::Governance, row.governance.is_empty()),
    ];
    let missing = parts.into_iter().filter(|(_, missing)| *missing).map(|(list, _)| list).collect();
    Row { missing, ..row }
}
