//! What is said is what `codec::profile` understands, for every convention; what is counted is what came over the wire.

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::codec::profile::{self, Description, Kind, Mapped, Profile, State};
use crate::model::Value;

const NOW_MS: i64 = 1_795_305_600_123;
const CHINA_MS: i64 = 8 * 3_600_000;

fn find(name: &str) -> &'static Convention {
    Convention::find(name).expect("a convention")
}

/// What a value is as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) => format!("\"{text}\""),
    }
}

/// What was understood, in the words of who said it; `nobody` is the device where the message names none.
fn understood(mapped: &Mapped, nobody: &str) -> BTreeSet<String> {
    let lines = mapped.readings.iter().map(|reading| {
        let device = reading.device.as_deref().or(mapped.device.as_deref()).unwrap_or(nobody);
        let time_ms = reading.time_ms.or(mapped.device_ms);
        line(device, &reading.metric, &shown(&reading.value), reading.unit.as_deref(), time_ms, reading.event)
    });
    let lines: BTreeSet<_> = lines.collect();
    assert_eq!(lines.len(), mapped.readings.len(), "nothing is said twice");
    lines
}

fn line(
    device: &str,
    metric: &str,
    value: &str,
    unit: Option<&str>,
    time_ms: Option<i64>,
    event: bool,
) -> String {
    format!("{device}/{metric}={value} {unit:?} {time_ms:?}{}", if event { " !" } else { "" })
}

/// Who hears a convention: the profile, and what it remembers.
struct Ear {
    profile: &'static Profile,
    state: State,
    /// What discovery announced: by state topic and entity, the device and the rest.
    announced: BTreeMap<(String, String), (String, Description)>,
}

impl Ear {
    fn new(convention: &Convention) -> Self {
        let profile = Profile::find(convention.name()).expect("each convention is a profile");
        Self { profile, state: State::default(), announced: BTreeMap::new() }
    }

    fn map(&mut self, message: &Message, now_ms: i64) -> Mapped {
        let (topic, payload) = (Some(message.topic.as_str()), message.payload.as_slice());
        let message = profile::Message { topic, payload, received_ms: now_ms, zone_ms: CHINA_MS };
        let mapped = self.profile.map(&message, &mut self.state);
        mapped.unwrap_or_else(|error| panic!("{topic:?}: {error}"))
    }

    /// Asserts that a message means what its sender believes.
    fn hear(&mut self, message: &Message, now_ms: i64) {
        if self.profile.name() == "homeassistant_discovery" && !message.topic.starts_with("homeassistant/") {
            return self.hear_announced(message);
        }
        let mapped = self.map(message, now_ms);
        let (said, topic) = (&message.said, &message.topic);
        let expected = said
            .readings
            .iter()
            .map(|told| line(&told.device, &told.metric, &told.value, told.unit, told.time_ms, told.event));
        let nobody = said.readings.first().map_or("", |told| &*told.device);
        assert_eq!(understood(&mapped, nobody), expected.collect(), "{topic}");
        assert_eq!(
            (mapped.kind, mapped.online, mapped.history),
            (said.kind, said.online, said.history),
            "{topic}"
        );
        let fields: BTreeSet<_> = mapped.refused.iter().map(|refused| refused.field).collect();
        assert_eq!(fields, said.refused.iter().copied().collect(), "{topic}");
        assert_eq!(mapped.raw.map(|raw| raw.0.into_vec()), said.bytes, "{topic}");
        let failed = u64::from(self.profile.name().starts_with("neuron"));
        assert_eq!(
            (mapped.ignored, mapped.rebirth, mapped.time_unreadable),
            (failed, false, false),
            "{topic}"
        );
        for value in &said.personal {
            let payload = String::from_utf8_lossy(&message.payload);
            assert!(payload.contains(value), "{topic}: listed, but not said");
            assert!(!mapped.readings.iter().any(|reading| shown(&reading.value).contains(value)), "{topic}");
        }
        if let Some(description) = mapped.description {
            let device = mapped.device.expect("an entity is of a device").into_string();
            let state = description.state_topic.as_deref().expect("an entity has a state").to_owned();
            let object = description.object.as_deref().expect("an entity has a name").to_owned();
            self.announced.insert((state, object), (device, description));
        }
    }

