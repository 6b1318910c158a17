//! What peers do wrong: each has its status with an ErrorInfo, is counted, and costs the others nothing.

use std::io::Read;
use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::health_check_response::ServingStatus as Told;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use super::*;

/// What machines read of a refusal.
pub(super) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "smallbrain");
    info.reason
}

fn address(gate: &Gate) -> SocketAddr {
    gate.address.trim_start_matches("http://").parse().expect("an address")
}

/// Somebody who pulls and hears of every alarm, whatever else goes on.
struct Healthy {
    _asks: mpsc::Sender<v1::StreamingPullRequest>,
    told: Streaming<v1::StreamingPullResponse>,
}

impl Healthy {
    async fn of(gate: &Gate) -> Self {
        let (asks, told) = stream(gate.channel().await).await;
        Self { _asks: asks, told }
    }

    async fn is_served(&mut self, gate: &Gate) {
        let seq = gate.fake.seal(Lane::Alarm, "A", "fire");
        loop {
            if let Frame::Batch(batch) = next_frame(&mut self.told).await
                && batch.through_seq == seq.0
            {
                return;
            }
        }
    }
}

fn fetch(lane: Lane) -> v1::FetchRequest {
    v1::FetchRequest { after: Some(cursor(lane, 0)), ..v1::FetchRequest::default() }
}

#[tokio::test]
async fn bytes_that_are_no_http2_end_their_connection() {
    let gate = Gate::loopback(CITY).await;
    let mut healthy = Healthy::of(&gate).await;
    for (number, noise) in [
        &b"GET / HTTP/1.1\r\nHost: city\r\n\r\n"[..],
        &[0x16, 3, 1, 0, 0xFF, 0, 0, 0],
        &[0; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r ",
    ]
    .into_iter()
    .enumerate()
    {
        let mut peer = TcpStream::connect(address(&gate)).await.expect("connected");
        peer.write_all(noise).await.expect("sent");
        // Closed, or reset where not all of it was read.
        let _ = soon(peer.read_to_end(&mut Vec::new())).await;
        healthy.is_served(&gate).await;
        let counted = gate.counter("share_connections_refused_total{reason=\"protocol\"}");
        assert_eq!(counted, number as u64 + 1);
    }
    // The first words of the protocol, and noise after them.
    let mut peer = TcpStream::connect(address(&gate)).await.expect("connected");
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
    peer.write_all(&[0xFF; 4096]).await.expect("sent");
    let _ = soon(peer.read_to_end(&mut Vec::new())).await;
    healthy.is_served(&gate).await;
}

/// 256 silent connections took every place of the listener, for as long as they liked.
#[tokio::test]
async fn a_thousand_silent_connections_keep_nobody_out() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("more files");
    let gate = Gate::loopback(CITY).await;
    let mut healthy = Healthy::of(&gate).await;
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(soon(TcpStream::connect(address(&gate))).await.expect("connected"));
    }
    healthy.is_served(&gate).await;
    let mut newcomer = soon(Healthy::of(&gate)).await;
    newcomer.is_served(&gate).await;
    let crowded = gate.counter("share_connections_refused_total{reason=\"crowded\"}");
    assert!((900..=1_000).contains(&crowded), "{crowded}");
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused_packed_or_not() {
    let gate = Gate::loopback(CITY).await;
    for (number, (packed, bytes)) in [
        (None, MESSAGE_BYTES_MAX + 1),
        (Some(CompressionEncoding::Zstd), 64 << 20),
        (Some(CompressionEncoding::Gzip), 64 << 20),
    ]
    .into_iter()
    .enumerate()
    {
        let mut healthy = Healthy::of(&gate).await;
        let mut client = RecordServiceClient::new(gate.channel().await);
        if let Some(packed) = packed {
            client = client.send_compressed(packed);
        }
        let asked = v1::FetchRequest { share_items: vec!["0".repeat(bytes)], ..fetch(Lane::Alarm) };
        let refused = soon(client.fetch(asked.clone())).await.expect_err("too large");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
        );
        assert!(refused.get_details_retry_info().is_none(), "it does not get smaller by waiting");
        let counted = gate.counter("share_transport_refused_total{reason=\"message_too_large\"}");
        assert_eq!(counted, number as u64 + 1, "{packed:?}");
        healthy.is_served(&gate).await;

        // A newer stream of the same consumer: the healthy one is over.
        let (asks, outbound) = mpsc::channel(4);
        asks.send(frame(Ask::Open(v1::PullOpen::default()))).await.expect("room");
        let told = soon(client.streaming_pull(ReceiverStream::new(outbound))).await.expect("a stream");
        let open = v1::PullOpen { share_items: asked.share_items, ..v1::PullOpen::default() };
        asks.send(frame(Ask::Open(open))).await.expect("room");
        let mut told = told.into_inner();
        let refused = loop {
            if let Err(refused) = soon(told.message()).await {
                break refused;
            }
        };
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE")
        );
    }
    Healthy::of(&gate).await.is_served(&gate).await;
}

