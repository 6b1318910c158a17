//! The rule on tables made by hand, and an attacker over 400 simulated days.

use rust_decimal::Decimal;

use super::super::Subjects;
use super::super::laplace::tests::seeded;
use super::*;
use crate::model::crowd::{MemberId, Share};

const K: u64 = 5;

fn rule(zero_public: bool, dominance: Option<i64>) -> Sdc {
    Sdc { k: K, subjects: Subjects::Device, dominance: dominance.map(Decimal::from), zero_public }
}

fn id(number: u64) -> MemberId {
    let mut id = [0; 17];
    id[..8].copy_from_slice(&number.to_le_bytes());
    id
}

/// Members of numbers from `first` on, one event each; the weights of the first ones.
fn crowd(first: u64, count: u64, weights: &[i64]) -> Crowd {
    let member = |number: u64| {
        let weight = weights.get(number as usize).copied().unwrap_or(1);
        (id(first + number), Share { events: 1, weight: Some(Decimal::from(weight)), parts: 1 })
    };
    Crowd::new((0..count).map(member), false)
}

fn cell(crowd: &Crowd) -> Cell<'_> {
    Cell { crowd, events: crowd.iter().map(|(_, share)| share.events).sum() }
}

/// What is let out: numbers, "-" for what is held back with the first letter of why.
fn shown(hidden: &Hidden, crowds: &[Crowd]) -> String {
    let one = |(reason, crowd): (&Option<Reason>, Option<&Crowd>)| match (reason, crowd) {
        (Some(reason), _) => format!("-{}", &reason.as_str()[..1]),
        (None, Some(crowd)) => crowd.len().to_string(),
        (None, None) => "total".into(),
    };
    let cells = hidden.cells.iter().zip(crowds.iter().map(Some)).map(one);
    cells.chain([one((&hidden.total, None))]).collect::<Vec<_>>().join(" ")
}

#[test]
fn one_window() {
    for (name, zero_public, counts, expected) in [
        ("nothing to hide", false, &[5, 9, 40][..], "5 9 40 total"),
        ("one needs another", false, &[2, 9, 40], "-f -c 40 total"),
        ("two are enough", false, &[2, 3, 40], "-f -f 40 total"),
        ("two that are not", false, &[1, 3, 40], "-f -f -c total"),
        ("zeros join first", false, &[0, 5, 40], "-f -c 40 total"),
        ("zeros are told", true, &[0, 5, 40], "0 5 40 total"),
        ("of two that are above zero each is 1 to 4", true, &[2, 3, 40], "-f -f -c total"),
        ("of seven each is 1 to 6", true, &[4, 3, 40], "-f -f 40 total"),
        ("too few in all", false, &[1, 2, 0], "-f -f -f -f"),
        ("none to go with it", true, &[0, 3, 0], "0 -f 0 -f"),
        ("nobody", false, &[0, 0, 0], "-f -f -f -f"),
        ("nobody, and it is told", true, &[0, 0, 0], "0 0 0 total"),
        ("only a total", false, &[], "total"),
    ] {
        let crowds: Vec<Crowd> =
            counts.iter().zip(0..).map(|(count, place)| crowd(place * 1000, *count, &[])).collect();
        let everybody = match counts {
            [] => crowd(0, 7, &[]),
            _ => Crowd::new(crowds.iter().flat_map(Crowd::iter).map(|(id, share)| (*id, *share)), false),
        };
        let window = Window { cells: crowds.iter().map(cell).collect(), total: cell(&everybody) };
        let hidden = rule(zero_public, None).alone(&window);
        assert_eq!(shown(&hidden, &crowds), expected, "{name}");
    }
}

/// The same two people pass both doors: added up they would be enough, and are not.
#[test]
fn subjects_of_several_cells_are_counted_once() {
    let crowds = [crowd(0, 3, &[]), crowd(0, 3, &[]), crowd(100, 30, &[])];
    let everybody = Crowd::new(crowds.iter().flat_map(Crowd::iter).map(|(id, share)| (*id, *share)), false);
    let total = Cell { crowd: &everybody, events: 36 };
    let window = Window { cells: crowds.iter().map(cell).collect(), total };
    assert_eq!(shown(&rule(false, None).alone(&window), &crowds), "-f -f -c total");
}

#[test]
fn dominance_of_a_cell_and_of_what_hides_it() {
    for (name, weights, expected) in [
        ("one flat of ten", [&[900][..], &[], &[]], "-d -c 10 total"),
        ("even", [&[][..], &[], &[]], "10 10 10 total"),
        ("also with the next one", [&[9000][..], &[], &[]], "-d -c -c -d"),
    ] {
        let crowds: Vec<Crowd> = weights
            .iter()
            .zip(0..)
            .map(|(weights, place)| {
                let mut all = vec![100; 10];
                all[..weights.len()].copy_from_slice(weights);
                crowd(place * 1000, 10, &all)
            })
            .collect();
        let everybody =
            Crowd::new(crowds.iter().flat_map(Crowd::iter).map(|(id, share)| (*id, *share)), false);
        let window = Window { cells: crowds.iter().map(cell).collect(), total: cell(&everybody) };
        let hidden = rule(false, Some(49)).alone(&window);
        let told = shown(&hidden, &crowds);
        if name == "also with the next one" {
            assert!(told.ends_with("-d"), "{name}: {told}");
        } else {
            assert_eq!(told, expected, "{name}");
        }
    }
}

