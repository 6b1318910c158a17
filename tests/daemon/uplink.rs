//! Push mode on the real binary: it dials a test city, and the city pulls, acknowledges and calls over that link.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustix::process::Signal;
use smallbrain::model::Lane;
use smallbrain::share::client::{Puller, Settings, each};
use smallbrain::share::line::{Line, Pulling};
use smallbrain::share::link::city::{Linked, accept};
use smallbrain::share::position::Position;
use smallbrain::wire::v1;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status, Streaming};
use v1::gateway_link_service_server::{GatewayLinkService, GatewayLinkServiceServer};

use super::device::Device;
use super::gateway::{Gateway, PATIENCE, Site, example, until};

const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";
const OTHER: &str = "spiffe://brain.example/city/310115/brain/traffic";

/// How a city takes a link.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Good,
    /// It says nothing.
    Silent,
    /// Its first frame is none.
    Garbage,
}

/// What a city has of a link.
type Arrived = (Linked, JoinHandle<Status>);

/// A city that gateways dial.
#[derive(Clone)]
struct City {
    mood: Arc<Mutex<Mood>>,
    links: mpsc::Sender<Arrived>,
}

/// Where it is, and what comes.
struct Open {
    city: City,
    address: SocketAddr,
    links: mpsc::Receiver<Arrived>,
}

impl City {
    async fn open(mood: Mood, tls: Option<ServerTlsConfig>) -> Open {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, links) = mpsc::channel(8);
        let city = City { mood: Arc::new(Mutex::new(mood)), links: sender };
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).expect("certificates");
        }
        let router = server.add_service(GatewayLinkServiceServer::new(city.clone()));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Open { city, address, links }
    }

    fn turn(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }
}

#[tonic::async_trait]
impl GatewayLinkService for City {
    type LinkStream = ReceiverStream<Result<v1::LinkResponse, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<v1::LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let (out, frames) = mpsc::channel(16);
        let (mood, links) = (*self.mood.lock().unwrap_or_else(PoisonError::into_inner), self.links.clone());
        let inbound = request.into_inner();
        tokio::spawn(async move {
            match mood {
                Mood::Good => {
                    let welcome = v1::LinkWelcome {
                        reconnect_spread: Some(prost_types::Duration::default()),
                        ..v1::LinkWelcome::default()
                    };
                    let (linked, pump) = accept(inbound, out, welcome).await.expect("a hello");
                    // The test may be over.
                    let _ = links.send((linked, tokio::spawn(pump))).await;
                }
                Mood::Garbage => {
                    // It may have gone.
                    let _ = out.send(Ok(v1::LinkResponse { frame: None })).await;
                    out.closed().await;
                }
                Mood::Silent => out.closed().await,
            }
        });
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}

impl Open {
    /// The next gateway that dials.
    async fn next(&mut self) -> Arrived {
        timeout(PATIENCE, self.links.recv()).await.expect("in time").expect("a link")
    }
}

fn uplink(city: &str, more: &str) -> String {
    format!("{}\n[[uplink]]\ncity = \"{city}\"\nconsumer = \"{CITY}\"\n{more}", example())
}

/// A counter of the uplink.
fn counted(gateway: &Gateway, reason: &str) -> u64 {
    gateway.metric(&format!("smallbrain_uplink_ended_total{{consumer=\"{CITY}\",reason=\"{reason}\"}}"))
}

fn is_connected(gateway: &Gateway) -> bool {
    gateway.metric(&format!("smallbrain_uplink_connected{{consumer=\"{CITY}\"}}")) == 1
}

