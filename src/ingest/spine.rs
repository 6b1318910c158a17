//! The way of one sample: rate → normalise → privacy → duplicate → plausible → log → windows → alarm → blocks → lanes.
//!
//! Sans-IO but for the transaction it is given: time comes in, rows go out. Its memory is a function of what is
//! committed: after a failed commit it is thrown away and opened again from the store, which replays the log into the
//! folds from their last resume point.
//!
//! Privacy stands before the rules on purpose: what a rule remembers (the last values, an alarm's state) must be the
//! same after a restart, and after a restart only cleared values are left.

mod alarms;
mod approvals;
mod bulk;
mod digest;
mod emergency;
mod entry;
mod ledger;
mod lists;
mod orders;
mod presence;
mod release;
mod resume;
mod shared;
mod trail;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use self::alarms::Alarms;
pub use self::alarms::{After, AlarmChange, WAITING_MAX};
use self::bulk::Bulk;
use self::emergency::Emergencies;
pub use self::ledger::Ledger;
use self::presence::Device;
pub use self::presence::PresenceChange;
pub use self::release::Entropy;
use self::release::Guard;
use super::entry::Manual;
use super::{Delivery, DeviceSeen, Kept, Plan, Point};
use crate::aggregate::windows::{Source, Windows};
use crate::approval::Register;
use crate::model::{Consumer, DeviceId, Lane, Loss, Quality, Reading, Sample, Seq, Stamp};
use crate::normalise;
use crate::privacy::{Cleared, intake};
use crate::rules::dedupe::Dedupe;
use crate::rules::engine::Engine;
use crate::rules::{plausible, thinning};
use crate::store::{SeriesId, Store, StoreError, Txn};

/// Readings between two resume points of the folds; bounds the replay after a crash.
const SNAPSHOT_READINGS: i64 = 200_000;
/// The longest rest between two ticks.
const REST_MAX: Duration = Duration::from_secs(1);

/// What the spine keeps of one series.
struct Slot {
    id: SeriesId,
    /// Index into `Spine::devices`.
    device: usize,
    source: Source,
    dedupe: Dedupe,
    plausible: plausible::State,
    /// What of it was shared last.
    shared: thinning::State,
    /// Indices into `Spine::bulk`.
    bulk: Vec<usize>,
    seen_ms: Option<i64>,
    readings: u64,
    /// Of a profile for an emergency: nothing is taken from then on.
    until_ms: Option<i64>,
}

/// The spine.
pub struct Spine {
    plan: Plan,
    policy_version: u32,
    slots: Vec<Option<Slot>>,
    devices: Vec<Device>,
    by_id: HashMap<DeviceId, usize>,
    windows: Vec<Windows>,
    /// By aggregate.
    guards: Vec<Guard>,
    entropy: Entropy,
    bulk: Vec<Bulk>,
    engine: Engine,
    alarms: Alarms,
    /// What people told.
    manual: Manual,
    refusals: trail::Refusals,
    approvals: Register,
    emergencies: Emergencies,
    shared: shared::Shared,
    snapshot_upto: i64,
    batch: Ledger,
    /// Told after the commit, so that a batch that found no room tells of nothing twice.
    presence: Vec<PresenceChange>,
}