    /// The message of an entity: what was announced tells where its values are, and what they are.
    fn hear_announced(&self, message: &Message) {
        let topic = &message.topic;
        if message.said.kind == Kind::Availability {
            let mut told = self.announced.values().map(|(_, told)| told.availability_topic.as_deref());
            assert!(told.any(|told| told == Some(topic)), "{topic}");
            return;
        }
        let text = std::str::from_utf8(&message.payload).expect("a text");
        let entities = self.announced.iter().filter(|((state, _), _)| state == topic);
        let found = entities.map(|((_, object), (device, entity))| {
            let value = match &entity.pointer {
                Some(pointer) => {
                    let json: serde_json::Value = serde_json::from_str(text).expect("JSON");
                    json.pointer(pointer).expect("the template fits").to_string()
                }
                None => (entity.payload_on.as_deref() == Some(text)).to_string(),
            };
            (device.clone(), object.clone(), plain(&value), entity.unit.as_deref())
        });
        let said = message.said.readings.iter();
        let said = said.map(|told| (told.device.clone(), told.metric.clone(), plain(&told.value), told.unit));
        let (found, said): (BTreeSet<_>, BTreeSet<_>) = (found.collect(), said.collect());
        assert!(found == said && !said.is_empty(), "{topic}: {found:?} is not {said:?}");
    }
}

/// A number without zeros at its end, which a float has lost; anything else as it is.
fn plain(json: &str) -> String {
    json.parse::<rust_decimal::Decimal>().map_or(json.into(), |number| number.normalize().to_string())
}

/// All that the speakers of a convention say in two lives of so many rounds, with when: the first life ends with the will,
/// the second with a goodbye.
fn play(convention: &'static Convention, seed: u64, devices: u16, rounds: u32) -> Vec<(i64, Message)> {
    let mut all = vec![];
    for mut speaker in convention.speakers(seed, devices) {
        let mut now_ms = NOW_MS + i64::try_from(seed % 1_000).expect("small");
        for last in [false, true] {
            let will = speaker.will(now_ms);
            all.extend(speaker.hello(now_ms).into_iter().map(|message| (now_ms, message)));
            for _ in 0..rounds {
                now_ms += 1_003;
                all.extend(speaker.say(now_ms).into_iter().map(|message| (now_ms, message)));
            }
            let end = if last { speaker.goodbye(now_ms) } else { will.into_iter().collect() };
            all.extend(end.into_iter().map(|message| (now_ms, message)));
        }
    }
    all
}

#[test]
fn every_profile_is_spoken() {
    // A fragment for a dry run, and no convention of its own.
    let profiles = Profile::all().iter().map(Profile::name).filter(|name| *name != "hikvision_isapi_time");
    let spoken: Vec<_> = Convention::all().iter().map(Convention::name).collect();
    assert_eq!(profiles.collect::<BTreeSet<_>>(), spoken.iter().copied().collect());
    for convention in Convention::all() {
        let said = play(convention, 1, 5, 6);
        assert!(said.iter().any(|(_, message)| !message.said.readings.is_empty()), "{}", convention.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_said_is_understood(seed in any::<u64>(), devices in 1..7_u16) {
        for convention in Convention::all() {
            let mut ear = Ear::new(convention);
            for (now_ms, message) in play(convention, seed, devices, 14) {
                ear.hear(&message, now_ms);
            }
        }
    }
}

#[test]
fn a_seed_says_the_same_and_another_does_not() {
    for convention in Convention::all() {
        let all = |seed| play(convention, seed, 5, 8);
        assert!(all(7) == all(7), "{}", convention.name());
        assert!(all(7) != all(1_007), "{}", convention.name());
    }
}

#[test]
fn what_is_refused_is_found_where_people_are() {
    for name in ["face_terminal", "hikvision_isapi"] {
        let said = play(find(name), 3, 1, 20);
        let personal: BTreeSet<_> = said.iter().flat_map(|(_, message)| &message.said.personal).collect();
        assert!(personal.iter().any(|value| value.starts_with("模拟")), "{name}");
        assert!(personal.len() > 6, "{name}");
    }
}

/// `Node Control/Rebirth` is true.
fn rebirth() -> Vec<u8> {
    let metric = [&[0x0A, 20][..], b"Node Control/Rebirth", &[0x20, 11, 0x70, 1]].concat();
    [&[0x12, metric.len() as u8][..], &metric].concat()
}

const COMMANDS: &str = "spBv1.0/compound/NCMD/node-1";

#[test]
fn a_node_is_born_again_when_it_is_asked_to() {
    let convention = find("sparkplug_b");
    let mut speaker = convention.speakers(5, 2).pop().expect("one node");
    assert_eq!(speaker.filters(), [COMMANDS]);
    let first = speaker.will(NOW_MS).expect("a death");
    let mut ear = Ear::new(convention);
    for message in speaker.hello(NOW_MS) {
        ear.hear(&message, NOW_MS);
    }
    // A message gets lost, and the next one shows it.
    let said = speaker.say(NOW_MS + 1);
    assert!(ear.map(&said[1], NOW_MS + 1).rebirth);
    for (topic, payload) in
        [("spBv1.0/compound/NCMD/node-2", rebirth()), (COMMANDS, vec![]), (COMMANDS, vec![7])]
    {
        assert_eq!(speaker.hear(topic, &payload, NOW_MS), None);
    }
    let births = speaker.hear(COMMANDS, &rebirth(), NOW_MS + 2).expect("it obeys");
    assert_eq!(births.len(), 3);
    for message in births.iter().chain(&speaker.say(NOW_MS + 3)) {
        ear.hear(message, NOW_MS + 3);
    }
    // The will of an earlier connection is none of the present one's; its own is.
    let second = speaker.will(NOW_MS + 4).expect("a death");
    for message in speaker.hello(NOW_MS + 4) {
        ear.hear(&message, NOW_MS + 4);
    }
    assert_eq!(ear.map(&first, NOW_MS + 5).kind, Kind::Metadata);
    ear.hear(&second, NOW_MS + 5);
}

#[test]
fn a_sequence_goes_round() {
    let convention = find("sparkplug_b");
    let mut speaker = convention.speakers(1, 3).pop().expect("one node");
    let mut ear = Ear::new(convention);
    for message in speaker.hello(NOW_MS) {
        ear.hear(&message, NOW_MS);
    }
    for _ in 0..150 {
        for message in speaker.say(NOW_MS) {
            ear.hear(&message, NOW_MS);
        }
    }
}

/// What a server sees of a connection.
#[derive(Debug)]
enum Seen {
    Connect(v4::Connect),
    Publish(Message),
    /// The last of each connection.
    End(Ended),
}

#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// With a DISCONNECT.
    Goodbye,
    /// Without one.
    Vanished,
    /// The server closed it.
    Cut,
}

/// Acks everything; closes each connection after `life` publishes, the last of them unacknowledged; asks for a rebirth
/// behind each SUBSCRIBE.
async fn server(life: usize) -> (u16, mpsc::UnboundedReceiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
    let port = listener.local_addr().expect("bound").port();
    let (tell, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, life, tell.clone()));
        }
    });
    (port, seen)
}

