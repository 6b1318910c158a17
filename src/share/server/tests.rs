//! The city's side over real sockets, against the store in memory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SanType, date_time_ymd,
};
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Streaming;

use super::*;
use crate::clock::SystemClock;
use crate::model::{DeviceId, Epoch, Lane, Seq, Severity, Step};
use crate::share::Listener;
use crate::share::client::{self, PullError, Puller, Settings, Target, each};
use crate::share::fake::{EPOCH, Fake, line};
use crate::share::listen::{self, BindError, bind};
use crate::share::local::{self, DeviceState, Inside, Local};
use crate::share::position::{Position, Taken};
use crate::wire::{self, v1};
use v1::downlink_service_client::DownlinkServiceClient;
use v1::record_service_client::RecordServiceClient;
use v1::status_service_client::StatusServiceClient;
use v1::streaming_pull_request::Frame as Ask;
use v1::streaming_pull_response::Frame;

mod bad_input;
mod catalog;
mod certificates;
mod witness;

const CITY: &str = "spiffe://brain.example/city/310115/brain/one";
const POLICE: &str = "spiffe://brain.example/city/310115/brain/police";
/// No step of a test takes longer, or the test fails.
const SOON: Duration = Duration::from_secs(20);

fn share_list() -> Vec<ShareLine> {
    vec![line("A", Lane::Alarm, &[CITY]), line("R", Lane::Bulk, &[CITY]), line("P", Lane::Bulk, &[POLICE])]
}

/// A gateway with a store in memory.
struct Gate {
    fake: Fake,
    lines: watch::Sender<Arc<[ShareLine]>>,
    lists: watch::Sender<Arc<Lists>>,
    counters: Arc<Counters>,
    checkpoints: watch::Sender<Option<Checkpoint>>,
    writable: watch::Sender<bool>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), ServeError>>,
    /// Ends when nobody can send an ack any more.
    writer: JoinHandle<()>,
    address: String,
}

impl Gate {
    async fn open(fake: Fake, listener: Listener) -> Self {
        Self::open_patiently(fake, listener, PATIENCE).await
    }

    async fn of(fake: Fake, consumer: &str, clock: Arc<dyn Clock>) -> Self {
        let consumer = consumer.parse().expect("consumer");
        let address = "127.0.0.1:0".parse().expect("address");
        Self::open_timed(fake, Listener::Loopback { address, consumer }, PATIENCE, clock).await
    }

    async fn open_patiently(fake: Fake, listener: Listener, patience: Patience) -> Self {
        Self::open_timed(fake, listener, patience, Arc::new(SystemClock::default())).await
    }

    async fn open_timed(fake: Fake, listener: Listener, patience: Patience, clock: Arc<dyn Clock>) -> Self {
        Self::open_limited(fake, listener, patience, clock, Limits::DEFAULT).await
    }

    async fn open_limited(
        fake: Fake,
        listener: Listener,
        patience: Patience,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Self {
        let (intake, requests) = Intake::channel(16);
        let writer = tokio::spawn(fake.clone().serve(requests));
        let (lines, watched) = watch::channel(Arc::from(share_list()));
        let (lists, four) = watch::channel(Arc::default());
        let counters = Arc::<Counters>::default();
        let (checkpoints, newest) = watch::channel(None);
        let (writable, watched_store) = watch::channel(true);
        let city = City {
            gateway: Gateway { id: "gw-1".into(), ..Gateway::default() },
            lines: watched,
            lists: four,
            shared: watch::channel(Arc::from([])).1,
            grants: watch::channel(Arc::default()).1,
            pages: fake.clone(),
            intake,
            clock,
            counters: counters.clone(),
            checkpoints: newest,
            writable: watched_store,
            limits,
            reflection: true,
        };
        let bound = bind(&listener).await.expect("bound");
        let address = match (&listener, bound.address()) {
            (Listener::Tls { .. }, Some(address)) => format!("https://localhost:{}", address.port()),
            (_, Some(address)) => format!("http://{address}"),
            (Listener::Unix { path, .. }, _) => format!("unix:{}", path.display()),
            _ => panic!("a listener without an address"),
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve_patiently(vec![bound], Side::new(city, stop.clone()), patience));
        Self { fake, lines, lists, counters, checkpoints, writable, stop, serving, writer, address }
    }

    async fn loopback(consumer: &str) -> Self {
        Self::of(Fake::new(), consumer, Arc::new(SystemClock::default())).await
    }

    fn target(&self) -> Target {
        Target { gateway: self.address.clone(), ..Target::default() }
    }

    async fn channel(&self) -> Channel {
        self.target().connect().await.expect("connected")
    }

    fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| known == name).map(|(_, count)| count).expect("a counter")
    }
}

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(SOON, future).await.expect("in time")
}

