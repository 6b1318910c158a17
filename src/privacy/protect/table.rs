//! Which cells are held back, so that nobody can calculate one about fewer than k subjects.
//!
//! In **space** ([`alone`]): of one window's places and their total, those about too few are held back, and the smallest
//! others with them until what the total gives away is again about k subjects or more; when there are no others, the total
//! goes. In **time** ([`nested`]): the shorter windows of a longer one are out already and stay as they are, so it is the
//! longer one that holds back: a cell whose hidden parts together are about too few, and whatever else the attacker
//! ([`super::flow`]) needs to tell a hidden number to within less than k.
//!
//! Guarantees: with everything that was let out, each hidden count can still be one of more than k numbers, and each sum
//! that can be calculated from a total is about k subjects at least, none of which dominates it. Subjects of several cells
//! together are counted once each, not added up. What it does not do: hide that a window was held back as a whole, which
//! says that it was about few.

use super::flow::{Entry, Network, Row, Spot};
use super::{Reason, Sdc};
use crate::model::Crowd;

/// What is held back of a window, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// By place.
    pub cells: Vec<Option<Reason>>,
    /// All places together.
    pub total: Option<Reason>,
}

impl Hidden {
    /// All of it.
    #[must_use]
    pub fn all(places: usize, reason: Reason) -> Self {
        Self { cells: vec![Some(reason); places], total: Some(reason) }
    }
}

/// One cell as the rule looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'c> {
    /// Who is behind it.
    pub crowd: &'c Crowd,
    /// Its readings.
    pub events: u64,
}

/// A window: its places, and all of them together. One that is not divided has no places.
#[derive(Clone, Debug)]
pub struct Window<'c> {
    /// By place, each time in one order.
    pub cells: Vec<Cell<'c>>,
    /// All of them.
    pub total: Cell<'c>,
}

/// A shorter window that was decided: a number and whether it is hidden, by place, and the total.
pub type Past = Row;

/// What the rule needs to know of sets of cells.
struct Space<'w> {
    subjects: Vec<u64>,
    events: Vec<u64>,
    total: u64,
    /// How many are behind these together, each once.
    union: &'w dyn Fn(&[usize]) -> u64,
    /// Whether one of them has too much of these together.
    dominated: &'w dyn Fn(&[usize]) -> bool,
    total_dominated: bool,
}

/// What has to stay as it is, whatever the rule would do.
#[derive(Clone, Debug)]
struct Fixed {
    /// To be held back.
    forced: Vec<bool>,
    total_forced: bool,
    /// Of no use, because its parts are all out.
    known: Vec<bool>,
    total_known: bool,
}

impl Fixed {
    fn nothing(places: usize) -> Self {
        let free = vec![false; places];
        Self { forced: free.clone(), total_forced: false, known: free, total_known: false }
    }
}

impl Sdc {
    fn floor(&self) -> u64 {
        u64::from(self.zero_public)
    }

    fn is_few(&self, subjects: u64) -> bool {
        subjects < self.k && (subjects > 0 || !self.zero_public)
    }

    /// What is held back of one space.
    fn space(&self, space: &Space<'_>, fixed: &Fixed) -> Hidden {
        let reason = |at: usize| {
            let few = self.is_few(space.subjects[at]).then_some(Reason::Few);
            let dominated =
                || (space.subjects[at] > 0 && (space.dominated)(&[at])).then_some(Reason::Dominance);
            few.or_else(dominated).or(fixed.forced[at].then_some(Reason::Complementary))
        };
        let mut cells: Vec<Option<Reason>> = (0..space.subjects.len()).map(reason).collect();
        let few = self.is_few(space.total).then_some(Reason::Few);
        let dominated = (space.total > 0 && space.total_dominated).then_some(Reason::Dominance);
        let mut total = few.or(dominated).or(fixed.total_forced.then_some(Reason::Complementary));
        while total.is_none() {
            let members: Vec<usize> = (0..cells.len()).filter(|at| cells[*at].is_some()).collect();
            if members.is_empty() || self.covers(space, &members) {
                break;
            }
            let free = (0..cells.len())
                .filter(|at| cells[*at].is_none() && space.subjects[*at] > 0 && !fixed.known[*at]);
            match free.min_by_key(|at| (space.subjects[*at], *at)) {
                Some(at) => cells[at] = Some(Reason::Complementary),
                None => total = Some(Reason::Complementary),
            }
        }
        Hidden { cells, total }
    }