async fn serve(mut stream: TcpStream, life: usize, tell: mpsc::UnboundedSender<Seen>) {
    // Err: nobody looks any more, or the client is gone.
    let ended = converse(&mut stream, life, &tell).await.unwrap_or(Ended::Vanished);
    let _ = tell.send(Seen::End(ended));
}

async fn converse(
    stream: &mut TcpStream,
    life: usize,
    tell: &mpsc::UnboundedSender<Seen>,
) -> std::io::Result<Ended> {
    let (mut input, mut here) = (BytesMut::new(), 0);
    let see = |seen| tell.send(seen).map_err(std::io::Error::other);
    while stream.read_buf(&mut input).await? > 0 {
        while let Ok(packet) = v4::Packet::read(&mut input, 1 << 20) {
            match packet {
                v4::Packet::Connect(connect) => {
                    see(Seen::Connect(connect))?;
                    stream.write_all(&[0x20, 2, 0, 0]).await?;
                }
                v4::Packet::Subscribe(subscribe) => {
                    let [high, low] = subscribe.pkid.to_be_bytes();
                    let mut out = BytesMut::from(&[0x90, 3, high, low, 1][..]);
                    let mut command = v4::Publish::new(COMMANDS, rumqttc::QoS::AtLeastOnce, rebirth());
                    command.pkid = 1;
                    command.write(&mut out).expect("a packet");
                    stream.write_all(&out).await?;
                }
                v4::Packet::Publish(publish) => {
                    here += 1;
                    assert_eq!(publish.qos, rumqttc::QoS::AtLeastOnce);
                    if here == life {
                        return Ok(Ended::Cut);
                    }
                    let mut message = Message::new(Kind::Data, publish.topic, publish.payload.to_vec());
                    message.retain = publish.retain;
                    see(Seen::Publish(message))?;
                    let [high, low] = publish.pkid.to_be_bytes();
                    stream.write_all(&[0x40, 2, high, low]).await?;
                }
                v4::Packet::Disconnect => return Ok(Ended::Goodbye),
                _ => {}
            }
        }
    }
    Ok(Ended::Vanished)
}

