//! The spine: one sample, one way through. Shells hand in deliveries and get a receipt that comes after the commit.

pub mod act;
pub mod entry;
pub mod handout;
pub mod order;
pub mod shared;
pub mod spine;
#[cfg(test)]
mod tests;
pub mod trail;
pub mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::aggregate::Pace;
use crate::aggregate::blocks::Bounds;
use crate::aggregate::windows::Aggregate;
use crate::approval;
use crate::lists::Lists;
use crate::model::{
    Cause, Consumer, DeviceId, LineId, Metric, Place, Presence, Sample, SeriesKey, Stamp, Tally,
};
use crate::normalise;
use crate::privacy::intake::Treatment;
use crate::privacy::protect::budget::Budget;
use crate::privacy::pseudonym::Secret;
use crate::privacy::release::ShareLine;
use crate::rules::rate::Rate;
use crate::rules::{self, plausible, thinning};
use crate::store::purge::Scope;
use crate::store::sessions::Change;
pub use crate::store::{Ack, AckRefused, Acked, WitnessRefused};
use crate::wire::Gateway;

/// What a shell took from its devices at one moment.
#[derive(Debug)]
pub struct Delivery {
    /// When it came.
    pub received: Stamp,
    /// What it held.
    pub samples: Vec<Sample>,
    /// What did not even become a sample.
    pub lost: Tally,
    /// What it told of devices being there, in order. A sample says the same of its device, unless this says that it is gone.
    pub presence: Vec<Presence>,
    /// What has to be remembered of MQTT sessions together with them. Not counted in the ledger.
    pub changes: Vec<Change>,
}

impl Delivery {
    /// One that holds nothing yet.
    #[must_use]
    pub fn empty(received: Stamp) -> Self {
        Self {
            received,
            samples: Vec::new(),
            lost: Tally::default(),
            changes: Vec::new(),
            presence: Vec::new(),
        }
    }
}

/// Something for the writer.
#[derive(Debug)]
pub enum Request {
    /// Samples, changes or both; answered after the commit that holds them.
    Deliver(Delivery, oneshot::Sender<()>),
    /// The same, answered with what became of it.
    Post(Delivery, oneshot::Sender<Kept>),
    /// A consumer's progress; answered after the commit that holds it.
    Ack(Ack, oneshot::Sender<Result<Acked, AckRefused>>),
    /// Something done; answered after the commit that holds it.
    Act(act::Act, oneshot::Sender<Result<act::Done, act::Refused>>),
    /// What a consumer holds of the trail; answered after the commit that holds it.
    Witness(Witness, oneshot::Sender<Result<(), WitnessRefused>>),
    /// A new plan, in force from the next sample on.
    Apply(Box<Plan>, oneshot::Sender<()>),
}

/// "I hold the trail up to this row, and this is its hash."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// Whose word.
    pub consumer: Consumer,
    /// Rows.
    pub size: u64,
    /// Hash of the last of them.
    pub head: [u8; 32],
}

/// When a device was last heard, and whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSeen {
    /// The device.
    pub device: DeviceId,
    /// Receive time of its newest stored reading since the daemon started, milliseconds since 1970 UTC.
    pub seen_ms: Option<i64>,
    /// Its readings stored since the daemon started.
    pub readings: u64,
    /// Whether it is there, since when (milliseconds since 1970 UTC) and what told it; none while nothing is known.
    pub presence: Option<(bool, i64, Cause)>,
}

/// The writer is gone; nothing can be stored any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store has stopped")]
pub struct Stopped;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Samples that are on disk as readings.
    pub stored: u64,
    /// What of it was lost, and is counted by its reason.
    pub lost: u64,
}

/// Where shells hand in what they have. Bounded: at the bound the caller waits, and so does its device.
#[derive(Clone, Debug)]
pub struct Intake {
    requests: mpsc::Sender<Request>,
}

/// Comes when what it is for is on disk.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<()>);

impl Receipt {
    /// Waits for the commit.
    ///
    /// # Errors
    /// [`Stopped`]: it is not known to be stored.
    pub async fn committed(self) -> Result<(), Stopped> {
        self.0.await.map_err(|_| Stopped)
    }
}