    /// Whether what a total gives away of these cells may be known.
    fn covers(&self, space: &Space<'_>, members: &[usize]) -> bool {
        // Each of them may be the floor: what is above it can be any one's.
        let play = |numbers: &[u64]| -> u64 {
            members.iter().map(|at| numbers[*at].saturating_sub(self.floor())).sum()
        };
        members.len() >= 2
            && (space.union)(members) >= self.k
            && play(&space.subjects) >= self.k
            && play(&space.events) >= self.k
            && !(space.dominated)(members)
    }

    fn window(&self, window: &Window<'_>, fixed: &Fixed) -> Hidden {
        let crowds =
            |members: &[usize]| -> Vec<&Crowd> { members.iter().map(|at| window.cells[*at].crowd).collect() };
        let dominated = |members: &[usize]| {
            self.dominance.is_some_and(|percent| Crowd::dominated(crowds(members), percent))
        };
        self.space(
            &Space {
                subjects: window.cells.iter().map(|cell| cell.crowd.len()).collect(),
                events: window.cells.iter().map(|cell| cell.events).collect(),
                total: window.total.crowd.len(),
                union: &|members| Crowd::union(crowds(members)),
                dominated: &dominated,
                total_dominated: self
                    .dominance
                    .is_some_and(|percent| Crowd::dominated([window.total.crowd], percent)),
            },
            fixed,
        )
    }

    /// What is held back of a window that stands alone, or is the shorter one.
    #[must_use]
    pub fn alone(&self, window: &Window<'_>) -> Hidden {
        self.window(window, &Fixed::nothing(window.cells.len()))
    }

    /// What is held back of a longer window, whose members' parts are the shorter ones in their order; none of those is
    /// one that was never told. Takes back nothing of the shorter ones.
    #[must_use]
    pub fn nested(&self, window: &Window<'_>, parts: &[Option<Past>]) -> Hidden {
        let places = window.cells.len();
        let nothing = Hidden::all(places, Reason::Complementary);
        if places == 0 {
            return self.undivided(window, parts);
        }
        let Some(rows) = rows(window, parts) else { return nothing };
        let mut fixed = Fixed::nothing(places);
        for (at, cell) in window.cells.iter().enumerate() {
            let hidden = mask(parts, |part| part.cells[at].hidden);
            fixed.forced[at] = self.is_forced(cell, hidden);
            fixed.known[at] = hidden == 0;
        }
        let hidden = mask(parts, |part| part.total.hidden);
        fixed.total_forced = self.is_forced(&window.total, hidden);
        fixed.total_known = hidden == 0;
        // Each round holds back one more.
        for _ in 0..places + 2 {
            let hidden = self.window(window, &fixed);
            let network = Network::new(&rows, &margin(window, &hidden, &fixed), self.floor());
            let Some(exposed) = network.exposed(self.k, |_| true) else { return hidden };
            match further(exposed, &rows, window, &hidden, &fixed) {
                Some(Spot::Margin(at)) => fixed.forced[at] = true,
                Some(_) => fixed.total_forced = true,
                None => break,
            }
        }
        nothing
    }

    /// The same where there is but the total.
    fn undivided(&self, window: &Window<'_>, parts: &[Option<Past>]) -> Hidden {
        let column = |part: &Past| Row { cells: vec![part.total], total: Entry::hidden(part.total.value) };
        let parts: Vec<Option<Past>> = parts.iter().map(|part| part.as_ref().map(column)).collect();
        let one = Window { cells: vec![window.total], total: window.total };
        let Some(rows) = rows(&one, &parts) else { return Hidden::all(0, Reason::Complementary) };
        let forced = self.is_forced(&window.total, mask(&parts, |part| part.cells[0].hidden));
        let fixed = Fixed { total_forced: forced, ..Fixed::nothing(0) };
        let mut hidden = self.window(window, &fixed);
        let open = Entry { value: window.total.events, hidden: hidden.total.is_some() };
        let margin = Row { cells: vec![open], total: Entry::hidden(window.total.events) };
        // The totals are the cells once more: only the cells are looked at.
        let network = Network::new(&rows, &margin, self.floor());
        let cells = |spot| matches!(spot, Spot::Cell(..));
        if hidden.total.is_none() && network.exposed(self.k, cells).is_some() {
            hidden.total = Some(Reason::Complementary);
        }
        hidden
    }

    /// Whether the hidden parts of a cell, which the cell gives away together, are about too few.
    fn is_forced(&self, cell: &Cell<'_>, hidden: u128) -> bool {
        // Who gave how much in which part is not known.
        hidden != 0
            && (self.dominance.is_some() || cell.crowd.is_capped() || cell.crowd.in_parts(hidden) < self.k)
    }