#[tokio::test]
async fn frames_that_cannot_be_end_their_stream_with_a_reason() {
    let gate = Gate::loopback(POLICE).await;
    gate.lines.send_replace(Arc::from(vec![line("A", Lane::Alarm, &[POLICE])]));
    gate.fake.seal(Lane::Alarm, "A", "fire");
    let credit = |lane| Ask::Credit(v1::Credit { lane, messages: 1, bytes: 1 });
    let ack = |seq| v1::CumulativeAck { upto: Some(cursor(Lane::Alarm, seq)), ..Default::default() };
    let open = || Ask::Open(v1::PullOpen::default());
    for (what, frames, code, word) in [
        ("an unknown lane", vec![Some(open()), Some(credit(77))], Code::InvalidArgument, "MALFORMED"),
        ("a negative lane", vec![Some(open()), Some(credit(-1))], Code::InvalidArgument, "MALFORMED"),
        ("an arm of another contract", vec![Some(open()), None], Code::InvalidArgument, "MALFORMED"),
        ("no open", vec![None], Code::InvalidArgument, "MALFORMED"),
        ("a second open", vec![Some(open()), Some(open())], Code::InvalidArgument, "MALFORMED"),
        ("an ack ahead", vec![Some(open()), Some(Ask::Ack(ack(2)))], Code::OutOfRange, "AHEAD_OF_HEAD"),
    ] {
        let (asks, outbound) = mpsc::channel(4);
        for frame in frames {
            asks.send(v1::StreamingPullRequest { frame }).await.expect("room");
        }
        let mut client = RecordServiceClient::new(gate.channel().await);
        let told = soon(client.streaming_pull(ReceiverStream::new(outbound))).await.expect("a stream");
        let mut told = told.into_inner();
        let refused = loop {
            match soon(told.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{what}: a good end"),
                Err(refused) => break refused,
            }
        };
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, word), "{what}");
    }
    let refused = RecordServiceClient::new(gate.channel().await)
        .ack(v1::AckRequest { acks: vec![ack(9)], ..Default::default() })
        .await
        .expect_err("ahead");
    let info = refused.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.metadata["lane"].as_str(), info.metadata["head_seq"].as_str()), ("alarm", "1"));
    let mut healthy = Healthy::of(&gate).await;
    healthy.is_served(&gate).await;
    gate.lines.send_replace(Arc::from(Vec::new()));
    let refused = loop {
        if let Err(refused) = soon(healthy.told.message()).await {
            break refused;
        }
    };
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_LISTED"));
}

#[tokio::test]
async fn credit_beyond_all_numbers_is_as_much_as_there_can_be() {
    let gate = Gate::loopback(CITY).await;
    let (asks, mut told) = stream(gate.channel().await).await;
    let lane = wire::lane_number(Lane::Alarm);
    for _ in 0..3 {
        let credit = v1::Credit { lane, messages: u32::MAX, bytes: u64::MAX };
        asks.send(frame(Ask::Credit(credit))).await.expect("room");
    }
    for _ in 0..3 {
        let seq = gate.fake.seal(Lane::Alarm, "A", "fire");
        let Frame::Batch(batch) = next_frame(&mut told).await else { panic!("the alarm") };
        assert_eq!(batch.through_seq, seq.0);
    }
}

