//! The front over loopback: tests play the devices with raw packets, and the writer behind the intake.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::{QoS, v4};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::onboard::Onboard;
use super::rights::Rights;
use super::samples::{Meaning, Model, Speaker, Take, Topics, Whose};
use super::{
    Access, Commands, Counters, Doors, Front, FrontError, Limits, Mapping, Settings, User, auth, topic,
};
use crate::clock::SystemClock;
use crate::codec::json::TimeForm;
use crate::ingest::{Delivery, Intake, Request};
use crate::model::{Loss, SeriesKey, Value};
use crate::store::sessions::Saved;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("in time")
}

fn limits() -> Limits {
    Limits {
        connections_max: 16,
        packet_bytes_max: 4096,
        inflight_max: 32,
        connect_timeout: PATIENCE,
        subscriptions_max: 4,
        ..Limits::DEFAULT
    }
}

fn settings(limits: Limits) -> Settings {
    Settings {
        listen: Some(([127, 0, 0, 1], 0).into()),
        tls: None,
        limits,
        access: Access { anonymous: true, ..Access::default() },
        mappings: mappings("up/{device}"),
        tell_incidents: true,
    }
}

fn mappings(topic: &str) -> Vec<Arc<Mapping>> {
    let takes = ["/t", "/door"].map(|json| Take { json: Some(json.into()), ..Take::default() });
    let model = Model::new(takes.into(), Some(("/ts".into(), TimeForm::Millis))).expect("pointers");
    let speaker = Speaker {
        device: "d1".parse().expect("a name"),
        model: Arc::new(model),
        series: [SeriesKey(7), SeriesKey(8)].into(),
    };
    vec![Arc::new(Mapping {
        topics: vec![Topics::Named(topic::Pattern::parse(topic).expect("a pattern"))],
        meaning: Meaning::Json { each: None, device: Whose::Topic },
        speakers: [("d1".into(), Arc::new(speaker))].into(),
    })]
}

/// A front, and the writer's end of its intake.
struct Bench {
    address: std::net::SocketAddr,
    requests: mpsc::Receiver<Request>,
    settings: watch::Sender<Arc<Settings>>,
    commands: Commands,
    counters: Arc<Counters>,
    stop: CancellationToken,
    front: JoinHandle<Result<(), FrontError>>,
}

impl Bench {
    async fn new(settings: Settings, capacity: usize) -> Self {
        let listen = settings.listen.expect("an address");
        let listener = TcpListener::bind(listen).await.expect("loopback");
        let address = listener.local_addr().expect("an address");
        let (intake, requests) = Intake::channel(capacity);
        let (settings, watcher) = watch::channel(Arc::new(settings));
        let (counters, stop) = (Arc::<Counters>::default(), CancellationToken::new());
        let clock = Arc::new(SystemClock::default());
        let (saved, onboard) = (Saved::default(), Onboard::default());
        let front = Front::new(watcher, saved, intake, clock, Arc::clone(&counters), onboard);
        let front = front.expect("a router");
        let commands = front.commands();
        let doors = Doors { plain: Some(listener), tls: None };
        let front = tokio::spawn(front.serve(doors, stop.clone()));
        Self { address, requests, settings, commands, counters, stop, front }
    }

    async fn device(&self, id: &str) -> Device {
        let mut device = self.knock().await;
        device.send(&connect(id, true)).await;
        assert_eq!(device.packet().await, [0x20, 2, 0, 0], "CONNACK");
        device
    }

    async fn knock(&self) -> Device {
        let stream = soon(TcpStream::connect(self.address)).await.expect("a connection");
        Device { stream, read: Vec::new() }
    }

    /// The next delivery of a device, unanswered.
    async fn delivery(&mut self) -> (Delivery, oneshot::Sender<()>) {
        match soon(self.requests.recv()).await.expect("the front is there") {
            Request::Deliver(delivery, reply) => (delivery, reply),
            _ => panic!("the front only delivers"),
        }
    }

    /// A writer that stores at once what is remembered of sessions; the deliveries of devices wait as before.
    fn remember_sessions(&mut self) {
        let (forward, rest) = mpsc::channel(1);
        let mut requests = std::mem::replace(&mut self.requests, rest);
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Deliver(delivery, reply) if delivery.samples.is_empty() => drop(reply.send(())),
                    request => drop(forward.send(request).await),
                }
            }
        });
    }

    async fn store(&mut self) -> Delivery {
        let (delivery, reply) = self.delivery().await;
        reply.send(()).expect("somebody waits");
        delivery
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.iter().find(|(known, _)| *known == name).expect("a counter").1
    }
}