fn cursor(lane: Lane, seq: u64) -> v1::Cursor {
    wire::cursor(EPOCH, lane, Seq(seq))
}

fn frame(frame: Ask) -> v1::StreamingPullRequest {
    v1::StreamingPullRequest { frame: Some(frame) }
}

/// Opens a stream with credit for everything.
async fn stream(
    channel: Channel,
) -> (mpsc::Sender<v1::StreamingPullRequest>, Streaming<v1::StreamingPullResponse>) {
    let (asks, outbound) = mpsc::channel(8);
    let grant = |lane| v1::Credit { lane: wire::lane_number(lane), messages: 1000, bytes: 1 << 20 };
    let open = v1::PullOpen { initial_credit: Lane::ALL.map(grant).to_vec(), ..v1::PullOpen::default() };
    asks.send(frame(Ask::Open(open))).await.expect("room");
    let outbound = tokio_stream::wrappers::ReceiverStream::new(outbound);
    let told = RecordServiceClient::new(channel).streaming_pull(outbound).await.expect("a stream");
    (asks, told.into_inner())
}

async fn next_frame(told: &mut Streaming<v1::StreamingPullResponse>) -> Frame {
    soon(told.message()).await.expect("no error").expect("a frame").frame.expect("an arm")
}

#[tokio::test]
async fn a_puller_takes_everything_acknowledges_and_goes_on_where_it_was() {
    for compressed in [true, false] {
        let gate = Gate::loopback(CITY).await;
        for seq in 0..25_000u32 {
            gate.fake.seal(Lane::Bulk, if seq % 5 == 0 { "P" } else { "R" }, seq.to_string());
        }
        for _ in 0..3 {
            gate.fake.seal(Lane::Alarm, "A", "fire");
        }
        gate.fake.lose(Lane::Bulk, 1, 100);
        let settings = Settings { target: gate.target(), ack: true, ..Settings::default() };
        let first = Settings { limit: Some(1_000), ..settings.clone() };
        let (mut total, mut position) = (Taken::default(), Position::default());
        for settings in [first, settings] {
            let mut puller = Puller::new(settings, position);
            let taker = |_: &v1::RecordBatch, taken: Taken, _: &Position| {
                total.records += taken.records;
                total.lost += taken.lost;
                total.withheld += taken.withheld;
                Ok(ControlFlow::Continue(()))
            };
            soon(puller.run(&CancellationToken::new(), each(taker))).await.expect("pulled");
            position = puller.position().clone();
        }
        assert_eq!((total.records, total.lost, total.withheld), (19_920 + 3, 100, 4_980));
        let acked = gate.fake.acked_now(CITY);
        assert_eq!((acked[0], acked[Lane::Bulk.index()]), (Seq(3), Seq(25_000)));
        assert!(gate.counter("share_records_total") >= total.records, "what was on its way counts too");

        let mut client = RecordServiceClient::new(gate.channel().await);
        if compressed {
            client = client.accept_compressed(CompressionEncoding::Zstd);
        }
        let after = Some(cursor(Lane::Bulk, 0));
        let asked = v1::FetchRequest { after, ..v1::FetchRequest::default() };
        let answer = soon(client.fetch(asked)).await.expect("a batch");
        let encoding = answer.metadata().get("grpc-encoding").map(|name| name.as_bytes().to_vec());
        assert_eq!(encoding, compressed.then(|| b"zstd".to_vec()));
    }
}

