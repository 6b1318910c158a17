//! A handful of friendly MQTT devices: doors, thermometers, smoke detectors, water meters.
//!
//! What they say follows from a seed; doors send card numbers, names and telephone numbers (all synthetic), and the
//! report names every personal value that was sent, so that a test can look for it where it must not be. Each device is
//! a client of its own (`rumqttc`, QoS 1, 3.1.1) that reconnects and sends again. No TLS, no subscriptions.

use std::collections::{BTreeSet, VecDeque};
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::load::User;
use crate::backoff::Backoff;
use crate::clock::{Clock as _, SystemClock};

/// What a device is; also the name of its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `open`, and of who came in `card`, `name` and `phone`.
    Door,
    /// `temperature` (Cel), `humidity` (%), `battery` (%).
    Thermometer,
    /// `smoke` (% obscuration), `alarm`, `battery` (%): an alarm of three messages within every twenty.
    Smoke,
    /// `volume` (m3, never falling), `flow` (m3/h).
    Water,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Door, Kind::Thermometer, Kind::Smoke, Kind::Water];

    /// The name: of the kind, and of its devices before the number.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Door => "door",
            Kind::Thermometer => "thermometer",
            Kind::Smoke => "smoke",
            Kind::Water => "water",
        }
    }
}

/// Which devices, and where they publish.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Topic is `{prefix}/{device}/up`.
    pub prefix: String,
    /// Credentials, where the server wants them.
    pub user: Option<User>,
    /// How many of each kind, in the order of [`Kind::ALL`].
    pub counts: [u16; 4],
    /// Between two publishes of a device.
    pub period: Duration,
    /// The same seed says the same things.
    pub seed: u64,
    /// How long to wait for the last acks after the end.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 1883,
            prefix: "compound".into(),
            user: None,
            counts: [2, 3, 1, 1],
            period: Duration::from_secs(1),
            seed: 1,
            drain: Duration::from_secs(5),
        }
    }
}

/// What the devices have done so far; readable while they go on.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages published, each counted once.
    pub published: AtomicU64,
    /// Messages acked.
    pub acked: AtomicU64,
    /// Connections lost or not made.
    pub disconnects: AtomicU64,
}

/// What the devices did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Messages published, each counted once.
    pub published: u64,
    /// Messages acked.
    pub acked: u64,
    /// Connections lost or not made.
    pub disconnects: u64,
    /// Every personal value that was sent, once.
    pub personal: BTreeSet<String>,
}

/// The devices as `(name, kind)`: `door-1`, `door-2`, `thermometer-1` …
#[must_use]
pub fn names(counts: [u16; 4]) -> Vec<(String, Kind)> {
    let of = |(kind, count): (Kind, u16)| (1..=count).map(move |i| (format!("{}-{i}", kind.as_str()), kind));
    Kind::ALL.into_iter().zip(counts).flat_map(of).collect()
}

/// Runs until `stop`, then waits up to `drain` for the last acks. A server that is away is waited for.
pub async fn run(settings: Settings, counters: Arc<Counters>, stop: CancellationToken) -> Report {
    let mut tasks: JoinSet<BTreeSet<String>> = names(settings.counts)
        .into_iter()
        .enumerate()
        .map(|(index, (name, kind))| {
            let seed = settings.seed.wrapping_mul(1 << 16).wrapping_add(index as u64);
            live(settings.clone(), Device::new(name, kind, seed), Arc::clone(&counters), stop.clone())
        })
        .collect();
    let mut personal = BTreeSet::new();
    while let Some(joined) = tasks.join_next().await {
        personal.extend(joined.unwrap_or_default());
    }
    let get = |counter: &AtomicU64| counter.load(Relaxed);
    Report {
        published: get(&counters.published),
        acked: get(&counters.acked),
        disconnects: get(&counters.disconnects),
        personal,
    }
}

