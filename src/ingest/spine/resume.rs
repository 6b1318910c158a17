//! Where the spine goes on after a start, a reload or a failed commit: folds, and what is remembered of readings, resume
//! from their stored points and replay the end of the log.
//!
//! Guarantees: replayed or straight through, the sealed bytes are the same; what was open under settings that are no
//! more is sealed as it stands.

use std::collections::HashMap;

use super::bulk::{Bulk, bulk};
use super::{Slot, Spine};
use crate::aggregate::statistic::Statistics;
use crate::aggregate::windows::{Aggregate, By, Crowds, Windows};
use crate::ingest::{Plan, Point};
use crate::model::{SeriesKey, Stamp};
use crate::rules::dedupe::Dedupe;
use crate::rules::{plausible, thinning};
use crate::store::{FoldRow, SeriesId, Store, StoreError, Stored, Txn};

/// The duplicate filters' resume point: for each series its number (i64), a count (u8) and so many hashes (u64), all
/// little endian. It is kept, because the log cannot tell it again: a device may come back long after its last
/// readings have left the log, or lie too deep in it.
const DUPLICATES: &str = "duplicates";
/// For each series what is believed of it: its number (i64, little endian) and [`plausible::STATE_BYTES`].
const PLAUSIBLE: &str = "plausible";
/// For each series what of it was shared last: its number and [`thinning::STATE_BYTES`].
const SHARED: &str = "deadband";

/// What conditions remember of readings ([`crate::rules::memory`]).
const MEMORY: &str = "memory";

/// From where the log's end is replayed.
struct Resume {
    /// By aggregate: the last reading that its windows have.
    windows: Vec<i64>,
    /// The last reading that what is remembered of each series has.
    series: i64,
    /// By block: which of the readings up to that one are in it; empty for all, as an earlier build had it.
    blocks: Vec<Vec<i64>>,
}

impl Spine {
    /// Resumes every fold of the plan; what was open under settings that are no more is closed as it stands.
    pub(super) fn restore_folds(&mut self, store: &mut Store, now: Stamp) -> Result<(), StoreError> {
        let mut rows: HashMap<String, FoldRow> =
            store.folds()?.into_iter().map(|row| (row.name.clone(), row)).collect();
        let head = store.reading_head();
        let mut from = Resume { windows: Vec::new(), series: head, blocks: Vec::new() };
        for (at, aggregate) in self.plan.aggregates.iter().enumerate() {
            let closed_ms = store.watermark(&aggregate.id)?.unwrap_or(i64::MIN);
            let row = rows.get(&window_name(aggregate)).filter(|row| row.definition == definition(aggregate));
            let resumed = row.and_then(|row| {
                let windows = Windows::restore(aggregate.clone(), closed_ms, &row.snapshot).ok()?;
                Some((windows, row.upto))
            });
            if let Some((windows, upto)) = resumed {
                rows.remove(&window_name(aggregate));
                self.windows[at] = windows;
                from.windows.push(upto);
            } else {
                // A new aggregate begins with the next reading: what came before it was collected for other uses.
                self.windows[at] = Windows::new(aggregate.clone(), closed_ms);
                from.windows.push(head);
            }
            let points = self.plan.points.iter().zip(&self.slots);
            self.windows[at].expect(points.filter_map(|(point, slot)| {
                point.as_ref()?.aggregates.contains(&at).then_some(&slot.as_ref()?.source)
            }));
        }
        for share in bulk(&self.plan, &mut self.slots) {
            let row = rows.remove(&block_name(&self.plan, share));
            let upto = row.as_ref().map_or(head, |row| row.upto);
            let mut bulk = Bulk::new(&self.plan, &self.engine, share, upto);
            let keys = self.keys();
            for (series, state) in entries(rows.remove(&thinned_name(&self.plan, share)).as_ref()) {
                if let Some(key) = keys.get(&series) {
                    bulk.shared.insert(*key, thinning::State::restored(state));
                }
            }
            self.bulk.push(bulk);
            let (ids, _) = row.as_ref().map_or(&[][..], |row| &row.snapshot).as_chunks();
            from.blocks.push(ids.iter().map(|id| i64::from_le_bytes(*id)).collect());
        }
        if let Some(row) = rows.remove(DUPLICATES) {
            from.series = row.upto;
            self.restore_series(&row, rows.remove(PLAUSIBLE), rows.remove(SHARED));
            if let Some(memory) = rows.remove(MEMORY) {
                let keys = self.keys();
                self.engine.remember(&memory.snapshot, |series| keys.get(&SeriesId(series)).copied());
            }
        }
        self.replay(store, &from, now)?;
        let mut txn = store.begin()?;
        for row in rows.into_values() {
            self.retire(&mut txn, &row, now)?;
        }
        self.snapshot(&mut txn)?;
        txn.commit()
    }