/// A power cut took the last ack of a lane that stayed quiet afterwards: the city had the record, went on behind it, and
/// the gateway owed it for ever.
#[tokio::test]
async fn an_ack_that_was_lost_with_the_line_is_sent_again() {
    let gate = Gate::loopback(CITY).await;
    gate.fake.seal(Lane::Alarm, "A", "fire");
    let silent = Settings { target: gate.target(), ack: false, ..Settings::default() };
    let mut puller = Puller::new(silent.clone(), Position::default());
    soon(puller.run(&CancellationToken::new(), each(|_, _, _| Ok(ControlFlow::Continue(())))))
        .await
        .expect("pulled");
    assert_eq!(gate.fake.acked_now(CITY)[0], Seq(0));

    let mut again = Puller::new(Settings { ack: true, ..silent }, puller.position().clone());
    let nothing = |_: &v1::RecordBatch, _: Taken, _: &Position| panic!("everything was taken before");
    soon(again.run(&CancellationToken::new(), each(nothing))).await.expect("acknowledged");
    assert_eq!(gate.fake.acked_now(CITY)[0], Seq(1));
}

#[tokio::test]
async fn fetch_bounds_its_answer_and_a_long_poll_ends_with_the_first_record() {
    let gate = Gate::loopback(CITY).await;
    let mut client = RecordServiceClient::new(gate.channel().await);
    let ask = |seq, max_records, max_bytes, wait| v1::FetchRequest {
        after: Some(cursor(Lane::Bulk, seq)),
        max_records,
        max_bytes,
        max_wait: Some(prost_types::Duration { seconds: wait, nanos: 0 }),
        share_items: vec![],
    };
    let empty = soon(client.fetch(ask(0, 0, 0, 0))).await.expect("an answer").into_inner();
    assert_eq!(empty.batch.map(|batch| (batch.first_seq, batch.through_seq)), Some((1, 0)));

    let mut waiting = client.clone();
    let poll = tokio::spawn(async move { waiting.fetch(ask(0, 0, 0, 60)).await });
    // What is not for this consumer does not end the wait.
    for item in ["P", "P", "R"] {
        gate.fake.seal(Lane::Bulk, item, "12345678");
    }
    let batch = soon(poll).await.expect("no panic").expect("an answer").into_inner().batch.expect("a batch");
    let told = (batch.first_seq, batch.through_seq, batch.withheld, batch.records.len());
    assert_eq!(told, (1, 3, 2, 1));

    for item in ["R", "R"] {
        gate.fake.seal(Lane::Bulk, item, "12345678");
    }
    for (what, asked, seqs, more) in [
        ("a page of what is withheld", ask(0, 1, 0, 0), vec![], true),
        ("one", ask(2, 1, 0, 0), vec![3], true),
        ("bytes", ask(2, 0, 16, 0), vec![3, 4], true),
        ("one record always fits", ask(2, 0, 1, 0), vec![3], true),
        ("all", ask(2, 0, 0, 0), vec![3, 4, 5], false),
    ] {
        let answer = soon(client.fetch(asked)).await.expect("an answer").into_inner();
        let told: Vec<u64> = answer.batch.expect("a batch").records.iter().map(|r| r.seq).collect();
        assert_eq!((told, answer.more), (seqs, more), "{what}");
    }
    let alone = soon(client.fetch(ask(99, 0, 0, 0))).await.expect_err("ahead");
    assert_eq!(alone.code(), Code::OutOfRange, "{alone}");
}