impl Spine {
    /// Opens the spine on what the store holds: alarms stand where they stood, folds are replayed to the log's end.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(plan: Plan, store: &mut Store, now: Stamp) -> Result<Self, StoreError> {
        Self::opened(plan, store, false, now)
    }

    /// The same in a process that goes on, in place of the spine before: what that one has sent to devices is on its way.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reopen(plan: Plan, store: &mut Store, now: Stamp) -> Result<Self, StoreError> {
        Self::opened(plan, store, true, now)
    }

    fn opened(plan: Plan, store: &mut Store, goes_on: bool, now: Stamp) -> Result<Self, StoreError> {
        let policy_version = store.list_version(&plan.lists_digest, now.wall_ms)?;
        let (devices, by_id) = presence::devices(&plan, now);
        let slots = slots(&plan, &by_id, store)?;
        let guards = release::guards(&plan, store, now)?;
        let mut spine = Self {
            windows: plan
                .aggregates
                .iter()
                .map(|aggregate| Windows::new(aggregate.clone(), i64::MIN))
                .collect(),
            guards,
            entropy: release::system(),
            bulk: Vec::new(),
            engine: alarms::engine(&plan),
            alarms: Alarms::default(),
            manual: Manual::of(plan.points.iter().flatten()),
            refusals: trail::Refusals::default(),
            approvals: Register::default(),
            emergencies: Emergencies::default(),
            shared: shared::Shared::default(),
            snapshot_upto: store.reading_head(),
            batch: Ledger::default(),
            presence: Vec::new(),
            plan,
            policy_version,
            slots,
            devices,
            by_id,
        };
        spine.restore_presence(store, now)?;
        spine.restore_emergencies(store, now)?;
        spine.restore_folds(store, now)?;
        spine.restore_shared(store, now)?;
        spine.restore_alarms(store, goes_on, now)?;
        spine.restore_approvals(store, now)?;
        spine.take_lists(store, now)?;
        Ok(spine)
    }

    /// Version of the lists in force.
    #[must_use]
    pub fn policy_version(&self) -> u32 {
        self.policy_version
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes one delivery into the transaction; tells what becomes of it with the commit.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then.
    pub fn take(&mut self, txn: &mut Txn<'_>, delivery: &Delivery, now: Stamp) -> Result<Kept, StoreError> {
        let (received, before) = (delivery.samples.len() as u64 + delivery.lost.total(), self.batch.stored);
        self.batch.received += received;
        self.batch.lost.merge(&delivery.lost);
        let gone = self.told(txn, &delivery.presence, delivery.received)?;
        for sample in &delivery.samples {
            match self.sample(txn, sample, delivery.received, now)? {
                Ok(device) => {
                    self.batch.stored += 1;
                    if !sample.is_past() && !gone.contains(&device) {
                        self.heard(txn, device, delivery.received)?;
                    }
                }
                Err(loss) => self.batch.lost.add(loss, 1),
            }
        }
        self.engine.settle(now);
        self.follow(txn, now)?;
        let stored = self.batch.stored - before;
        Ok(Kept { stored, lost: received - stored })
    }

    /// Tells whose it is, as an index into `Spine::devices`, when it became a reading.
    fn sample(
        &mut self,
        txn: &mut Txn<'_>,
        sample: &Sample,
        received: Stamp,
        now: Stamp,
    ) -> Result<Result<usize, Loss>, StoreError> {
        let index = sample.series.index();
        let (Some(Some(point)), Some(Some(slot))) = (self.plan.points.get(index), self.slots.get_mut(index))
        else {
            return Ok(Err(Loss::Unlisted));
        };
        if slot.until_ms.is_some_and(|until_ms| received.wall_ms >= until_ms) {
            return Ok(Err(Loss::Unlisted));
        }
        let device = slot.device;
        if !self.devices[device].bucket.take(self.plan.rate, received.mono_ms) {
            return Ok(Err(Loss::RateLimited));
        }
        let cleared = match normalise::normalise(&point.rule, sample.clone(), received)
            .and_then(|reading| intake::clear(point.treatment.as_ref(), reading))
        {
            Ok(cleared) => cleared,
            Err(loss) => return Ok(Err(loss)),
        };
        let reading = cleared.get();
        if slot.dedupe.seen(reading.device_time.then_some(reading.time_ms).or(sample.message), &reading.value)
        {
            return Ok(Err(Loss::Duplicate));
        }
        self.log(txn, cleared, sample.is_past(), received, now)?;
        Ok(Ok(device))
    }

    /// Takes a cleared reading into the log and everything behind it; tells whose it is, as an index into
    /// `Spine::devices`.
    fn log(
        &mut self,
        txn: &mut Txn<'_>,
        cleared: Cleared<Reading>,
        past: bool,
        received: Stamp,
        now: Stamp,
    ) -> Result<Option<usize>, StoreError> {
        let index = cleared.get().series.index();
        let (Some(Some(point)), Some(Some(slot))) = (self.plan.points.get(index), self.slots.get_mut(index))
        else {
            return Ok(None);
        };
        let device = slot.device;
        let verdict = slot.plausible.judge(&point.plausible, cleared.get());
        let cleared = match verdict.quality {
            Some(quality) => cleared.of_quality(quality),
            None => cleared,
        };
        let reading = cleared.get();
        self.batch.flagged[reading.quality as usize] += u64::from(reading.quality != Quality::Good);
        self.batch.rebased += u64::from(verdict.rebased);
        let id = match past {
            true => txn.append_past(slot.id, &cleared)?,
            false => txn.append(slot.id, &cleared)?,
        };
        slot.seen_ms = Some(received.wall_ms);
        slot.readings += 1;
        for &at in &point.aggregates {
            if self.windows[at].add(&slot.source, reading).is_err() {
                self.batch.late += 1;
            }
        }
        // Of what was, no quality may speak: a slope of last month is no fire.
        if !past && self.engine.reads(reading.series) {
            self.engine.reading(reading, now);
            self.follow(txn, now)?;
        }
        self.share_reading(txn, &cleared, id, now)?;
        Ok(Some(device))
    }

    /// Lets time pass: alarms whose hold time is over, devices that have been silent for too long, windows whose watermark
    /// has come, blocks that are old enough.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then.
    pub fn tick(&mut self, txn: &mut Txn<'_>, now: Stamp) -> Result<(), StoreError> {
        self.shared_tick(txn, now)?;
        self.engine.tick(now);
        self.follow(txn, now)?;
        self.listen(txn, now)?;
        self.approvals_tick(txn, now)?;
        self.emergencies_tick(txn, now)?;
        for at in self.closing() {
            let closed = self.windows[at].close(now.wall_ms);
            if !closed.is_empty() {
                txn.set_watermark(&self.plan.aggregates[at].id, self.windows[at].closed_until_ms())?;
            }
            for window in &closed {
                self.seal_window(txn, window, now)?;
            }
        }
        for at in 0..self.bulk.len() {
            if self.bulk[at].block.is_due(self.plan.block, now.mono_ms) {
                self.seal_block(txn, at, now)?;
            }
        }
        Ok(())
    }

    /// Ends a batch: losses go into the transaction, resume points when they are due. Tells what the batch was.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then.
    pub fn finish(&mut self, txn: &mut Txn<'_>) -> Result<Ledger, StoreError> {
        let batch = std::mem::take(&mut self.batch);
        txn.lose(&batch.lost)?;
        batch.tally(txn)?;
        if batch.late > 0 {
            // What was late must be late again in a replay, also where the window that closed had nothing in it.
            for (aggregate, windows) in self.plan.aggregates.iter().zip(&self.windows) {
                txn.set_watermark(&aggregate.id, windows.closed_until_ms())?;
            }
        }
        if txn.reading_head() - self.snapshot_upto >= SNAPSHOT_READINGS {
            self.snapshot(txn)?;
        }
        Ok(batch)
    }

    /// How long the spine may rest when nothing comes in.
    #[must_use]
    pub fn rest(&self, now: Stamp) -> Duration {
        let windows =
            self.windows.iter().filter_map(|windows| Some(windows.wakeup_ms()?.saturating_sub(now.wall_ms)));
        let alarms = self.engine.rest(now).map(|rest| i64::try_from(rest.as_millis()).unwrap_or(i64::MAX));
        let blocks = self.bulk.iter().filter_map(|bulk| {
            let due = bulk.block.due_mono_ms(self.plan.block)?;
            Some(i64::try_from(due.saturating_sub(now.mono_ms)).unwrap_or(i64::MAX))
        });
        if self.emergencies.is_purging() {
            return emergency::PAUSE;
        }
        let soonest = windows.chain(alarms).chain(blocks).min().unwrap_or(i64::MAX).max(1);
        Duration::from_millis(soonest.unsigned_abs()).min(REST_MAX)
    }

    /// What every consumer of a lane has acknowledged, by [`Lane::index`]; `None` for a lane without consumers.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acked_by_all(&self, store: &Store) -> Result<[Option<Seq>; Lane::ALL.len()], StoreError> {
        let mut acked: [Option<Seq>; Lane::ALL.len()] = [None; Lane::ALL.len()];
        for share in &self.plan.shares {
            for consumer in &share.consumers {
                for lane in [share.lane, Lane::Event] {
                    let theirs = store.acked(consumer, lane)?;
                    let lowest = &mut acked[lane.index()];
                    *lowest = Some(lowest.map_or(theirs, |seq| seq.min(theirs)));
                }
            }
        }
        Ok(acked)
    }

    /// Who is owed something of which lane: bounded by the share list.
    #[must_use]
    pub fn owing(&self) -> BTreeSet<(Lane, &Consumer)> {
        let lines = self.plan.shares.iter();
        lines
            .flat_map(|share| share.consumers.iter().map(move |consumer| (share.lane, consumer)))
            .flat_map(|(lane, consumer)| [(lane, consumer), (Lane::Event, consumer)])
            .collect()
    }

    /// When each device was last heard and how often since the spine was opened, and whether it is there, by device.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceSeen> {
        let seen = |Device { id, watch, .. }: &Device| DeviceSeen {
            device: id.clone(),
            seen_ms: None,
            readings: 0,
            presence: watch.standing().map(|known| (known.online, known.since_ms, known.cause)),
        };
        let mut devices: Vec<DeviceSeen> = self.devices.iter().map(seen).collect();
        for slot in self.slots.iter().flatten() {
            let seen = &mut devices[slot.device];
            seen.seen_ms = seen.seen_ms.max(slot.seen_ms);
            seen.readings += slot.readings;
        }
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        devices
    }

    /// Takes over what was seen of the devices from the spine before a change of plan.
    pub fn remember_devices(&mut self, before: &Spine) {
        for (slot, old) in self.slots.iter_mut().zip(&before.slots) {
            if let (Some(slot), Some(old)) = (slot, old) {
                slot.seen_ms = old.seen_ms;
                slot.readings = old.readings;
            }
        }
    }
}

fn slots(
    plan: &Plan,
    devices: &HashMap<DeviceId, usize>,
    store: &mut Store,
) -> Result<Vec<Option<Slot>>, StoreError> {
    let names = plan.points.iter().flatten().map(|point| (point.device.as_str(), point.metric.as_str()));
    let mut ids = store.series(names)?.into_iter();
    let slot = |point: &Option<Point>| {
        let point = point.as_ref()?;
        Some(Slot {
            id: ids.next()?,
            device: *devices.get(&point.device)?,
            source: Source {
                device: point.device.clone(),
                metric: point.metric.clone(),
                unit: point.unit.clone(),
                building: point.building.clone(),
                pace: point.pace,
            },
            dedupe: Dedupe::default(),
            plausible: plausible::State::default(),
            shared: thinning::State::default(),
            bulk: Vec::new(),
            seen_ms: None,
            readings: 0,
            until_ms: None,
        })
    };
    Ok(plan.points.iter().map(slot).collect())
}
