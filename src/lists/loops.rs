//! Open loops (闭环): for each line of the governance list what is open, what is late, and how much of what was handed to the
//! city came back with its word.
//!
//! Guarantees: pure; counts over what the store kept, and nothing else. An incident counts for every line whose alarms it is
//! of. What never became an alarm counts for none.

use super::Lists;
use crate::model::LineId;

/// An alarm, open or closed, as the store kept it. Times are milliseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The alarm.
    pub alarm: String,
    /// Since when it stands.
    pub raised_ms: i64,
    /// When somebody took it up first, or closed it.
    pub accepted_ms: Option<i64>,
    /// When it was closed.
    pub closed_ms: Option<i64>,
    /// Whether it was handed to the city.
    pub delivered: bool,
    /// Whether the city said something about it.
    pub returned: bool,
}

/// How a line of the governance list is lived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The line.
    pub id: LineId,
    /// Alarms that are not closed.
    pub open: u64,
    /// Those that are.
    pub closed: u64,
    /// Nobody has taken them up, and it is too late.
    pub accept_overdue: u64,
    /// Taken up, too late.
    pub accept_late: u64,
    /// Not closed, and it is too late.
    pub close_overdue: u64,
    /// Closed, too late.
    pub close_late: u64,
    /// Handed to the city.
    pub delivered: u64,
    /// Of those, the ones that the city said something about.
    pub returned: u64,
}

impl Loop {
    /// Of what was handed to the city, how much came back, percent; none while nothing was.
    #[must_use]
    pub fn return_percent(&self) -> Option<u64> {
        (self.returned * 100).checked_div(self.delivered)
    }

    /// Whether something is too late and can still be done.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.accept_overdue + self.close_overdue > 0
    }
}

/// Every line of the governance list, in its order.
#[must_use]
pub fn loops(lists: &Lists, cases: &[Case], now_ms: i64) -> Vec<Loop> {
    let count = |line: &super::Governance| {
        let alarms = lists.alarms_of(line);
        let mut told = Loop {
            id: line.id.clone(),
            open: 0,
            closed: 0,
            accept_overdue: 0,
            accept_late: 0,
            close_overdue: 0,
            close_late: 0,
            delivered: 0,
            returned: 0,
        };
        for case in cases.iter().filter(|case| alarms.iter().any(|alarm| alarm.as_str() == case.alarm)) {
            told.take(case, line.accept_ms, line.close_ms, now_ms);
        }
        told
    };
    lists.governance.iter().map(count).collect()
}

impl Loop {
    fn take(&mut self, case: &Case, accept_ms: Option<u64>, close_ms: Option<u64>, now_ms: i64) {
        let is_late = |done_ms: Option<i64>, within_ms: Option<u64>| {
            let within_ms = i64::try_from(within_ms?).unwrap_or(i64::MAX);
            Some(done_ms.unwrap_or(now_ms) > case.raised_ms.saturating_add(within_ms))
        };
        let accept = is_late(case.accepted_ms, accept_ms) == Some(true);
        let close = is_late(case.closed_ms, close_ms) == Some(true);
        let counts = [
            (true, case.closed_ms.is_some(), &mut self.open, &mut self.closed),
            (accept, case.accepted_ms.is_some(), &mut self.accept_overdue, &mut self.accept_late),
            (close, case.closed_ms.is_some(), &mut self.close_overdue, &mut self.close_late),
        ];
        for (counts, is_done, waiting, done) in counts {
            *if is_done { done } else { waiting } += u64::from(counts);
        }
        self.delivered += u64::from(case.delivered);
        self.returned += u64::from(case.delivered && case.returned);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lists::{Governance, Watched};

    fn line(id: &str, trigger: &str, accept_ms: Option<u64>, close_ms: Option<u64>) -> Governance {
        Governance {
            id: id.parse().expect("id"),
            problem: String::new(),
            triggers: vec![trigger.into()],
            owner: "property".into(),
            accept_ms,
            close_ms,
            feedback_from: Vec::new(),
            closes: Vec::new(),
        }
    }

    fn case(alarm: &str, accepted_ms: Option<i64>, closed_ms: Option<i64>) -> Case {
        Case { alarm: alarm.into(), raised_ms: 0, accepted_ms, closed_ms, delivered: true, returned: false }
    }

    #[test]
    fn what_is_late_is_told_apart_from_what_is_overdue() {
        let watched = |id: &str, metric: &str| Watched {
            id: id.parse().expect("id"),
            metrics: BTreeSet::from([metric.parse().expect("metric")]),
        };
        let lists = Lists {
            governance: vec![line("G-1", "fire", Some(5), Some(50)), line("G-2", "smoke", None, None)],
            alarms: vec![watched("fire", "smoke"), watched("door", "open")],
            ..Lists::default()
        };
        let cases = [
            case("fire", None, None),
            case("fire", Some(5), None),
            case("fire", Some(6), Some(50)),
            Case { returned: true, ..case("fire", Some(1), Some(51)) },
            Case { returned: true, delivered: false, ..case("fire", Some(1), Some(2)) },
            case("door", None, None),
        ];
        let counts = |at: usize, now_ms| {
            let told = &loops(&lists, &cases, now_ms)[at];
            [
                told.open,
                told.closed,
                told.accept_overdue,
                told.accept_late,
                told.close_overdue,
                told.close_late,
                told.delivered,
                told.returned,
            ]
        };
        assert_eq!(counts(0, 5), [2, 3, 0, 1, 0, 1, 4, 1]);
        assert_eq!(counts(0, 6), [2, 3, 1, 1, 0, 1, 4, 1]);
        assert_eq!(counts(0, 51), [2, 3, 1, 1, 2, 1, 4, 1]);
        // By the metric that the alarm reads, and without times.
        assert_eq!(counts(1, 1000), [2, 3, 0, 0, 0, 0, 4, 1]);
        let told = &loops(&lists, &cases, 6)[0];
        assert_eq!((told.return_percent(), told.is_overdue()), (Some(25), true));
        assert_eq!(loops(&lists, &[], 6)[0].return_percent(), None);
    }
}
