//! Anything in any order, within narrow bounds: the bounds hold, the sums are right, and the journal tells all of it.

use proptest::prelude::*;

use super::*;

const CLIENTS: [&str; 5] = ["1", "2", "3", "4", "5"];
const FILTERS: [&str; 6] = ["#", "a/+", "$share/g/#", "$share/g/a/+", "b", "a/#"];
const TOPICS: [&str; 4] = ["a/1", "a", "b", "c/d"];

#[derive(Clone, Debug)]
enum Op {
    Open(usize, Asked),
    Close(usize, Option<u32>, Option<u32>),
    Subscribe(usize, usize, Options),
    Unsubscribe(usize, usize),
    Publish(Option<usize>, Message),
    Next(usize),
    Answer(usize, u16, u8),
    Received(usize, u16),
    Released(usize, u16),
    Journal,
    Wait(i64),
    Restart,
}

fn options() -> impl Strategy<Value = Options> {
    (0..=2u8, any::<bool>(), any::<bool>(), 0..=2u8).prop_map(
        |(qos, no_local, retain_as_published, handling)| Options {
            qos,
            no_local,
            retain_as_published,
            retain_handling: handling,
        },
    )
}

fn publish() -> impl Strategy<Value = Message> {
    (prop::sample::select(&TOPICS[..]), 0..=2u8, 0..40usize, any::<bool>(), prop::option::of(0..20_000i64))
        .prop_map(|(topic, qos, length, retain, expires)| Message {
            retain,
            expires_ms: expires.map(|expires| T0 + expires),
            ..message(topic, qos, &vec![1; length])
        })
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..CLIENTS.len();
    let seconds = || prop::sample::select(&[0, 1, 5, 100][..]);
    prop_oneof![
        4 => (client(), any::<bool>(), seconds(), 1..5u16, any::<bool>()).prop_map(
            |(client, clean, expiry_s, receive_max, level5)| {
                Op::Open(client, Asked { clean, expiry_s, receive_max, level5 })
            }
        ),
        3 => (client(), prop::option::of(seconds()), prop::option::of(seconds()))
            .prop_map(|(client, expiry_s, will)| Op::Close(client, expiry_s, will)),
        4 => (client(), 0..FILTERS.len(), options()).prop_map(|(c, filter, options)| Op::Subscribe(c, filter, options)),
        1 => (client(), 0..FILTERS.len()).prop_map(|(client, filter)| Op::Unsubscribe(client, filter)),
        8 => (prop::option::of(client()), publish()).prop_map(|(from, message)| Op::Publish(from, message)),
        6 => client().prop_map(Op::Next),
        6 => (client(), 0..12u16, 0..4u8).prop_map(|(client, pkid, kind)| Op::Answer(client, pkid, kind)),
        1 => (client(), 1..5u16).prop_map(|(client, pkid)| Op::Received(client, pkid)),
        1 => (client(), 1..5u16).prop_map(|(client, pkid)| Op::Released(client, pkid)),
        2 => Just(Op::Journal),
        2 => (0..5000i64).prop_map(Op::Wait),
        1 => Just(Op::Restart),
    ]
}

const BOUNDS: Bounds = Bounds {
    sessions_max: 2,
    subscriptions_max: 3,
    queue_max: 4,
    kept_bytes_max: 800,
    retained_max: 2,
    session_max_s: 50,
    inflight_max: 3,
};

/// The world, and who is there with which QoS 2 publishes.
struct Random {
    world: World,
    here: [Option<(SessionId, BTreeSet<u16>)>; 5],
}

impl Random {
    fn run(&mut self, op: &Op) {
        let now_ms = self.world.now_ms;
        let exchange = &mut self.world.exchange;
        let session = |client: &usize| self.here[*client].as_ref().map(|here| here.0);
        match op {
            Op::Open(client, asked) if session(client).is_none() => {
                let opened = exchange.open(CLIENTS[*client], asked, Arc::default(), now_ms);
                self.here[*client] = Some((opened.session, opened.received.into_iter().collect()));
            }
            Op::Close(client, expiry_s, will) => {
                if let Some((session, received)) = self.here[*client].take() {
                    let will = will.map(|delay_s| (message("a/1", 1, b"will"), delay_s));
                    exchange.close(session, *expiry_s, received.into_iter().collect(), will, now_ms);
                }
            }
            Op::Publish(from, message) => {
                let from = from.as_ref().and_then(session);
                exchange.publish(from, message.clone(), now_ms);
            }
            Op::Journal => self.world.flush(),
            Op::Wait(ms) => {
                self.world.now_ms += ms;
                for will in self.world.exchange.tick(self.world.now_ms) {
                    self.world.publish(will.message);
                }
                assert!((100..=60_000).contains(&self.world.exchange.rest_ms(now_ms)));
            }
            Op::Restart => {
                self.world.restart(BOUNDS);
                self.here = Default::default();
            }
            Op::Open(client, _)
            | Op::Subscribe(client, ..)
            | Op::Unsubscribe(client, _)
            | Op::Next(client)
            | Op::Answer(client, ..)
            | Op::Received(client, _)
            | Op::Released(client, _) => {
                if let Some(here) = &mut self.here[*client] {
                    said(exchange, here, op, now_ms);
                }
            }
        }
    }