/// HTTP/2 frames by hand: a call that is reset as soon as it is there.
fn reset_call(number: u32) -> Vec<u8> {
    let id = (2 * number + 1).to_be_bytes();
    let path = b"/smallbrain.v1.StatusService/GetStatus";
    // HPACK (RFC 7541): POST and http by index, path and authority as literals.
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path);
    block.extend([0x01, 4]);
    block.extend(b"city");
    let mut frames = vec![0, 0, block.len() as u8, 1, 4];
    frames.extend(id);
    frames.extend(block);
    frames.extend([0, 0, 4, 3, 0]);
    frames.extend(id);
    frames.extend([0, 0, 0, 8]);
    frames
}

#[tokio::test]
async fn calls_that_are_reset_as_fast_as_they_come_end_their_connection() {
    let gate = Gate::loopback(CITY).await;
    let mut healthy = Healthy::of(&gate).await;
    let peer = TcpStream::connect(address(&gate)).await.expect("connected");
    let (mut from, mut to) = peer.into_split();
    let flood = tokio::spawn(async move {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        bytes.extend((0..20_000).flat_map(reset_call));
        // The other side closes in the middle of it; this side stays open until that is seen.
        let _ = to.write_all(&bytes).await;
        to
    });
    let mut heard = Vec::new();
    let _ = soon(from.read_to_end(&mut heard)).await;
    drop(soon(flood).await.expect("no panic"));
    healthy.is_served(&gate).await;
}

#[tokio::test]
async fn a_consumer_that_never_reads_keeps_nobody_waiting() {
    let gate = Gate::loopback(CITY).await;
    for seq in 0..400u32 {
        gate.fake.seal(Lane::Bulk, "R", vec![seq as u8; 16 * 1024]);
    }
    let narrow = tonic::transport::Endpoint::from_shared(gate.address.clone())
        .expect("address")
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    let (_asks, _told) = stream(narrow.connect().await.expect("connected")).await;
    let mut client = RecordServiceClient::new(gate.channel().await);
    for _ in 0..3 {
        let answer = soon(client.fetch(fetch(Lane::Bulk))).await.expect("an answer").into_inner();
        assert!(!answer.batch.expect("a batch").records.is_empty());
    }
}

async fn limited(limits: Limits) -> Gate {
    let consumer = CITY.parse().expect("consumer");
    let listener = Listener::Loopback { address: "127.0.0.1:0".parse().expect("address"), consumer };
    Gate::open_limited(Fake::new(), listener, PATIENCE, Arc::new(Still), limits).await
}

#[tokio::test]
async fn a_used_up_quota_holds_back_readings_and_never_an_alarm() {
    let gate = limited(Limits { bytes_per_second: Some(1_000), ..Limits::DEFAULT }).await;
    gate.fake.seal(Lane::Bulk, "R", vec![b'x'; 3_000]);
    let (_asks, mut told) = stream(gate.channel().await).await;
    let Frame::Batch(batch) = next_frame(&mut told).await else { panic!("the first readings") };
    assert_eq!(batch.records.len(), 1, "what fits into what is left, or one that does not");
    // The clock stands: no more readings can come, and what comes is the alarm.
    gate.fake.seal(Lane::Bulk, "R", "more");
    for _ in 0..3 {
        let seq = gate.fake.seal(Lane::Alarm, "A", "fire");
        let Frame::Batch(batch) = next_frame(&mut told).await else { panic!("the alarm") };
        assert_eq!((wire::lane(batch.lane), batch.through_seq), (Some(Lane::Alarm), seq.0));
    }
    assert!(gate.counter("share_paced_total") >= 1 && gate.counter("share_paced_bytes_total") >= 3_000);
    let mut client = RecordServiceClient::new(gate.channel().await);
    let refused = soon(client.fetch(fetch(Lane::Bulk))).await.expect_err("used up");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "QUOTA"));
    let wait = refused.get_details_retry_info().and_then(|retry| retry.retry_delay).expect("when");
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&wait), "{wait:?}");
    soon(client.fetch(fetch(Lane::Alarm))).await.expect("alarms always");
}