#[tokio::test]
async fn acks_that_cannot_be_are_refused_and_move_nothing() {
    let gate = Gate::loopback(CITY).await;
    for _ in 0..3 {
        gate.fake.seal(Lane::Alarm, "A", "fire");
    }
    let mut client = RecordServiceClient::new(gate.channel().await);
    let old = v1::Cursor { stream_epoch: Epoch([1; 16]).0.to_vec(), ..cursor(Lane::Alarm, 1) };
    let cases = [
        ("ahead", cursor(Lane::Alarm, 4), vec![], Code::OutOfRange, "ahead_of_head"),
        ("old epoch", old, vec![], Code::FailedPrecondition, "epoch_changed"),
        ("hash", cursor(Lane::Alarm, 2), vec![9; 32], Code::DataLoss, "hash_mismatch"),
        (
            "lane",
            v1::Cursor { lane: 7, ..cursor(Lane::Alarm, 1) },
            vec![],
            Code::InvalidArgument,
            "malformed",
        ),
    ];
    for (what, upto, head_hash, code, reason) in cases {
        let acks = vec![v1::CumulativeAck { upto: Some(upto), head_hash }];
        let request = v1::AckRequest { request_id: what.into(), acks, witness: None };
        let status = soon(client.ack(request)).await.expect_err(what);
        assert_eq!(status.code(), code, "{what}: {status}");
        let told = status.metadata().get("smallbrain-reason").map(|reason| reason.as_bytes());
        assert_eq!(told, Some(reason.as_bytes()), "{what}");
        assert_eq!(gate.counter(&format!("share_refused_total{{reason=\"{reason}\"}}")), 1, "{what}");
    }
    assert_eq!(gate.fake.acked_now(CITY)[0], Seq(0));
    for (seq, stored) in [(2, 2), (1, 2), (3, 3)] {
        let acks = vec![v1::CumulativeAck { upto: Some(cursor(Lane::Alarm, seq)), head_hash: vec![] }];
        let request = v1::AckRequest { acks, ..v1::AckRequest::default() };
        let answer = soon(client.ack(request)).await.expect("acked").into_inner();
        assert_eq!(answer.confirmations[0].upto.as_ref().map(|c| c.seq), Some(stored));
    }
}

fn said(request: &str, record: &str, kind: &str, text: &str) -> v1::PushFeedbackRequest {
    v1::PushFeedbackRequest {
        request_id: request.into(),
        in_reply_to: record.into(),
        kind: kind.into(),
        text: text.into(),
        ..v1::PushFeedbackRequest::default()
    }
}

#[tokio::test]
async fn what_the_city_says_about_an_alarm_is_kept_once() {
    let gate = Gate::loopback(CITY).await;
    gate.fake.seal(Lane::Alarm, "A", "fire");
    let record = wire::record_id(EPOCH, Lane::Alarm, Seq(1));
    let push = async |asked| soon(client::feedback(&gate.target(), asked)).await.expect("taken");
    for (request, kind, id, duplicate) in [
        ("r-1", "confirmed", "1", false),
        ("r-1", "confirmed", "1", true),
        ("r-2", "dispatched", "2", false),
        ("r-1", "closed", "1", true),
    ] {
        let told = push(said(request, &record, kind, "两人已出发")).await;
        assert_eq!((told.feedback_id.as_str(), told.duplicate), (id, duplicate), "{request} {kind}");
    }
    let kept: Vec<_> = gate.fake.fed().iter().map(|told| (told.request.clone(), told.step)).collect();
    assert_eq!(kept, [("r-1".to_owned(), Step::Confirmed), ("r-2".to_owned(), Step::Dispatched)]);
    assert_eq!(gate.fake.fed()[0].consumer.as_str(), CITY);
    assert_eq!(gate.counter("share_feedback_total"), 2);
    assert_eq!(gate.counter("share_feedback_duplicates_total"), 2);
}

#[tokio::test]
async fn feedback_that_cannot_be_is_refused_and_says_why() {
    let gate = Gate::loopback(CITY).await;
    gate.fake.seal(Lane::Alarm, "A", "fire");
    let record = wire::record_id(EPOCH, Lane::Alarm, Seq(1));
    let other = wire::record_id(EPOCH, Lane::Alarm, Seq(2));
    let long = "x".repeat(129);
    let payload = v1::PushFeedbackRequest { payload: vec![1], ..said("r", &record, "noted", "") };
    let schema = v1::PushFeedbackRequest { schema: "a/1".into(), ..said("r", &record, "noted", "") };
    let secret = "王先生 138".repeat(100);
    for (asked, code, reason, part) in [
        (said("", &record, "noted", ""), Code::InvalidArgument, "malformed", "request_id"),
        (said(&long, &record, "noted", ""), Code::InvalidArgument, "malformed", "request_id"),
        (said("r", "", "noted", ""), Code::InvalidArgument, "malformed", "in_reply_to"),
        (said("r", &long, "noted", ""), Code::InvalidArgument, "malformed", "in_reply_to"),
        (said("r", &record, "raised", ""), Code::InvalidArgument, "malformed", "confirmed, dispatched"),
        (said("r", &record, "", ""), Code::InvalidArgument, "malformed", "confirmed, dispatched"),
        (said("r", &record, "noted", &secret), Code::InvalidArgument, "malformed", "1000 bytes"),
        (payload, Code::InvalidArgument, "malformed", "not used yet"),
        (schema, Code::InvalidArgument, "malformed", "not used yet"),
        (said("r", &other, "noted", ""), Code::NotFound, "record_unknown", &other),
    ] {
        let end = soon(client::feedback(&gate.target(), asked)).await;
        let Err(PullError::Refused(status)) = end else { panic!("{part}: {end:?}") };
        assert_eq!(status.code(), code, "{part}: {status}");
        assert!(status.message().contains(part) && !status.message().contains("王"), "{status}");
        let told = status.metadata().get("smallbrain-reason").map(|reason| reason.as_bytes());
        assert_eq!(told, Some(reason.as_bytes()), "{part}");
    }
    assert!(gate.fake.fed().is_empty());

    let police = Gate::loopback(POLICE).await;
    police.fake.seal(Lane::Alarm, "A", "fire");
    let end = soon(client::feedback(&police.target(), said("r", &record, "noted", ""))).await;
    let Err(PullError::Refused(status)) = end else { panic!("it has no line in the alarm lane: {end:?}") };
    assert_eq!(status.code(), Code::PermissionDenied);
}