impl Intake {
    /// A queue of `capacity` requests, and the end for the writer.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(capacity);
        (Self { requests }, receiver)
    }

    /// Hands in a delivery; waits while the queue is full.
    ///
    /// # Errors
    /// [`Stopped`] when the writer is gone.
    pub async fn deliver(&self, delivery: Delivery) -> Result<Receipt, Stopped> {
        let (reply, receipt) = oneshot::channel();
        self.requests.send(Request::Deliver(delivery, reply)).await.map_err(|_| Stopped)?;
        Ok(Receipt(receipt))
    }

    /// Hands in a delivery and waits for the commit: what became of it.
    ///
    /// # Errors
    /// [`Stopped`] when the writer is gone: it is not known to be stored.
    pub async fn post(&self, delivery: Delivery) -> Result<Kept, Stopped> {
        let (reply, kept) = oneshot::channel();
        self.requests.send(Request::Post(delivery, reply)).await.map_err(|_| Stopped)?;
        kept.await.map_err(|_| Stopped)
    }

    /// Stores a consumer's progress.
    ///
    /// # Errors
    /// [`Stopped`] when the writer is gone; the inner error when the ack is refused.
    pub async fn ack(&self, ack: Ack) -> Result<Result<Acked, AckRefused>, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Ack(ack, reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Stores how much of the trail a consumer holds.
    ///
    /// # Errors
    /// [`Stopped`] when the writer is gone; the inner error when it holds something else than there is.
    pub async fn witness(
        &self,
        consumer: Consumer,
        size: u64,
        head: [u8; 32],
    ) -> Result<Result<(), WitnessRefused>, Stopped> {
        let (reply, answer) = oneshot::channel();
        let witness = Witness { consumer, size, head };
        self.requests.send(Request::Witness(witness, reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }

    /// Does something, and waits for the commit.
    ///
    /// # Errors
    /// [`Stopped`] when the writer is gone; the inner error when it changed nothing.
    pub async fn act(&self, act: act::Act) -> Result<Result<act::Done, act::Refused>, Stopped> {
        let (reply, done) = oneshot::channel();
        self.requests.send(Request::Act(act, reply)).await.map_err(|_| Stopped)?;
        done.await.map_err(|_| Stopped)
    }

    /// Does something that nobody waits for: dropped where the queue is full, and then false.
    #[must_use]
    pub fn note(&self, act: act::Act) -> bool {
        let (reply, _) = oneshot::channel();
        self.requests.try_send(Request::Act(act, reply)).is_ok()
    }

    /// Swaps the plan.
    ///
    /// # Errors
    /// [`Stopped`] when the writer is gone.
    pub async fn apply(&self, plan: Plan) -> Result<(), Stopped> {
        let (reply, done) = oneshot::channel();
        self.requests.send(Request::Apply(Box::new(plan), reply)).await.map_err(|_| Stopped)?;
        done.await.map_err(|_| Stopped)
    }
}

/// Everything the spine does with each point.
#[derive(Clone, Debug)]
pub struct Point {
    /// The device.
    pub device: DeviceId,
    /// Its template's name.
    pub class: String,
    /// The metric.
    pub metric: Metric,
    /// The building that the device is in: the first level of its place, "-" without one.
    pub building: Place,
    /// UCUM unit; empty for flags and texts.
    pub unit: String,
    /// How samples become readings.
    pub rule: normalise::Rule,
    /// Which numbers are believed after which.
    pub plausible: plausible::Rule,
    /// Which readings are shared singly.
    pub thinning: thinning::Rule,
    /// How its windows are to take it: by time or by reading, and when it is expected to tell something.
    pub pace: Pace,
    /// Whether people tell it, by a form.
    pub manual: bool,
    /// What the collection list says; `None` is unlisted.
    pub treatment: Option<Treatment>,
    /// Indices into [`Plan::aggregates`].
    pub aggregates: Vec<usize>,
}

/// What the configuration makes of the spine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who and where the gateway is.
    pub gateway: Gateway,
    /// SHA-256 over the lists as written: a new one is a new version of the lists.
    pub lists_digest: [u8; 32],
    /// The four lists as they are known by.
    pub lists: Arc<Lists>,
    /// By series; `None` where a reload took a point away.
    pub points: Vec<Option<Point>>,
    /// What is watched, who is told, what is done.
    pub rules: rules::plan::Plan,
    /// Aggregates.
    pub aggregates: Vec<Aggregate>,
    /// The share list.
    pub shares: Vec<ShareLine>,
    /// What noise is paid from.
    pub budgets: Vec<Budget>,
    /// What each device may send.
    pub rate: Rate,
    /// How long a device may be silent before it counts as gone; one without an entry may be for ever.
    pub silence: HashMap<DeviceId, Duration>,
    /// How bulk records are filled.
    pub block: Bounds,
    /// Who may approve what.
    pub approval: approval::Rules,
    /// What people may enter.
    pub forms: Vec<entry::Form>,
    /// The profiles for emergencies that are in force, and what of all this is theirs.
    pub emergency: Vec<Emergency>,
}

impl Plan {
    /// Brings the secret of the epoch to the pseudonyms of the points.
    pub fn mix(&mut self, secret: &Secret) {
        for treatment in self.points.iter_mut().flatten().filter_map(|point| point.treatment.as_mut()) {
            treatment.mix(secret);
        }
    }
}

/// A profile for an emergency, and what it has added to a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emergency {
    /// Its id.
    pub id: LineId,
    /// SHA-256 of its file.
    pub digest: [u8; 32],
    /// From when on, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// Who signed it.
    pub signers: Vec<LineId>,
    /// The points that are collected by it alone.
    pub series: Vec<SeriesKey>,
    /// The rest, by name; series by number are not known here.
    pub scope: Scope,
}
