//! The intake over loopback: tests play devices in plain bytes, and the writer behind it.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::SystemClock;
use crate::device::mqtt::onboard::Onboard;
use crate::device::mqtt::rights::Rights;
use crate::device::mqtt::samples::{Meaning, Model, Speaker, Take, Topics, Whose};
use crate::device::mqtt::{self, Access, Front, Mapping, User, auth, topic};
use crate::ingest::{Delivery, Intake, Kept, Request};
use crate::model::{Loss, SeriesKey};
use crate::store::sessions::Saved;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

/// Two devices on `up/{device}`, each with a temperature.
fn mappings() -> Vec<Arc<Mapping>> {
    let take = Take { json: Some("/t".into()), ..Take::default() };
    let model = Arc::new(Model::new(vec![take], None).expect("a pointer"));
    let speaker = |name: &str, key| {
        let (device, series) = (name.parse().expect("a name"), [SeriesKey(key)].into());
        (name.into(), Arc::new(Speaker { device, model: Arc::clone(&model), series }))
    };
    vec![Arc::new(Mapping {
        topics: vec![Topics::Named(topic::Pattern::parse("up/{device}").expect("a pattern"))],
        meaning: Meaning::Json { each: None, device: Whose::Topic },
        speakers: [speaker("d1", 7), speaker("d2", 8)].into(),
    })]
}

/// Everybody is welcome.
fn open() -> mqtt::Settings {
    mqtt::Settings {
        listen: None,
        tls: None,
        limits: mqtt::Limits::DEFAULT,
        access: Access { anonymous: true, ..Access::default() },
        mappings: mappings(),
        tell_incidents: true,
    }
}

/// Only d1 is, which may post on everything below `up`, and its password.
fn closed() -> (mqtt::Settings, String) {
    let (password, hash) = auth::generate().expect("a credential");
    let rights = Rights {
        publish: ["up/#", "else"].into_iter().collect(),
        devices: ["d1".parse().expect("a name")].into(),
        ..Rights::default()
    };
    let user = User { password_hash: Some(hash), rights: Arc::new(rights) };
    let access = Access { users: [("d1".into(), user)].into(), ..Access::default() };
    (mqtt::Settings { access, ..open() }, password)
}

fn settings() -> Settings {
    Settings { listen: ([127, 0, 0, 1], 0).into(), tls: None, limits: Limits::DEFAULT }
}

/// An intake, and the writer's end.
struct Bench {
    address: SocketAddr,
    requests: mpsc::Receiver<Request>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    served: JoinHandle<Result<(), Infallible>>,
    front: Front,
}

impl Bench {
    async fn new(settings: Settings, mqtt: mqtt::Settings) -> Self {
        Self::with(settings, mqtt, None).await
    }

    async fn with(settings: Settings, mqtt: mqtt::Settings, tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
        let address = listener.local_addr().expect("an address");
        let (intake, requests) = Intake::channel(8);
        let (_, watcher) = watch::channel(Arc::new(mqtt));
        let clock = Arc::new(SystemClock::default());
        let front = Front::new(watcher, Saved::default(), intake, clock, Arc::default(), Onboard::default());
        let front = front.expect("a router");
        let (counters, stop) = (Arc::<Counters>::default(), CancellationToken::new());
        let server = Server::new(settings, front.desk(), Arc::clone(&counters));
        let served = tokio::spawn(server.serve(listener, tls, stop.clone()));
        Self { address, requests, counters, stop, served, front }
    }

    async fn dial(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.expect("a connection")
    }

    /// Says something on a connection of its own; what comes back will be there later.
    fn asks(&self, text: impl Into<Vec<u8>>) -> JoinHandle<(u16, String)> {
        let (address, text) = (self.address, text.into());
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(&text).await.expect("sent");
            answer(&mut stream).await
        })
    }

    async fn asked(&self, text: impl Into<Vec<u8>>) -> (u16, String) {
        soon(self.asks(text)).await.expect("an answer")
    }

    /// The next delivery is taken in full.
    async fn store(&mut self) -> Delivery {
        let Request::Post(delivery, reply) = soon(self.requests.recv()).await.expect("a post") else {
            panic!("the intake only posts");
        };
        let kept = Kept { stored: delivery.samples.len() as u64, lost: delivery.lost.total() };
        reply.send(kept).expect("somebody waits");
        delivery
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| *known == name).expect("a metric").1
    }

    async fn end(self) {
        self.stop.cancel();
        let _ = soon(self.served).await.expect("no panic");
    }
}

/// Reads one answer.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> (u16, String) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
            if body.len() >= length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
                return (status, body.to_owned());
            }
        }
        let count = stream.read_buf(&mut bytes).await.expect("the intake answers");
        assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
    }
}