#[tokio::test]
async fn calls_above_the_rate_are_told_when_to_come_back() {
    let gate = limited(Limits { calls_per_second: 3, ..Limits::DEFAULT }).await;
    let mut client = StatusServiceClient::new(gate.channel().await);
    for _ in 0..3 {
        soon(client.get_status(v1::GetStatusRequest {})).await.expect("within the rate");
    }
    let refused = soon(client.get_status(v1::GetStatusRequest {})).await.expect_err("above it");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RATE"));
    let wait = refused.get_details_retry_info().and_then(|retry| retry.retry_delay);
    assert_eq!(wait, Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn a_method_that_is_none_has_a_reason_too() {
    let gate = Gate::loopback(CITY).await;
    let mut client = tonic::client::Grpc::new(gate.channel().await);
    client.ready().await.expect("connected");
    let path = "/smallbrain.v1.RecordService/Steal".parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<v1::GetStatusRequest, v1::GetStatusResponse>::default();
    let refused = soon(client.unary(tonic::Request::new(v1::GetStatusRequest {}), path, codec)).await;
    let refused = refused.expect_err("there is none");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unimplemented, "UNIMPLEMENTED"));

    // Fields of a newer contract are passed over; bytes that are no message are refused.
    let codec = tonic_prost::ProstCodec::<v1::AckRequest, v1::GetStatusResponse>::default();
    let path: axum::http::uri::PathAndQuery =
        "/smallbrain.v1.StatusService/GetStatus".parse().expect("a path");
    let newer = v1::AckRequest { request_id: "newer".into(), ..Default::default() };
    client.ready().await.expect("connected");
    soon(client.unary(tonic::Request::new(newer), path.clone(), codec)).await.expect("taken");
    let codec = tonic_prost::ProstCodec::<v1::GetStatusResponse, v1::FetchResponse>::default();
    let path = "/smallbrain.v1.RecordService/Fetch".parse().expect("a path");
    let other = v1::GetStatusResponse { gateway_id: "\u{1}no cursor".into(), ..Default::default() };
    client.ready().await.expect("connected");
    let refused = soon(client.unary(tonic::Request::new(other), path, codec)).await.expect_err("no message");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "MALFORMED"));
}

#[tokio::test]
async fn health_follows_the_store_and_the_stop() {
    let gate = Gate::loopback(CITY).await;
    let mut client = HealthClient::new(gate.channel().await);
    let service = "smallbrain.v1.RecordService".to_owned();
    let watched = soon(client.watch(HealthCheckRequest { service })).await.expect("an answer");
    let mut watched = watched.into_inner();
    let mut next = async || soon(watched.message()).await.expect("told").expect("more").status();
    let mut state = next().await;
    for (writable, expected) in [(true, Told::Serving), (false, Told::NotServing), (true, Told::Serving)] {
        gate.writable.send_replace(writable);
        while state != expected {
            state = next().await;
        }
    }
    gate.stop.cancel();
    while state != Told::NotServing {
        state = next().await;
    }
}

#[tokio::test]
async fn the_contract_can_be_asked_for() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let gate = Gate::loopback(CITY).await;
    let ask = MessageRequest::ListServices(String::new());
    let asked = ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = ServerReflectionClient::new(gate.channel().await);
    let told = soon(client.server_reflection_info(tokio_stream::once(asked))).await.expect("a stream");
    let answer = soon(told.into_inner().message()).await.expect("no error").expect("an answer");
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("a list") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"smallbrain.v1.RecordService".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("local")), "{names:?}");
}

/// A connection that says nothing is not read for ever: the plain listener's side of the handshake.
#[tokio::test]
async fn a_connection_that_closes_before_it_speaks_is_counted() {
    let gate = Gate::loopback(CITY).await;
    let peer = std::net::TcpStream::connect(address(&gate)).expect("connected");
    peer.shutdown(std::net::Shutdown::Write).expect("half closed");
    let mut peer = peer;
    peer.set_nonblocking(false).expect("blocking");
    let end = tokio::task::spawn_blocking(move || peer.read_to_end(&mut Vec::new()));
    let _ = soon(end).await.expect("no panic");
    assert_eq!(gate.counter("share_connections_refused_total{reason=\"gone\"}"), 1);
}