/// A clock that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> crate::model::Stamp {
        crate::model::Stamp { wall_ms: 1_790_000_000_000, mono_ms: 5 }
    }
}

#[tokio::test]
async fn a_consumer_that_talks_too_fast_is_told_to_wait() {
    let gate = Gate::of(Fake::new(), CITY, Arc::new(Still)).await;
    gate.fake.seal(Lane::Alarm, "A", "fire");
    let record = wire::record_id(EPOCH, Lane::Alarm, Seq(1));
    let mut client = DownlinkServiceClient::new(gate.channel().await);
    for number in 0..10 {
        soon(client.push_feedback(said(&number.to_string(), &record, "noted", ""))).await.expect("taken");
    }
    let refused = soon(client.push_feedback(said("0", &record, "noted", ""))).await.expect_err("too fast");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(gate.counter("share_refused_total{reason=\"rate\"}"), 1);
    assert_eq!(gate.fake.fed().len(), 10);
}

#[tokio::test]
async fn strangers_are_turned_away_and_a_consumer_sees_its_own_lanes_only() {
    let gate = Gate::loopback("nobody").await;
    let mut records = RecordServiceClient::new(gate.channel().await);
    let mut status = StatusServiceClient::new(gate.channel().await);
    let (_, nothing) = mpsc::channel(1);
    let outbound = tokio_stream::wrappers::ReceiverStream::new(nothing);
    for (what, refused) in [
        ("fetch", soon(records.fetch(v1::FetchRequest::default())).await.err()),
        ("ack", soon(records.ack(v1::AckRequest::default())).await.err()),
        ("pull", soon(records.streaming_pull(outbound)).await.err()),
        ("status", soon(status.get_status(v1::GetStatusRequest {})).await.err()),
    ] {
        assert_eq!(refused.map(|status| status.code()), Some(Code::PermissionDenied), "{what}");
    }
    let gate = Gate::loopback(POLICE).await;
    gate.fake.seal(Lane::Bulk, "P", "x");
    let mut status = StatusServiceClient::new(gate.channel().await);
    let told = soon(status.get_status(v1::GetStatusRequest {})).await.expect("a status").into_inner();
    assert_eq!(told.gateway_id, "gw-1");
    let lanes: Vec<_> = told.lanes.iter().map(|lane| (wire::lane(lane.lane), lane.head_seq)).collect();
    assert_eq!(lanes, [(Some(Lane::Event), 0), (Some(Lane::Bulk), 1)]);
    assert!(told.counters.is_empty() && told.devices.is_empty() && told.alarms.is_empty());
    let after = Some(cursor(Lane::Alarm, 0));
    let mut records = RecordServiceClient::new(gate.channel().await);
    let asked = v1::FetchRequest { after, ..v1::FetchRequest::default() };
    let refused = soon(records.fetch(asked)).await.expect_err("not its lane");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_stream_ends_for_a_newer_one_for_a_lost_line_and_for_a_stop() {
    let gate = Gate::loopback(CITY).await;
    gate.fake.seal(Lane::Alarm, "A", "fire");
    let (_older_asks, mut older) = stream(gate.channel().await).await;
    assert!(matches!(next_frame(&mut older).await, Frame::Batch(_)));
    let (_asks, mut newer) = stream(gate.channel().await).await;
    assert!(matches!(next_frame(&mut newer).await, Frame::Batch(_)));
    let ended = soon(older.message()).await.expect_err("replaced");
    assert_eq!(ended.code(), Code::Aborted);

    gate.lines.send_replace(Arc::from(Vec::new()));
    let ended = soon(newer.message()).await.expect_err("not listed any more");
    assert_eq!(ended.code(), Code::PermissionDenied);

    gate.lines.send_replace(Arc::from(share_list()));
    let (_asks, mut last) = stream(gate.channel().await).await;
    assert!(matches!(next_frame(&mut last).await, Frame::Batch(_)));
    gate.stop.cancel();
    assert!(matches!(next_frame(&mut last).await, Frame::Draining(_)));
    assert!(soon(last.message()).await.expect("a good end").is_none());
    drop((older, newer, last));
    soon(gate.serving).await.expect("no panic").expect("a good end");
    assert_eq!(
        gate.counters.iter().find(|(name, _)| name == "share_streams_open"),
        Some(("share_streams_open".into(), 0))
    );
}

/// A peer that stays connected and does not read must not keep the store open after a stop.
#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_off_after_a_stop() {
    let listener = Listener::Loopback {
        address: "127.0.0.1:0".parse().expect("address"),
        consumer: CITY.parse().expect("consumer"),
    };
    let patience = Patience { grace: Duration::from_millis(50), ..PATIENCE };
    let gate = Gate::open_patiently(Fake::new(), listener, patience).await;
    for seq in 0..200u32 {
        gate.fake.seal(Lane::Bulk, "R", vec![seq as u8; 16 * 1024]);
    }
    let narrow = tonic::transport::Endpoint::from_shared(gate.address.clone())
        .expect("address")
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    let (_asks, told) = stream(narrow.connect().await.expect("connected")).await;
    gate.stop.cancel();
    soon(gate.serving).await.expect("no panic").expect("a good end");
    soon(gate.writer).await.expect("nobody holds the intake any more");
    drop(told);
}

