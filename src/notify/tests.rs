//! The webhooks over loopback: tests play the other side in plain bytes, and the ledger behind it.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;
use crate::clock::SystemClock;
use crate::ingest::Request;
use crate::ingest::act::{Act, Done, Refused, Told};
use crate::model::{IncidentId, Severity, Step};
use crate::rules::notice::Fate;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const TAKEN: &str = r#"{"errcode":0,"errmsg":"ok"}"#;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn now_ms() -> i64 {
    SystemClock::default().now().wall_ms
}

/// A notice that is due.
pub(super) fn notice(id: u64, recipient: &str) -> Notice {
    Notice {
        id,
        incident: IncidentId(3),
        step: Step::Raised,
        alarm: "door-held".parse().expect("an id"),
        severity: Severity::Major,
        place: Some("B3/lobby".parse().expect("a place")),
        recipient: recipient.parse().expect("an id"),
        made_ms: 1_790_000_000_000,
        due_ms: 0,
        seq: None,
        run: None,
        text: format!("notice {id}"),
        fate: Fate::Waiting,
        tries: 0,
        done_ms: None,
        proof: String::new(),
    }
}

pub(super) fn webhook(recipient: &str, address: &str) -> Webhook {
    Webhook {
        recipient: recipient.parse().expect("an id"),
        address: address.parse().expect("an address"),
        form: Form::Json,
        secret: None,
        ca: None,
        digest_ms: 0,
        fields: Field::ALL.to_vec(),
        english: false,
        gateway: "gw-1".into(),
    }
}

/// Patient, and soon there again.
fn limits() -> Limits {
    let millis = Duration::from_millis;
    let pace = Pace { spacing: millis(1), backoff: (millis(5), millis(20)) };
    Limits { connect: PATIENCE, total: PATIENCE, pace }
}

/// What the other side does with one request.
#[derive(Clone)]
enum Reply {
    /// This status and body.
    Say(u16, &'static str),
    /// Back to where it came from.
    Redirect,
    /// Nothing, ever.
    Hang,
    /// 200, and a body without an end.
    Endless,
    /// 200, once it is told to.
    Wait(Arc<Notify>),
}

/// The other side. The last of its replies is given again and again.
struct Hook {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Hook {
    async fn new(replies: Vec<Reply>) -> Self {
        Self::with(replies, None).await
    }

    async fn with(replies: Vec<Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (counted, count) = watch::channel(0);
        let next = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (replies, seen, next) = (replies.clone(), Arc::clone(&taken), Arc::clone(&next));
                let (counted, tls) = (counted.clone(), tls.clone());
                tokio::spawn(async move {
                    let told = |request| {
                        seen.lock().expect("whole").push(request);
                        counted.send_modify(|count| *count += 1);
                        replies[next.fetch_add(1, Relaxed).min(replies.len() - 1)].clone()
                    };
                    match tls {
                        Some(tls) => converse(tls.accept(stream).await?, told).await,
                        None => converse(stream, told).await,
                    }
                });
            }
        });
        Self { address: format!("{scheme}://localhost:{port}/hook?key=token-1"), seen, count }
    }

    fn webhook(&self, recipient: &str) -> Webhook {
        webhook(recipient, &self.address)
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("whole").clone()
    }

    async fn asked(&mut self, times: usize) {
        soon(self.count.wait_for(|count| *count >= times)).await.expect("the hook is there");
    }
}

/// One request with a body, and its reply.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    told: impl FnOnce(String) -> Reply,
) -> io::Result<()> {
    let mut request = Vec::new();
    let whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        (body.len() >= length.unwrap_or(0)).then_some(text)
    };
    let request = loop {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(request) = whole(&request) {
            break request;
        }
    };
    let say = |status: u16, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status} x\r\n{more}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let reply = match told(request) {
        Reply::Say(status, body) => say(status, "", body),
        Reply::Redirect => say(302, "location: /hook?key=token-2\r\n", ""),
        Reply::Hang => std::future::pending().await,
        Reply::Wait(gate) => {
            gate.notified().await;
            say(200, "", TAKEN)
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 x\r\nconnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 8192]).await?;
            }
        }
    };
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

