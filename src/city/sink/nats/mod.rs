//! NATS JetStream: a message per record and gap, on `<subject>.<gateway>.<lane>`.
//!
//! ```text
//! Nats-Msg-Id        <epoch>-<lane>-<seq>, <epoch>-<lane>-gap-<from>-<to>
//! Smallbrain-After   where its batch begins: the position before it, and the stream's number of the message before it
//! Smallbrain-Through on the last message of a batch: the position after it, and the hash of the record there
//! Smallbrain-Begun   on the same: messages of a longer batch that was begun are there beyond it
//! ```
//!
//! Guarantees: a batch is stored when its last message is, and that one is sent after all others were acknowledged. A batch
//! that was begun when the collector died is come upon at the next start: what of it is there is not sent again, also after
//! the stream has forgotten its ids. A batch begins only where the subject's last message is the one that is known, so of
//! two collectors one is told [`SinkError::Moved`]. As durable as the stream is: its replicas and sync interval are the
//! operator's.

mod tenure;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{ConnectOptions, HeaderMap};
use prost::Message;
use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{Kept, SinkError, State, beginning};
use crate::audit::checkpoint::Checkpoint;
use crate::city::batch::{Item, hex, items};
use crate::city::settings::{Format, Nats};
use crate::model::Lane;
use crate::share::position::{Mark, Position};
use crate::wire::{self, v1};
pub use tenure::Tenure;

const ID: &str = "Nats-Msg-Id";
const AFTER: &str = "Smallbrain-After";
const THROUGH: &str = "Smallbrain-Through";
const BEGUN: &str = "Smallbrain-Begun";
/// Messages of all gateways that may wait for their acknowledgement, and of one gateway.
const INFLIGHT: usize = 8_192;
const CHUNK: usize = 256;
/// How long an acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stream.
pub struct Bus {
    context: Context,
    stream: Stream,
    subject: Arc<str>,
    format: Format,
    inflight: Semaphore,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.subject)
    }
}

/// One gateway's subjects.
#[derive(Debug)]
pub struct Subjects {
    bus: Arc<Bus>,
    gateway: String,
    lanes: BTreeMap<Lane, Tail>,
}

/// The end of a lane's subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tail {
    /// The stream's number of its last message; 0 without one.
    number: u64,
    /// The number of the message before the first batch that was begun; the same without one.
    since: u64,
    /// Ids behind the position that are there already, of a batch that was begun.
    begun: BTreeSet<String>,
}

impl Tail {
    fn at(number: u64) -> Self {
        Self { number, since: number, begun: BTreeSet::new() }
    }
}

/// The operator's word, and the epochs, as messages.
#[derive(Debug, Serialize, Deserialize)]
struct Accepted {
    accepted: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reset {
    from: String,
    to: String,
}

fn away(error: impl std::fmt::Display) -> SinkError {
    SinkError::Away("nats", error.to_string())
}

impl Bus {
    pub(super) async fn open(settings: &Nats) -> Result<Self, SinkError> {
        let mut options = ConnectOptions::new().name("smallbrain-city").connection_timeout(PATIENCE);
        if let Some(path) = &settings.credentials {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| SinkError::File(path.clone(), error))?;
            options = options.credentials(&text).map_err(|error| SinkError::File(path.clone(), error))?;
        }
        if let Some(ca) = &settings.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        let client = options.connect(&settings.url).await.map_err(away)?;
        let context = ContextBuilder::new()
            .timeout(PATIENCE)
            .ack_timeout(PATIENCE)
            .max_ack_inflight(2 * INFLIGHT)
            .build(client);
        let config = Config {
            name: settings.stream.clone(),
            subjects: vec![format!("{}.>", settings.subject)],
            duplicate_window: settings.duplicate_window,
            ..Config::default()
        };
        let stream = context.get_or_create_stream(config).await.map_err(away)?;
        Ok(Self {
            context,
            stream,
            subject: settings.subject.as_str().into(),
            format: settings.format,
            inflight: Semaphore::new(INFLIGHT),
        })
    }