    /// The points that are collected. Of one that is not any more nothing is remembered.
    fn keys(&self) -> HashMap<SeriesId, SeriesKey> {
        let points = self.plan.points.iter().zip(&self.slots).enumerate();
        let key = |(at, (point, slot)): (usize, (&Option<Point>, &Option<Slot>))| {
            point.as_ref()?.treatment.as_ref()?;
            Some((slot.as_ref()?.id, SeriesKey(u32::try_from(at).ok()?)))
        };
        points.filter_map(key).collect()
    }

    /// What is remembered of each series; all three rows are of one position.
    fn restore_series(&mut self, seen: &FoldRow, believed: Option<FoldRow>, shared: Option<FoldRow>) {
        let keys = self.keys();
        let index = |series: SeriesId| keys.get(&series).map(|key| key.index());
        let mut left = seen.snapshot.as_slice();
        while let Some((series, hashes, rest)) = remembered(left) {
            left = rest;
            if let Some(slot) = index(series).and_then(|index| self.slots[index].as_mut()) {
                slot.dedupe = Dedupe::restored(hashes);
            }
        }
        // What a point was judged by before it had no rule for a while says nothing any more.
        let point = |index: usize| self.plan.points[index].as_ref();
        for (series, state) in entries(believed.as_ref()) {
            let judged = index(series).filter(|at| point(*at).is_some_and(|point| point.plausible.judges()));
            if let Some(slot) = judged.and_then(|index| self.slots[index].as_mut()) {
                slot.plausible = plausible::State::restored(state);
            }
        }
        for (series, state) in entries(shared.as_ref()) {
            let thinned = index(series).filter(|at| point(*at).is_some_and(|point| point.thinning.thins()));
            if let Some(slot) = thinned.and_then(|index| self.slots[index].as_mut()) {
                slot.shared = thinning::State::restored(state);
            }
        }
    }

    fn replay(&mut self, store: &Store, from: &Resume, now: Stamp) -> Result<(), StoreError> {
        let blocks = self.bulk.iter().map(|bulk| bulk.upto);
        let first = from.windows.iter().copied().chain(blocks).fold(from.series, i64::min);
        let keys = self.keys();
        let mut damaged = 0_u64;
        store.replay(
            first,
            |id| keys.get(&id).copied(),
            |row| {
                damaged += u64::from(!row.intact);
                self.replay_row(row, from, now);
            },
        )?;
        if damaged > 0 {
            tracing::error!(
                rows = damaged,
                "rows of the log do not match their checksum and were left out of the folds"
            );
        }
        Ok(())
    }