/// Notices in memory, and who waits for a change of them.
#[derive(Clone)]
struct Notices {
    all: watch::Sender<Vec<Notice>>,
}

impl Ledger for Notices {
    async fn due(&self, recipient: &LineId, now_ms: i64, limit: usize) -> Result<Vec<Notice>, ReadError> {
        let all = self.all.borrow();
        let due = all.iter().filter(|notice| {
            notice.recipient == *recipient && notice.fate == Fate::Waiting && notice.due_ms <= now_ms
        });
        Ok(due.take(limit).cloned().collect())
    }

    async fn next_due(&self, recipient: &LineId) -> Result<Option<i64>, ReadError> {
        let all = self.all.borrow();
        let waiting =
            all.iter().filter(|notice| notice.recipient == *recipient && notice.fate == Fate::Waiting);
        Ok(waiting.map(|notice| notice.due_ms).min())
    }
}

impl Notices {
    fn note(&self, ids: &[u64], end: &Told) {
        self.all.send_modify(|all| {
            for notice in all.iter_mut().filter(|notice| ids.contains(&notice.id)) {
                match end {
                    Told::Delivered(proof) => (notice.fate, notice.proof) = (Fate::Delivered, proof.clone()),
                    Told::Expired(why) => (notice.fate, notice.proof) = (Fate::Expired, why.clone()),
                    Told::Failed { why, again_ms } => {
                        notice.tries += 1;
                        (notice.due_ms, notice.proof) = (*again_ms, why.clone());
                    }
                }
            }
        });
    }

    /// Answers what shells hand in; refuses the first `refusals` reports.
    async fn write(self, mut requests: mpsc::Receiver<Request>, mut refusals: u32) {
        while let Some(request) = requests.recv().await {
            let Request::Act(Act::Told { notices, end }, reply) = request else {
                panic!("only reports come")
            };
            let answer = if refusals > 0 {
                refusals -= 1;
                Err(Refused::Run(0))
            } else {
                self.note(&notices, &end);
                Ok(Done::Noted)
            };
            let _ = reply.send(answer);
        }
    }
}

/// The webhooks between a ledger and the other side.
struct Bench {
    notices: Notices,
    settings: watch::Sender<Arc<Settings>>,
    news: watch::Sender<u64>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    writer: JoinHandle<()>,
    served: JoinHandle<()>,
}

impl Bench {
    fn new(webhooks: Vec<Webhook>, notices: Vec<Notice>) -> Self {
        Self::with(Settings { webhooks, limits: limits() }, notices, 0)
    }

    fn with(settings: Settings, notices: Vec<Notice>, refusals: u32) -> Self {
        let notices = Notices { all: watch::channel(notices).0 };
        let (settings, watcher) = watch::channel(Arc::new(settings));
        let (news, heard) = watch::channel(0);
        let (intake, requests) = Intake::channel(8);
        let (counters, stop) = (Arc::<Counters>::default(), CancellationToken::new());
        let clock = Arc::new(SystemClock::default());
        let writer = tokio::spawn(notices.clone().write(requests, refusals));
        let ledger = notices.clone();
        let served = serve(watcher, ledger, intake, clock, Arc::clone(&counters), heard, stop.clone());
        Self { notices, settings, news, counters, stop, writer, served: tokio::spawn(served) }
    }

    fn add(&self, notice: Notice) {
        self.notices.all.send_modify(|all| all.push(notice));
        self.news.send_modify(|news| *news += 1);
    }

    /// Waits until a notice is as wanted.
    async fn until(&self, id: u64, wanted: impl Fn(&Notice) -> bool) -> Notice {
        let mut all = self.notices.all.subscribe();
        let is = |all: &Vec<Notice>| all.iter().any(|notice| notice.id == id && wanted(notice));
        let all = soon(all.wait_for(is)).await.expect("the ledger is there");
        all.iter().find(|notice| notice.id == id).cloned().expect("it is there")
    }

    async fn delivered(&self, id: u64) -> Notice {
        self.until(id, |notice| notice.fate == Fate::Delivered).await
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| *known == name).map(|(_, count)| count).expect("a counter")
    }

    async fn end(self) {
        self.stop.cancel();
        soon(self.served).await.expect("no panic");
    }
}