/// A device's end of a connection.
struct Device {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Device {
    async fn send(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.expect("the connection stands");
    }

    /// The next packet of less than 128 bytes, whole.
    async fn packet(&mut self) -> Vec<u8> {
        loop {
            if let [_, length, ..] = self.read[..]
                && self.read.len() >= 2 + usize::from(length)
            {
                assert!(length < 0x80);
                return self.read.drain(..2 + usize::from(length)).collect();
            }
            let count = soon(self.stream.read_buf(&mut self.read)).await.expect("the connection stands");
            assert!(count > 0, "closed after {:x?}", self.read);
        }
    }

    /// The front closes; what it still said.
    async fn closed(mut self) -> Vec<u8> {
        while soon(self.stream.read_buf(&mut self.read)).await.unwrap_or(0) > 0 {}
        self.read
    }

    /// Nothing was said before the answer to a ping.
    async fn is_served(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.packet().await, [0xD0, 0]);
    }
}

fn written(packet: v4::Packet) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    packet.write(&mut bytes, 1 << 20).expect("a packet");
    bytes.to_vec()
}

fn connect(id: &str, clean: bool) -> Vec<u8> {
    let mut connect = v4::Connect::new(id);
    (connect.clean_session, connect.keep_alive) = (clean, 60);
    written(v4::Packet::Connect(connect))
}

fn publish(qos: QoS, pkid: u16, topic: &str, payload: &str) -> Vec<u8> {
    let mut publish = v4::Publish::new(topic, qos, payload);
    publish.pkid = pkid;
    written(v4::Packet::Publish(publish))
}

fn up(pkid: u16, t: u32) -> Vec<u8> {
    publish(QoS::AtLeastOnce, pkid, "up/d1", &format!("{{\"t\":{t}}}"))
}

fn subscribe(pkid: u16, filter: &str, qos: QoS) -> Vec<u8> {
    let mut subscribe = v4::Subscribe::new(filter, qos);
    subscribe.pkid = pkid;
    written(v4::Packet::Subscribe(subscribe))
}

fn numbers(delivery: &Delivery) -> Vec<u32> {
    let number = |sample: &crate::model::Sample| match &sample.value {
        Value::Number(number) => number.to_string().parse().expect("small"),
        _ => panic!("a number"),
    };
    delivery.samples.iter().map(number).collect()
}

#[tokio::test]
async fn a_puback_comes_after_the_receipt_and_nothing_else_waits_for_it() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    let mut device = bench.device("d1").await;
    device.send(&subscribe(9, "cmd/d1", QoS::AtLeastOnce)).await;
    assert_eq!(device.packet().await, [0x90, 3, 0, 9, 1]);

    device.send(&[up(1, 10), up(2, 11)].concat()).await;
    let (first, commit_first) = bench.delivery().await;
    assert_eq!(numbers(&first), [10, 11], "one delivery for all of one read");
    device.send(&up(3, 12)).await;
    let (second, commit_second) = bench.delivery().await;
    assert_eq!(numbers(&second), [12]);

    device.is_served().await;
    bench.commands.publish("cmd/d1", b"open", None).await.expect("the router is there");
    assert_eq!(device.packet().await, b"\x32\x0e\x00\x06cmd/d1\x00\x01open");
    device.send(&[0x40, 2, 0, 1]).await;
    device.send(&publish(QoS::AtLeastOnce, 4, "other/topic", "x")).await;

    commit_second.send(()).expect("somebody waits");
    device.is_served().await;
    commit_first.send(()).expect("somebody waits");
    for pkid in 1..=4 {
        assert_eq!(device.packet().await, [0x40, 2, 0, pkid], "in the order of arrival");
    }
    assert_eq!(bench.count("mqtt_acked_total"), 4);
}

