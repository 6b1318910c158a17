//! The demo's city: pulls, remembers what it got, answers alarms, and can be cut off.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::model::{Lane, Step};
use crate::share::client::{self, PullError, Puller, Settings, Target};
use crate::share::position::Position;
use crate::share::witness::Book;
use crate::wire::v1::record_body::Content;
use crate::wire::{self, v1};

/// What a record of the alarm lane says.
#[derive(Clone)]
pub(super) struct Word {
    /// The record's id.
    pub(super) record: String,
    pub(super) alarm: String,
    pub(super) attributes: BTreeMap<String, String>,
    /// All of it, as it came.
    pub(super) body: Vec<u8>,
}

impl Word {
    pub(super) fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

/// What the city knows.
#[derive(Default)]
pub(super) struct Knowledge {
    /// Record id → hash.
    ids: HashMap<String, Vec<u8>>,
    pub(super) position: Position,
    /// By lane: records, by [`Lane::index`].
    pub(super) delivered: [u64; Lane::ALL.len()],
    pub(super) gaps: [u64; Lane::ALL.len()],
    /// Deliveries of a record that was there already.
    pub(super) duplicates: u64,
    /// The same id with other bytes.
    pub(super) conflicts: u64,
    /// Single readings inside bulk records.
    pub(super) readings: u64,
    /// Every metric that came in any record.
    pub(super) metrics: BTreeSet<String>,
    /// Milliseconds from an alarm's event to its arrival, while the backlog was being caught up.
    pub(super) latencies_ms: Vec<u64>,
    /// Every body, to look for raw values in.
    pub(super) bodies: Vec<u8>,
    /// What it was told of alarms, in the order of the lane.
    pub(super) words: Vec<Word>,
    /// The gateway's audit trail, as its witness knows it.
    pub(super) trail: Book,
    /// When the line came back, milliseconds since 1970 UTC; alarms from then on are timed.
    pub(super) back_since_ms: Option<i64>,
}

impl Knowledge {
    fn take(&mut self, batch: &v1::RecordBatch, position: &Position, now_ms: i64) {
        let Some(lane) = wire::lane(batch.lane) else { return };
        for record in &batch.records {
            match self.ids.insert(record.record_id.clone(), record.record_hash.to_vec()) {
                None => self.delivered[lane.index()] += 1,
                Some(hash) if hash == record.record_hash => self.duplicates += 1,
                Some(_) => self.conflicts += 1,
            }
            self.bodies.extend_from_slice(&record.body);
            if let Ok(body) = v1::RecordBody::decode(record.body.clone()) {
                self.read(&body, now_ms);
                if let Some(Content::Event(event)) = body.content {
                    self.words.push(Word {
                        record: record.record_id.clone(),
                        alarm: event.event_code,
                        attributes: event.attributes.into_iter().collect(),
                        body: record.body.to_vec(),
                    });
                }
            }
        }
        self.gaps[lane.index()] += batch.gaps.iter().map(|gap| gap.to_seq - gap.from_seq + 1).sum::<u64>();
        self.position = position.clone();
    }

    fn read(&mut self, body: &v1::RecordBody, now_ms: i64) {
        match &body.content {
            Some(Content::Event(event)) => {
                self.metrics.extend(event.attributes.get("metric").cloned());
                let observed =
                    body.observed_at.as_ref().map(|at| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000);
                if let (Some(since_ms), Some(at_ms)) = (self.back_since_ms, observed)
                    && at_ms >= since_ms
                {
                    self.latencies_ms.push(u64::try_from(now_ms - at_ms).unwrap_or(0));
                }
            }
            Some(Content::Aggregate(aggregate)) => {
                let metric = |measure: &v1::Measure| Some(measure.name.rsplit_once('.')?.0.to_owned());
                self.metrics.extend(aggregate.measures.iter().filter_map(metric));
            }
            Some(Content::Readings(readings)) => {
                self.readings += readings.series_index.len() as u64;
                self.metrics.extend(readings.series.iter().map(|series| series.metric.clone()));
            }
            Some(Content::ListChange(_) | Content::Result(_) | Content::Audit(_)) | None => {}
        }
    }
}

/// Where people of the city sit, read what it knows of alarms and answer.
pub(super) struct Desk {
    knowledge: Arc<Mutex<Knowledge>>,
    target: Target,
}

impl Desk {
    /// What the city was told of that step of an alarm, once it has it.
    pub(super) fn word(&self, alarm: &str, step: Step) -> Option<Word> {
        let knowledge = self.knowledge.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |word: &&Word| word.alarm == alarm && word.get("step") == step.as_str();
        knowledge.words.iter().find(said).cloned()
    }

    /// Says what has become of the alarm of a record.
    pub(super) async fn say(&self, record: &str, step: Step, text: &str) -> Result<(), PullError> {
        let request = v1::PushFeedbackRequest {
            request_id: format!("demo-{step}"),
            in_reply_to: record.to_owned(),
            kind: step.to_string(),
            text: text.to_owned(),
            ..v1::PushFeedbackRequest::default()
        };
        client::feedback(&self.target, request).await.map(|_| ())
    }
}

/// The city, connected or not.
pub(super) struct City {
    pub(super) knowledge: Arc<Mutex<Knowledge>>,
    gateway: String,
    clock: Arc<dyn Clock>,
    line: Option<(CancellationToken, JoinHandle<Result<(), PullError>>)>,
}

impl City {
    pub(super) fn new(gateway: String, clock: Arc<dyn Clock>) -> Self {
        Self { knowledge: Arc::default(), gateway, clock, line: None }
    }

    fn target(&self) -> Target {
        Target { gateway: self.gateway.clone(), ..Target::default() }
    }

    pub(super) fn desk(&self) -> Desk {
        Desk { knowledge: self.knowledge.clone(), target: self.target() }
    }

    /// Connects, and goes on where it was; from now on alarms are timed.
    pub(super) fn reconnect(&mut self) {
        let now_ms = self.clock.now().wall_ms;
        self.with(|city| city.back_since_ms = Some(now_ms));
        self.connect();
    }

    /// Connects, and goes on where it was.
    pub(super) fn connect(&mut self) {
        let stop = CancellationToken::new();
        let (knowledge, clock, ends) = (self.knowledge.clone(), self.clock.clone(), stop.clone());
        let (position, trail) = self.with(|city| (city.position.clone(), city.trail.clone()));
        let witness = self.knowledge.clone();
        let settings = Settings {
            target: self.target(),
            instance: "demo".into(),
            lanes: Vec::new(),
            share_items: Vec::new(),
            follow: true,
            ack: true,
            limit: None,
            window: client::Window::default(),
        };
        let task = tokio::spawn(async move {
            let mut puller = Puller::new(settings, position).witness(trail, move |made| {
                let mut city = witness.lock().unwrap_or_else(PoisonError::into_inner);
                city.trail.take(made.clone()).map(drop).map_err(io::Error::other)
            });
            let taken = puller.run(
                &ends,
                client::each(|batch, _, position| {
                    let now_ms = clock.now().wall_ms;
                    knowledge.lock().unwrap_or_else(PoisonError::into_inner).take(batch, position, now_ms);
                    io::Result::Ok(ControlFlow::Continue(()))
                }),
            );
            taken.await
        });
        self.line = Some((stop, task));
    }

    /// Cuts the line; what was on its way is lost.
    pub(super) async fn cut(&mut self) -> Result<(), String> {
        let Some((stop, task)) = self.line.take() else { return Ok(()) };
        stop.cancel();
        task.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Knowledge) -> T) -> T {
        look(&mut self.knowledge.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