    fn replay_row(&mut self, row: Stored, from: &Resume, now: Stamp) {
        let Some(cleared) = row.reading else { return };
        let reading = cleared.get();
        let index = reading.series.index();
        let (Some(point), Some(slot)) = (&self.plan.points[index], &mut self.slots[index]) else { return };
        for &at in &point.aggregates {
            if row.id > from.windows[at] {
                // Late then is late now: it was counted when it came.
                let _ = self.windows[at].add(&slot.source, reading);
            }
        }
        let takers = if row.id > from.series {
            slot.dedupe.seen(reading.device_time.then_some(reading.time_ms), &reading.value);
            slot.plausible.recall(&point.plausible, reading);
            if !row.past && self.engine.reads(reading.series) {
                self.engine.recall(reading);
            }
            self.takers(reading, reading.received_ms).unwrap_or_default()
        } else {
            let was_in = |ids: &Vec<i64>| ids.is_empty() || ids.binary_search(&row.id).is_ok();
            slot.bulk.iter().copied().filter(|at| was_in(&from.blocks[*at])).collect()
        };
        for at in takers {
            let bulk = &mut self.bulk[at];
            if row.id > bulk.upto {
                bulk.push(row.id, cleared.clone(), self.plan.block, now.mono_ms);
            }
        }
    }

    /// Closes what a fold that is no longer in the plan had open.
    fn retire(&mut self, txn: &mut Txn<'_>, row: &FoldRow, now: Stamp) -> Result<(), StoreError> {
        if let Some(aggregate) = parse_definition(&row.name, &row.definition)
            // Who is behind what was open is not known as it has to be now.
            && self.is_plain(&aggregate.id)
            && let Ok(mut windows) = Windows::restore(aggregate, i64::MIN, &row.snapshot)
        {
            for window in windows.end() {
                self.seal_window(txn, &window, now)?;
            }
        }
        txn.drop_fold(&row.name)
    }

    /// Stores the resume points of all folds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn snapshot(&mut self, txn: &mut Txn<'_>) -> Result<(), StoreError> {
        let head = txn.reading_head();
        for (aggregate, windows) in self.plan.aggregates.iter().zip(&self.windows) {
            txn.set_fold(&FoldRow {
                name: window_name(aggregate),
                definition: definition(aggregate),
                upto: head,
                snapshot: windows.snapshot(),
            })?;
        }
        for bulk in &self.bulk {
            txn.set_fold(&block_fold(&self.plan, bulk, head))?;
            let name = thinned_name(&self.plan, bulk.share);
            let states = bulk.shared.iter().filter_map(|(key, state)| {
                Some(entry(self.slots[key.index()].as_ref()?.id, state.remembered()?))
            });
            let snapshot = states.flatten().collect();
            txn.set_fold(&FoldRow { name, definition: String::new(), upto: head, snapshot })?;
        }
        let mut snapshot = Vec::new();
        for slot in self.slots.iter().flatten() {
            let hashes = slot.dedupe.remembered();
            snapshot.extend(slot.id.0.to_le_bytes());
            snapshot.push(u8::try_from(hashes.len()).expect("REMEMBERED fits"));
            snapshot.extend(hashes.flat_map(u64::to_le_bytes));
        }
        let slots = || self.slots.iter().flatten();
        let believed = slots().filter_map(|slot| Some(entry(slot.id, slot.plausible.remembered()?)));
        let shared = slots().filter_map(|slot| Some(entry(slot.id, slot.shared.remembered()?)));
        let number = |series: SeriesKey| Some(self.slots.get(series.index())?.as_ref()?.id.0);
        let memory = self.engine.snapshot(number);
        let rows = [
            (DUPLICATES, snapshot),
            (PLAUSIBLE, believed.flatten().collect()),
            (SHARED, shared.flatten().collect()),
            (MEMORY, memory),
        ];
        for (name, snapshot) in rows {
            txn.set_fold(&FoldRow { name: name.into(), definition: String::new(), upto: head, snapshot })?;
        }
        self.snapshot_upto = head;
        Ok(())
    }
}