#[tokio::test]
async fn samples_carry_what_the_message_said_and_losses_are_counted() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    let mut device = bench.device("d1").await;
    let mut retained = v4::Publish::new("up/d1", QoS::AtMostOnce, r#"{"door":true,"ts":1704912168000}"#);
    retained.retain = true;
    device.send(&written(v4::Packet::Publish(retained))).await;
    let delivery = bench.store().await;
    let [sample] = &delivery.samples[..] else { panic!("one sample") };
    assert_eq!((sample.series, &sample.value), (SeriesKey(8), &Value::Flag(true)));
    assert_eq!((sample.device_ms, sample.retained), (Some(1_704_912_168_000), true));

    for (pkid, topic, payload, loss) in [
        (1, "up/d1", "{\"t\":1", Loss::Malformed),
        (2, "up/d1", "", Loss::Malformed),
        (3, "up/stranger", "{\"t\":1}", Loss::UnknownDevice),
        (4, "up/d1", "{\"t\":[1]}", Loss::Invalid),
        // A renamed field: the device is acknowledged and nothing of it is stored, which somebody has to see.
        (5, "up/d1", "{\"other\":1}", Loss::Unlisted),
    ] {
        device.send(&publish(QoS::AtLeastOnce, pkid, topic, payload)).await;
        let (delivery, reply) = bench.delivery().await;
        assert_eq!((delivery.samples.len(), delivery.lost.total()), (0, 1), "{topic} {payload}");
        assert_eq!(delivery.lost.get(loss), 1, "{topic} {payload}");
        device.is_served().await;
        reply.send(()).expect("somebody waits");
        assert_eq!(device.packet().await, [0x40, 2, 0, pkid as u8]);
    }
    device.send(&publish(QoS::AtLeastOnce, 6, "pu/d1", "{\"t\":1}")).await;
    assert_eq!(device.packet().await, [0x40, 2, 0, 6], "nothing to store, nothing to wait for");
    assert_eq!(bench.count("mqtt_fanout_total"), 1, "but told");
}

#[tokio::test]
async fn a_qos_2_publish_is_handed_on_once() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    bench.remember_sessions();
    let message = publish(QoS::ExactlyOnce, 5, "up/d1", "{\"t\":1}");
    let again = [&[message[0] | 8], &message[1..]].concat();

    let mut device = bench.knock().await;
    device.send(&connect("d1", false)).await;
    assert_eq!(device.packet().await, [0x20, 2, 0, 0]);
    device.send(&message).await;
    let (delivery, reply) = bench.delivery().await;
    assert_eq!(numbers(&delivery), [1]);
    device.send(&again).await;
    device.is_served().await;
    // The line breaks before the commit; the session waits for it.
    drop(device);
    let mut device = bench.knock().await;
    device.send(&connect("d1", false)).await;
    reply.send(()).expect("somebody waits");
    assert_eq!(device.packet().await, [0x20, 2, 1, 0], "session present");
    device.send(&again).await;
    assert_eq!(device.packet().await, [0x50, 2, 0, 5], "PUBREC");
    device.send(&[0x62, 2, 0, 5]).await;
    assert_eq!(device.packet().await, [0x70, 2, 0, 5], "PUBCOMP");
    device.send(&[0x62, 2, 0, 5]).await;
    assert_eq!(device.packet().await, [0x70, 2, 0, 5], "PUBCOMP of what is gone");

    device.send(&message).await;
    let delivery = bench.store().await;
    assert_eq!(numbers(&delivery), [1], "a released id is a new message, and nothing came between");
    assert_eq!(device.packet().await, [0x50, 2, 0, 5]);
}

