//! Certificates that do not hold, or do not hold any more, and those that are renewed meanwhile.

use rcgen::SerialNumber;
use tokio::net::TcpStream;

use super::*;

/// A gateway with TLS and the authority of its clients.
struct Site {
    gate: Gate,
    ours: Authority,
    dir: tempfile::TempDir,
}

impl Site {
    async fn open(clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let ours = Authority::new(dir.path(), "ca");
        let (certificate, key) = ours.leaf("gateway", &[]);
        let crl = dir.path().join("city.crl");
        ours.revoke(&crl, &[666]);
        let listener = Listener::Tls {
            address: "127.0.0.1:0".parse().expect("address"),
            certificate,
            key,
            client_ca: dir.path().join("ca.pem"),
            client_crl: Some(crl),
        };
        let patience = Patience { renewal: Duration::from_millis(20), ..PATIENCE };
        let gate = Gate::open_timed(Fake::new(), listener, patience, clock).await;
        Self { gate, ours, dir }
    }

    fn target(&self, leaf: Option<(PathBuf, PathBuf)>) -> Target {
        let (certificate, key) = leaf.unzip();
        let ca = Some(self.dir.path().join("ca.pem"));
        Target { gateway: self.gate.address.clone(), ca, certificate, key }
    }

    /// The status of one call; the handshake fails while connecting or with the first call.
    async fn calls(&self, leaf: Option<(PathBuf, PathBuf)>) -> Result<(), Option<Status>> {
        let channel = soon(self.target(leaf).connect()).await.map_err(|_| None)?;
        let mut client = StatusServiceClient::new(channel);
        soon(client.get_status(v1::GetStatusRequest {})).await.map(drop).map_err(Some)
    }

    /// Waits until a counter is there; the gateway may count after the client has heard.
    async fn counted(&self, reason: &str, count: u64) {
        let name = format!("share_tls_refused_total{{reason=\"{reason}\"}}");
        let reached = async {
            while self.gate.counter(&name) < count {
                tokio::task::yield_now().await;
            }
        };
        soon(reached).await;
        assert_eq!(self.gate.counter(&name), count, "{reason}");
    }

    fn leaf(&self, name: &str, serial: u64) -> (PathBuf, PathBuf) {
        self.ours.issue(name, &[CITY], |params| params.serial_number = Some(SerialNumber::from(serial)))
    }
}

/// The next batch, or the end.
async fn batch(told: &mut Streaming<v1::StreamingPullResponse>) -> Option<v1::RecordBatch> {
    loop {
        match soon(told.message()).await.ok()??.frame {
            Some(Frame::Batch(batch)) => return Some(batch),
            _ => continue,
        }
    }
}

#[tokio::test]
async fn each_certificate_that_does_not_hold_is_turned_away_for_its_reason() {
    let site = Site::open(Arc::new(SystemClock::default())).await;
    let (_asks, mut told) =
        stream(site.target(Some(site.leaf("good", 1))).connect().await.expect("connected")).await;
    let theirs = Authority::new(site.dir.path(), "other");
    let between = |from: i32, until: i32| {
        site.ours.issue(&format!("of-{from}"), &[CITY], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    };
    for (reason, leaf) in [
        ("unknown_issuer", Some(theirs.leaf("theirs", &[CITY]))),
        ("revoked", Some(site.leaf("revoked", 666))),
        ("expired", Some(between(2000, 2001))),
        ("not_yet_valid", Some(between(2998, 2999))),
        ("no_certificate", None),
    ] {
        assert!(site.calls(leaf).await.is_err(), "{reason}");
        site.counted(reason, 1).await;
        site.gate.fake.seal(Lane::Alarm, "A", "fire");
        assert!(batch(&mut told).await.is_some(), "the neighbour is served: {reason}");
    }
    for (what, uris) in [("two", &[CITY, POLICE][..]), ("none", &[])] {
        let refused = site.calls(Some(site.ours.leaf(what, uris))).await.expect_err(what).expect("a status");
        assert_eq!(refused.code(), Code::Unauthenticated, "{what}");
        assert_eq!(bad_input::reason(&refused), "IDENTITY");
    }
    assert!(site.gate.counter("share_certificate_expires_seconds") > 1_000_000_000);
}

/// The epoch, as a clock without a battery has it.
struct Unset;

impl Clock for Unset {
    fn now(&self) -> crate::model::Stamp {
        crate::model::Stamp { wall_ms: 0, mono_ms: 5 }
    }
}

#[tokio::test]
async fn before_the_clock_is_set_a_certificate_waits_for_time() {
    let site = Site::open(Arc::new(Unset)).await;
    assert!(site.calls(Some(site.leaf("good", 1))).await.is_err());
    site.counted("waiting_for_time", 1).await;
    assert!(site.calls(None).await.is_err());
    site.counted("no_certificate", 1).await;
}

#[tokio::test]
async fn a_revoked_certificate_is_cut_off_and_a_renewal_ends_nothing_else() {
    let site = Site::open(Arc::new(SystemClock::default())).await;
    let one = site.target(Some(site.leaf("one", 1)));
    let police = site.ours.issue("two", &[POLICE], |params| params.serial_number = Some(2u64.into()));
    let (_asks, mut cut) = stream(one.connect().await.expect("connected")).await;
    let channel = site.target(Some(police)).connect().await.expect("connected");
    let (_more, mut stays) = stream(channel).await;
    site.gate.fake.seal(Lane::Alarm, "A", "fire");
    site.gate.fake.seal(Lane::Bulk, "P", "x");
    assert!(batch(&mut cut).await.is_some() && batch(&mut stays).await.is_some());

    // A renewal that is none changes nothing.
    let crl = site.dir.path().join("city.crl");
    std::fs::write(&crl, "no list").expect("written");
    site.gate.lines.send_modify(|_| {});
    site.gate.fake.seal(Lane::Alarm, "A", "fire");
    assert!(batch(&mut cut).await.is_some());
    assert!(site.calls(Some(site.leaf("late", 666))).await.is_err());
    site.counted("revoked", 1).await;

    site.ours.leaf("gateway", &[]);
    site.ours.revoke(&crl, &[1]);
    while batch(&mut cut).await.is_some() {}
    site.counted("revoked", 2).await;
    site.gate.fake.seal(Lane::Bulk, "P", "x");
    assert!(batch(&mut stays).await.is_some(), "it goes on over the renewal");
    assert!(site.calls(Some(site.leaf("again", 1))).await.is_err());
    site.calls(Some(site.leaf("renewed", 3))).await.expect("the renewed one gets in");
}

#[tokio::test]
async fn silent_handshakes_keep_nobody_out() {
    let site = Site::open(Arc::new(SystemClock::default())).await;
    let port = site.gate.address.rsplit(':').next().expect("a port").parse().expect("a number");
    let mut silent = Vec::new();
    for _ in 0..200u32 {
        silent.push(soon(TcpStream::connect(("127.0.0.1", port))).await.expect("connected"));
    }
    let port: u16 = port;
    assert!(port > 0);
    site.calls(Some(site.leaf("good", 1))).await.expect("served");
    assert!(site.gate.counter("share_connections_refused_total{reason=\"crowded\"}") >= 100);
}
