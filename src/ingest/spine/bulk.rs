//! Single readings on their way into the bulk lane: which lines' blocks take one, and the sealing of a block.
//!
//! Guarantees: a reading is in a block of every open line that lists its metric, unless it tells nothing new
//! ([`thinning`](crate::rules::thinning)): then it is in none and counted as thinned. What decides that is kept like the
//! duplicate filter; what it decided for the rows of a block that is not full yet is kept with the block.

use std::collections::BTreeMap;

use super::{Slot, Spine, resume};
use crate::aggregate::blocks::{Block, Bounds};
use crate::ingest::Plan;
use crate::model::{Lane, Reading, SeriesKey, Stamp};
use crate::privacy::Cleared;
use crate::rules::engine::Engine;
use crate::rules::thinning;
use crate::store::{StoreError, Txn};
use crate::wire;

/// One share line of lane bulk and the block it is filling.
pub(super) struct Bulk {
    pub(super) share: usize,
    pub(super) block: Block,
    /// The positions of the block's rows in the log.
    pub(super) ids: Vec<i64>,
    /// The last reading that is in a sealed record, or not for this line.
    pub(super) upto: i64,
    /// What the line holds back besides what its points do.
    thinning: thinning::Rule,
    /// What the line was told last; of a line that holds nothing back, nothing. At most one a series.
    pub(super) shared: BTreeMap<SeriesKey, thinning::State>,
    /// Its condition, as a number of the engine's.
    gate: Option<usize>,
}

impl Bulk {
    /// A line that has shared nothing yet.
    pub(super) fn new(plan: &Plan, engine: &Engine, share: usize, upto: i64) -> Self {
        let id = &plan.shares[share].id;
        Self {
            share,
            block: Block::default(),
            ids: Vec::new(),
            upto,
            thinning: plan.rules.bulk.get(id).map_or_else(Default::default, |bulk| bulk.thinning),
            shared: BTreeMap::new(),
            gate: engine.gate(id),
        }
    }

    /// Whether the line takes a reading that it lists.
    fn takes(&mut self, reading: &Reading) -> bool {
        let Self { thinning, shared, .. } = self;
        !thinning.thins() || shared.entry(reading.series).or_default().passes(thinning, reading)
    }

    /// True when the block is full.
    pub(super) fn push(&mut self, id: i64, reading: Cleared<Reading>, bounds: Bounds, mono_ms: u64) -> bool {
        self.ids.push(id);
        self.block.push(reading, bounds, mono_ms)
    }
}

impl Spine {
    /// Puts a reading into the blocks of the share lines that permit it.
    pub(super) fn share_reading(
        &mut self,
        txn: &mut Txn<'_>,
        cleared: &Cleared<Reading>,
        id: i64,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let Some(takers) = self.takers(cleared.get(), now.wall_ms) else {
            self.batch.thinned += 1;
            return Ok(());
        };
        for at in takers {
            let bulk = &mut self.bulk[at];
            if bulk.block.is_empty() {
                bulk.upto = id - 1;
            }
            if bulk.push(id, cleared.clone(), self.plan.block, now.mono_ms) {
                self.seal_block(txn, at, now)?;
            }
        }
        Ok(())
    }

    /// The blocks that take a reading, as indices into `Spine::bulk`; `None` when it tells nothing new.
    pub(super) fn takers(&mut self, reading: &Reading, now_ms: i64) -> Option<Vec<usize>> {
        let index = reading.series.index();
        let (Some(point), Some(slot)) = (&self.plan.points[index], &mut self.slots[index]) else {
            return Some(Vec::new());
        };
        let is_open = |at: &usize| self.plan.shares[self.bulk[*at].share].reading(&point.metric, now_ms);
        let open: Vec<usize> = slot.bulk.iter().copied().filter(is_open).collect();
        if open.is_empty() {
            return Some(open);
        }
        if point.thinning.thins() && !slot.shared.passes(&point.thinning, reading) {
            return None;
        }
        let is_let = |at: &usize| {
            self.bulk[*at].gate.is_none_or(|gate| self.engine.lets(gate, &point.device, reading.received_ms))
        };
        let mut takers: Vec<usize> = open.into_iter().filter(is_let).collect();
        takers.retain(|at| self.bulk[*at].takes(reading));
        (!takers.is_empty()).then_some(takers)
    }

    pub(super) fn seal_block(&mut self, txn: &mut Txn<'_>, at: usize, now: Stamp) -> Result<(), StoreError> {
        let bulk = &mut self.bulk[at];
        let rows = bulk.block.take();
        bulk.ids.clear();
        let share = &self.plan.shares[bulk.share];
        if rows.is_empty() {
            return Ok(());
        }
        bulk.upto = txn.reading_head();
        let points = &self.plan.points;
        let describe = |series: SeriesKey| {
            let point = points.get(series.index())?.as_ref()?;
            Some(wire::Column {
                device: &point.device,
                metric: &point.metric,
                unit: &point.unit,
                manual: point.manual,
            })
        };
        for sealed in
            wire::readings(&self.plan.gateway, share, self.policy_version, &rows, describe, now.wall_ms)
        {
            txn.seal(Lane::Bulk, &sealed, now.wall_ms)?;
        }
        let fold = resume::block_fold(&self.plan, &self.bulk[at], txn.reading_head());
        txn.set_fold(&fold)
    }
}

/// The share lines of lane bulk, in order; each slot learns which of them take its readings.
pub(super) fn bulk(plan: &Plan, slots: &mut [Option<Slot>]) -> Vec<usize> {
    let shares: Vec<usize> =
        (0..plan.shares.len()).filter(|share| plan.shares[*share].lane == Lane::Bulk).collect();
    for (point, slot) in plan.points.iter().zip(slots) {
        let (Some(point), Some(slot)) = (point, slot) else { continue };
        slot.bulk =
            (0..shares.len()).filter(|at| plan.shares[shares[*at]].metrics.contains(&point.metric)).collect();
    }
    shares
}