#[tokio::test]
async fn what_is_malformed_closes_only_its_own_connection() {
    let bench = Bench::new(settings(limits()), 8).await;
    let mut bystander = bench.device("bystander").await;
    let hello = connect("d1", true);
    let after = |bytes: &[u8]| [&hello, bytes].concat();
    let long = v4::Packet::Publish(v4::Publish::new("up/d1", QoS::AtMostOnce, "x".repeat(5000)));
    for (what, bytes) in [
        ("a server's packet first", vec![0x20, 2, 0, 0]),
        ("ping before CONNECT", vec![0xC0, 0]),
        ("reserved type", vec![0xF0, 0]),
        ("CONNECT of 256 MB", vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F]),
        ("endless length", vec![0x10, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("a server's packet", after(&[0x20, 2, 0, 0])),
        ("a server's PINGRESP", after(&[0xD0, 0])),
        ("reserved type later", after(&[0xF0, 0])),
        ("empty topic", after(&[0x30, 2, 0, 0])),
        ("packet id 0", after(&[0x32, 5, 0, 1, b'a', 0, 0])),
        ("QoS 3", after(&[0x36, 5, 0, 1, b'a', 0, 1])),
        ("DUP of QoS 0", after(&[0x38, 3, 0, 1, b'a'])),
        ("wildcard in a topic", after(&[0x30, 5, 0, 3, b'a', b'/', b'+'])),
        ("U+0000 in a topic", after(&[0x30, 3, 0, 1, 0])),
        ("topic is not UTF-8", after(&[0x30, 3, 0, 1, 0xFF])),
        ("topic longer than its packet", after(&[0x30, 3, 0, 9, b'a'])),
        ("two CONNECTs", after(&hello)),
        ("SUBSCRIBE with wrong flags", after(&[0x80, 6, 0, 1, 0, 1, b'a', 0])),
        ("SUBSCRIBE with id 0", after(&[0x82, 6, 0, 0, 0, 1, b'a', 0])),
        ("SUBSCRIBE without filters", after(&[0x82, 2, 0, 1])),
        ("SUBSCRIBE with QoS 3", after(&[0x82, 6, 0, 1, 0, 1, b'a', 3])),
        ("PINGREQ with a body", after(&[0xC0, 1, 0])),
        ("a packet that is too long", after(&written(long))),
    ] {
        let mut device = bench.knock().await;
        device.send(&bytes).await;
        let said = device.closed().await;
        assert!(said.is_empty() || said == [0x20, 2, 0, 0], "{what}: {said:x?}");
        bystander.is_served().await;
    }
    assert_eq!(bench.count("mqtt_refused_total{reason=\"protocol\"}"), 6);
    assert_eq!(bench.count("mqtt_protocol_errors_total"), 18);

    let mut device = bench.device("d1").await;
    device.send(&subscribe(1, "#/a", QoS::AtMostOnce)).await;
    assert_eq!(device.packet().await, [0x90, 3, 0, 1, 0x80], "a wrong filter is refused, nobody closed");
    for (level, answer) in [(3, vec![0x20, 2, 0, 1]), (6, vec![0x20, 3, 0, 0x84, 0])] {
        let mut device = bench.knock().await;
        device.send(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 0, 0, 1, b'x']).await;
        assert_eq!(device.closed().await, answer);
    }
}

#[tokio::test]
async fn a_keep_alive_of_0_is_for_ever_and_of_1_is_not() {
    let bench = Bench::new(settings(limits()), 8).await;
    let hello = |seconds| {
        let mut connect = v4::Connect::new(format!("k{seconds}"));
        connect.keep_alive = seconds;
        written(v4::Packet::Connect(connect))
    };
    let (mut forever, mut second) = (bench.knock().await, bench.knock().await);
    forever.send(&hello(0)).await;
    second.send(&hello(1)).await;
    assert_eq!(second.closed().await, [0x20, 2, 0, 0]);
    assert_eq!(forever.packet().await, [0x20, 2, 0, 0]);
    forever.is_served().await;
    assert_eq!(bench.count("mqtt_closed_total{reason=\"keep_alive\"}"), 1);
}

#[tokio::test]
async fn the_same_client_id_ends_the_connection_before() {
    let bench = Bench::new(settings(limits()), 8).await;
    let old = bench.device("d1/+#$").await;
    let mut new = bench.device("d1/+#$").await;
    assert!(old.closed().await.is_empty());
    new.is_served().await;
    assert_eq!(bench.count("mqtt_closed_total{reason=\"taken_over\"}"), 1);
}

#[tokio::test]
async fn only_who_has_the_password_is_let_in_and_only_as_long_as_it_holds() {
    let (password, hash) = auth::generate().expect("a credential");
    let mut closed = settings(limits());
    closed.access = Access {
        anonymous: false,
        users: [("u".into(), User { password_hash: Some(hash), rights: Arc::new(Rights::everything()) })]
            .into(),
        ..Access::default()
    };
    let bench = Bench::new(closed.clone(), 8).await;
    let hello = |password: Option<&str>| {
        let mut connect = v4::Connect::new("d1");
        if let Some(password) = password {
            connect.set_login("u", password);
        }
        written(v4::Packet::Connect(connect))
    };
    for (given, answer) in [(Some("wrong"), [0x20, 2, 0, 4]), (None, [0x20, 2, 0, 5])] {
        let mut device = bench.knock().await;
        device.send(&hello(given)).await;
        assert_eq!(device.closed().await, answer);
    }
    let mut device = bench.knock().await;
    device.send(&hello(Some(&password))).await;
    assert_eq!(device.packet().await, [0x20, 2, 0, 0]);
    assert_eq!(bench.count("mqtt_refused_total{reason=\"password\"}"), 1);

    bench.settings.send_replace(Arc::new(closed.clone()));
    device.is_served().await;
    closed.access.users.clear();
    bench.settings.send_replace(Arc::new(closed));
    assert!(device.closed().await.is_empty());
}