#[tokio::test]
async fn what_is_due_arrives_with_a_proof() {
    let hook = Hook::new(vec![Reply::Say(200, TAKEN)]).await;
    let wecom = Webhook { form: Form::Wecom, ..hook.webhook("r") };
    let bench = Bench::new(vec![wecom], vec![notice(1, "r"), notice(2, "another")]);
    assert_eq!(bench.delivered(1).await.proof, "200 sha256:3f1f7d2bbe160de9");
    bench.add(notice(3, "r"));
    bench.delivered(3).await;
    let seen = hook.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].starts_with("POST /hook?key=token-1 HTTP/1.1\r\n"), "{}", seen[0]);
    assert!(seen[0].ends_with(r#"{"msgtype":"text","text":{"content":"notice 1"}}"#), "{}", seen[0]);
    let counts = ["messages_total", "sent_total", "failed_total", "expired_total"]
        .map(|name| bench.count(&format!("notices_{name}")));
    assert_eq!(counts, [2, 2, 0, 0]);
    let counters = Arc::clone(&bench.counters);
    bench.end().await;
    assert!(counters.iter().all(|(name, count)| name != "notices_waiting" || count == 0));
}

#[tokio::test]
async fn what_fails_is_tried_again_and_says_why() {
    let patient = limits();
    let hasty = Limits { total: Duration::from_millis(200), ..patient };
    for (name, form, limits, reply, why) in [
        ("refused", Form::Json, patient, Reply::Say(500, ""), "status 500"),
        (
            "redirected",
            Form::Json,
            patient,
            Reply::Redirect,
            "status 302: a redirect is not followed, enter the address that it leads to",
        ),
        (
            "errcode",
            Form::Wecom,
            patient,
            Reply::Say(200, r#"{"errcode":45009}"#),
            "status 200 with errcode 45009",
        ),
        ("hung", Form::Json, hasty, Reply::Hang, "no answer in time"),
        (
            "endless",
            Form::Dingtalk,
            patient,
            Reply::Endless,
            "status 200 without an errcode: is this the address of a robot, and the form right?",
        ),
    ] {
        let hook = Hook::new(vec![reply, Reply::Say(200, TAKEN)]).await;
        let webhooks = vec![Webhook { form, ..hook.webhook("r") }];
        let bench = Bench::with(Settings { webhooks, limits }, vec![notice(1, "r")], 0);
        let failed = bench.until(1, |notice| notice.tries > 0).await;
        assert_eq!(failed.proof, why, "{name}");
        bench.delivered(1).await;
        assert!(hook.seen().len() >= 2, "{name}");
        assert!(bench.count("notices_failed_total") >= 1, "{name}");
        bench.end().await;
    }
}

/// A redirect that leads back to the webhook is one failure, not a circle.
#[tokio::test]
async fn one_attempt_is_one_request() {
    let hook = Hook::new(vec![Reply::Redirect]).await;
    let slow = Pace { backoff: (PATIENCE * 100, PATIENCE * 100), ..limits().pace };
    let settings = Settings { webhooks: vec![hook.webhook("r")], limits: Limits { pace: slow, ..limits() } };
    let bench = Bench::with(settings, vec![notice(1, "r")], 0);
    bench.until(1, |notice| notice.tries == 1).await;
    bench.add(notice(2, "r"));
    bench.end().await;
    assert_eq!(hook.seen().len(), 1, "news does not end a back-off");
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_it() {
    let hook = Hook::new(vec![Reply::Endless]).await;
    let bench = Bench::new(vec![hook.webhook("r")], vec![notice(1, "r")]);
    let digest = <sha2::Sha256 as sha2::Digest>::digest(vec![b'x'; ANSWER_BYTES_MAX]);
    let first: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(bench.delivered(1).await.proof, format!("200 sha256:{first}"));
    bench.end().await;
}

#[tokio::test]
async fn nobody_there() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let webhook = webhook("r", &format!("http://127.0.0.1:{port}/?key=token-1"));
    let bench = Bench::new(vec![webhook], vec![notice(1, "r")]);
    let failed = bench.until(1, |notice| notice.tries > 0).await;
    assert!(failed.proof.starts_with("no connection: Connection refused"), "{}", failed.proof);
    bench.end().await;
}

#[tokio::test]
async fn several_are_one_message_and_the_digest_keeps_its_distance() {
    let hook = Hook::new(vec![Reply::Say(200, TAKEN)]).await;
    let hour = Webhook { form: Form::Wecom, digest_ms: 3_600_000, ..hook.webhook("r") };
    let bench = Bench::new(vec![hour], (1..=25).map(|id| notice(id, "r")).collect());
    for id in 1..=25 {
        bench.delivered(id).await;
    }
    assert_eq!(hook.seen().len(), 1);
    assert!(hook.seen()[0].contains(r"notice 19\nnotice 20\n另有 5 条"), "{}", hook.seen()[0]);
    bench.add(notice(26, "r"));
    bench.add(Notice { severity: Severity::Critical, ..notice(27, "r") });
    bench.delivered(27).await;
    assert!(hook.seen()[1].contains("notice 27\\nnotice 26"), "critical ends the wait: {}", hook.seen()[1]);
    bench.end().await;
    assert_eq!(hook.seen().len(), 2);
}

#[tokio::test]
async fn one_that_hangs_slows_nobody_else() {
    let gate = Arc::new(Notify::new());
    let mut hung = Hook::new(vec![Reply::Wait(Arc::clone(&gate))]).await;
    let quick = Hook::new(vec![Reply::Say(204, "")]).await;
    let bench = Bench::new(vec![hung.webhook("a"), quick.webhook("b")], vec![notice(1, "a")]);
    hung.asked(1).await;
    for id in 2..10 {
        bench.add(notice(id, "b"));
        bench.delivered(id).await;
    }
    let own = bench.until(1, |_| true).await;
    assert_eq!((hung.seen().len(), own.fate, own.tries), (1, Fate::Waiting, 0), "still in flight");
    gate.notify_one();
    bench.end().await;
}

#[tokio::test]
async fn quiet_hours_end_without_news() {
    let hook = Hook::new(vec![Reply::Say(200, TAKEN)]).await;
    let due_ms = now_ms() + 100;
    let bench = Bench::new(vec![hook.webhook("r")], vec![Notice { due_ms, ..notice(1, "r") }]);
    bench.delivered(1).await;
    assert!(now_ms() >= due_ms);
    bench.end().await;
}

#[tokio::test]
async fn what_is_late_is_given_up() {
    let hook = Hook::new(vec![Reply::Say(500, "")]).await;
    let made_ms = now_ms() - queue::EXPIRES_MS;
    let late = Notice { made_ms, tries: queue::TRIES_MIN - 2, ..notice(1, "r") };
    let bench = Bench::new(vec![hook.webhook("r")], vec![late]);
    let expired = bench.until(1, |notice| notice.fate == Fate::Expired).await;
    assert_eq!((expired.tries, expired.proof.as_str()), (queue::TRIES_MIN - 1, "status 500"));
    assert_eq!((hook.seen().len(), bench.count("notices_expired_total")), (2, 1));
    bench.end().await;
}

/// The ledger did not take the report: the other side gets the message again, and can tell by its key.
#[tokio::test]
async fn the_same_message_has_the_same_key() {
    let hook = Hook::new(vec![Reply::Say(200, TAKEN)]).await;
    let settings = Settings { webhooks: vec![hook.webhook("r")], limits: limits() };
    let bench = Bench::with(settings, vec![notice(1, "r")], 1);
    bench.delivered(1).await;
    let key = |request: &String| {
        let line = request.lines().find(|line| line.starts_with("idempotency-key: "));
        line.map(str::to_owned).expect("a key")
    };
    let keys: Vec<String> = hook.seen().iter().map(key).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
    bench.end().await;
}

#[tokio::test]
async fn new_settings_are_in_force_after_what_is_in_flight() {
    let gate = Arc::new(Notify::new());
    let mut old = Hook::new(vec![Reply::Wait(Arc::clone(&gate))]).await;
    let new = Hook::new(vec![Reply::Say(200, TAKEN)]).await;
    let bench = Bench::new(vec![old.webhook("r")], vec![notice(1, "r")]);
    old.asked(1).await;
    bench.settings.send_replace(Arc::new(Settings { webhooks: vec![new.webhook("r")], limits: limits() }));
    gate.notify_one();
    bench.delivered(1).await;
    bench.add(notice(2, "r"));
    bench.delivered(2).await;
    assert_eq!((old.seen().len(), new.seen().len()), (1, 1));
    bench.end().await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let gate = Arc::new(Notify::new());
    let mut hook = Hook::new(vec![Reply::Wait(Arc::clone(&gate))]).await;
    let bench = Bench::new(vec![hook.webhook("r")], vec![notice(1, "r")]);
    hook.asked(1).await;
    bench.stop.cancel();
    gate.notify_one();
    bench.delivered(1).await;
    bench.end().await;
}

#[tokio::test]
async fn without_a_writer_it_ends() {
    let hook = Hook::new(vec![Reply::Say(200, TAKEN)]).await;
    let bench = Bench::new(vec![hook.webhook("r")], Vec::new());
    bench.writer.abort();
    soon(async {
        while !bench.writer.is_finished() {
            tokio::task::yield_now().await
        }
    })
    .await;
    bench.add(notice(1, "r"));
    soon(bench.served).await.expect("no panic");
}

/// A certificate of an own authority: the acceptor, and the authority's PEM.
fn authority() -> (TlsAcceptor, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).expect("an authority");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}

#[tokio::test]
async fn only_the_own_authority_is_trusted() {
    let (acceptor, pem) = authority();
    let (_, other) = authority();
    let hook = Hook::with(vec![Reply::Say(200, TAKEN)], Some(acceptor)).await;
    assert_eq!(check_roots(pem.as_bytes()), Ok(()));
    assert!(check_roots(b"-----").is_err());
    for (name, ca, trusted) in
        [("own", Some(pem), true), ("other", Some(other), false), ("system", None, false)]
    {
        let ca = ca.map(|pem| pem.into_bytes().into());
        let bench = Bench::new(vec![Webhook { ca, ..hook.webhook("r") }], vec![notice(1, "r")]);
        let end = bench.until(1, |notice| notice.fate == Fate::Delivered || notice.tries > 0).await;
        assert_eq!(end.fate == Fate::Delivered, trusted, "{name}: {}", end.proof);
        bench.end().await;
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tokens live in addresses: neither log nor ledger nor `Debug` shows one, however the attempt ends.
#[tokio::test]
async fn tokens_and_secrets_stay_inside() {
    let log = Log::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(lines);
    let replies = vec![
        Reply::Redirect,
        Reply::Say(500, "token-3"),
        Reply::Say(200, r#"{"errcode":1,"errmsg":"token-3"}"#),
        Reply::Say(200, r#"{"errcode":0,"errmsg":"token-3"}"#),
    ];
    let hook = Hook::new(replies).await;
    let secret = Secret::new(b"token-4");
    let signed = Webhook { secret, form: Form::Dingtalk, ..hook.webhook("r") };
    let nobody = webhook("s", "http://127.0.0.1:1/?key=token-5");
    let unknown = webhook("t", "http://nowhere.invalid/?key=token-6");
    let webhooks = vec![signed, nobody, unknown];
    let mut shown = format!("{:?}", Settings { webhooks: webhooks.clone(), limits: limits() });
    let bench = Bench::new(webhooks, vec![notice(1, "r"), notice(2, "s"), notice(3, "t")]);
    for id in [2, 3] {
        shown += &bench.until(id, |notice| notice.tries > 0).await.proof;
    }
    for tries in 1..=3 {
        shown += &bench.until(1, |notice| notice.tries >= tries).await.proof;
    }
    shown += &bench.delivered(1).await.proof;
    bench.end().await;
    drop(guard);
    let log = String::from_utf8_lossy(&log.0.lock().expect("whole")).into_owned();
    assert!(log.contains("connect"), "the log was looked at: {log}");
    assert!(!log.contains("token"), "{log}");
    assert!(!shown.contains("token"), "{shown}");
}
