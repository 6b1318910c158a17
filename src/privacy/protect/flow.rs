//! The attacker: what can be calculated of the cells that are held back.
//!
//! A table of windows by places with its margins is a network: a cell flows from its window to its place, the window's
//! total into the window, the longer window's cell out of the place, and the longer window's total back to where it all
//! began. What flows into a node flows out of it: these are all the sums there are.
//!
//! ```text
//!            total of 08:00 ──► 08:00 ──── cell ───► B1 ──► the day's B1
//!  the day's                                                              ──► the day's total (back to the left)
//!            total of 09:00 ──► 09:00 ──── cell ───► B2 ──► the day's B2
//! ```
//!
//! Guarantees: the bounds are exact: they are those of somebody who has every cell that was let out, knows that counts are
//! whole and not negative (and above zero where zeros are public), and can solve what can be solved. What it does not
//! know: what people know from elsewhere, and which of several tables the rule would have turned into this one.

use std::collections::{HashMap, VecDeque};

/// One number of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub value: u64,
    /// Whether it is held back.
    pub hidden: bool,
}

impl Entry {
    /// One that is let out.
    #[must_use]
    pub fn open(value: u64) -> Self {
        Self { value, hidden: false }
    }

    /// One that is held back.
    #[must_use]
    pub fn hidden(value: u64) -> Self {
        Self { value, hidden: true }
    }
}

/// A window: a number for each place, and their total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// By place.
    pub cells: Vec<Entry>,
    /// All places together; the sum of the cells.
    pub total: Entry,
}

/// Where a number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// In a shorter window, of a place.
    Cell(usize, usize),
    /// The total of a shorter window.
    Total(usize),
    /// In the longer window, of a place.
    Margin(usize),
    /// The total of the longer window.
    Grand,
}

#[derive(Clone, Copy, Debug)]
struct Arc {
    from: usize,
    to: usize,
    spot: Spot,
    entry: Entry,
}

/// The numbers of a longer window and of the shorter ones in it.
#[derive(Clone, Debug)]
pub struct Network {
    arcs: Vec<Arc>,
    /// By node: the arcs that are held back, and whether they lead away.
    around: Vec<Vec<(usize, bool)>>,
    /// What a number that is held back is at least.
    floor: u64,
}

/// Where everything begins, and where places flow to.
const SOURCE: usize = 0;
const SINK: usize = 1;
/// By arc: how much more, or less, than it is. Most of them stay.
type Shifted = HashMap<usize, i128>;

/// More than any path needs.
const UNBOUNDED: u64 = u64::MAX / 4;

impl Network {
    /// Of `rows`, whose columns add up to `margin`. `floor` is 1 where zeros are public and 0 elsewhere.
    #[must_use]
    pub fn new(rows: &[Row], margin: &Row, floor: u64) -> Self {
        let columns = margin.cells.len();
        let (row_node, column_node) = (|row: usize| 2 + row, |column: usize| 2 + rows.len() + column);
        let mut arcs = vec![Arc { from: SINK, to: SOURCE, spot: Spot::Grand, entry: margin.total }];
        for (column, entry) in margin.cells.iter().enumerate() {
            arcs.push(Arc { from: column_node(column), to: SINK, spot: Spot::Margin(column), entry: *entry });
        }
        for (number, row) in rows.iter().enumerate() {
            let node = row_node(number);
            arcs.push(Arc { from: SOURCE, to: node, spot: Spot::Total(number), entry: row.total });
            for (column, entry) in row.cells.iter().enumerate().take(columns) {
                let spot = Spot::Cell(number, column);
                arcs.push(Arc { from: node, to: column_node(column), spot, entry: *entry });
            }
        }
        let mut around = vec![Vec::new(); 2 + rows.len() + columns];
        for (number, arc) in arcs.iter().enumerate().filter(|(_, arc)| arc.entry.hidden) {
            around[arc.from].push((number, true));
            around[arc.to].push((number, false));
        }
        Self { arcs, around, floor }
    }

