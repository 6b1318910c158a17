//! The generator against a broker of this file, which reads with another codec and misbehaves on demand.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the broker does with a publish.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Acks all of them.
    Good,
    /// Acks in pairs, the later one first.
    Swaps,
    /// Acks ids that nobody used.
    Invents,
    /// Closes after so many publishes of a socket, and leaves the last three unacknowledged.
    Dies(usize),
    /// Answers CONNECT with this code.
    Refuses(u8),
}

/// (topic, n, dup) of each publish that came.
type Seen = Arc<Mutex<Vec<(String, u64, bool)>>>;

async fn broker(manner: Manner) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let address = listener.local_addr().expect("bound").to_string();
    let seen = Seen::default();
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, manner, Arc::clone(&all)));
        }
    });
    (address, seen)
}

async fn serve(mut stream: TcpStream, manner: Manner, seen: Seen) -> io::Result<()> {
    let (mut input, mut came) = (BytesMut::new(), 0);
    let mut held = None;
    while stream.read_buf(&mut input).await? > 0 {
        let mut out = Vec::new();
        while let Ok(packet) = v4::Packet::read(&mut input, 1 << 20) {
            match packet {
                v4::Packet::Connect(_) => {
                    let code = if let Manner::Refuses(code) = manner { code } else { 0 };
                    out.extend_from_slice(&[0x20, 2, 0, code]);
                }
                v4::Packet::Publish(publish) => {
                    came += 1;
                    let json: serde_json::Value = serde_json::from_slice(&publish.payload)?;
                    let n = json["n"].as_u64().expect("a sequence");
                    seen.lock().expect("no panic").push((publish.topic, n, publish.dup));
                    let id = publish.pkid;
                    let ids = match manner {
                        Manner::Swaps => match held.take() {
                            None => {
                                held = Some(id);
                                vec![]
                            }
                            Some(earlier) => vec![id, earlier],
                        },
                        Manner::Invents => vec![id, id + 1_000],
                        Manner::Dies(after) if came > after - 3 => vec![],
                        _ => vec![id],
                    };
                    for id in ids {
                        out.extend_from_slice(&[0x40, 2]);
                        out.extend_from_slice(&id.to_be_bytes());
                    }
                }
                v4::Packet::Subscribe(_) => out.extend_from_slice(&[0x90, 3, 0, 1, 1]),
                _ => return Ok(()),
            }
        }
        stream.write_all(&out).await?;
        if matches!(manner, Manner::Dies(after) if came >= after) {
            return Ok(());
        }
    }
    Ok(())
}

fn settings(server: String) -> Settings {
    Settings { server, connections: 3, window: 8, count: Some(1_000), ..Settings::default() }
}

async fn bounded(settings: Settings) -> Result<Report, LoadError> {
    let run = run(settings, Arc::default(), CancellationToken::new());
    timeout(Duration::from_secs(30), run).await.expect("it ends in time")
}

fn expected() -> BTreeSet<(String, u64)> {
    (0..1_000).map(|n| (format!("compound/load-{}/up", n % 3 + 1), n / 3 + 1)).collect()
}

/// The ledger's lines; each must be there once.
fn ledger(path: &std::path::Path) -> BTreeSet<(String, u64)> {
    let text = std::fs::read_to_string(path).expect("a ledger");
    let mut entries = BTreeSet::new();
    for line in text.lines() {
        let (device, n) = line.split_once(' ').expect("device and sequence");
        let entry = (format!("compound/{device}/up"), n.parse().expect("a sequence"));
        assert!(entries.insert(entry), "{line} twice");
    }
    entries
}

#[tokio::test]
async fn every_publish_is_acked_once_and_in_the_ledger() {
    let dir = tempfile::tempdir().expect("a directory");
    for threads in [1, 2] {
        let (server, seen) = broker(Manner::Good).await;
        let path = dir.path().join(format!("ledger-{threads}"));
        let report = bounded(Settings { ledger: Some(path.clone()), threads, ..settings(server) }).await;
        let report = report.expect("a report");
        assert_eq!((report.sent, report.acked, report.resent, report.lost), (1_000, 1_000, 0, 0));
        assert!(report.clean() && report.seconds > 0.0 && report.max_ms >= report.p50_ms, "{report}");
        let seen: Vec<_> = seen.lock().expect("no panic").drain(..).map(|(topic, n, _)| (topic, n)).collect();
        assert_eq!(seen.len(), 1_000);
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected());
        assert_eq!(ledger(&path), expected());
    }
}