#[tokio::test]
async fn a_reload_changes_what_a_topic_means() {
    let mut changed = settings(limits());
    let mut bench = Bench::new(changed.clone(), 8).await;
    let mut device = bench.device("d1").await;
    device.send(&publish(QoS::AtLeastOnce, 1, "new/d1", "{\"t\":1}")).await;
    assert_eq!(device.packet().await, [0x40, 2, 0, 1], "no topic of readings yet");
    changed.mappings = mappings("new/{device}");
    bench.settings.send_replace(Arc::new(changed));
    // Until the connection has seen it, the topic is fanned out and acknowledged as before.
    let mut fanned_out = 0;
    let delivery = loop {
        device.send(&publish(QoS::AtLeastOnce, 2, "new/d1", "{\"t\":2}")).await;
        tokio::select! {
            delivery = bench.store() => break delivery,
            packet = device.packet() => {
                assert_eq!(packet, [0x40, 2, 0, 2]);
                fanned_out += 1;
            }
        }
    };
    assert_eq!(numbers(&delivery), [2]);
    assert!(fanned_out < 100);
}

#[tokio::test]
async fn a_full_intake_stops_the_reading_and_loses_nothing() {
    let mut bench = Bench::new(settings(limits()), 1).await;
    let mut device = bench.device("d1").await;
    let all: Vec<u8> = (1..=200).flat_map(|pkid| up(pkid, u32::from(pkid))).collect();
    device.send(&all).await;
    let (mut stored, mut replies) = (Vec::new(), Vec::new());
    while stored.len() < 32 {
        let (delivery, reply) = bench.delivery().await;
        stored.extend(numbers(&delivery));
        replies.push(reply);
    }
    assert_eq!((stored.len(), bench.count("mqtt_publishes_total{qos=\"1\"}")), (32, 32), "inflight_max");
    replies.into_iter().for_each(|reply| reply.send(()).expect("somebody waits"));
    while stored.len() < 200 {
        let delivery = bench.store().await;
        assert!(delivery.samples.len() <= 32);
        stored.extend(numbers(&delivery));
    }
    assert_eq!(stored, (1..=200).collect::<Vec<_>>());
    for pkid in 1..=200 {
        assert_eq!(device.packet().await, [0x40, 2, 0, pkid]);
    }
}

#[tokio::test]
async fn when_the_store_stops_nothing_is_acknowledged() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    let mut device = bench.device("d1").await;
    device.send(&up(1, 1)).await;
    let (_, reply) = bench.delivery().await;
    drop(reply);
    assert!(device.closed().await.is_empty());
    let mut device = bench.device("d1").await;
    bench.requests.close();
    device.send(&up(2, 1)).await;
    assert!(device.closed().await.is_empty());
}

#[tokio::test]
async fn stopping_lets_what_is_in_flight_finish() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    let mut device = bench.device("d1").await;
    device.send(&up(1, 1)).await;
    let (_, reply) = bench.delivery().await;
    bench.stop.cancel();
    reply.send(()).expect("somebody waits");
    assert_eq!(device.closed().await, [0x40, 2, 0, 1]);
    soon(&mut bench.front).await.expect("no panic").expect("no error");
    assert_eq!(bench.count("mqtt_connections"), 0);
    assert!(bench.commands.publish("cmd/d1", b"x", None).await.is_err());
}