    /// How many cells the rule would hold back of windows of which only numbers are known: the subjects by place, and of
    /// all places together. Subjects are taken to be in one place each.
    #[must_use]
    pub fn predicted<'h>(&self, history: impl IntoIterator<Item = (&'h [u64], u64)>) -> Prediction {
        let mut prediction = Prediction::default();
        for (subjects, total) in history {
            let union = |members: &[usize]| members.iter().map(|at| subjects[*at]).sum();
            let space = Space {
                subjects: subjects.to_vec(),
                events: subjects.to_vec(),
                total,
                union: &union,
                dominated: &|_| false,
                total_dominated: false,
            };
            let hidden = self.space(&space, &Fixed::nothing(subjects.len()));
            for (reason, subjects) in hidden.cells.iter().zip(subjects).chain([(&hidden.total, &total)]) {
                prediction.cells += 1;
                prediction.held_back += u64::from(reason.is_some());
                prediction.few += u64::from(*reason == Some(Reason::Few) && *subjects > 0);
            }
        }
        prediction
    }
}

/// What a rule would do to windows that were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prediction {
    /// Cells, totals among them.
    pub cells: u64,
    /// How many of them would be held back.
    pub held_back: u64,
    /// How many of those have somebody in them, but fewer than k.
    pub few: u64,
}

impl Prediction {
    /// How much would be held back, percent; none without a window.
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        (self.held_back * 100).checked_div(self.cells)
    }
}

fn mask(parts: &[Option<Past>], hidden: impl Fn(&Past) -> bool) -> u128 {
    let bit = |(at, part): (usize, &Option<Past>)| {
        let hidden = part.as_ref().is_some_and(&hidden);
        u128::from(hidden).checked_shl(u32::try_from(at).unwrap_or(u32::MAX)).unwrap_or(0)
    };
    parts.iter().enumerate().map(bit).fold(0, |mask, bit| mask | bit)
}

/// The parts, and what came too late for its own one, or in one that was never told: who attacks is taken to know that.
/// None when the numbers are not of one table.
fn rows(window: &Window<'_>, parts: &[Option<Past>]) -> Option<Vec<Row>> {
    let mut rows: Vec<Row> = parts.iter().flatten().cloned().collect();
    let late = |at: usize, cell: &Cell<'_>| {
        let told: u64 = rows.iter().map(|row| row.cells[at].value).sum();
        cell.events.checked_sub(told)
    };
    let cells = window.cells.iter().enumerate().map(|(at, cell)| Some(Entry::open(late(at, cell)?)));
    let cells: Vec<Entry> = cells.collect::<Option<_>>()?;
    let total = cells.iter().map(|entry| entry.value).sum();
    rows.push(Row { cells, total: Entry::open(total) });
    let whole = |row: &Row| row.cells.iter().map(|entry| entry.value).sum::<u64>() == row.total.value;
    let sum: u64 = rows.iter().map(|row| row.total.value).sum();
    (rows.iter().all(whole) && sum == window.total.events).then_some(rows)
}

/// The longer window as it is going to be let out. What its parts tell anyway is not hidden.
fn margin(window: &Window<'_>, hidden: &Hidden, fixed: &Fixed) -> Row {
    let cell = |(at, cell): (usize, &Cell<'_>)| Entry {
        value: cell.events,
        hidden: hidden.cells[at].is_some() && !fixed.known[at],
    };
    Row {
        cells: window.cells.iter().enumerate().map(cell).collect(),
        total: Entry { value: window.total.events, hidden: hidden.total.is_some() && !fixed.total_known },
    }
}

/// What to hold back as well, so that a number is no longer exposed: of its own place, of the places that are hidden beside
/// it, the total, any other place; the smallest first.
fn further(exposed: Spot, rows: &[Row], window: &Window<'_>, hidden: &Hidden, fixed: &Fixed) -> Option<Spot> {
    let free = |at: &usize| hidden.cells[*at].is_none() && !fixed.known[*at];
    let size = |at: &usize| (window.cells[*at].crowd.len(), *at);
    let (own, beside) = match exposed {
        Spot::Cell(row, column) => {
            let beside = (0..window.cells.len()).filter(|at| rows[row].cells[*at].hidden).collect();
            (Some(column), beside)
        }
        Spot::Total(_) => (None, Vec::new()),
        Spot::Margin(_) | Spot::Grand => (None, (0..window.cells.len()).collect()),
    };
    let own = own.filter(free).map(Spot::Margin);
    let beside = || beside.into_iter().filter(free).min_by_key(size).map(Spot::Margin);
    let total = || (hidden.total.is_none() && !fixed.total_known).then_some(Spot::Grand);
    let any = || (0..window.cells.len()).filter(free).min_by_key(size).map(Spot::Margin);
    own.or_else(beside).or_else(total).or_else(any)
}

#[cfg(test)]
mod tests;
