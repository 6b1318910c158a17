//! The exchange by examples; the properties are below.

mod fold;
mod model;
mod random;

use std::pin::pin;
use std::task::{Context, Waker};

use super::*;
use crate::store::sessions::Options;

const T0: i64 = 1_700_000_000_000;
const FOR_EVER: u32 = u32::MAX;

fn bounds() -> Bounds {
    Bounds {
        sessions_max: 100,
        subscriptions_max: 16,
        queue_max: 1000,
        kept_bytes_max: 1 << 20,
        retained_max: 1000,
        session_max_s: 3600,
        inflight_max: 100,
    }
}

fn message(topic: &str, qos: u8, payload: &[u8]) -> Message {
    let (topic, payload, properties) = (topic.into(), payload.into(), Box::default());
    Message { topic, payload, qos, retain: false, properties, expires_ms: None }
}

fn retained(topic: &str, qos: u8, payload: &[u8]) -> Message {
    Message { retain: true, ..message(topic, qos, payload) }
}

fn qos(qos: u8) -> Options {
    Options { qos, ..Options::default() }
}

fn asked(clean: bool, expiry_s: u32) -> Asked {
    Asked { clean, expiry_s, receive_max: u16::MAX, level5: true }
}

/// Whether a client was woken since this was asked last.
fn was_woken(wake: &Notify) -> bool {
    pin!(wake.notified()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// An exchange and the disk behind it.
struct World {
    exchange: Exchange,
    saved: Saved,
    wake: Arc<Notify>,
    now_ms: i64,
}

impl World {
    fn new(bounds: Bounds) -> Self {
        let (saved, wake) = (Saved::default(), Arc::default());
        Self { exchange: Exchange::new(bounds, Saved::default(), T0), saved, wake, now_ms: T0 }
    }

    /// A client that is kept for as long as may be.
    fn kept(&mut self, client: &str) -> SessionId {
        self.open(client, &asked(false, FOR_EVER)).session
    }

    /// One that is not.
    fn passing(&mut self, client: &str) -> SessionId {
        self.open(client, &asked(true, 0)).session
    }

    fn open(&mut self, client: &str, asked: &Asked) -> Opened {
        self.exchange.open(client, asked, Arc::clone(&self.wake), self.now_ms)
    }

    fn close(&mut self, session: SessionId) {
        assert!(self.exchange.close(session, None, vec![], None, self.now_ms).is_none());
    }

    fn subscribe(&mut self, session: SessionId, filter: &str, options: Options) -> u8 {
        self.exchange.subscribe(session, None, &[(filter, options)], self.now_ms).0[0]
    }

    fn publish(&mut self, message: Message) -> usize {
        self.exchange.publish(None, message, self.now_ms).receivers
    }

    /// Everything in the journal is written.
    fn flush(&mut self) {
        while let Some((mark, changes)) = self.exchange.journal() {
            changes.into_iter().for_each(|change| fold::apply(&mut self.saved, change));
            self.exchange.committed(mark);
        }
    }

    /// The process ends, and begins again.
    fn restart(&mut self, bounds: Bounds) {
        self.exchange = Exchange::new(bounds, self.saved.clone(), self.now_ms);
    }

    fn next(&mut self, session: SessionId) -> Option<Outgoing> {
        self.exchange.next(session, self.now_ms)
    }

    /// All that may go out: (payload, QoS, packet id, dup, retain), and PUBREL as its packet id alone.
    fn drain(&mut self, session: SessionId) -> Vec<(String, u8, u16, bool, bool)> {
        let mut all = Vec::new();
        while let Some(outgoing) = self.next(session) {
            all.push(match outgoing {
                Outgoing::Release { pkid } => ("PUBREL".to_owned(), 2, pkid, false, false),
                Outgoing::Publish { message, qos, pkid, dup, retain, .. } => {
                    (String::from_utf8_lossy(&message.payload).into_owned(), qos, pkid, dup, retain)
                }
            });
        }
        all
    }

    /// Payloads of all that may go out.
    fn payloads(&mut self, session: SessionId) -> Vec<String> {
        self.drain(session).into_iter().map(|(payload, ..)| payload).collect()
    }

    fn identifiers(&mut self, session: SessionId) -> Vec<Vec<u32>> {
        let mut all = Vec::new();
        while let Some(Outgoing::Publish { identifiers, .. }) = self.next(session) {
            all.push(identifiers.to_vec());
        }
        all
    }
}

#[test]
fn a_subscription_is_granted_or_told_why_not() {
    let mut world = World::new(Bounds { subscriptions_max: 3, ..bounds() });
    let a = world.kept("a");
    let deep = vec!["x"; tree::LEVELS_MAX + 1].join("/");
    for (filter, wanted, code) in [
        ("a/+", 2, 2),
        ("a/#/b", 1, 0x8F),
        ("", 1, 0x8F),
        ("$share/g", 1, 0x8F),
        ("$share/+/a", 1, 0x8F),
        (&*deep, 1, 0x8F),
        ("$share/g/a/+", 1, 1),
        ("b", 0, 0),
        ("c", 0, 0x97),
        ("a/+", 1, 1),
    ] {
        assert_eq!(world.subscribe(a, filter, qos(wanted)), code, "{filter}");
    }
    assert_eq!(world.exchange.counts().subscriptions, 3);
    let gone = ["a/+", "a/+", "$share/g/a/+", "x"].map(str::to_owned);
    assert_eq!(world.exchange.unsubscribe(a, &gone).0, [0, 0x11, 0, 0x11]);
    assert_eq!(world.publish(message("a/b", 1, b"x")), 0);
    assert_eq!(world.subscribe(SessionId(99), "a", qos(0)), 0x97, "no such session");
}

#[test]
fn overlapping_subscriptions_give_one_delivery_and_shared_ones_their_own() {
    let mut world = World::new(bounds());
    let a = world.passing("a");
    let wishes = [(7, "x/+", 0), (8, "x/#", 2), (9, "$share/g/x/1", 1)];
    for (identifier, filter, granted) in wishes {
        world.exchange.subscribe(a, Some(identifier), &[(filter, qos(granted))], T0);
    }
    assert_eq!(world.publish(message("x/1", 1, b"m")), 2);
    let mut identifiers = world.identifiers(a);
    identifiers.iter_mut().for_each(|one| one.sort_unstable());
    assert_eq!(identifiers, [vec![7, 8], vec![9]]);
    assert_eq!(world.publish(message("x", 2, b"m")), 1);
    assert_eq!(world.drain(a), [("m".to_owned(), 2, 3, false, false)]);
}

#[test]
fn what_a_subscription_asks_for_is_kept_to() {
    let mut world = World::new(bounds());
    let a = world.passing("a");
    let b = world.passing("b");
    world.subscribe(a, "x", Options { no_local: true, retain_as_published: true, ..qos(1) });
    world.subscribe(b, "x", qos(1));
    assert_eq!(world.exchange.publish(Some(a), retained("x", 1, b"own"), T0).receivers, 1);
    assert_eq!(world.exchange.publish(Some(b), retained("x", 2, b"other"), T0).receivers, 2);
    assert_eq!(world.drain(a), [("other".to_owned(), 1, 1, false, true)]);
    let own = ("own".to_owned(), 1, 1, false, false);
    assert_eq!(world.drain(b), [own, ("other".to_owned(), 1, 2, false, false)]);
}

#[test]
fn retained_messages_are_handed_out_as_asked() {
    let mut world = World::new(bounds());
    world.publish(retained("x/0", 0, b"zero"));
    world.publish(retained("x/1", 2, b"two"));
    world.publish(retained("x/2", 1, b"gone"));
    world.publish(retained("x/2", 1, b""));
    let a = world.passing("a");
    let handling = |retain_handling| Options { retain_handling, ..qos(1) };
    for (filter, options, expected) in [
        ("x/#", handling(2), &[][..]),
        ("x/+", handling(1), &["two", "zero"]),
        ("x/+", handling(1), &[]),
        ("x/+", handling(0), &["two", "zero"]),
        ("$share/g/x/+", handling(0), &[]),
        ("x/1", qos(0), &["two"]),
        ("+/2", qos(2), &[]),
    ] {
        world.subscribe(a, filter, options);
        let drained = world.drain(a);
        assert!(drained.iter().all(|one| one.4), "the retain flag is set");
        assert_eq!(drained.into_iter().map(|one| one.0).collect::<Vec<_>>(), expected, "{filter}");
    }
}

/// A bridge that begins with `#` on a gateway full of retained states gets all of them, however slowly it reads.
#[test]
fn a_thousand_retained_messages_at_qos_0_are_not_dropped() {
    let mut world = World::new(bounds());
    for number in 0..1000 {
        world.publish(retained(&format!("x/{number:03}"), 0, b"state"));
    }
    let a = world.passing("a");
    let before = world.exchange.counts();
    world.subscribe(a, "#", qos(1));
    assert_eq!(world.exchange.counts(), Counts { subscriptions: 1, ..before });
    assert!(was_woken(&world.wake));
    assert!(world.next(a).is_some());
    world.publish(message("y", 0, b"live"));
    let rest = world.payloads(a);
    assert_eq!((rest.len(), rest.last().map(String::as_str)), (1000, Some("live")));
    world.subscribe(a, "x/#", qos(0));
    world.exchange.unsubscribe(a, &["x/#".to_owned()]);
    assert_eq!(world.next(a), None, "no one wants them any more");
}

#[test]
fn retained_messages_have_bounds() {
    let mut world = World::new(Bounds { retained_max: 2, kept_bytes_max: 300, ..bounds() });
    for (topic, payload) in [("a", &[0; 100][..]), ("b", &[0; 10]), ("c", &[0; 1])] {
        world.publish(retained(topic, 1, payload));
    }
    assert_eq!((world.exchange.counts().retained, world.exchange.counts().retained_refused), (2, 1));
    world.publish(retained("b", 1, &[0; 200]));
    let left: Vec<_> = world.exchange.retained().map(|message| message.topic.to_string()).collect();
    assert_eq!(left, ["a"], "an old value is not the last one");
    world.publish(Message { expires_ms: Some(T0 + 500), ..retained("a", 1, b"short") });
    assert_eq!(world.exchange.rest_ms(T0), 500);
    world.flush();
    world.exchange.tick(T0 + 500);
    world.flush();
    assert_eq!((world.exchange.counts().queued_bytes, world.saved.retained.len()), (0, 0));
}

#[test]
fn qos_0_is_for_who_is_there_and_bounded() {
    let mut world = World::new(bounds());
    let (a, b) = (world.kept("a"), world.kept("b"));
    world.subscribe(a, "x", qos(2));
    world.subscribe(b, "x", qos(0));
    world.close(b);
    assert_eq!(world.publish(message("x", 2, b"m")), 1, "b takes it at QoS 0, and is not there");
    for _ in 0..session::LANE_MAX + 5 {
        world.publish(message("x", 0, b"m"));
    }
    assert_eq!(world.exchange.counts().dropped_slow, 5);
    world.flush();
    assert_eq!(world.drain(a).len(), 1 + session::LANE_MAX);
    let long = vec![0; session::LANE_BYTES_MAX];
    assert_eq!([(); 2].map(|()| world.publish(message("x", 0, &long))), [1, 0], "a long one goes alone");
    world.close(a);
    world.kept("a");
    assert_eq!(world.payloads(a), ["m"], "the QoS 2 delivery, and nothing of QoS 0");
}

#[test]
fn a_qos_2_delivery_leaves_when_it_is_on_disk() {
    let mut world = World::new(bounds());
    let a = world.kept("a");
    world.subscribe(a, "x", qos(2));
    world.flush();
    was_woken(&world.wake);
    world.publish(message("x", 1, b"one"));
    world.publish(message("x", 2, b"two"));
    assert_eq!(world.payloads(a), ["one"]);
    was_woken(&world.wake);
    world.flush();
    assert!(was_woken(&world.wake));
    assert_eq!(world.payloads(a), ["two"]);
    assert!(world.exchange.recorded(a, 2));
    assert_eq!(world.next(a), None, "the PUBREC is not on disk");
    world.flush();
    assert!(was_woken(&world.wake));
    assert_eq!(world.next(a), Some(Outgoing::Release { pkid: 2 }));
    assert!(world.exchange.recorded(a, 2), "the client says it again");
    assert_eq!(world.next(a), Some(Outgoing::Release { pkid: 2 }));
    assert!(world.exchange.completed(a, 2) && !world.exchange.completed(a, 2));
    for (known, pkid) in [(false, 1), (false, 2), (false, 3), (false, 0)] {
        assert_eq!(world.exchange.recorded(a, pkid), known, "{pkid}");
    }
}

#[test]
fn the_window_is_the_smaller_one() {
    for (receive_max, inflight_max, window) in [(2, 100, 2), (100, 3, 3), (u16::MAX, 100, 100)] {
        let mut world = World::new(Bounds { inflight_max, ..bounds() });
        let a = world.open("a", &Asked { receive_max, ..asked(true, 0) }).session;
        world.subscribe(a, "x", qos(1));
        for _ in 0..120 {
            world.publish(message("x", 1, b"m"));
        }
        assert_eq!(world.drain(a).len(), window);
        world.exchange.acknowledged(a, 2);
        world.exchange.acknowledged(a, 2);
        assert_eq!(world.drain(a).len(), 1);
        world.exchange.discard(a, 1);
        assert_eq!((world.drain(a).len(), world.exchange.counts().dropped_too_long), (1, 1));
    }
}

/// PUBACK took a QoS 2 delivery out of the queue as if the client had had it for good.
#[test]
fn an_answer_belongs_to_a_step_of_its_delivery() {
    use Answer::{Acknowledged, Completed, Recorded};
    let mut world = World::new(bounds());
    let session = world.passing("a");
    world.subscribe(session, "t", qos(2));
    world.publish(message("t", 1, b""));
    world.publish(message("t", 2, b""));
    let misplaced = |world: &World, pkid| {
        [Acknowledged, Recorded, Completed].map(|answer| world.exchange.is_misplaced(session, answer, pkid))
    };
    assert_eq!(misplaced(&world, 1), [false; 3], "not sent: what it answers is nothing");
    assert_eq!(world.drain(session).len(), 2);
    assert_eq!(misplaced(&world, 1), [false, true, true], "QoS 1");
    assert_eq!(misplaced(&world, 2), [true, false, true], "QoS 2");
    assert!(world.exchange.recorded(session, 2));
    assert_eq!(misplaced(&world, 2), [true, false, false], "recorded");
    assert_eq!(misplaced(&world, 3), [false; 3]);
}

#[test]
fn what_is_not_acknowledged_is_sent_again_in_order_and_under_its_id() {
    let mut world = World::new(bounds());
    let a = world.open("a", &Asked { receive_max: 4, ..asked(false, FOR_EVER) }).session;
    world.subscribe(a, "x", qos(2));
    for (payload, level) in [(b"1", 1), (b"2", 2), (b"3", 2), (b"4", 1), (b"5", 1)] {
        world.publish(message("x", level, payload));
    }
    world.flush();
    assert_eq!(world.payloads(a), ["1", "2", "3", "4"]);
    world.exchange.acknowledged(a, 1);
    assert!(world.exchange.recorded(a, 3));
    world.close(a);
    world.flush();
    let expected = [
        ("2".to_owned(), 2, 2, true, false),
        ("PUBREL".to_owned(), 2, 3, false, false),
        ("4".to_owned(), 1, 4, true, false),
    ];
    let opened = world.open("a", &asked(false, FOR_EVER));
    assert_eq!((opened.session, opened.present), (a, true));
    let again = world.drain(a);
    assert_eq!(again[..3], expected);
    assert_eq!(again[3..], [("5".to_owned(), 1, 5, false, false)]);
    assert!(world.exchange.completed(a, 3));
    world.flush();
    world.restart(bounds());
    assert!(world.open("a", &asked(false, FOR_EVER)).present);
    let payloads: Vec<_> = world.drain(a).into_iter().map(|one| (one.0, one.2, one.3)).collect();
    assert_eq!(payloads, [("2".to_owned(), 2, true), ("4".to_owned(), 4, true), ("5".to_owned(), 5, true)]);
}

/// An id that a client held, of a message that expired, must not soon mean another message: the client would take that
/// for a repetition.
#[test]
fn a_restart_with_an_empty_queue_does_not_begin_at_the_first_id_again() {
    let mut world = World::new(bounds());
    let a = world.kept("a");
    world.subscribe(a, "x", qos(2));
    world.publish(message("x", 2, b"1"));
    world.flush();
    assert_eq!(world.drain(a)[0].2, 1);
    world.exchange.acknowledged(a, 1);
    world.flush();
    world.restart(bounds());
    world.kept("a");
    world.publish(message("x", 2, b"2"));
    world.flush();
    assert_ne!(world.drain(a)[0].2, 1);
}

#[test]
fn packet_ids_go_round_and_never_meet() {
    let mut queue = Queue::default();
    let parcel = || queue::Parcel {
        message: Arc::new(message("x", 1, b"")),
        qos: 1,
        retain: false,
        identifiers: Box::default(),
    };
    let send = |queue: &mut Queue| match queue.next(10, Mark::NONE, T0) {
        queue::Step::Send(Outgoing::Publish { pkid, .. }) => pkid,
        _ => 0,
    };
    queue.push(parcel(), Mark::NONE);
    assert_eq!(send(&mut queue), 1);
    for expected in 2..=u16::MAX {
        assert!(queue.has_room(2));
        queue.push(parcel(), Mark::NONE);
        assert_eq!(send(&mut queue), expected);
        assert!(queue.acknowledged(expected).is_some());
    }
    assert!(!queue.has_room(2), "the next one would share an id with the first");
    assert!(queue.acknowledged(1).is_some() && queue.has_room(2));
    queue.push(parcel(), Mark::NONE);
    assert_eq!(send(&mut queue), 1);
}

#[test]
fn an_expired_message_is_not_sent() {
    let mut world = World::new(Bounds { queue_max: 2, ..bounds() });
    let a = world.kept("a");
    world.subscribe(a, "x", qos(1));
    world.close(a);
    for number in 0..3 {
        world.publish(Message { expires_ms: Some(T0 + 1000), ..message("x", 1, &[b'0' + number]) });
    }
    assert_eq!(world.exchange.counts().dropped_full, 1);
    world.now_ms += 1000;
    assert_eq!(world.publish(message("x", 1, b"new")), 1, "what has expired makes room");
    world.publish(Message { expires_ms: Some(T0 + 2000), ..message("x", 1, b"short") });
    world.kept("a");
    world.now_ms += 1000;
    assert_eq!(world.payloads(a), ["new"]);
    assert_eq!(world.exchange.counts().dropped_expired, 3);
    world.flush();
    assert_eq!(world.saved.sessions[0].queue.len(), 1);
}

#[test]
fn a_will_waits_for_its_delay_the_end_of_its_session_or_its_client() {
    let will = || Message { expires_ms: Some(T0 + 60_000), ..message("w", 1, b"gone") };
    // Session expiry and delay, seconds → when it is published.
    for (expiry_s, delay_s, due_s) in [(0, 10, 0), (100, 0, 0), (100, 10, 10), (100, 200, 100)] {
        let mut world = World::new(bounds());
        let a = world.open("a", &asked(false, expiry_s)).session;
        let now = world.exchange.close(a, None, vec![], Some((will(), delay_s)), T0);
        assert_eq!(now.is_some(), due_s == 0);
        if due_s > 0 {
            assert_eq!(world.exchange.rest_ms(T0), (due_s * 1000).min(60_000));
            assert!(world.exchange.tick(T0 + due_s * 1000 - 1).is_empty());
            let wills = world.exchange.tick(T0 + due_s * 1000);
            assert_eq!(wills[0].message.expires_ms, Some(T0 + 60_000 + due_s * 1000), "it lives from now on");
        }
        assert_eq!((world.exchange.counts().queued_bytes, world.exchange.tick(T0 + 101_000).len()), (0, 0));
    }
    for (clean, expected) in [(false, 0), (true, 1)] {
        let mut world = World::new(bounds());
        let a = world.kept("a");
        assert_eq!(world.exchange.close(a, None, vec![], Some((will(), 10)), T0), None);
        world.open("a", &asked(clean, 100));
        assert_eq!(world.exchange.tick(T0 + 20_000).len(), expected, "its session ended: {clean}");
        assert_eq!(world.exchange.counts().queued_bytes, 0);
    }
    let mut world = World::new(Bounds { kept_bytes_max: 10, ..bounds() });
    let a = world.kept("a");
    let early = world.exchange.close(a, None, vec![], Some((will(), 10)), T0);
    assert!(early.is_some(), "without room for it, it comes early rather than never");
}

#[test]
fn a_session_is_kept_as_long_as_was_agreed() {
    // CONNECT, what DISCONNECT asks for → granted, and whether it is there 10 s later.
    let v4 = |clean| Asked { level5: false, ..asked(clean, FOR_EVER) };
    for (asked, later, granted, present) in [
        (v4(true), None, 0, false),
        (v4(false), None, 3600, true),
        (asked(true, 0), None, 0, false),
        (asked(true, 10), None, 10, false),
        (asked(true, 11), None, 11, true),
        (asked(true, 11), Some(0), 11, false),
        (asked(true, 5), Some(FOR_EVER), 5, true),
        (asked(true, 0), Some(100), 0, false),
    ] {
        for ticks in [false, true] {
            let mut world = World::new(bounds());
            let opened = world.open("a", &asked);
            assert_eq!((opened.expiry_s, opened.present), (granted, false));
            assert_eq!(world.exchange.is_kept(opened.session), granted > 0);
            world.exchange.close(opened.session, later, vec![7], None, T0);
            world.now_ms = T0 + 10_000;
            if ticks {
                world.exchange.tick(world.now_ms);
            }
            let again = world.open("a", &Asked { clean: false, ..asked });
            assert_eq!(again.present, present, "{asked:?}");
            assert_eq!(again.received, if present { vec![7] } else { vec![] });
            world.flush();
            assert_eq!(world.saved.sessions.len(), usize::from(again.expiry_s > 0));
        }
    }
}

#[test]
fn a_kept_session_that_is_taken_up_for_once_ends_with_its_connection() {
    let mut world = World::new(bounds());
    let a = world.kept("a");
    world.subscribe(a, "x", qos(1));
    world.close(a);
    world.publish(message("x", 1, b"m"));
    let opened = world.open("a", &asked(false, 0));
    assert_eq!((opened.present, opened.expiry_s), (true, 0));
    world.flush();
    assert_eq!(world.saved, Saved::default());
    assert_eq!(world.payloads(a), ["m"]);
    world.exchange.acknowledged(a, 1);
    assert_eq!(world.exchange.received(a, 3), Mark::NONE);
    world.close(a);
    world.flush();
    assert_eq!((&world.saved, world.exchange.counts().sessions), (&Saved::default(), 0));
}

#[test]
fn the_session_that_was_left_first_makes_room() {
    let mut world = World::new(Bounds { sessions_max: 2, ..bounds() });
    for client in ["c", "b", "a"] {
        let session = world.kept(client);
        world.subscribe(session, "x", qos(1));
        world.close(session);
        world.now_ms += 1;
    }
    assert_eq!((world.exchange.counts().absent, world.exchange.counts().evicted), (2, 1));
    assert_eq!(world.publish(message("x", 1, b"m")), 2);
    world.flush();
    world.restart(Bounds { sessions_max: 1, ..bounds() });
    assert!(world.open("a", &asked(false, 1)).present && !world.open("b", &asked(false, 1)).present);
}

#[test]
fn clients_that_were_there_when_the_process_ended_have_left_then() {
    let mut world = World::new(bounds());
    let a = world.open("a", &asked(false, 10)).session;
    let b = world.open("b", &asked(false, 10)).session;
    world.close(b);
    world.flush();
    world.now_ms += 10_000;
    world.restart(bounds());
    world.flush();
    let left: Vec<_> = world.saved.sessions.iter().map(|session| (session.id, session.left_ms)).collect();
    assert_eq!(left, [(a, Some(T0 + 10_000))], "b is over");
    assert_ne!(world.kept("c"), a);
}

#[test]
fn a_group_prefers_who_is_there() {
    let mut world = World::new(Bounds { queue_max: 2, ..bounds() });
    let (a, b, c) = (world.kept("a"), world.kept("b"), world.kept("c"));
    for session in [a, b, c] {
        world.subscribe(session, "$share/g/x", qos(1));
    }
    world.close(a);
    for payload in [b"1", b"2", b"3", b"4"] {
        assert_eq!(world.publish(message("x", 1, payload)), 1);
    }
    assert_eq!((world.payloads(b), world.payloads(c)), (strings(["1", "3"]), strings(["2", "4"])));
    assert_eq!(world.publish(message("x", 1, b"5")), 1, "who is there is full");
    assert_eq!(world.publish(message("x", 0, b"6")), 1);
    world.close(b);
    world.close(c);
    assert_eq!(world.publish(message("x", 0, b"7")), 0);
    world.kept("a");
    assert_eq!(world.payloads(a), ["5"]);
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

#[test]
fn a_full_queue_drops_and_counts() {
    for bounds in [Bounds { queue_max: 3, ..bounds() }, Bounds { kept_bytes_max: 3 * 160, ..bounds() }] {
        let mut world = World::new(bounds);
        let a = world.kept("a");
        world.subscribe(a, "x", qos(1));
        world.close(a);
        let accepted: usize = (0..5).map(|_| world.publish(message("x", 1, &[0; 100]))).sum();
        assert_eq!((accepted, world.exchange.counts().dropped_full), (3, 2));
        world.open("a", &asked(true, 0));
        assert_eq!((world.exchange.counts().queued_bytes, world.exchange.counts().queued), (0, 0));
    }
}

#[test]
fn whoever_waits_for_the_disk_is_woken() {
    let mut world = World::new(bounds());
    let opened = world.open("a", &asked(false, 100));
    let a = opened.session;
    let (_, subscribed) = world.exchange.subscribe(a, None, &[("x", qos(1))], T0);
    let published = world.exchange.publish(Some(a), message("x", 1, b"m"), T0).mark;
    let received = world.exchange.received(a, 7);
    let released = world.exchange.released(a, 7);
    let (_, unsubscribed) = world.exchange.unsubscribe(a, &["x".to_owned()]);
    let marks = [opened.mark, subscribed, published, received, released, unsubscribed];
    assert_eq!(marks.map(|mark| mark.0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(world.exchange.backlog(), 6);
    assert!(world.exchange.journal().is_some());
    was_woken(&world.wake);
    for mark in marks {
        assert!(!world.exchange.is_committed(mark));
        world.exchange.committed(mark);
        assert!(world.exchange.is_committed(mark) && was_woken(&world.wake), "{mark:?}");
    }
    assert_eq!(world.exchange.publish(Some(a), message("x", 1, b"m"), T0).mark, Mark::NONE);
    let b = world.passing("b");
    world.subscribe(b, "x", qos(2));
    assert_eq!(world.exchange.publish(Some(a), message("x", 2, b"m"), T0).mark, Mark::NONE);
    assert_eq!(world.payloads(b), ["m"], "what is not kept need not be on disk");
    assert!(world.exchange.is_committed(Mark::NONE));
}

/// A publisher that repeats what was never acknowledged must not find half of it done.
#[test]
fn a_publish_and_its_packet_id_are_on_disk_together() {
    let mut world = World::new(bounds());
    let (a, b) = (world.kept("a"), world.kept("b"));
    world.subscribe(b, "x", qos(2));
    world.flush();
    for pkid in 1..=3000 {
        world.exchange.publish(Some(a), message("x", 2, b"m"), T0);
        world.exchange.received(a, pkid);
        if let Some(Outgoing::Publish { pkid, .. }) = world.next(b) {
            world.exchange.acknowledged(b, pkid);
        }
    }
    while let Some((_, changes)) = world.exchange.journal() {
        let count = |wanted: fn(&Change) -> bool| changes.iter().filter(|change| wanted(change)).count();
        let received = count(|change| matches!(change, Change::Received { .. }));
        let queued = count(|change| matches!(change, Change::Queue { .. }));
        assert!(queued <= received && changes.len() <= 4100, "{queued} {received}");
    }
}

#[test]
fn subscriptions_without_a_right_end() {
    let mut world = World::new(bounds());
    let session = world.kept("c");
    for filter in ["a", "$share/g/b", "c"] {
        world.exchange.subscribe(session, None, &[(filter, Options::default())], T0);
    }
    world.exchange.restrict(session, |filter| filter == "a");
    assert_eq!(world.exchange.counts().subscriptions, 1);
    for (topic, receivers) in [("a", 1), ("b", 0), ("c", 0)] {
        assert_eq!(world.publish(message(topic, 1, b"x")), receivers, "{topic}");
    }
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 384, "{}", size_of::<Session>());
    assert!(size_of::<Change>() <= 64 && size_of::<Delivery>() <= 64);
}