#[tokio::test]
async fn a_message_that_unpacks_to_more_than_the_limit_is_refused() {
    let gate = Gate::loopback(CITY).await;
    let mut client =
        RecordServiceClient::new(gate.channel().await).send_compressed(CompressionEncoding::Zstd);
    let share_items = vec!["0".repeat(MESSAGE_BYTES_MAX + 1)];
    let asked = v1::FetchRequest { share_items, ..v1::FetchRequest::default() };
    let refused = soon(client.fetch(asked)).await.expect_err("too large");
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused}");
}

#[tokio::test]
async fn the_standard_health_service_says_serving() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let gate = Gate::loopback(CITY).await;
    let service = "smallbrain.v1.RecordService".into();
    let mut client = HealthClient::new(gate.channel().await);
    let answer = soon(client.check(HealthCheckRequest { service })).await.expect("an answer").into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
}

#[tokio::test]
async fn plain_text_stays_on_loopback_and_sockets_do_not_steal() {
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let consumer = CITY.parse().expect("consumer");
        let listener = Listener::Loopback { address: open.parse().expect("address"), consumer };
        assert!(matches!(bind(&listener).await, Err(BindError::NotLoopback(_))), "{open}");
    }
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("city.sock");
    let listener = Listener::Unix { path: path.clone(), consumer: CITY.parse().expect("consumer") };
    let gate = Gate::open(Fake::new(), listener.clone()).await;
    gate.fake.seal(Lane::Alarm, "A", "fire");
    let mut puller =
        Puller::new(Settings { target: gate.target(), ..Settings::default() }, Position::default());
    soon(puller.run(&CancellationToken::new(), each(|_, _, _| Ok(ControlFlow::Continue(())))))
        .await
        .expect("pulled");
    assert_eq!(puller.position().lanes[&Lane::Alarm].seq, 1);
    assert!(matches!(bind(&listener).await, Err(BindError::InUse(_))));
    gate.stop.cancel();
    soon(gate.serving).await.expect("no panic").expect("a good end");
    assert!(!path.exists(), "the socket goes with its listener");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("left behind"));
    assert!(bind(&listener).await.is_ok(), "what a dead process left is taken over");
    std::fs::write(&path, "").expect("a file");
    assert!(matches!(bind(&listener).await, Err(BindError::Unix(..))), "a file is not removed");
}