/// One series of [`DUPLICATES`], and the rest.
fn remembered(bytes: &[u8]) -> Option<(SeriesId, Vec<u64>, &[u8])> {
    let (series, bytes) = bytes.split_first_chunk()?;
    let (count, bytes) = bytes.split_first()?;
    let (hashes, rest) = bytes.split_at_checked(usize::from(*count) * 8)?;
    let (hashes, _) = hashes.as_chunks();
    let hashes = hashes.iter().map(|hash| u64::from_le_bytes(*hash)).collect();
    Some((SeriesId(i64::from_le_bytes(*series)), hashes, rest))
}

/// A series and its bytes.
fn entry<const N: usize>(series: SeriesId, state: [u8; N]) -> impl Iterator<Item = u8> {
    series.0.to_le_bytes().into_iter().chain(state)
}

/// Every [`entry`] of a row.
fn entries<const N: usize>(row: Option<&FoldRow>) -> impl Iterator<Item = (SeriesId, &[u8; N])> {
    let bytes = row.map_or(&[][..], |row| &row.snapshot);
    bytes.chunks_exact(8 + N).filter_map(|entry| {
        let (series, state) = entry.split_first_chunk()?;
        Some((SeriesId(i64::from_le_bytes(*series)), state.first_chunk()?))
    })
}

fn window_name(aggregate: &Aggregate) -> String {
    format!("window:{}", aggregate.id)
}

fn block_name(plan: &Plan, share: usize) -> String {
    format!("block:{}", plan.shares[share].id)
}

/// What a share line was told last of each series: its number and [`thinning::STATE_BYTES`].
fn thinned_name(plan: &Plan, share: usize) -> String {
    format!("thinned:{}", plan.shares[share].id)
}

pub(super) fn block_fold(plan: &Plan, bulk: &Bulk, head: i64) -> FoldRow {
    FoldRow {
        name: block_name(plan, bulk.share),
        definition: String::new(),
        upto: if bulk.block.is_empty() { head } else { bulk.upto },
        snapshot: bulk.ids.iter().copied().flat_map(i64::to_le_bytes).collect(),
    }
}

/// What makes two aggregates of one name the same.
fn definition(aggregate: &Aggregate) -> String {
    let Aggregate { id: _, size_ms, lateness_ms, zone_ms, by, statistics, edges, crowds } = aggregate;
    let by = match by {
        By::Device => "true",
        By::Compound => "false",
        By::Building => "building",
    };
    let crowds = match crowds {
        None => "",
        Some(crowds) if crowds.by_value => "/value",
        Some(_) => "/device",
    };
    let shape = format!("{size_ms} {lateness_ms} {zone_ms} {by}{crowds}");
    // As an earlier build wrote it, whose open windows go on then.
    if *statistics == Statistics::default() {
        return shape;
    }
    edges.iter().fold(format!("{shape} {statistics}"), |shape, edge| format!("{shape} {edge}"))
}

fn parse_definition(name: &str, definition: &str) -> Option<Aggregate> {
    let mut parts = definition.split(' ');
    let mut number = || parts.next()?.parse().ok();
    let (size_ms, lateness_ms, zone_ms) = (number()?, number()?, number()?);
    let (by, crowds) = parts.next().map(|word| word.split_once('/').unwrap_or((word, "")))?;
    let by = match by {
        "true" => By::Device,
        "false" => By::Compound,
        "building" => By::Building,
        _ => return None,
    };
    // Which cells there were is not known any more: what such an aggregate had open is not let out.
    let of = |by_value| Some(Crowds { by_value, part_ms: None, cells: Vec::new() });
    let crowds = match crowds {
        "" => None,
        "value" => of(true),
        "device" => of(false),
        _ => return None,
    };
    let statistics = parts.next().map_or(Ok(Statistics::default()), str::parse).ok()?;
    let edges = parts.map(|edge| edge.parse().ok()).collect::<Option<_>>()?;
    let id = name.strip_prefix("window:")?.parse().ok()?;
    Some(Aggregate { id, size_ms, lateness_ms, zone_ms, by, statistics, edges, crowds })
}
