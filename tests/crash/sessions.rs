//! Clients whose sessions are kept: publishers of readings at QoS 2, commanders, and sleepers that are mostly away and are
//! owed every command. They live through every end of the gateway; what each knows is compared in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Random;
use super::client::{Client, Event};
use super::gateway::{Site, until};

/// Publishes of one client that are not done.
const WINDOW: usize = 12;
/// Commands sent to one sleeper and not delivered, far below `mqtt.queue_max`: what is tested is loss, not the bound.
const OWED_MAX: u64 = 300;
/// Publishers, commanders and sleepers; the first half of each speaks 3.1.1, the others 5.0.
const EACH: u64 = 2;

/// What all clients share.
struct Shared {
    stop: AtomicBool,
    /// Nobody publishes any more.
    quiet: AtomicBool,
    acked: AtomicU64,
    subscribed: AtomicU64,
    /// By sleeper: commands sent, and delivered for the first time.
    commands: [(AtomicU64, AtomicU64); EACH as usize],
}

/// Numbers by (commander, QoS).
type Commands = BTreeMap<(u64, u8), Vec<u64>>;

/// All clients.
pub(crate) struct Clients {
    shared: Arc<Shared>,
    publishers: Vec<JoinHandle<u64>>,
    commanders: Vec<JoinHandle<Vec<Commands>>>,
    sleepers: Vec<JoinHandle<Slept>>,
}

/// What a sleeper got, in its order.
#[derive(Default)]
struct Slept {
    came: Commands,
    connections: u64,
}

/// The device of a publisher; apart from those of the load.
fn device(publisher: u64) -> String {
    format!("load-{}", 41 + publisher)
}

fn level(client: u64) -> u8 {
    if client < EACH / 2 { 4 } else { 5 }
}

impl Clients {
    /// Starts them and waits until every sleeper has subscribed.
    pub(crate) fn start(site: &Site, random: &mut Random) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            quiet: AtomicBool::new(false),
            acked: AtomicU64::new(0),
            subscribed: AtomicU64::new(0),
            commands: std::array::from_fn(|_| Default::default()),
        });
        let client = |name: &str, number| Client::new(site.mqtt, level(number), &format!("{name}-{number}"));
        let mut sleepers = Vec::new();
        for number in 0..EACH {
            let (shared, client) = (Arc::clone(&shared), client("sleeper", number));
            let random = Random(random.below(u64::MAX));
            sleepers.push(std::thread::spawn(move || sleep(&shared, client, number, random)));
        }
        until("the sleepers have subscribed", || shared.subscribed.load(Relaxed) == EACH);
        let mut publishers = Vec::new();
        let mut commanders = Vec::new();
        for number in 0..EACH {
            let (with, from) = (Arc::clone(&shared), client("publisher", number));
            publishers.push(std::thread::spawn(move || publish(&with, from, number)));
            let (with, from) = (Arc::clone(&shared), client("commander", number));
            commanders.push(std::thread::spawn(move || command(&with, from, number)));
        }
        Self { shared, publishers, commanders, sleepers }
    }

    pub(crate) fn acked(&self) -> u64 {
        self.shared.acked.load(Relaxed)
    }

    /// Waits until so many more publishes are acknowledged.
    pub(crate) fn wait(&self, more: u64) {
        let enough = self.acked() + more;
        until("acknowledgements of QoS 2 and of commands", || {
            assert!(!self.has_failed(), "a client has failed");
            self.acked() >= enough
        });
    }

    fn has_failed(&self) -> bool {
        self.publishers.iter().any(JoinHandle::is_finished)
            || self.commanders.iter().any(JoinHandle::is_finished)
            || self.sleepers.iter().any(JoinHandle::is_finished)
    }

    /// Lets everything under way come to its end, with the gateway running, and judges the commands: each that was sent has
    /// come, in order; at QoS 2 once. Gives the last number of each device.
    pub(crate) fn finish(self) -> BTreeMap<String, u64> {
        self.shared.stop.store(true, Relaxed);
        let ended = |thread: std::thread::Result<u64>| thread.expect("a publisher ended well");
        let last = self.publishers.into_iter().map(|publisher| ended(publisher.join()));
        let last: BTreeMap<_, _> = (0..).zip(last).map(|(number, last)| (device(number), last)).collect();
        let mut owed: Vec<Commands> = (0..EACH).map(|_| Commands::new()).collect();
        for commander in self.commanders {
            let sent = commander.join().expect("a commander ended well");
            owed.iter_mut().zip(sent).for_each(|(owed, sent)| owed.extend(sent));
        }
        self.shared.quiet.store(true, Relaxed);
        for (number, (sleeper, owed)) in (0..).zip(self.sleepers.into_iter().zip(owed)) {
            judge(number, sleeper.join().expect("a sleeper ended well"), &owed);
        }
        last
    }
}