/// A certificate authority in a directory.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let root = params.self_signed(&key).expect("root");
        std::fs::write(dir.join(format!("{name}.pem")), root.pem()).expect("written");
        Self { issuer: Issuer::new(params, key), dir: dir.to_owned() }
    }

    /// Certificate and key files of a leaf.
    fn leaf(&self, name: &str, uris: &[&str]) -> (PathBuf, PathBuf) {
        self.issue(name, uris, |_| {})
    }

    /// The same, with something else about it.
    fn issue(
        &self,
        name: &str,
        uris: &[&str],
        other: impl FnOnce(&mut CertificateParams),
    ) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        let uri = |uri: &&str| SanType::URI((*uri).try_into().expect("ASCII"));
        params.subject_alt_names.extend(uris.iter().map(uri));
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        other(&mut params);
        let key = KeyPair::generate().expect("key");
        let leaf = params.signed_by(&key, &self.issuer).expect("signed");
        let paths = (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")));
        std::fs::write(&paths.0, leaf.pem()).expect("written");
        std::fs::write(&paths.1, key.serialize_pem()).expect("written");
        paths
    }

    /// Writes a revocation list of these serial numbers.
    fn revoke(&self, path: &Path, serials: &[u64]) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2026, 2, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        std::fs::write(path, list.signed_by(&self.issuer).expect("signed").pem().expect("PEM"))
            .expect("written");
    }
}

#[tokio::test]
async fn only_a_certificate_with_one_known_name_gets_in() {
    let dir = tempfile::tempdir().expect("directory");
    let (ours, theirs) = (Authority::new(dir.path(), "ca"), Authority::new(dir.path(), "other"));
    let (certificate, key) = ours.leaf("gateway", &[]);
    let listener = Listener::Tls {
        address: "127.0.0.1:0".parse().expect("address"),
        certificate,
        key: key.clone(),
        client_ca: dir.path().join("ca.pem"),
        client_crl: None,
    };
    let gate = Gate::open(Fake::new(), listener).await;
    let cases = [
        ("right", Some(ours.leaf("right", &[CITY])), None),
        ("two names", Some(ours.leaf("two", &[CITY, POLICE])), Some(Code::Unauthenticated)),
        ("no name", Some(ours.leaf("none", &[])), Some(Code::Unauthenticated)),
        ("unknown name", Some(ours.leaf("unknown", &["spiffe://else"])), Some(Code::PermissionDenied)),
        ("other authority", Some(theirs.leaf("wrong", &[CITY])), Some(Code::Unavailable)),
        ("no certificate", None, Some(Code::Unavailable)),
    ];
    for (what, leaf, code) in cases {
        let (certificate, key) = leaf.unzip();
        let ca = Some(dir.path().join("ca.pem"));
        let target = Target { gateway: gate.address.clone(), ca, certificate, key };
        let mut puller = Puller::new(Settings { target, ..Settings::default() }, Position::default());
        let end =
            soon(puller.run(&CancellationToken::new(), each(|_, _, _| Ok(ControlFlow::Continue(()))))).await;
        let told = match &end {
            Ok(()) => None,
            Err(PullError::Refused(status)) => Some(status.code()),
            // The handshake fails while connecting or with the first call.
            Err(PullError::Target(..)) => Some(Code::Unavailable),
            Err(error) => panic!("{what}: {error}"),
        };
        let broken = |code| matches!(code, Some(Code::Unavailable | Code::Unknown));
        assert!(told == code || (broken(told) && broken(code)), "{what}: {end:?}");
    }
    std::fs::write(&key, "no key").expect("written");
    let listener = Listener::Tls {
        address: "127.0.0.1:0".parse().expect("address"),
        certificate: dir.path().join("gateway.crt"),
        key,
        client_ca: dir.path().join("ca.pem"),
        client_crl: None,
    };
    assert!(matches!(bind(&listener).await, Err(BindError::Tls(..))));
}