/// One device to its end; returns the personal values it sent.
async fn live(
    settings: Settings,
    mut device: Device,
    counters: Arc<Counters>,
    stop: CancellationToken,
) -> BTreeSet<String> {
    let mut options = MqttOptions::new(&device.name, &settings.host, settings.port);
    options.set_clean_session(false).set_keep_alive(Duration::from_secs(30));
    if let Some(user) = &settings.user {
        let (name, password) = user.of(&device.name);
        options.set_credentials(name, password.unwrap_or_default());
    }
    let topic = format!("{}/{}/up", settings.prefix, device.name);
    let (client, events) = AsyncClient::new(options, 16);
    let own = Acks::default();
    let mut personal = BTreeSet::new();
    let publish = async {
        let mut ticks = interval(settings.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut published = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let ts = u64::try_from(SystemClock::default().now().wall_ms).unwrap_or(0);
            let message = device.say(ts);
            tokio::select! {
                () = stop.cancelled() => break,
                sent = client.publish(&topic, QoS::AtLeastOnce, false, message.json) => if sent.is_err() { break },
            }
            personal.extend(message.personal);
            published += 1;
            counters.published.fetch_add(1, Relaxed);
        }
        let _ = timeout(settings.drain, own.reach(published)).await;
        let _ = timeout(settings.drain, client.disconnect()).await;
    };
    tokio::select! {
        () = publish => {}
        () = converse(events, &own, &counters) => {}
    }
    personal
}

/// How many acks a device has.
#[derive(Default)]
struct Acks {
    count: AtomicU64,
    more: Notify,
}

impl Acks {
    async fn reach(&self, wanted: u64) {
        while self.count.load(Relaxed) < wanted {
            self.more.notified().await;
        }
    }
}

/// Drives a client's connection, for ever. The client throws away what is unacknowledged when the server does not know
/// its session any more; a device that must not lose a reading keeps it.
async fn converse(mut events: EventLoop, own: &Acks, counters: &Counters) {
    let mut unacked = VecDeque::new();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                backoff.reset();
                counters.acked.fetch_add(1, Relaxed);
                own.count.fetch_add(1, Relaxed);
                own.more.notify_one();
            }
            Ok(Event::Incoming(Packet::ConnAck(_))) => events.pending = take(&mut unacked),
            Ok(_) => {}
            Err(_) => {
                unacked.append(&mut events.pending);
                counters.disconnects.fetch_add(1, Relaxed);
                sleep(backoff.wait(getrandom::u64().unwrap_or(0))).await;
            }
        }
    }
}

/// What a device says at one moment.
struct Message {
    json: String,
    personal: Vec<String>,
}

/// The state of one device.
struct Device {
    name: String,
    kind: Kind,
    random: Random,
    said: u64,
    /// Hundredths of a degree, or litres.
    level: u64,
}

impl Device {
    fn new(name: String, kind: Kind, seed: u64) -> Self {
        let mut random = Random(seed);
        let level = match kind {
            Kind::Thermometer => 1_800 + random.below(600),
            _ => 10_000 + random.below(90_000),
        };
        let said = random.below(10);
        Self { name, kind, random, said, level }
    }