#[tokio::test]
async fn what_a_dead_server_did_not_ack_is_sent_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, seen) = broker(Manner::Dies(150)).await;
    let path = dir.path().join("ledger");
    let report = bounded(Settings { ledger: Some(path.clone()), reconnect: true, ..settings(server) }).await;
    let report = report.expect("a report");
    assert_eq!((report.sent, report.acked), (1_000, 1_000));
    assert!(report.clean() && report.resent > 0 && report.reconnects == report.lost, "{report}");
    assert_eq!(ledger(&path), expected());
    let mut first = BTreeSet::new();
    for (topic, n, dup) in seen.lock().expect("no panic").drain(..) {
        assert!(first.insert((topic, n)) || dup, "{n} came again without DUP");
    }
    assert_eq!(first, expected());
}

#[tokio::test]
async fn without_reconnect_a_dead_server_ends_the_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let (server, _) = broker(Manner::Dies(150)).await;
    let path = dir.path().join("ledger");
    let report =
        bounded(Settings { ledger: Some(path.clone()), ..settings(server) }).await.expect("a report");
    assert_eq!((report.lost, report.reconnects), (3, 0));
    assert!(report.acked > 0 && report.acked < report.sent, "{report}");
    assert_eq!(ledger(&path).len() as u64, report.acked);
}

#[tokio::test]
async fn wrong_acks_are_counted() {
    let (server, _) = broker(Manner::Swaps).await;
    let even = Settings { connections: 1, ..settings(server) };
    let report = bounded(even).await.expect("a report");
    assert_eq!((report.acked, report.out_of_order, report.clean()), (1_000, 500, false));

    let (server, _) = broker(Manner::Invents).await;
    let report = bounded(settings(server)).await.expect("a report");
    assert_eq!((report.acked, report.out_of_order, report.clean()), (1_000, 0, false));
    assert!(report.unknown >= 997, "{report}");
}

#[tokio::test]
async fn an_unwilling_server_is_an_error_at_the_start() {
    let (server, _) = broker(Manner::Refuses(5)).await;
    let error = bounded(settings(server)).await.expect_err("refused");
    assert!(error.to_string().ends_with("device load-1: CONNECT refused with code 5"), "{error}");
    let error = bounded(settings("127.0.0.1".into())).await.expect_err("no port");
    assert!(matches!(error, LoadError::Resolve { .. }), "{error}");
}

#[tokio::test]
async fn a_rate_is_kept_and_stop_ends_a_run() {
    let (server, _) = broker(Manner::Good).await;
    let paced = Settings { rate: Some(2_000.0), count: Some(200), ..settings(server.clone()) };
    let report = bounded(paced).await.expect("a report");
    assert!(report.acked == 200 && report.seconds >= 0.09, "{report}");

    let counters = Arc::<Counters>::default();
    let stop = CancellationToken::new();
    let endless = run(Settings { count: None, ..settings(server) }, Arc::clone(&counters), stop.clone());
    let watch = async {
        while counters.acked.load(Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(endless, watch) };
    let (report, ()) = timeout(Duration::from_secs(30), both).await.expect("it ends in time");
    let report = report.expect("a report");
    assert!(report.acked >= 100 && report.acked == report.sent, "{report}");
}

#[tokio::test]
async fn those_that_disturb_are_counted_apart() {
    let (server, seen) = broker(Manner::Good).await;
    let disturbed = Settings { flood: 2, deaf: 1, rate: Some(2_000.0), ..settings(server) };
    let report = bounded(disturbed).await.expect("a report");
    assert_eq!((report.sent, report.acked, report.clean()), (1_000, 1_000, true), "{report}");
    let [flood, talk] = [report.flood, report.talk].map(|aside| aside.expect("it was there"));
    assert!(flood.acked > 0 && flood.acked == flood.sent && talk.acked > 0, "{flood:?} {talk:?}");
    let mut counts = std::collections::BTreeMap::<String, u64>::new();
    seen.lock()
        .expect("no panic")
        .iter()
        .for_each(|(topic, ..)| *counts.entry(topic.clone()).or_default() += 1);
    assert_eq!(counts["compound/load-4/up"] + counts["compound/load-5/up"], flood.sent);
    assert_eq!(counts["compound/deaf-1/down"], talk.sent);

    let (server, _) = broker(Manner::Refuses(5)).await;
    let error = bounded(Settings { deaf: 1, ..settings(server) }).await.expect_err("refused");
    assert!(matches!(error, LoadError::Connect { .. }), "{error}");
}

#[test]
fn a_device_fills_its_credentials() {
    let user = User { name: "u-{device}".into(), password: Some("{device}!".into()) };
    assert_eq!(user.of("load-7"), ("u-load-7".into(), Some("load-7!".into())));
    assert_eq!(format!("{user:?}"), "User(u-{device})");
}