fn post(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n{fields}\r\n");
    [head.as_bytes(), body].concat()
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn stored_comes_after_the_commit_and_not_before() {
    let mut bench = Bench::new(settings(), open()).await;
    let mut stream = bench.dial().await;
    stream.write_all(&post("/up/d1", JSON, br#"{"t":21.50}"#)).await.expect("sent");
    let Request::Post(delivery, reply) = soon(bench.requests.recv()).await.expect("a post") else {
        panic!("the intake only posts");
    };
    assert_eq!(delivery.samples[0].series, SeriesKey(7));

    // Others are answered meanwhile, and this one is not.
    assert_eq!(bench.asked(post("/nobody/knows", JSON, b"{}")).await.0, 404);
    let mut early = [0];
    let heard = stream.try_read(&mut early).expect_err("nothing yet");
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
    reply.send(Kept { stored: 0, lost: 1 }).expect("somebody waits");
    assert_eq!(soon(answer(&mut stream)).await, (200, "{\"stored\":0,\"lost\":1}\n".into()));

    // On the same connection, and with PUT, in pieces.
    let put = post("/up/d2", JSON, br#"{"t":1}"#);
    stream.write_all(&[b"PUT", &put[4..]].concat()).await.expect("sent");
    assert_eq!(bench.store().await.samples[0].series, SeriesKey(8));
    assert_eq!(soon(answer(&mut stream)).await.0, 200);
    let chunked = format!(
        "POST /up/d1 HTTP/1.1\r\nhost: g\r\n{JSON}transfer-encoding: chunked\r\n\r\n3\r\n{{\"t\r\n4\r\n\":2}}\r\n0\r\n\r\n"
    );
    stream.write_all(chunked.as_bytes()).await.expect("sent");
    assert_eq!(bench.store().await.samples.len(), 1);
    assert_eq!(soon(answer(&mut stream)).await.0, 200);
    assert_eq!(bench.count("http_requests_total{status=\"200\"}"), 3);
    assert_eq!(bench.count("http_connections"), 1);
    bench.end().await;
}

#[tokio::test]
async fn what_is_not_taken_is_answered_with_its_reason() {
    let mut bench = Bench::new(settings(), open()).await;
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    let large = format!("{{\"t\":\"{}\"}}", "x".repeat(1 << 20));
    let xml = "--b\r\ncontent-type: application/xml\r\n\r\n<t/>\r\n--b--";
    for (what, request, status, told, lost) in [
        ("no topic", post("/", JSON, b"{}"), 400, "no topic", None),
        ("a wildcard", post("/up/%23", JSON, b"{}"), 400, "no topic", None),
        ("GET", b"GET /up/d1 HTTP/1.1\r\nhost: g\r\n\r\n".to_vec(), 405, "POST and PUT", None),
        ("a deep topic", post(&"/x".repeat(40), JSON, b"{}"), 414, "too deep", None),
        ("xml", post("/up/d1", "content-type: application/xml\r\n", b"<t/>"), 415, "application/json", None),
        (
            "a form",
            post("/up/d1", "content-type: multipart/form-data; boundary=b\r\n", xml.as_bytes()),
            415,
            "xml",
            None,
        ),
        (
            "no boundary",
            post("/up/d1", "content-type: multipart/form-data\r\n", b"--"),
            415,
            "boundary",
            None,
        ),
        ("packed", post("/up/d1", "content-encoding: gzip\r\n", b"x"), 415, "packed", None),
        ("no mapping", post("/down/d1", JSON, b"{}"), 404, "no mapping", None),
        ("too long", post("/up/d1", JSON, large.as_bytes()), 413, "1048576", None),
        ("no such device", post("/up/d3", JSON, b"{}"), 404, "devices pending", Some(Loss::UnknownDevice)),
        ("no json", post("/up/d1", JSON, b"{\"t\":"), 400, "line 1 column 5", Some(Loss::Malformed)),
        ("no body", post("/up/d1", "", b""), 400, "not json", Some(Loss::Malformed)),
        (
            "no utf-8",
            post("/up/d1", JSON, b"{\"t\":\"\xFF\"}"),
            400,
            "utf-8 from byte 6",
            Some(Loss::Malformed),
        ),
        ("deep json", post("/up/d1", JSON, deep.as_bytes()), 200, "\"lost\":1", Some(Loss::Unlisted)),
    ] {
        let asks = bench.asks(request);
        if let Some(loss) = lost {
            assert_eq!(bench.store().await.lost.get(loss), 1, "{what}");
        }
        let (answered, body) = soon(asks).await.expect("an answer");
        assert_eq!(answered, status, "{what}: {body}");
        assert!(body.contains(told), "{what}: {body}");
    }
    // What is stored in part is stored.
    let asks = bench.asks(post("/up/d1", JSON, br#"{"t":{"x":1}}"#));
    assert_eq!(bench.store().await.lost.get(Loss::Invalid), 1);
    assert_eq!(soon(asks).await.expect("an answer"), (200, "{\"stored\":0,\"lost\":1}\n".into()));
    bench.end().await;
}

#[tokio::test]
async fn a_camera_posts_its_event_with_a_picture() {
    let mut bench = Bench::new(settings(), open()).await;
    let picture = vec![0xFF; 700_000];
    let body = [
        &b"--MIME\r\nContent-Disposition: form-data; name=\"event_log\"\r\nContent-Type: application/json\r\n\r\n{\"t\":5}"[..],
        b"\r\n--MIME\r\nContent-Disposition: form-data; name=\"Picture\"; filename=\"p.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n",
        &picture,
        b"\r\n--MIME--\r\n",
    ]
    .concat();
    let asks = bench.asks(post("/up/d1", "content-type: multipart/form-data; boundary=MIME\r\n", &body));
    let delivery = bench.store().await;
    assert_eq!((delivery.samples.len(), delivery.lost.get(Loss::Refused)), (1, 1));
    assert_eq!(soon(asks).await.expect("an answer"), (200, "{\"stored\":1,\"lost\":1}\n".into()));
    assert_eq!(bench.count("http_parts_refused_total"), 1);
    bench.end().await;
}

#[tokio::test]
async fn who_posts_is_known_and_stays_with_its_own() {
    let (mqtt, password) = closed();
    let mut bench = Bench::new(settings(), mqtt).await;
    let basic = |user: &str, password: &str| {
        use base64::Engine;
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        format!("authorization: Basic {token}\r\n")
    };
    let own = basic("d1", &password);
    for (what, path, fields, status) in [
        ("nobody", "/up/d1", String::new(), 401),
        ("a wrong password", "/up/d1", basic("d1", "guessed"), 401),
        ("a wrong user", "/up/d1", basic("d2", &password), 401),
        ("another scheme", "/up/d1", "authorization: Digest username=\"d1\"\r\n".into(), 401),
        ("another topic", "/down/d1", own.clone(), 403),
        ("its topic, of nobody", "/else", own.clone(), 404),
    ] {
        assert_eq!(bench.asked(post(path, &fields, b"{}")).await.0, status, "{what}");
    }
    // A topic of its own, a device that is not.
    let asks = bench.asks(post("/up/d2", &own, br#"{"t":1}"#));
    let delivery = bench.store().await;
    assert_eq!((delivery.samples.len(), delivery.lost.get(Loss::Forbidden)), (0, 1));
    assert_eq!(soon(asks).await.expect("an answer").0, 403);
    let asks = bench.asks(post("/up/d1", &own, br#"{"t":1}"#));
    assert_eq!(bench.store().await.samples.len(), 1);
    assert_eq!(soon(asks).await.expect("an answer").0, 200);
    assert_eq!(bench.count("http_requests_total{status=\"401\"}"), 4);
    bench.end().await;
}

#[tokio::test]
async fn a_certificate_is_its_user() {
    let (mut params, key) = (CertificateParams::default(), KeyPair::generate().expect("a key"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).expect("a root").pem();
    let issuer = Issuer::new(params, key);
    let sign = |name: &str| {
        let (params, key) = (CertificateParams::new(vec![name.into()]), KeyPair::generate().expect("a key"));
        (params.expect("a name").signed_by(&key, &issuer).expect("signed").pem(), key.serialize_pem())
    };
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("a file");
        dir.path().join(name)
    };
    let (certificate, key) = sign("localhost");
    let files = tls::Files {
        certificate: path("server.pem", &certificate),
        key: path("server.key", &key),
        client_ca: Some(path("clients.pem", &root)),
    };
    let (mut mqtt, _) = closed();
    mqtt.access.certificates = [("d1.example".into(), "d1".into())].into();
    mqtt.access.anonymous = true;
    let mut bench = Bench::with(settings(), mqtt, Some(Tls::load(&files).expect("files"))).await;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.as_bytes()).expect("a root")).expect("a root");
    for (name, path, status) in [
        (Some("d1.example"), "/up/d1", 200),
        (Some("d1.example"), "/down/d1", 403),
        (Some("d2.example"), "/up/d1", 401),
        (None, "/up/d1", 401),
    ] {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots.clone());
        let config = match name.map(sign) {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a leaf")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                config.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        let localhost = ServerName::try_from("localhost").expect("a name");
        let connecting = TlsConnector::from(Arc::new(config)).connect(localhost, bench.dial().await);
        let mut stream = soon(connecting).await.expect("a handshake");
        stream.write_all(&post(path, JSON, br#"{"t":1}"#)).await.expect("sent");
        if status == 200 {
            assert_eq!(bench.store().await.samples.len(), 1);
        }
        assert_eq!(soon(answer(&mut stream)).await.0, status, "{name:?} on {path}");
    }
    let mut plain = bench.dial().await;
    plain.write_all(&post("/up/d1", JSON, b"{}")).await.expect("sent");
    let _ = soon(plain.read_to_end(&mut Vec::new())).await;
    assert_eq!(bench.count("http_refused_total{reason=\"tls\"}"), 1);
    bench.end().await;
}

#[tokio::test]
async fn nobody_is_anonymous_beyond_the_machine() {
    let beyond = Settings { listen: ([192, 0, 2, 1], 80).into(), ..settings() };
    let bench = Bench::new(beyond, open()).await;
    assert_eq!(bench.asked(post("/up/d1", JSON, br#"{"t":1}"#)).await.0, 401);
    bench.end().await;
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_cost_nobody_else() {
    let second = Duration::from_secs(1);
    let limits = Limits { head_timeout: second, body_timeout: second, ..Limits::DEFAULT };
    let mut bench = Bench::new(Settings { limits, ..settings() }, open()).await;
    let mut head = bench.dial().await;
    head.write_all(b"POST /up/d1 HT").await.expect("sent");
    let mut body = bench.dial().await;
    body.write_all(b"POST /up/d1 HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\n{").await.expect("sent");
    let idle = bench.dial().await;

    let asks = bench.asks(post("/up/d1", JSON, br#"{"t":1}"#));
    bench.store().await;
    assert_eq!(soon(asks).await.expect("an answer").0, 200, "while they dawdle");
    assert_eq!(soon(answer(&mut body)).await.0, 408);
    for mut stream in [head, body, idle] {
        // A reset is a close too.
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(bench.count("http_requests_total{status=\"408\"}"), 1);
    assert!(bench.count("http_closed_total{reason=\"silent\"}") >= 2);
    bench.end().await;
}

#[tokio::test]
async fn what_is_too_much_is_told_when_to_come_again() {
    let mut mqtt = open();
    mqtt.limits.publish_rate = 1;
    mqtt.limits.publish_burst = 2;
    let limits = Limits { connections_max: 2, ..Limits::DEFAULT };
    let bench = Bench::new(Settings { limits, ..settings() }, mqtt).await;
    let mut stream = bench.dial().await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        stream.write_all(&post("/else", JSON, b"{}")).await.expect("sent");
        statuses.push(soon(answer(&mut stream)).await.0);
    }
    // A test that dawdles for a second is heard once more.
    assert!(statuses[..2] == [404, 404] && statuses[2..].contains(&429), "{statuses:?}");

    let _second = bench.dial().await;
    let mut third = bench.dial().await;
    let _ = soon(third.read_to_end(&mut Vec::new())).await;
    assert_eq!(bench.count("http_refused_total{reason=\"full\"}"), 1);
    bench.end().await;
}

#[tokio::test]
async fn what_is_no_http_is_closed() {
    let bench = Bench::new(settings(), open()).await;
    for noise in [&b"\x16\x03\x01\x00\xFF\x00\r\n\r\n"[..], b"\x10\x0c\x00\x04MQTT\x04\x02\r\n\r\n"] {
        let mut stream = bench.dial().await;
        stream.write_all(noise).await.expect("sent");
        let _ = soon(stream.read_to_end(&mut Vec::new())).await;
    }
    assert_eq!(bench.count("http_closed_total{reason=\"protocol\"}"), 2);
    bench.end().await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let mut bench = Bench::new(settings(), open()).await;
    let (mut idle, mut waits) = (bench.dial().await, bench.dial().await);
    waits.write_all(&post("/up/d1", JSON, br#"{"t":1}"#)).await.expect("sent");
    let Request::Post(_, reply) = soon(bench.requests.recv()).await.expect("a post") else {
        panic!("the intake only posts");
    };
    bench.stop.cancel();
    assert_eq!(soon(idle.read(&mut [0])).await.expect("closed"), 0);
    assert!(!bench.served.is_finished());
    reply.send(Kept { stored: 1, lost: 0 }).expect("somebody waits");
    assert_eq!(soon(answer(&mut waits)).await.0, 200);
    bench.end().await;
}

#[tokio::test]
async fn without_a_writer_nothing_is_said_to_be_stored() {
    let mut bench = Bench::new(settings(), open()).await;
    bench.requests.close();
    assert_eq!(bench.asked(post("/up/d1", JSON, br#"{"t":1}"#)).await.0, 503);
    assert!(bench.front.desk().settings.borrow().access.anonymous);
    bench.end().await;
}