    fn say(&mut self, ts: u64) -> Message {
        self.said += 1;
        let battery = 100 - (self.said / 500).min(60);
        let random = &mut self.random;
        let (json, personal) = match self.kind {
            Kind::Door => {
                let person = random.below(PEOPLE.len() as u64) as usize;
                let (name, card, phone) = (
                    PEOPLE[person],
                    format!("{:010}", 4_417_001 + person),
                    format!("1380013{:04}", 8_000 + person),
                );
                let json =
                    format!(r#"{{"ts":{ts},"open":true,"card":"{card}","name":"{name}","phone":"{phone}"}}"#);
                (json, vec![card, name.to_owned(), phone])
            }
            Kind::Thermometer => {
                self.level = (self.level + random.below(21)).saturating_sub(10).clamp(500, 3_500);
                let (whole, cents, humidity) = (self.level / 100, self.level % 100, 40 + random.below(20));
                let json = format!(
                    r#"{{"ts":{ts},"temperature":{whole}.{cents:02},"humidity":{humidity},"battery":{battery}}}"#
                );
                (json, vec![])
            }
            Kind::Smoke => {
                let alarm = (10..13).contains(&(self.said % 20));
                let smoke = if alarm { 120 + random.below(80) } else { random.below(5) };
                let (whole, tenths) = (smoke / 10, smoke % 10);
                let json =
                    format!(r#"{{"ts":{ts},"smoke":{whole}.{tenths},"alarm":{alarm},"battery":{battery}}}"#);
                (json, vec![])
            }
            Kind::Water => {
                let litres = random.below(4);
                self.level += litres;
                let (whole, rest, flow) = (self.level / 1_000, self.level % 1_000, litres * 9);
                let json = format!(
                    r#"{{"ts":{ts},"volume":{whole}.{rest:03},"flow":{}.{:02}}}"#,
                    flow / 100,
                    flow % 100
                );
                (json, vec![])
            }
        };
        Message { json, personal }
    }
}

/// Nobody in particular.
pub(super) const PEOPLE: [&str; 12] = [
    "赵一鸣",
    "钱二喜",
    "孙三友",
    "李四维",
    "周五福",
    "吴六顺",
    "郑七巧",
    "王八斗",
    "冯九如",
    "陈十全",
    "褚百川",
    "卫千里",
];

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use rumqttc::mqttbytes::v4;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    fn said(kind: Kind, seed: u64, count: u64) -> Vec<Message> {
        let mut device = Device::new("d-1".into(), kind, seed);
        (0..count).map(|n| device.say(1_763_700_000_000 + n)).collect()
    }

    #[test]
    fn a_seed_says_the_same_and_it_is_json() {
        for kind in Kind::ALL {
            let texts = |seed| said(kind, seed, 50).into_iter().map(|m| m.json).collect::<Vec<_>>();
            assert_eq!(texts(7), texts(7));
            assert_ne!(texts(7), texts(8));
            for text in texts(7) {
                let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                assert!(json["ts"].as_u64() >= Some(1_763_700_000_000), "{text}");
            }
        }
    }

    #[test]
    fn only_doors_send_personal_values_and_all_of_them_are_named() {
        for kind in Kind::ALL {
            for message in said(kind, 3, 200) {
                assert_eq!(message.personal.len(), if kind == Kind::Door { 3 } else { 0 });
                assert!(message.personal.iter().all(|value| message.json.contains(value.as_str())));
            }
        }
    }

    #[test]
    fn every_twenty_messages_hold_one_alarm() {
        for seed in 0..20 {
            let alarms =
                said(Kind::Smoke, seed, 20).iter().filter(|m| m.json.contains(r#""alarm":true"#)).count();
            assert_eq!(alarms, 3, "seed {seed}");
        }
    }

    #[test]
    fn water_never_flows_back() {
        let volumes: Vec<f64> = said(Kind::Water, 5, 500)
            .iter()
            .filter_map(|m| serde_json::from_str::<serde_json::Value>(&m.json).ok()?["volume"].as_f64())
            .collect();
        assert!(volumes.len() == 500 && volumes.is_sorted());
    }

    #[test]
    fn names_are_numbered_per_kind() {
        let names: Vec<_> = names([2, 0, 1, 1]).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["door-1", "door-2", "smoke-1", "water-1"]);
    }

    /// Acks everything; closes each socket after `life` publishes, the last one unacknowledged.
    async fn broker(life: usize) -> (u16, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let port = listener.local_addr().expect("bound").port();
        let came = Arc::new(AtomicU64::new(0));
        let all = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    let (mut input, mut here) = (BytesMut::new(), 0);
                    while stream.read_buf(&mut input).await? > 0 {
                        while let Ok(packet) = v4::Packet::read(&mut input, 1 << 20) {
                            match packet {
                                v4::Packet::Connect(_) => stream.write_all(&[0x20, 2, 0, 0]).await?,
                                v4::Packet::Publish(publish) => {
                                    here += 1;
                                    if here == life {
                                        return Ok(());
                                    }
                                    all.fetch_add(1, Relaxed);
                                    let [high, low] = publish.pkid.to_be_bytes();
                                    stream.write_all(&[0x40, 2, high, low]).await?;
                                }
                                _ => return Ok(()),
                            }
                        }
                    }
                    Ok::<_, std::io::Error>(())
                });
            }
        });
        (port, came)
    }

    #[tokio::test]
    async fn all_is_acked_though_the_server_goes_away() {
        let (port, came) = broker(15).await;
        let counters = Arc::<Counters>::default();
        let stop = CancellationToken::new();
        let settings = Settings { port, period: Duration::from_millis(1), ..Settings::default() };
        let devices = run(settings, Arc::clone(&counters), stop.clone());
        let watch = async {
            while counters.acked.load(Relaxed) < 200 || counters.disconnects.load(Relaxed) < 3 {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(devices, watch) };
        let (report, ()) = timeout(Duration::from_secs(30), both).await.expect("it ends in time");
        assert!(report.published >= 200 && report.disconnects >= 3, "{report:?}");
        assert_eq!(report.acked, report.published);
        assert!(came.load(Relaxed) >= report.published, "acked, but never came");
        assert!(report.personal.len() >= 3 && report.personal.len() <= 36);
    }
}