#[tokio::test]
async fn renewed_certificates_are_taken_up_without_a_restart() {
    let dir = tempfile::tempdir().expect("directory");
    let old = Authority::new(dir.path(), "ca");
    let (certificate, key) = old.leaf("gateway", &[]);
    let client_ca = dir.path().join("ca.pem");
    let address = "127.0.0.1:0".parse().expect("address");
    let listener =
        Listener::Tls { address, certificate, key, client_ca: client_ca.clone(), client_crl: None };
    let patience = Patience { renewal: Duration::from_millis(20), ..PATIENCE };
    let gate = Gate::open_patiently(Fake::new(), listener, patience).await;
    gate.fake.seal(Lane::Alarm, "A", "fire");

    let renewed = Authority::new(dir.path(), "renewed");
    let (city, city_key) = renewed.leaf("city", &[CITY]);
    let target = Target {
        gateway: gate.address.clone(),
        ca: Some(dir.path().join("renewed.pem")),
        certificate: Some(city),
        key: Some(city_key),
    };
    assert!(soon(target.connect()).await.is_err(), "the gateway's certificate is still of the old authority");
    renewed.leaf("gateway", &[]);
    std::fs::copy(dir.path().join("renewed.pem"), &client_ca).expect("copied");
    let settings = Settings { target, follow: true, limit: Some(1), ..Settings::default() };
    let mut puller = Puller::new(settings, Position::default());
    soon(puller.run(&CancellationToken::new(), each(|_, _, _| Ok(ControlFlow::Continue(())))))
        .await
        .expect("pulled");
    assert_eq!(puller.position().lanes[&Lane::Alarm].seq, 1);
}

/// A daemon with one device and one alarm.
struct Daemon;

impl Inside for Daemon {
    fn counters(&self) -> Vec<(String, u64)> {
        vec![("received".into(), 7)]
    }
    fn devices(&self) -> Vec<DeviceState> {
        let device: DeviceId = "smoke-3".parse().expect("device");
        vec![DeviceState { device, last_seen_ms: Some(5_000), readings: 7, presence: None }]
    }
    fn degraded(&self) -> Vec<String> {
        vec!["clock not set".into()]
    }
    fn severity(&self, alarm: &str) -> Option<Severity> {
        (alarm == "smoke-high").then_some(Severity::Critical)
    }
    fn policy_version(&self) -> u64 {
        3
    }
    fn storage_bytes_free(&self) -> u64 {
        1 << 30
    }
}

#[tokio::test]
async fn the_local_socket_tells_everything() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("status.sock");
    let fake = Fake::new();
    for _ in 0..4 {
        fake.seal(Lane::Bulk, "R", "x");
    }
    for (consumer, upto) in [(CITY, 3), (POLICE, 2)] {
        let (consumer, upto) = (consumer.parse().expect("consumer"), Seq(upto));
        let ack = crate::ingest::Ack { consumer, epoch: EPOCH, lane: Lane::Bulk, upto, head_hash: None };
        fake.ack(&ack).expect("acked");
    }
    let (_lines, watched) = watch::channel(Arc::from(share_list()));
    let local = Local {
        gateway: Gateway { id: "gw-1".into(), ..Gateway::default() },
        lines: watched,
        pages: fake,
        inside: Arc::new(Daemon),
        clock: Arc::new(SystemClock::default()),
    };
    let socket = listen::unix(&path, local::SOCKET_MODE).expect("bound");
    let stop = CancellationToken::new();
    let serving = tokio::spawn(local::serve(socket, local, tonic::service::Routes::default(), stop.clone()));
    let told = soon(crate::cli::status::ask(&path)).await.expect("a status");
    assert_eq!((told.gateway_id.as_str(), told.catalog_version), ("gw-1", 3));
    assert_eq!(told.lanes.len(), Lane::ALL.len());
    let bulk = &told.lanes[Lane::Bulk.index()];
    assert_eq!((bulk.head_seq, bulk.acked_seq), (4, 2), "the slowest consumer");
    assert_eq!(told.counters["received"], 7);
    assert_eq!((told.devices[0].readings, told.alarms[0].severity()), (7, v1::Severity::Critical));
    assert_eq!(told.degraded, ["clock not set"]);
    stop.cancel();
    soon(serving).await.expect("no panic").expect("a good end");
}