#[tokio::test]
async fn messages_are_fanned_out_retained_and_willed() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    bench.remember_sessions();
    let mut hall = bench.device("hall").await;
    hall.send(&subscribe(1, "温度/#", QoS::ExactlyOnce)).await;
    assert_eq!(hall.packet().await, [0x90, 3, 0, 1, 2]);

    let mut gate = bench.knock().await;
    let mut hello = v4::Connect::new("gate");
    hello.last_will = Some(v4::LastWill::new("温度/w", "gone", QoS::AtMostOnce, false));
    gate.send(&written(v4::Packet::Connect(hello))).await;
    assert_eq!(gate.packet().await, [0x20, 2, 0, 0]);
    let mut kept = v4::Publish::new("温度/1", QoS::AtLeastOnce, "21");
    (kept.pkid, kept.retain) = (1, true);
    gate.send(&written(v4::Packet::Publish(kept))).await;
    assert_eq!(gate.packet().await, [0x40, 2, 0, 1]);
    assert_eq!(hall.packet().await, "\x32\x0e\0\x08温度/1\0\x0121".as_bytes());

    let mut late = bench.device("late").await;
    late.send(&subscribe(2, "温度/+", QoS::AtMostOnce)).await;
    assert_eq!(late.packet().await, [0x90, 3, 0, 2, 0]);
    assert_eq!(late.packet().await, "\x31\x0c\0\x08温度/121".as_bytes(), "retained");

    gate.send(&[0x20, 0]).await;
    assert!(gate.closed().await.is_empty());
    assert_eq!(late.packet().await, "\x30\x0e\0\x08温度/wgone".as_bytes(), "the will");
    assert_eq!(hall.packet().await, "\x30\x0e\0\x08温度/wgone".as_bytes(), "the will, at its own QoS");

    late.send(b"\xA2\x0c\0\x03\0\x08\xe6\xb8\xa9\xe5\xba\xa6/+").await;
    assert_eq!(late.packet().await, [0xB0, 2, 0, 3]);
    late.send(b"\xA2\x05\0\x04\0\x01x").await;
    assert_eq!(late.packet().await, [0xB0, 2, 0, 4], "an unknown filter is answered too");
    bench.commands.publish("温度/2", b"x", None).await.expect("the router is there");
    assert_eq!(hall.packet().await, "\x32\x0d\0\x08温度/2\0\x02x".as_bytes());
    late.is_served().await;
}

#[tokio::test]
async fn a_kept_session_gets_its_subscriptions_and_unacknowledged_deliveries_back() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    bench.remember_sessions();
    let mut device = bench.knock().await;
    device.send(&connect("d1", false)).await;
    assert_eq!(device.packet().await, [0x20, 2, 0, 0]);
    device.send(&subscribe(1, "cmd/#", QoS::AtLeastOnce)).await;
    device.packet().await;
    bench.commands.publish("cmd/a", b"1", None).await.expect("the router is there");
    assert_eq!(device.packet().await, b"\x32\x0a\0\x05cmd/a\0\x011");
    drop(device);

    let mut device = bench.knock().await;
    device.send(&connect("d1", false)).await;
    assert_eq!(device.packet().await, [0x20, 2, 1, 0]);
    assert_eq!(device.packet().await, b"\x3a\x0a\0\x05cmd/a\0\x011", "again, marked so");
    bench.commands.publish("cmd/b", b"2", None).await.expect("the router is there");
    assert_eq!(device.packet().await, b"\x32\x0a\0\x05cmd/b\0\x022");
}

#[tokio::test]
async fn refused_subscriptions_say_so() {
    let bench = Bench::new(settings(limits()), 8).await;
    let mut device = bench.device("d1").await;
    for (pkid, filter) in [(1, "$share/g+/a"), (2, "$share/g"), (3, "a/#/b")] {
        device.send(&subscribe(pkid, filter, QoS::AtMostOnce)).await;
        assert_eq!(device.packet().await, [0x90, 3, 0, pkid as u8, 0x80], "{filter}");
    }
    for pkid in 4..=8 {
        device.send(&subscribe(pkid, &format!("f{pkid}"), QoS::AtMostOnce)).await;
        let code = if pkid < 8 { 0 } else { 0x80 };
        assert_eq!(device.packet().await, [0x90, 3, 0, pkid as u8, code], "subscriptions_max");
    }
    assert_eq!(bench.count("mqtt_subscriptions_refused_total"), 1);
}

