//! What the points of a port cost, before anything is asked.

use std::time::Duration;

use super::{Exchange, Habits, PERIOD_MIN, Schedule};
use crate::device::serial::{Address, Meter};

/// What the points of a port cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Share of time the line is busy when all meters answer, in thousandths; above 1000 the periods cannot be kept.
    pub busy_permille: u64,
    /// How long one round over all points takes.
    pub sweep: Duration,
    /// Questions of one round.
    pub questions: usize,
}

impl Schedule {
    /// What the points cost when all meters answer.
    #[must_use]
    pub fn budget(&self) -> Budget {
        let mut budget = Budget { busy_permille: 0, sweep: Duration::ZERO, questions: 0 };
        // In billionths: many rare questions are a load too.
        let mut share: u128 = 0;
        let mut open: Vec<usize> = (0..self.points.len()).collect();
        while let Some(seed) = open.first().copied() {
            let period = self.points[seed].point.period.max(PERIOD_MIN);
            let same = |index: &usize| self.points[*index].point.period.max(PERIOD_MIN) == period;
            let block = self.block(seed, &open.iter().copied().filter(same).collect::<Vec<_>>());
            open.retain(|index| !block.contains(index));
            let meter = &self.meters[self.points[seed].meter].meter;
            let cost = self.want(&block).and_then(|want| {
                let asked = Exchange::new(meter, want, &mut Habits::default())?.question().asked;
                let wire = meter.line.wire(asked.encode().len() + asked.answer_bytes());
                Some(meter.timing.silence + wire + thinking(meter))
            });
            let Some(cost) = cost else { continue };
            share += cost.as_nanos() * 1_000_000_000 / period.as_nanos();
            budget.sweep += cost;
            budget.questions += 1;
        }
        budget.busy_permille = u64::try_from(share / 1_000_000).unwrap_or(u64::MAX);
        budget
    }
}

/// What a meter takes to begin its answer, as a rule.
fn thinking(meter: &Meter) -> Duration {
    match &meter.address {
        Address::Modbus(_) | Address::Mbus(_) => Duration::from_millis(100),
        // 20 to 500 ms (DL/T 645-2007 §5.3.3).
        Address::Dlt645(_) => Duration::from_millis(150),
        // Those with batteries wake up first.
        Address::Cjt188(_) => Duration::from_millis(500),
    }
}