/// Record ids of what a puller has not yet taken from the alarm lane.
async fn pull(puller: &mut Puller, linked: &Linked) -> Vec<String> {
    let mut ids = Vec::new();
    let taker = each(|batch, _, _| {
        ids.extend(batch.records.iter().map(|record| record.record_id.clone()));
        Ok(ControlFlow::Continue(()))
    });
    let stop = CancellationToken::new();
    let end = timeout(PATIENCE, puller.over(linked, &stop, taker)).await.expect("in time");
    end.expect("it pulls");
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_pulls_acknowledges_and_calls_over_a_link_that_is_cut() {
    let mut city = City::open(Mood::Good, None).await;
    let site = Site::new(&uplink(&format!("http://{}", city.address), ""));
    let gateway = site.start();
    let mut device = Device::of(gateway.mqtt, "one");
    device.publish("compound/smoke-1/up", r#"{"alarm":true}"#);
    let (linked, pump) = city.next().await;
    assert_eq!(linked.hello().protocol_versions, ["smallbrain.v1"]);
    assert!(!linked.hello().heads.is_empty() && linked.hello().stream_epoch.len() == 16);
    until("it is connected", || is_connected(&gateway).then_some(()));

    let settings = Settings { lanes: vec![Lane::Alarm], ack: true, ..Settings::default() };
    let mut puller = Puller::new(settings, Position::default());
    let first = pull(&mut puller, &linked).await;
    assert_eq!(first.len(), 1, "{first:?}");
    let status = linked.status().await.expect("a status");
    let alarms = status.lanes.iter().find(|lane| lane.lane == 1).expect("the alarm lane");
    assert_eq!((alarms.head_seq, alarms.acked_seq), (1, 1), "{status:?}");

    let said = |record: &str| v1::PushFeedbackRequest {
        request_id: "r-1".into(),
        in_reply_to: record.into(),
        kind: "confirmed".into(),
        ..v1::PushFeedbackRequest::default()
    };
    let told = linked.feedback(said(&first[0])).await.expect("taken");
    assert!(!told.duplicate);
    assert!(linked.feedback(said(&first[0])).await.expect("taken").duplicate, "the same code answers");
    let refused = linked.feedback(v1::PushFeedbackRequest { request_id: "r-2".into(), ..said("x") }).await;
    let refused = refused.expect_err("no such record");
    assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
    assert_eq!(refused.metadata().get("smallbrain-reason").expect("a reason"), "record_unknown");

    // A session that is refused ends, and the link goes on; so it does when a newer one takes its place.
    let ahead = v1::Cursor { lane: 1, seq: 99, stream_epoch: linked.hello().stream_epoch.clone() };
    let open = v1::PullOpen { resume: vec![ahead], ..v1::PullOpen::default() };
    let mut session = linked.pull(open).await.expect("a session");
    let end = timeout(PATIENCE, session.message()).await.expect("in time").expect_err("a refusal");
    assert_eq!(end.code(), Code::OutOfRange, "{end:?}");
    let mut older = linked.pull(v1::PullOpen::default()).await.expect("a session");
    let newer = linked.pull(v1::PullOpen::default()).await.expect("a session");
    let end = timeout(PATIENCE, async { while let Ok(Some(_)) = older.message().await {} }).await;
    end.expect("the older one ends");
    let late = older.ask(v1::StreamingPullRequest::default()).await.expect_err("it is over");
    assert_eq!(late.code(), Code::Aborted, "{late:?}");
    drop((older, newer));
    linked.status().await.expect("the link goes on");

    // The line breaks; the gateway dials again, and the city goes on where it was.
    device.publish("compound/smoke-1/up", r#"{"alarm":false}"#);
    pump.abort();
    let (linked, _pump) = city.next().await;
    let second = pull(&mut puller, &linked).await;
    assert!(!second.is_empty() && !second.contains(&first[0]), "{second:?}");
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    let over = timeout(PATIENCE, async { while linked.status().await.is_ok() {} }).await;
    over.expect("a gateway that stops ends its link");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_that_talks_nonsense_or_nothing_is_dialled_again() {
    let mut city = City::open(Mood::Garbage, None).await;
    let site = Site::new(&uplink(&format!("http://{}", city.address), ""));
    let gateway = site.start();
    for (mood, reason) in [(Mood::Garbage, "protocol"), (Mood::Silent, "no_welcome")] {
        city.city.turn(mood);
        until(reason, || (counted(&gateway, reason) > 0).then_some(()));
        assert!(!is_connected(&gateway));
    }
    city.city.turn(Mood::Good);
    let (linked, _pump) = city.next().await;
    linked.status().await.expect("it answers");

    // Without its section there is no link.
    site.swap(&example());
    let over = timeout(PATIENCE, async { while linked.status().await.is_ok() {} }).await;
    over.expect("the link is ended");
}

/// Signs certificates, and keeps them as files.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("params");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        std::fs::write(dir.join("ca.pem"), root.pem()).expect("a file");
        Self { issuer: Issuer::new(params, key), dir: dir.to_owned() }
    }

    /// Certificate and key in PEM form, also as NAME.pem and NAME.key.
    fn leaf(&self, name: &str, uris: &[&str]) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("params");
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("ASCII")));
        params.subject_alt_names.extend(uris);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.issuer).expect("signed");
        std::fs::write(self.dir.join(format!("{name}.pem")), leaf.pem()).expect("a file");
        std::fs::write(self.dir.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
        Identity::from_pem(leaf.pem(), key.serialize_pem())
    }

    fn tls(&self, name: &str, uris: &[&str]) -> ServerTlsConfig {
        let root = std::fs::read(self.dir.join("ca.pem")).expect("a root");
        ServerTlsConfig::new().identity(self.leaf(name, uris)).client_ca_root(Certificate::from_pem(root))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_city_that_is_named_gets_a_link_over_tls() {
    let site = Site::example();
    let authority = Authority::new(site.config().parent().expect("a directory"));
    authority.leaf("gateway", &["spiffe://brain.example/gateway/gw-001"]);
    let files = "ca = \"ca.pem\"\ncertificate = \"gateway.pem\"\nkey = \"gateway.key\"\n";
    let at = |open: &Open| uplink(&format!("https://localhost:{}", open.address.port()), files);
    let wrong = City::open(Mood::Good, Some(authority.tls("other", &[OTHER]))).await;
    let two = City::open(Mood::Good, Some(authority.tls("two", &[CITY, OTHER]))).await;
    let stranger = tempfile::tempdir().expect("a directory");
    let foreign = Authority::new(stranger.path());
    let foreign = City::open(Mood::Good, Some(foreign.tls("foreign", &[CITY]))).await;
    let mut right = City::open(Mood::Good, Some(authority.tls("city", &[CITY]))).await;

    site.swap(&at(&wrong));
    let gateway = site.start();
    until("another city is refused", || (counted(&gateway, "identity") > 0).then_some(()));
    // A changed uplink is counted anew.
    site.swap(&at(&foreign));
    until("a foreign authority is refused", || (counted(&gateway, "tls") > 0).then_some(()));
    site.swap(&at(&two));
    until("two names are refused", || (counted(&gateway, "identity") > 0).then_some(()));
    assert!(!is_connected(&gateway));
    site.swap(&at(&right));
    let (linked, _pump) = right.next().await;
    assert_eq!(linked.status().await.expect("it answers").gateway_id, linked.hello().gateway_id);
    assert!(is_connected(&gateway));
}