#[tokio::test]
async fn a_user_keeps_to_what_is_its_own() {
    let (password, hash) = auth::generate().expect("a credential");
    let filters = |filters: &[&str]| filters.iter().copied().collect();
    let user = |rights: Rights| User { password_hash: Some(hash.clone()), rights: Arc::new(rights) };
    let rights = Rights {
        publish: filters(&["up/d2", "up/d1", "state/d2"]),
        subscribe: filters(&["cmd/d2/#"]),
        devices: ["d2".parse().expect("a device")].into(),
        ..Rights::default()
    };
    let mut own = settings(Limits { topic_levels_max: 3, topic_bytes_max: 64, ..limits() });
    own.access = Access { users: [("u".into(), user(rights.clone()))].into(), ..Access::default() };
    let mut bench = Bench::new(own.clone(), 8).await;
    let login = |level: u8| {
        let properties: &[u8] = if level == 5 { &[0] } else { &[] };
        let head = [b"\0\x04MQTT".as_slice(), &[level, 0xC2, 0, 60], properties].concat();
        let body = [&head, b"\0\x02id\0\x01u\0\x18".as_slice(), password.as_bytes()].concat();
        [&[0x10, body.len() as u8], body.as_slice()].concat()
    };

    let mut device = bench.knock().await;
    device.send(&login(5)).await;
    assert_eq!(device.packet().await[2..4], [0, 0]);
    let came = bench.store().await.presence;
    assert!(came.len() == 1 && came[0].online && came[0].device.as_str() == "d2");
    device.send(b"\x32\x0d\0\x05up/d9\0\x01\0{} ").await;
    assert_eq!(device.packet().await, [0x40, 3, 0, 1, 0x87], "not its topic");
    device.send(b"\x32\x0c\0\x07a/b/c/d\0\x02\0").await;
    assert_eq!(device.packet().await, [0x40, 3, 0, 2, 0x90], "too deep");
    device.send(b"\x32\x11\0\x05up/d1\0\x03\0{\"t\":1}").await;
    assert_eq!(bench.store().await.lost.get(Loss::Forbidden), 1, "its topic, another's device");
    assert_eq!(device.packet().await, [0x40, 2, 0, 3]);
    for (pkid, filter, code) in
        [(4, "cmd/#", 0x87), (5, "cmd/d2/+", 0), (6, "$share/g/cmd/d2/x", 0), (7, "a/b/c/d", 0x97)]
    {
        let body = [&[0, pkid, 0, 0, filter.len() as u8], filter.as_bytes(), &[0]].concat();
        device.send(&[&[0x82, body.len() as u8], body.as_slice()].concat()).await;
        assert_eq!(device.packet().await, [0x90, 4, 0, pkid, 0, code], "{filter}");
    }
    assert_eq!(bench.count("mqtt_forbidden_total"), 2);
    assert_eq!(bench.count("mqtt_topics_refused_total"), 2);

    bench.commands.publish("cmd/d2/x", b"1", None).await.expect("it has subscribed");
    let fewer = Rights { subscribe: filters(&["other"]), ..rights };
    own.access.users.insert("u".into(), user(fewer));
    bench.settings.send_replace(Arc::new(own));
    let left = async { while bench.commands.publish("cmd/d2/x", b"2", None).await.is_ok() {} };
    tokio::select! {
        () = soon(left) => {}
        () = async { loop { device.packet().await; } } => {}
    }

    let mut plain = bench.knock().await;
    plain.send(&login(4)).await;
    assert_eq!(plain.packet().await, [0x20, 2, 0, 0]);
    plain.send(&publish(QoS::AtLeastOnce, 1, "up/d9", "x")).await;
    assert!(plain.closed().await.is_empty(), "3.1.1 has no word for no");
}