/// One guard alone, every hour of the night: the day less the hours that are told would be about him alone.
#[test]
fn hidden_hours_of_one_person_hold_back_the_day() {
    let share =
        |parts: u128| Share { events: u64::from(parts.count_ones()), weight: Some(Decimal::ONE), parts };
    let member = |number: u64| match number {
        0 => (id(0), share(0b1111_1111)),
        number => (id(number), share(0b1_0000_0000)),
    };
    let crowd = Crowd::new((0..30).map(member), false);
    let parts: Vec<Option<Past>> = (0..9)
        .map(|hour| {
            let total = if hour < 8 { Entry::hidden(1) } else { Entry::open(29) };
            Some(Row { cells: vec![], total })
        })
        .collect();
    let window = Window { cells: vec![], total: Cell { crowd: &crowd, events: 8 + 29 } };
    assert_eq!(rule(false, None).nested(&window, &parts).total, Some(Reason::Complementary));
    let open = vec![None; 9];
    assert_eq!(rule(false, None).nested(&window, &open).total, None, "only the day was told");
}

/// A place's number by the readings that were let out: lower and upper bound.
type Bounds = (i64, i64);
const FAR: i64 = 1 << 40;

/// Everything an attacker has of a day: by hour and place, then by hour, by place and in all. What is held back has bounds.
struct Seen {
    cells: Vec<Vec<Bounds>>,
    totals: Vec<Bounds>,
    margins: Vec<Bounds>,
    grand: Bounds,
}

impl Seen {
    fn narrowed(&mut self) {
        loop {
            let mut changed = false;
            let (hours, places) = (self.totals.len(), self.margins.len());
            for hour in 0..hours {
                let mut row = self.cells[hour].clone();
                changed |= narrow(&mut self.totals[hour], &mut row);
                self.cells[hour] = row;
            }
            for place in 0..places {
                let mut column: Vec<Bounds> = self.cells.iter().map(|row| row[place]).collect();
                changed |= narrow(&mut self.margins[place], &mut column);
                self.cells.iter_mut().zip(column).for_each(|(row, cell)| row[place] = cell);
            }
            changed |= narrow(&mut self.grand, &mut self.totals);
            changed |= narrow(&mut self.grand, &mut self.margins);
            if !changed {
                return;
            }
        }
    }
}

/// A sum and its parts, each as narrow as the others allow.
fn narrow(sum: &mut Bounds, parts: &mut [Bounds]) -> bool {
    let before = (*sum, parts.to_vec());
    let (low, high): (i64, i64) = (parts.iter().map(|p| p.0).sum(), parts.iter().map(|p| p.1).sum());
    *sum = (sum.0.max(low), sum.1.min(high));
    for part in parts.iter_mut() {
        let (others_low, others_high) = (low - part.0, high - part.1);
        *part = (part.0.max(sum.0 - others_high), part.1.min(sum.1 - others_low));
    }
    before != (*sum, parts.to_vec())
}

fn bounds(entry: &Entry, floor: u64) -> Bounds {
    if entry.hidden { (floor as i64, FAR) } else { (entry.value as i64, entry.value as i64) }
}

/// A day of people at six buildings: some live there, few come at night, some go from one building to another.
struct Town {
    chance: Box<dyn FnMut() -> u64>,
    people: Vec<(usize, u64)>,
}

const PLACES: usize = 6;
const HOURS: usize = 24;

impl Town {
    fn new(seed: u64) -> Self {
        let mut source = seeded(seed);
        let chance = Box::new(move || {
            let mut bytes = [0; 8];
            source(&mut bytes);
            u64::from_le_bytes(bytes)
        });
        let sizes = [4, 12, 25, 40, 60, 90];
        let people = sizes.iter().enumerate().flat_map(|(home, size)| (0..*size).map(move |n| (home, n)));
        Self { chance, people: people.collect() }
    }

    /// By hour, place and person: how often.
    fn day(&mut self) -> Vec<(usize, usize, u64, u64)> {
        let mut passes = Vec::new();
        for (number, (home, nth)) in self.people.clone().into_iter().enumerate() {
            for hour in 0..HOURS {
                let percent = match hour {
                    0..=6 => 2 + nth % 3,
                    7..=8 | 17..=19 => 45,
                    _ => 12,
                };
                if (self.chance)() % 100 < percent {
                    let place = if (self.chance)().is_multiple_of(10) {
                        (self.chance)() as usize % PLACES
                    } else {
                        home
                    };
                    passes.push((hour, place, number as u64, 1 + (self.chance)() % 2));
                }
            }
        }
        passes
    }
}