    pub(super) async fn leases(&self, name: &str) -> Result<Tenure, SinkError> {
        let bucket = format!("{}_lease", self.stream.cached_info().config.name);
        Tenure::open(&self.context, bucket, name).await
    }

    fn on(&self, gateway: &str, what: &str) -> String {
        format!("{}.{gateway}.{what}", self.subject)
    }

    /// The last message of a subject.
    async fn last(&self, subject: &str) -> Result<Option<StreamMessage>, SinkError> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(away(error)),
        }
    }

    pub(super) async fn drawer(self: &Arc<Self>, gateway: &str) -> Result<(Subjects, State), SinkError> {
        let mut state = State::default();
        let reset = self.last(&self.on(gateway, "reset")).await?;
        if let Some(reset) = reset.and_then(|told| serde_json::from_slice::<Reset>(&told.payload).ok()) {
            state.position = beginning(&reset.to);
        }
        let witness = self.last(&self.on(gateway, "witness")).await?;
        let accepted = self.last(&self.on(gateway, "accept")).await?;
        let word = accepted.as_ref().map_or(0, |told| told.sequence);
        if let Some(kept) = witness.filter(|kept| kept.sequence > word) {
            let kept = serde_json::from_slice::<Kept>(&kept.payload).ok();
            state.checkpoint = kept.and_then(|kept| kept.checkpoint());
        }
        let accepted = accepted.and_then(|told| serde_json::from_slice::<Accepted>(&told.payload).ok());
        state.accepted = accepted.map(|told| told.accepted);
        let mut lanes = BTreeMap::new();
        for lane in Lane::ALL {
            let subject = self.on(gateway, lane.as_str());
            let Some(last) = self.last(&subject).await? else { continue };
            let mut tail = Tail::at(last.sequence);
            if let Some(found) = end(&last.headers)
                && *state.position.epoch.get_or_insert_with(|| found.epoch.clone()) == found.epoch
            {
                if found.is_begun {
                    tail.since = found.since;
                    tail.begun = self.begun(&subject, found.since, last.sequence).await?;
                }
                state.position.lanes.insert(lane, found.mark);
            }
            lanes.insert(lane, tail);
        }
        Ok((Subjects { bus: self.clone(), gateway: gateway.to_owned(), lanes }, state))
    }

    /// The ids of a subject's messages after a number, up to the last.
    async fn begun(&self, subject: &str, since: u64, last: u64) -> Result<BTreeSet<String>, SinkError> {
        let mut ids = BTreeSet::new();
        let mut number = since;
        while number < last {
            let next = self.stream.raw_message_builder().sequence(number + 1);
            let message = next.next_by_subject(subject.to_owned()).send().await.map_err(away)?;
            number = message.sequence;
            ids.extend(message.headers.get(ID).map(|id| id.as_str().to_owned()));
        }
        Ok(ids)
    }

    /// Sends messages together and waits for all of their acknowledgements; gives the number of the last.
    async fn publish(
        &self,
        subject: &str,
        messages: Vec<PublishMessage>,
        gateway: &str,
    ) -> Result<u64, SinkError> {
        // All places at once: whoever has some and waits for more would keep the others waiting.
        let places = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let _places = self.inflight.acquire_many(places).await.map_err(away)?;
        let mut sent: Vec<PublishAckFuture> = Vec::with_capacity(messages.len());
        for message in messages {
            sent.push(self.context.send_publish(subject.to_owned(), message).await.map_err(away)?);
        }
        let mut number = 0;
        for ack in sent {
            let ack = ack.await.map_err(|error| match error.kind() {
                PublishErrorKind::WrongLastSequence => SinkError::Moved(gateway.to_owned()),
                _ => away(error),
            })?;
            // That of a message which was there already is an older one.
            number = number.max(ack.sequence);
        }
        Ok(number)
    }
}

/// Where a lane's subject ends.
#[derive(Debug, PartialEq, Eq)]
struct End {
    epoch: String,
    mark: Mark,
    /// There are messages of a batch that was begun, and is not whole.
    is_begun: bool,
    /// The stream's number of the message before that batch.
    since: u64,
}