    fn check(&self) {
        let exchange = &self.world.exchange;
        let sessions = || exchange.sessions.values();
        let queued =
            sessions().flat_map(|session| session.queue.parcels()).map(|parcel| weight(&parcel.message));
        let retained = exchange.retained().map(|message| weight(message));
        let wills = sessions().filter_map(|session| session.will.as_ref()).map(|will| weight(&will.message));
        let ended = exchange.ended_wills.iter().map(|will| weight(&will.message));
        assert_eq!(exchange.kept_bytes, queued.chain(retained).chain(wills).chain(ended).sum::<usize>());
        let lanes = sessions().filter_map(|session| session.here.as_ref());
        let lane_bytes = lanes.clone().flat_map(|here| &here.lane).map(|parcel| weight(&parcel.message));
        assert_eq!(exchange.lane_bytes, lane_bytes.sum::<usize>());
        assert_eq!(exchange.lane_bytes, lanes.map(|here| here.lane_bytes).sum::<usize>());
        assert!(exchange.kept_bytes <= BOUNDS.kept_bytes_max && exchange.lane_bytes <= BOUNDS.kept_bytes_max);
        assert!(sessions().all(|session| session.queue.len() <= BOUNDS.queue_max));
        assert!(sessions().all(|session| session.filters.len() <= BOUNDS.subscriptions_max));
        let counts = exchange.counts();
        assert!(counts.absent <= BOUNDS.sessions_max && counts.retained <= BOUNDS.retained_max);
        assert_eq!(counts.absent, sessions().filter(|session| session.here.is_none()).count());
        assert_eq!(
            (counts.subscriptions, counts.sessions),
            (exchange.tree.entries().len(), exchange.clients.len())
        );
    }

    /// What the disk holds is what the exchange holds.
    fn compare(&mut self) {
        self.world.flush();
        let received = |session| {
            let here = self.here.iter().flatten().find(|here| here.0 == session);
            here.map(|here| here.1.iter().copied().collect()).unwrap_or_default()
        };
        assert_eq!(self.world.saved, fold::state(&self.world.exchange, received));
    }
}

/// What a client that is there says.
fn said(exchange: &mut Exchange, here: &mut (SessionId, BTreeSet<u16>), op: &Op, now_ms: i64) {
    let (session, received) = (here.0, &mut here.1);
    match op {
        Op::Subscribe(_, filter, options) => {
            exchange.subscribe(session, Some(9), &[(FILTERS[*filter], *options)], now_ms);
        }
        Op::Unsubscribe(_, filter) => {
            exchange.unsubscribe(session, &[FILTERS[*filter].to_owned()]);
        }
        Op::Next(_) => {
            exchange.next(session, now_ms);
        }
        Op::Answer(_, pkid, 0) => exchange.acknowledged(session, *pkid),
        Op::Answer(_, pkid, 1) => exchange.discard(session, *pkid),
        Op::Answer(_, pkid, 2) => {
            exchange.recorded(session, *pkid);
        }
        Op::Answer(_, pkid, _) => {
            exchange.completed(session, *pkid);
        }
        Op::Received(_, pkid) => {
            received.insert(*pkid);
            exchange.received(session, *pkid);
        }
        Op::Released(_, pkid) => {
            received.remove(pkid);
            exchange.released(session, *pkid);
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn bounds_hold_and_the_journal_tells_all(ops in prop::collection::vec(op(), 1..150)) {
        let mut random = Random { world: World::new(BOUNDS), here: Default::default() };
        for op in &ops {
            random.run(op);
            random.check();
        }
        random.compare();
        random.run(&Op::Restart);
        random.check();
        random.compare();
    }
}