fn judge(sleeper: u64, mut slept: Slept, owed: &Commands) {
    let mut total = 0;
    let mut repeated = 0;
    for ((commander, qos), numbers) in owed {
        let came = slept.came.remove(&(*commander, *qos)).unwrap_or_default();
        let mut seen = BTreeSet::new();
        let first: Vec<u64> = came.iter().copied().filter(|n| seen.insert(*n)).collect();
        let twice = came.len() - first.len();
        assert!(
            *qos == 1 || twice == 0,
            "sleeper {sleeper}: {twice} commands of {commander} came twice at QoS 2"
        );
        let missing: Vec<_> = numbers.iter().filter(|n| !seen.contains(n)).collect();
        assert!(
            missing.is_empty(),
            "sleeper {sleeper}, commander {commander}, QoS {qos}: {missing:?} are lost"
        );
        assert!(first == *numbers, "sleeper {sleeper}, commander {commander}, QoS {qos}: out of order");
        total += numbers.len();
        repeated += twice;
    }
    assert!(slept.came.is_empty(), "sleeper {sleeper} got what nobody sent");
    eprintln!(
        "sleeper {sleeper}: {total} commands over {} connections, {repeated} repeated at QoS 1",
        slept.connections
    );
}

/// Readings at QoS 2, numbered from 1; gives the last number, of which everything is done.
fn publish(shared: &Shared, mut client: Client, number: u64) -> u64 {
    let topic = format!("exact/{}/up", device(number));
    let mut n = 0;
    loop {
        let stopping = shared.stop.load(Relaxed);
        if stopping && client.unfinished() == 0 {
            client.leave(true);
            return n;
        }
        if !client.connect() {
            std::thread::park_timeout(Duration::from_millis(2));
            continue;
        }
        while !stopping && client.unfinished() < WINDOW {
            n += 1;
            client.publish(n, 2, &topic, format!(r#"{{"n":{n}}}"#).into_bytes());
        }
        count_acked(shared, &client.turn());
    }
}

/// Commands to all sleepers in turn, at QoS 1 and 2; gives what was sent to each, of which everything is done.
fn command(shared: &Shared, mut client: Client, number: u64) -> Vec<Commands> {
    let mut sent: Vec<Commands> = (0..EACH).map(|_| Commands::new()).collect();
    let mut n = 0;
    loop {
        let stopping = shared.stop.load(Relaxed);
        if stopping && client.unfinished() == 0 {
            client.leave(true);
            return sent;
        }
        if !client.connect() {
            std::thread::park_timeout(Duration::from_millis(2));
            continue;
        }
        let full =
            |(sent, came): &(AtomicU64, AtomicU64)| sent.load(Relaxed) - came.load(Relaxed) >= OWED_MAX;
        while !stopping && client.unfinished() < WINDOW && !shared.commands.iter().any(full) {
            n += 1;
            let (sleeper, qos) = (n % EACH, (n / EACH % 2 + 1) as u8);
            shared.commands[sleeper as usize].0.fetch_add(1, Relaxed);
            sent[sleeper as usize].entry((number, qos)).or_default().push(n);
            client.publish(n, qos, &format!("cmd/{sleeper}/{number}"), n.to_string().into_bytes());
        }
        count_acked(shared, &client.turn());
    }
}

fn count_acked(shared: &Shared, events: &[Event]) {
    let acked = events.iter().filter(|event| matches!(event, Event::Acked(_))).count();
    shared.acked.fetch_add(acked as u64, Relaxed);
}

/// Subscribes once, and is then there for moments only until nobody publishes any more.
fn sleep(shared: &Shared, mut client: Client, number: u64, mut random: Random) -> Slept {
    let mut slept = Slept::default();
    let mut subscribed = false;
    let mut awake_until = Instant::now();
    loop {
        if !client.connect() {
            std::thread::park_timeout(Duration::from_millis(2));
            continue;
        }
        if !subscribed {
            client.subscribe(&format!("cmd/{number}/+"));
        }
        awake_until = awake_until.max(Instant::now() + Duration::from_millis(random.below(120)));
        loop {
            let events = client.turn();
            let nothing = events.is_empty();
            for event in events {
                match event {
                    Event::Subscribed(granted) => {
                        assert_eq!(granted, 2);
                        subscribed = true;
                        shared.subscribed.fetch_add(1, Relaxed);
                    }
                    Event::Came { topic, payload, qos } => {
                        came(shared, &mut slept, number, &topic, &payload, qos);
                    }
                    Event::Acked(_) => unreachable!("a sleeper does not publish"),
                }
            }
            let (sent, came) = &shared.commands[number as usize];
            let done = shared.quiet.load(Relaxed) && sent.load(Relaxed) == came.load(Relaxed);
            if done && nothing && client.is_clear() {
                client.leave(true);
                slept.connections = client.connections();
                return slept;
            }
            let staying = !subscribed || shared.quiet.load(Relaxed);
            if !client.is_connected() || (!staying && Instant::now() >= awake_until) {
                break;
            }
        }
        client.leave(random.one_in(3));
        std::thread::park_timeout(Duration::from_millis(random.below(250)));
    }
}

fn came(shared: &Shared, slept: &mut Slept, number: u64, topic: &str, payload: &[u8], qos: u8) {
    let commander = topic.strip_prefix(&format!("cmd/{number}/")).and_then(|rest| rest.parse().ok());
    let n = std::str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
    let numbers = slept.came.entry((commander.expect("a commander"), qos)).or_default();
    let n = n.expect("a number");
    if !numbers.contains(&n) {
        shared.commands[number as usize].1.fetch_add(1, Relaxed);
    }
    numbers.push(n);
}