/// What the last message of a lane tells; none when it is none of ours.
fn end(headers: &HeaderMap) -> Option<End> {
    let epoch = headers.get(ID)?.as_str().split('-').next()?.to_owned();
    let (after, since) = headers.get(AFTER)?.as_str().split_once(' ')?;
    let since = since.parse().ok()?;
    match headers.get(THROUGH) {
        Some(through) => {
            let mut words = through.as_str().split(' ');
            let mark = Mark { seq: words.next()?.parse().ok()?, hash: words.next().map(str::to_owned) };
            Some(End { epoch, mark, is_begun: headers.get(BEGUN).is_some(), since })
        }
        None => {
            let mark = Mark { seq: after.parse().ok()?, hash: None };
            Some(End { epoch, mark, is_begun: true, since })
        }
    }
}

/// What of a batch is to be sent.
struct Outgoing<'b> {
    /// Before the last one.
    send: Vec<(String, Item<'b>)>,
    /// The last one: it says that the batch is whole.
    whole: (String, Item<'b>),
    /// Ids of a batch that was begun which lie beyond this one.
    left: BTreeSet<String>,
}

/// Leaves out what is there already. Where that is the last one, a word that says only that the batch is whole follows.
fn outgoing<'b>(
    batch: &'b v1::RecordBatch,
    epoch: &str,
    lane: Lane,
    begun: &BTreeSet<String>,
) -> Outgoing<'b> {
    let mut left = begun.clone();
    let all = items(batch).into_iter().map(|item| (item.id(epoch, lane), item));
    let mut all: Vec<(String, bool, Item<'b>)> =
        all.map(|(id, item)| (id.clone(), left.remove(&id), item)).collect();
    let whole = match all.pop() {
        Some((id, false, item)) => (id, item),
        _ => {
            let word = Item::Withheld { count: batch.withheld, through: batch.through_seq };
            (word.id(epoch, lane), word)
        }
    };
    let send = all.into_iter().filter(|(_, there, _)| !there).map(|(id, _, item)| (id, item)).collect();
    Outgoing { send, whole, left }
}

impl Subjects {
    pub(super) async fn store(
        &mut self,
        batch: &v1::RecordBatch,
        position: &Position,
    ) -> Result<(), SinkError> {
        let lane = wire::lane(batch.lane).ok_or(SinkError::Lane(batch.lane))?;
        let epoch = hex(&batch.stream_epoch);
        let subject = self.bus.on(&self.gateway, lane.as_str());
        let tail = self.lanes.entry(lane).or_default();
        let after = format!("{} {}", batch.first_seq.saturating_sub(1), tail.since);
        let Outgoing { send, whole: (id, item), left } = outgoing(batch, &epoch, lane, &tail.begun);
        let made = |id: &str, item: &Item<'_>| {
            self.bus.message(item, lane).message_id(id).header(AFTER, after.as_str())
        };
        let messages: Vec<PublishMessage> = send.iter().map(|(id, item)| made(id, item)).collect();
        let whole = made(&id, &item);
        let hash = position.lanes.get(&lane).and_then(|mark| mark.hash.as_deref());
        let through = batch.through_seq.to_string();
        let through = hash.map_or(through.clone(), |hash| format!("{through} {hash}"));
        let mut whole = whole.header(THROUGH, through.as_str());
        if !left.is_empty() {
            whole = whole.header(BEGUN, "1");
        }
        let mut number = tail.number;
        let mut rest = messages.into_iter().peekable();
        while rest.peek().is_some() {
            let mut chunk: Vec<PublishMessage> = rest.by_ref().take(CHUNK).collect();
            if number == tail.number {
                chunk[0] = std::mem::take(&mut chunk[0]).expected_last_subject_sequence(number);
            }
            number = self.bus.publish(&subject, chunk, &self.gateway).await?;
        }
        let whole = whole.expected_last_subject_sequence(number);
        let number = self.bus.publish(&subject, vec![whole], &self.gateway).await?;
        let since = if left.is_empty() { number } else { tail.since };
        *tail = Tail { number, since, begun: left };
        Ok(())
    }

    pub(super) async fn witness(&mut self, made: &Checkpoint) -> Result<(), SinkError> {
        self.note("witness", &Kept::from(made)).await
    }

    pub(super) async fn accept(&mut self, word: &str) -> Result<(), SinkError> {
        self.note("accept", &Accepted { accepted: word.to_owned() }).await
    }

    pub(super) async fn reset(&mut self, from: &str, to: &str) -> Result<(), SinkError> {
        self.lanes.values_mut().for_each(|tail| *tail = Tail::at(tail.number));
        self.note("reset", &Reset { from: from.to_owned(), to: to.to_owned() }).await
    }

    async fn note(&self, what: &str, told: &impl Serialize) -> Result<(), SinkError> {
        let payload = serde_json::to_vec(told).map_err(away)?;
        let message = PublishMessage::build().payload(payload.into());
        self.bus.publish(&self.bus.on(&self.gateway, what), vec![message], &self.gateway).await?;
        Ok(())
    }
}