fn gathered(passes: &[&(usize, usize, u64, u64)]) -> (Crowd, u64) {
    let mut crowd = Crowd::default();
    let mut events = 0;
    for (hour, _, person, times) in passes {
        let share = crowd.member(id(*person)).expect("few people");
        share.events += times;
        share.parts |= 1 << hour;
        events += times;
    }
    (crowd, events)
}

/// Decides a day: hours first, then the day; gives everything that is let out, with the truth under what is not.
fn decided(rule: &Sdc, passes: &[(usize, usize, u64, u64)]) -> (Vec<Row>, Row) {
    let of = |hour: Option<usize>, place: Option<usize>| {
        let fits = |pass: &&(usize, usize, u64, u64)| {
            hour.is_none_or(|hour| pass.0 == hour) && place.is_none_or(|place| pass.1 == place)
        };
        gathered(&passes.iter().filter(fits).collect::<Vec<_>>())
    };
    let decide = |hour: Option<usize>, parts: Option<&[Option<Past>]>| {
        let places: Vec<(Crowd, u64)> = (0..PLACES).map(|place| of(hour, Some(place))).collect();
        let total = of(hour, None);
        let cell = |(crowd, events)| Cell { crowd, events };
        let cells = places.iter().map(|(crowd, events)| cell((crowd, *events))).collect();
        let window = Window { cells, total: cell((&total.0, total.1)) };
        let hidden = parts.map_or_else(|| rule.alone(&window), |parts| rule.nested(&window, parts));
        let entry = |value, reason: &Option<Reason>| Entry { value, hidden: reason.is_some() };
        let cells = places.iter().zip(&hidden.cells).map(|((_, events), reason)| entry(*events, reason));
        Row { cells: cells.collect(), total: entry(total.1, &hidden.total) }
    };
    let hours: Vec<Option<Past>> = (0..HOURS).map(|hour| Some(decide(Some(hour), None))).collect();
    let day = decide(None, Some(&hours));
    (hours.into_iter().flatten().collect(), day)
}

#[test]
fn nobody_calculates_a_hidden_cell_from_400_days() {
    for (zero_public, seed) in [(false, 1), (true, 2)] {
        let rule = rule(zero_public, None);
        let floor = rule.floor();
        let mut town = Town::new(seed);
        let (mut hidden, mut told, mut days_told) = (0_u32, 0_u32, 0_u32);
        for day in 0..400 {
            let (hours, whole) = decided(&rule, &town.day());
            let mut seen = Seen {
                cells: hours.iter().map(|row| row.cells.iter().map(|e| bounds(e, floor)).collect()).collect(),
                totals: hours.iter().map(|row| bounds(&row.total, floor)).collect(),
                margins: whole.cells.iter().map(|entry| bounds(entry, floor)).collect(),
                grand: bounds(&whole.total, floor),
            };
            seen.narrowed();
            let mut check = |entry: &Entry, (low, high): Bounds, what: &str| {
                assert!((low..=high).contains(&(entry.value as i64)), "day {day} {what}");
                if !entry.hidden {
                    told += 1;
                    return;
                }
                hidden += 1;
                assert!(high - low >= K as i64, "day {day} {what}: {low}..{high} tells {}", entry.value);
                assert!(low == 0 || high >= K as i64, "day {day} {what}: {low}..{high}");
            };
            for (hour, row) in hours.iter().enumerate() {
                for (place, entry) in row.cells.iter().enumerate() {
                    check(entry, seen.cells[hour][place], "cell");
                }
                check(&row.total, seen.totals[hour], "total");
            }
            whole.cells.iter().zip(&seen.margins).for_each(|(entry, bounds)| check(entry, *bounds, "day"));
            check(&whole.total, seen.grand, "day's total");
            days_told += whole.cells.iter().filter(|entry| !entry.hidden).count() as u32;
            // The exact attacker, who also solves several sums together.
            let network = Network::new(&hours, &whole, floor);
            assert_eq!(network.exposed(K, |_| true), None, "day {day}");
        }
        assert!(told > hidden / 3, "of {} cells {told} are told", told + hidden);
        assert!(days_told > 400, "days are told too: {days_told}");
    }
}

#[test]
fn a_prediction_is_what_the_rule_does() {
    let rule = rule(false, None);
    let history: [(&[u64], u64); 3] = [(&[5, 9, 40], 54), (&[2, 9, 40], 51), (&[0, 0, 0], 0)];
    let prediction = rule.predicted(history);
    assert_eq!(prediction, Prediction { cells: 12, held_back: 6, few: 1 });
    assert_eq!((prediction.percent(), Prediction::default().percent()), (Some(50), None));
}