    /// The hidden numbers, as they stand.
    pub fn hidden(&self) -> impl Iterator<Item = Spot> + '_ {
        self.arcs.iter().filter(|arc| arc.entry.hidden).map(|arc| arc.spot)
    }

    /// The smallest and the largest that a hidden number may be, each looked for no further away than `reach`; none of
    /// what is not hidden.
    #[must_use]
    pub fn bounds(&self, spot: Spot, reach: u64) -> Option<(u64, u64)> {
        let number = self.arcs.iter().position(|arc| arc.spot == spot && arc.entry.hidden)?;
        let arc = &self.arcs[number];
        let room = arc.entry.value.saturating_sub(self.floor).min(reach);
        let down = self.push(number, arc.from, arc.to, room);
        let up = self.push(number, arc.to, arc.from, reach);
        Some((arc.entry.value - down, arc.entry.value + up))
    }

    /// The first hidden number that can be told to within less than `width`, of those that `counts` names.
    #[must_use]
    pub fn exposed(&self, width: u64, counts: impl Fn(Spot) -> bool) -> Option<Spot> {
        self.hidden()
            .filter(|spot| counts(*spot))
            .find(|spot| self.bounds(*spot, width).is_some_and(|(low, high)| high - low < width))
    }

    /// How much can flow from one node to another past an arc, at most `wanted`, by shifting what is hidden.
    fn push(&self, past: usize, from: usize, to: usize, wanted: u64) -> u64 {
        let mut shifted = Shifted::new();
        let mut pushed = 0;
        while pushed < wanted {
            let Some((path, room)) = self.path(past, from, to, &shifted) else { break };
            let step = room.min(wanted - pushed);
            for (number, forward) in path {
                let by = if forward { i128::from(step) } else { -i128::from(step) };
                *shifted.entry(number).or_default() += by;
            }
            pushed += step;
        }
        pushed
    }

    /// A shortest way and how much fits through.
    fn path(
        &self,
        past: usize,
        from: usize,
        to: usize,
        shifted: &Shifted,
    ) -> Option<(Vec<(usize, bool)>, u64)> {
        let mut came: Vec<Option<(usize, bool)>> = vec![None; self.around.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(node) = queue.pop_front() {
            for &(number, forward) in &self.around[node] {
                let arc = &self.arcs[number];
                let next = if forward { arc.to } else { arc.from };
                let is_new = next != from && came[next].is_none();
                if number == past || !is_new || self.room(number, forward, shifted) == 0 {
                    continue;
                }
                came[next] = Some((number, forward));
                if next == to {
                    return Some(self.walked(&came, from, to, shifted));
                }
                queue.push_back(next);
            }
        }
        None
    }

    fn walked(
        &self,
        came: &[Option<(usize, bool)>],
        from: usize,
        to: usize,
        shifted: &Shifted,
    ) -> (Vec<(usize, bool)>, u64) {
        let (mut path, mut room, mut node) = (Vec::new(), UNBOUNDED, to);
        while node != from {
            let Some((number, forward)) = came[node] else { break };
            room = room.min(self.room(number, forward, shifted));
            path.push((number, forward));
            node = if forward { self.arcs[number].from } else { self.arcs[number].to };
        }
        (path, room)
    }

    fn room(&self, number: usize, forward: bool, shifted: &Shifted) -> u64 {
        if forward {
            return UNBOUNDED;
        }
        let above = i128::from(self.arcs[number].entry.value) - i128::from(self.floor)
            + shifted.get(&number).copied().unwrap_or(0);
        u64::try_from(above.max(0)).unwrap_or(UNBOUNDED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(cells: &[(u64, bool)], total_hidden: bool) -> Row {
        let cells: Vec<Entry> =
            cells.iter().map(|(value, hidden)| Entry { value: *value, hidden: *hidden }).collect();
        let value = cells.iter().map(|entry| entry.value).sum();
        Row { cells, total: Entry { value, hidden: total_hidden } }
    }

    fn margin(rows: &[Row], hidden: &[bool], total_hidden: bool) -> Row {
        let sum = |column: usize| rows.iter().map(|row| row.cells[column].value).sum();
        let cells: Vec<(u64, bool)> =
            hidden.iter().enumerate().map(|(column, hidden)| (sum(column), *hidden)).collect();
        row(&cells, total_hidden)
    }

    #[test]
    fn what_is_left_of_a_total() {
        let rows = [row(&[(2, true), (40, false), (3, true)], false)];
        let unknown = margin(&rows, &[true; 3], true);
        for (floor, expected) in [(0, (0, 5)), (1, (1, 4))] {
            let network = Network::new(&rows, &unknown, floor);
            assert_eq!(network.bounds(Spot::Cell(0, 0), 100), Some(expected));
        }
        let known = margin(&rows, &[false; 3], false);
        let network = Network::new(&rows, &known, 0);
        assert_eq!(network.bounds(Spot::Cell(0, 0), 100), Some((2, 2)), "the day's cell is the hour's");
        assert_eq!(network.exposed(5, |_| true), Some(Spot::Cell(0, 0)));
        let alone = [row(&[(2, true), (40, false)], false)];
        let network = Network::new(&alone, &margin(&alone, &[true; 2], true), 0);
        assert_eq!(network.bounds(Spot::Cell(0, 0), 100), Some((2, 2)), "B1 = total - B2");
    }

    /// Five hidden cells in two rows and three columns: no single sum tells one, two rows less two columns do.
    #[test]
    fn several_sums_together() {
        let rows =
            [row(&[(7, true), (8, true), (9, false)], false), row(&[(6, true), (5, true), (4, true)], false)];
        let third_is_open = margin(&rows, &[false, false, true], false);
        let network = Network::new(&rows, &third_is_open, 0);
        assert_eq!(network.bounds(Spot::Cell(1, 2), 100), Some((4, 4)));
        assert_eq!(network.bounds(Spot::Cell(0, 0), 100), Some((2, 13)));
    }

    /// All tables with the sums that are known, tried one by one.
    fn brute(rows: &[Row], margin: &Row, floor: u64, most: u64) -> Vec<(Spot, u64, u64)> {
        let mut spots = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            spots.extend((0..row.cells.len()).map(|column| (number, column)));
        }
        let mut seen: std::collections::BTreeMap<Spot, (u64, u64)> = Default::default();
        let mut values = vec![0_u64; spots.len()];
        let columns = margin.cells.len();
        'tables: loop {
            let cell = |number: usize, column: usize| values[number * columns + column];
            let fits =
                |entry: &Entry, value: u64| if entry.hidden { value >= floor } else { value == entry.value };
            let mut told = Vec::new();
            for (number, row) in rows.iter().enumerate() {
                let total = (0..columns).map(|column| cell(number, column)).sum();
                told.push((Spot::Total(number), row.total, total));
                for (column, entry) in row.cells.iter().enumerate() {
                    told.push((Spot::Cell(number, column), *entry, cell(number, column)));
                }
            }
            for (column, entry) in margin.cells.iter().enumerate() {
                told.push((Spot::Margin(column), *entry, (0..rows.len()).map(|row| cell(row, column)).sum()));
            }
            told.push((Spot::Grand, margin.total, values.iter().sum()));
            if told.iter().all(|(_, entry, value)| fits(entry, *value)) {
                for (spot, entry, value) in told.into_iter().filter(|(_, entry, _)| entry.hidden) {
                    let _ = entry;
                    let bounds = seen.entry(spot).or_insert((value, value));
                    *bounds = (bounds.0.min(value), bounds.1.max(value));
                }
            }
            for value in &mut values {
                if *value < most {
                    *value += 1;
                    continue 'tables;
                }
                *value = 0;
            }
            break;
        }
        seen.into_iter().map(|(spot, (low, high))| (spot, low, high)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// The bounds are those of every table that agrees with what is known.
        #[test]
        fn bounds_are_exact(
            cells in prop::collection::vec((0_u64..3, any::<bool>()), 6),
            totals in prop::collection::vec(any::<bool>(), 2),
            margins in prop::collection::vec(prop::bool::weighted(0.6), 3),
            floor in 0_u64..2,
        ) {
            // A hidden number is at least the floor.
            let cells: Vec<(u64, bool)> = cells.into_iter().map(|(v, hidden)| (v, hidden && v >= floor)).collect();
            let rows = [row(&cells[..3], totals[0]), row(&cells[3..], totals[1])];
            let rows = rows.map(|row| Row { total: Entry { hidden: row.total.hidden && row.total.value >= floor, ..row.total }, ..row });
            let mut sums = margin(&rows, &margins, false);
            sums.cells.iter_mut().for_each(|entry| entry.hidden &= entry.value >= floor);
            let network = Network::new(&rows, &sums, floor);
            // With the grand total known nothing can be larger than it: so it can be tried out.
            let most = sums.total.value.min(4);
            for (spot, low, high) in brute(&rows, &sums, floor, most) {
                let (least, largest) = network.bounds(spot, 1000).expect("hidden");
                prop_assert!(least <= low && high <= largest, "{spot:?} {least} {largest}, tried {low} {high}");
                if sums.total.value <= 4 {
                    prop_assert_eq!((least, largest), (low, high), "{:?}", spot);
                }
            }
        }
    }
}