/// Runs a convention against [`server`] until it has seen enough, and looks on until all connections have ended.
async fn run_against(name: &str, life: usize, enough: usize, vanish: bool) -> (Report, Vec<Seen>) {
    let (port, mut seen) = server(life).await;
    let stop = CancellationToken::new();
    let settings = Settings { port, vanish, period: Duration::from_millis(1), ..Settings::new(find(name)) };
    let watch = async {
        let (mut all, mut publishes, mut open) = (vec![], 0, 0);
        while publishes < enough || open > 0 {
            let one = seen.recv().await.expect("the server lives on");
            match &one {
                Seen::Connect(_) => open += 1,
                Seen::Publish(_) => publishes += 1,
                Seen::End(_) => open -= 1,
            }
            if publishes >= enough {
                stop.cancel();
            }
            all.push(one);
        }
        all
    };
    let both = async { tokio::join!(run(settings, stop.clone()), watch) };
    timeout(Duration::from_secs(30), both).await.expect("it ends in time")
}

fn publishes(seen: &[Seen]) -> Vec<&Message> {
    seen.iter()
        .filter_map(|seen| if let Seen::Publish(message) = seen { Some(message) } else { None })
        .collect()
}

#[tokio::test]
async fn what_is_counted_is_what_came() {
    for convention in Convention::all() {
        let name = convention.name();
        let (report, seen) = run_against(name, usize::MAX, 40, false).await;
        let came = publishes(&seen);
        assert_eq!((report.messages, report.unacked), (came.len() as u64, 0), "{name}");
        assert_eq!(report.kinds.values().sum::<u64>(), report.messages, "{name}");
        let series = report.devices.values().flat_map(BTreeMap::values);
        assert_eq!(series.map(|series| series.count).sum::<u64>(), report.readings, "{name}");
        assert_eq!((report.disconnects, report.trouble.as_deref()), (0, None), "{name}");
        if name != "homeassistant_discovery" {
            let mut ear = Ear::new(convention);
            let now_ms = crate::clock::Clock::now(&crate::clock::SystemClock::default()).wall_ms;
            let readings: usize = came.iter().map(|message| ear.map(message, now_ms).readings.len()).sum();
            assert_eq!(report.readings, readings as u64, "{name}");
        }
        let connects = seen.iter().filter(|seen| matches!(seen, Seen::Connect(_))).count();
        let goodbyes = seen.iter().filter(|seen| matches!(seen, Seen::End(Ended::Goodbye))).count();
        assert_eq!((report.connections, connects, goodbyes), (connects, connects, connects), "{name}");
        let json = serde_json::to_string(&report).expect("every value is JSON");
        assert!(json.contains(r#""last":"#), "{json}");
        assert!(report.to_string().starts_with(&format!("{name}: {} messages acked", report.messages)));
    }
}

#[tokio::test]
async fn wills_are_told_and_left_to_the_server() {
    for (name, topics, retain) in [
        ("tasmota", &["tele/tasmota-1/LWT", "tele/tasmota-2/LWT", "tele/tasmota-3/LWT"][..], true),
        ("sparkplug_b", &["spBv1.0/compound/NDEATH/node-1"], false),
        ("senml", &[], false),
    ] {
        let (report, seen) = run_against(name, usize::MAX, 30, true).await;
        assert_eq!(report.wills.iter().map(String::as_str).collect::<Vec<_>>(), topics, "{name}");
        let wills = seen.iter().filter_map(|seen| match seen {
            Seen::Connect(connect) => connect.last_will.as_ref(),
            _ => None,
        });
        let wills: BTreeSet<_> = wills.map(|will| (will.topic.as_str(), will.retain)).collect();
        assert_eq!(wills, topics.iter().map(|topic| (*topic, retain)).collect(), "{name}");
        assert!(
            !seen.iter().any(|seen| matches!(seen, Seen::End(Ended::Goodbye))),
            "{name}: nobody says goodbye"
        );
        assert!(!publishes(&seen).iter().any(|message| message.topic.contains("NDEATH")));
    }
}

#[tokio::test]
async fn a_server_that_goes_away_is_found_again() {
    let (report, seen) = run_against("sparkplug_b", 12, 40, false).await;
    assert!(report.disconnects >= 3 && report.trouble.is_some(), "{report:?}");
    assert!(report.unacked >= report.disconnects, "{report:?}");
    // A rebirth is asked for on each connection.
    assert!(report.commands >= 3, "{report:?}");
    // Each connection begins with births that fit its own will, and whatever was lost with the last one is not missed.
    let mut ear = Ear::new(find("sparkplug_b"));
    for message in publishes(&seen) {
        assert!(!ear.map(message, NOW_MS).rebirth, "{}", message.topic);
    }
    assert!(report.messages <= publishes(&seen).len() as u64);
}