impl Bus {
    fn message(&self, item: &Item<'_>, lane: Lane) -> PublishMessage {
        let payload = match (self.format, item) {
            (Format::Protobuf, Item::Record(record)) => Bytes::from(record.encode_to_vec()),
            (Format::Protobuf, Item::Gap(gap)) => Bytes::from(gap.encode_to_vec()),
            _ => Bytes::from(item.json(lane).to_string()),
        };
        PublishMessage::build().payload(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::city::batch::tests::batch;

    #[test]
    fn what_is_there_is_not_sent_again() {
        let whole = batch(7, Lane::Bulk, 1, &[1, 2, 4], Some((3, 3)), 4);
        type Ids = &'static [&'static str];
        let cases: [(Ids, Ids, &str, Ids); 5] = [
            (&[], &["1", "2", "gap-3-3"], "4", &[]),
            (&["1", "2"], &["gap-3-3"], "4", &[]),
            (&["1", "gap-3-3"], &["2"], "4", &[]),
            (&["1", "2", "gap-3-3", "4"], &[], "withheld-4", &[]),
            (&["2", "4", "5", "6"], &["1", "gap-3-3"], "withheld-4", &["5", "6"]),
        ];
        let named = |id: &str| format!("e-bulk-{id}");
        for (begun, send, last, left) in cases {
            let begun: BTreeSet<String> = begun.iter().map(|id| named(id)).collect();
            let out = outgoing(&whole, "e", Lane::Bulk, &begun);
            let sent: Vec<&String> = out.send.iter().map(|(id, _)| id).collect();
            assert_eq!(sent, send.iter().map(|id| named(id)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
            assert_eq!(out.whole.0, named(last));
            assert_eq!(out.left, left.iter().map(|id| named(id)).collect());
        }
    }

    #[test]
    fn the_last_message_tells_where_to_go_on() {
        let mark = |seq, hash: Option<&str>| Mark { seq, hash: hash.map(str::to_owned) };
        let cases = [
            ("e-bulk-5", "2 40", None, Some((mark(2, None), true))),
            ("e-bulk-5", "2 40", Some("5 ab"), Some((mark(5, Some("ab")), false))),
            ("e-bulk-gap-3-9", "2 40", Some("9"), Some((mark(9, None), false))),
            ("e-bulk-withheld-9", "2 40", Some("9"), Some((mark(9, None), false))),
            ("e-bulk-5", "2", None, None),
            ("e-bulk-5", "x 40", None, None),
        ];
        for (id, after, through, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ID, id);
            headers.insert(AFTER, after);
            if let Some(through) = through {
                headers.insert(THROUGH, through);
            }
            let expected =
                expected.map(|(mark, is_begun)| End { epoch: "e".into(), mark, is_begun, since: 40 });
            assert_eq!(end(&headers), expected, "{id} {after} {through:?}");
        }
        assert_eq!(end(&HeaderMap::new()), None, "somebody else's");
    }
}
