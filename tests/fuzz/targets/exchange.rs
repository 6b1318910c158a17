//! The exchange under any sequence of operations, five bytes each: its bounds hold after every step; a client that keeps the
//! protocol has no more under way than it takes, sees no id twice at a time, and gets a QoS 2 message once, over any number
//! of connections, as long as its session is there.

use std::collections::{BTreeMap, BTreeSet};

use smallbrain::device::mqtt::probe::{Bounds, Exchange, Sent};

use super::feed::head;

const CLIENTS: usize = 4;
const BOUNDS: Bounds =
    Bounds { sessions: 2, subscriptions: 3, queue: 6, kept_bytes: 2_000, retained: 3, inflight: 4 };
/// QoS 0 messages of a client, beside its queue.
const LANE_MAX: usize = 100;
/// Of one message to one session: one of its own, and one of each group that it is in (MQTT 5.0 §4.8.2).
const DELIVERIES_MAX: usize = 3;
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "/", "$SYS/a"];
const FILTERS: [&str; 10] =
    ["#", "a/#", "+/b", "a", "a/b", "/", "$share/g/a/#", "$share/h/+", "$SYS/#", "a/#/b"];

/// What a client of the standard knows.
#[derive(Default)]
struct Client {
    /// Its session while it is connected.
    here: Option<u64>,
    receive_max: usize,
    /// Under way on this connection: id, QoS, whether PUBREC has gone out.
    flying: BTreeMap<u16, (u8, bool)>,
    /// QoS 2 ids that it holds.
    held: BTreeSet<u16>,
    /// How often QoS 2 payloads that are not retained came in this session.
    came: BTreeMap<Box<[u8]>, usize>,
}

pub fn run(input: &[u8]) {
    let (_, script) = head(input);
    let mut exchange = Exchange::new(&BOUNDS);
    let mut clients: [Client; CLIENTS] = Default::default();
    let (mut now_ms, mut dropped) = (1_000, 0);
    for (number, step) in script.as_chunks::<5>().0.iter().enumerate() {
        let [what, which, one, two, three] = *step;
        let which = usize::from(which) % CLIENTS;
        now_ms += i64::from(three) * 20;
        step_of(&mut exchange, &mut clients[which], which, (what, one, two), number, now_ms);
        let held = exchange.held();
        assert!(held.absent <= BOUNDS.sessions && held.retained <= BOUNDS.retained, "{held:?}");
        assert!(held.queued <= (CLIENTS + BOUNDS.sessions) * (BOUNDS.queue + LANE_MAX), "{held:?}");
        assert!(held.bytes <= 2 * BOUNDS.kept_bytes, "{held:?}");
        assert!(held.dropped >= dropped, "what only rises");
        dropped = held.dropped;
    }
    // Everybody leaves for good: nothing stays but what is retained.
    for client in &clients {
        client.here.map(|session| exchange.close(session, None, now_ms));
    }
    exchange.tick(now_ms + 10_000_000);
    exchange.commit();
    let held = exchange.held();
    assert_eq!((held.absent, held.queued), (0, 0), "{held:?}");
    assert!(held.retained > 0 || held.bytes == 0, "{held:?}");
}

fn step_of(
    exchange: &mut Exchange,
    client: &mut Client,
    which: usize,
    (what, one, two): (u8, u8, u8),
    number: usize,
    now_ms: i64,
) {
    let topic = TOPICS[usize::from(one) % TOPICS.len()];
    let filter = FILTERS[usize::from(one) % FILTERS.len()];
    match (what % 9, client.here) {
        (0, None) => {
            let receive_max = u16::from(two % 6) + 1;
            let (clean, expiry_s) = (one & 1 == 1, u32::from(one >> 1) % 8);
            let (session, present) =
                exchange.open(&format!("client-{which}"), clean, expiry_s, receive_max, now_ms);
            assert!(!(clean && present), "a clean session is none that was there");
            if !present {
                *client = Client::default();
            }
            client.flying.clear();
            (client.here, client.receive_max) =
                (Some(session), usize::from(receive_max).min(BOUNDS.inflight));
            // CONNACK goes out when the session is on disk.
            exchange.commit();
        }
        (1, Some(session)) => {
            let will = (two & 1 == 1).then_some((topic, u32::from(two >> 1) % 4));
            exchange.close(session, will, now_ms);
            client.here = None;
        }
        (2, Some(session)) => {
            let code = exchange.subscribe(session, filter, two % 3, two & 4 != 0, now_ms);
            assert!(code == two % 3 || code >= 0x80, "{code}");
            assert!(code >= 0x80 || filter != "a/#/b", "it is no filter");
        }
        (3, Some(session)) => exchange.unsubscribe(session, filter),
        (4 | 5, Some(session)) => {
            let expires_ms = (two & 8 != 0).then(|| now_ms + i64::from(two) * 10);
            // A payload of its own, so that it is known again.
            let mut payload = [&(number as u32).to_be_bytes()[..], &[two >> 2 & 1]].concat();
            payload.resize(5 + usize::from(two), 0);
            exchange.publish(session, topic, &payload, (two % 3, two & 4 != 0), expires_ms, now_ms);
        }
        (6, Some(session)) => {
            while let Some(sent) = exchange.next(session, now_ms) {
                client.takes(sent);
            }
        }
        (7, Some(session)) => client.answers(exchange, session, usize::from(one)),
        (8, _) => match one % 2 {
            0 => exchange.commit(),
            _ => drop(exchange.tick(now_ms)),
        },
        _ => {}
    }
}

impl Client {
    fn takes(&mut self, sent: Sent) {
        match sent {
            Sent::Publish(_, 0, pkid, dup) => assert_eq!((pkid, dup), (0, false)),
            Sent::Publish(payload, qos, pkid, dup) => {
                assert!(pkid > 0 && self.flying.insert(pkid, (qos, false)).is_none(), "id {pkid}");
                assert!(self.flying.len() <= self.receive_max, "receive maximum {}", self.receive_max);
                assert!(dup || !self.held.contains(&pkid), "id {pkid} is held");
                if qos == 2 && self.held.insert(pkid) && payload.get(4) == Some(&0) {
                    let times = self.came.entry(payload).or_default();
                    *times += 1;
                    assert!(*times <= DELIVERIES_MAX, "it came {times} times");
                }
            }
            Sent::Release(pkid) => {
                self.held.remove(&pkid);
                self.flying.insert(pkid, (2, true));
            }
        }
    }

    /// Acknowledges one of those under way, or what is none.
    fn answers(&mut self, exchange: &mut Exchange, session: u64, which: usize) {
        let Some((pkid, (qos, released))) =
            self.flying.iter().nth(which % (self.flying.len() + 1)).map(|(pkid, state)| (*pkid, *state))
        else {
            let stranger = (1..).find(|pkid| !self.flying.contains_key(pkid)).unwrap_or(1);
            exchange.acknowledged(session, stranger);
            assert!(!exchange.recorded(session, stranger) && !exchange.completed(session, stranger));
            return;
        };
        match (qos, released) {
            (1, _) => {
                exchange.acknowledged(session, pkid);
                self.flying.remove(&pkid);
            }
            (_, false) => assert!(exchange.recorded(session, pkid), "id {pkid} is under way"),
            (_, true) => {
                assert!(exchange.completed(session, pkid), "id {pkid} is released");
                self.flying.remove(&pkid);
            }
        }
    }
}
