//! The city: one durable store that lives through everything, and a puller that is made anew for every connection.
//!
//! The store upserts by record id. It may fall over between storing the records of a batch and storing its cursor; then
//! the batch has to come again, byte for byte. That is the only redelivery it knows of.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use smallbrain::model::Lane;
use smallbrain::share::client::{self, PullError, Puller, Settings, Target};
use smallbrain::share::position::Position;
use smallbrain::wire::{self, v1};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use v1::record_body::Content;

use super::gateway::Site;

/// One record as the city has it.
pub(crate) struct Kept {
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

/// What the city has on its disk.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) position: Position,
    pub(crate) records: BTreeMap<(Lane, u64), Kept>,
    /// Positions declared lost, by lane: from, to, reason.
    pub(crate) gaps: Vec<(Lane, u64, u64, String)>,
    /// Readings in records of the bulk lane.
    pub(crate) readings: u64,
    /// Readings that windows count.
    pub(crate) windowed: u64,
    /// Deliveries of records beyond the first.
    pub(crate) redelivered: u64,
    /// Records stored whose cursor was not.
    pub(crate) unsaved: u64,
    /// Falls over at the batch after so many.
    pub(crate) falls_after: Option<u64>,
    /// Takes nothing.
    asleep: bool,
}

impl Disk {
    fn take(&mut self, batch: &v1::RecordBatch, position: &Position) -> io::Result<ControlFlow<()>> {
        if self.asleep {
            return Err(io::Error::other("the city is asleep"));
        }
        let lane = wire::lane(batch.lane).expect("a lane of the contract");
        assert_eq!(batch.withheld, 0, "everything is for this city");
        for record in &batch.records {
            let kept = Kept { id: record.record_id.clone(), body: record.body.to_vec() };
            match self.records.get(&(lane, record.seq)) {
                Some(before) => {
                    self.redelivered += 1;
                    assert_eq!(before.id, kept.id, "{lane} {} under another id", record.seq);
                    assert!(before.body == kept.body, "{} has two bodies", kept.id);
                }
                None => self.count(&kept.body),
            }
            self.records.insert((lane, record.seq), kept);
        }
        if let Some(left) = &mut self.falls_after {
            if *left == 0 {
                self.falls_after = None;
                self.unsaved += batch.records.len() as u64;
                return Err(io::Error::other("the city falls over"));
            }
            *left -= 1;
        }
        let gaps = batch.gaps.iter().map(|gap| (lane, gap.from_seq, gap.to_seq, gap.reason.clone()));
        self.gaps.extend(gaps);
        self.position = position.clone();
        Ok(ControlFlow::Continue(()))
    }

    fn count(&mut self, body: &[u8]) {
        match v1::RecordBody::decode(body).expect("a body of the contract").content {
            Some(Content::Readings(readings)) => self.readings += readings.mantissa.len() as u64,
            Some(Content::Aggregate(aggregate)) => {
                for measure in aggregate.measures {
                    if let Some(v1::measure::Value::Count(count)) = measure.value {
                        self.windowed += count.unsigned_abs();
                    }
                }
            }
            _ => {}
        }
    }

    /// The newest position of a lane that it has.
    pub(crate) fn mark(&self, lane: Lane) -> u64 {
        self.position.lanes.get(&lane).map_or(0, |mark| mark.seq)
    }
}

/// The city, connected or not.
pub(crate) struct City {
    disk: Arc<Mutex<Disk>>,
    gateway: String,
    line: Option<(CancellationToken, JoinHandle<Result<(), PullError>>)>,
}

impl City {
    pub(crate) fn new(site: &Site) -> Self {
        Self { disk: Arc::default(), gateway: format!("http://{}", site.share), line: None }
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on from its cursor, and comes back by itself when it fell over.
    pub(crate) fn connect(&mut self, runtime: &Runtime) {
        let settings = Settings {
            target: Target { gateway: self.gateway.clone(), ..Target::default() },
            instance: "city".into(),
            follow: true,
            ack: true,
            ..Settings::default()
        };
        self.disk().asleep = false;
        let (disk, stop) = (Arc::clone(&self.disk), CancellationToken::new());
        let token = stop.clone();
        let run = runtime.spawn(async move {
            loop {
                let position = lock(&disk).position.clone();
                let mut puller = Puller::new(settings.clone(), position);
                let end = puller
                    .run(&token, client::each(|batch, _, position| lock(&disk).take(batch, position)))
                    .await;
                match end {
                    Err(PullError::Taker(_)) if !lock(&disk).asleep => {}
                    Err(PullError::Taker(_)) => return Ok(()),
                    end => return end,
                }
            }
        });
        self.line = Some((stop, run));
    }

    /// Takes nothing more from this instant on.
    pub(crate) fn sleep(&self) {
        self.disk().asleep = true;
    }

    /// Ends the connection, whatever is at its other end.
    pub(crate) fn disconnect(&mut self, runtime: &Runtime) {
        let Some((stop, run)) = self.line.take() else { return };
        stop.cancel();
        runtime.block_on(run).expect("no panic").expect("the contract holds");
    }

    /// What it has at the end.
    pub(crate) fn into_disk(self) -> Disk {
        assert!(self.line.is_none(), "it is still connected");
        let disk = Arc::into_inner(self.disk).expect("nobody else has it");
        disk.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}