#[tokio::test]
async fn version_5_is_spoken_too() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    let hello = |id: &[u8]| {
        let body = [b"\0\x04MQTT\x05\x02\0\x3c\0\0".as_slice(), &[id.len() as u8], id].concat();
        [&[0x10, body.len() as u8], body.as_slice()].concat()
    };
    let mut device = bench.knock().await;
    device.send(&hello(b"d5")).await;
    let terms = b"\0\0\x0b\x21\0\x20\x27\0\0\x10\0\x22\0\x10";
    let connack = device.packet().await;
    assert_eq!(connack[2..5], terms[..3], "no session, accepted");
    assert_eq!(connack[5..], terms[3..], "the terms");
    device.send(b"\x32\x11\0\x05up/d1\0\x01\0{\"t\":1}").await;
    bench.store().await;
    assert_eq!(device.packet().await, [0x40, 2, 0, 1]);
    device.send(b"\x32\x0b\0\x04$x/y\0\x02\0zz").await;
    assert_eq!(device.packet().await, [0x40, 3, 0, 2, 0x10], "nobody hears it");
    device.send(b"\x82\x10\0\x03\0\0\x0a$share/g/a\0").await;
    assert_eq!(device.packet().await, [0x90, 4, 0, 3, 0, 0]);
    device.send(b"\x82\x0a\0\x04\0\0\x04cmd5\x01").await;
    assert_eq!(device.packet().await, [0x90, 4, 0, 4, 0, 1]);
    bench.commands.publish("cmd5", b"x", None).await.expect("the router is there");
    assert_eq!(device.packet().await, b"\x32\x0a\0\x04cmd5\0\x01\0x");
    device.send(b"\x30\x0c\0\x05up/d1\x03\x23\0\x01x\x30\x0d\0\0\x03\x23\0\x01{\"t\":2}").await;
    device.send(b"\x30\x07\0\x01a\x03\x23\0\x11").await;
    assert_eq!(device.closed().await, [0xE0, 1, 0x94], "an alias beyond what was granted");

    let mut nameless = bench.knock().await;
    nameless.send(&hello(b"")).await;
    let connack = nameless.packet().await;
    assert!(connack.windows(5).any(|part| part == b"auto-"), "an id is assigned");
    nameless.send(&[0xE0, 0]).await;
    assert!(nameless.closed().await.is_empty());
}

#[tokio::test]
async fn a_will_that_is_too_long_is_refused() {
    let bench = Bench::new(settings(Limits { packet_bytes_max: 64 << 10, ..limits() }), 8).await;
    for (bytes, answer) in [(8 << 10, [0x20, 2, 0, 0]), ((8 << 10) + 1, [0x20, 2, 0, 3])] {
        let mut device = bench.knock().await;
        let mut hello = v4::Connect::new("d1");
        hello.last_will = Some(v4::LastWill::new("w", "x".repeat(bytes), QoS::AtMostOnce, false));
        device.send(&written(v4::Packet::Connect(hello))).await;
        assert_eq!(device.packet().await, answer, "{bytes}");
    }
    assert_eq!(bench.count("mqtt_refused_total{reason=\"will\"}"), 1);
}

#[tokio::test]
async fn the_door_is_bounded() {
    let mut tight = limits();
    (tight.connections_max, tight.connect_timeout) = (1, Duration::from_millis(50));
    let bench = Bench::new(settings(tight), 8).await;
    let mut device = bench.device("d1").await;
    let surplus = bench.knock().await;
    assert!(surplus.closed().await.is_empty());
    assert_eq!(bench.count("mqtt_refused_total{reason=\"full\"}"), 1);
    device.send(&[0xE0, 0]).await;
    device.closed().await;
    // The place is free when its task has ended, which may be after the socket has.
    let silent = loop {
        let mut silent = bench.knock().await;
        silent.send(&connect("d1", true)[..5]).await;
        let full = bench.count("mqtt_refused_total{reason=\"full\"}");
        silent = Device { read: silent.closed().await, stream: bench.knock().await.stream };
        if bench.count("mqtt_refused_total{reason=\"full\"}") == full {
            break silent;
        }
    };
    assert!(silent.read.is_empty());
    assert_eq!(bench.count("mqtt_refused_total{reason=\"timeout\"}"), 1);
}

#[tokio::test]
async fn a_common_client_gets_along_with_it() {
    let mut bench = Bench::new(settings(limits()), 8).await;
    let options = rumqttc::MqttOptions::new("common", bench.address.ip().to_string(), bench.address.port());
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client.publish("up/d1", QoS::AtLeastOnce, false, "{\"t\":5}").await.expect("room");
    client.publish("up/d1", QoS::ExactlyOnce, false, "{\"t\":6}").await.expect("room");
    let device = async {
        loop {
            if let Ok(rumqttc::Event::Incoming(v4::Packet::PubComp(_))) = events.poll().await {
                return;
            }
        }
    };
    let writer = async {
        let mut stored = Vec::new();
        while stored.len() < 2 {
            stored.extend(numbers(&bench.store().await));
        }
        stored
    };
    let ((), stored) = soon(async { tokio::join!(device, writer) }).await;
    assert_eq!(stored, [5, 6]);
}
