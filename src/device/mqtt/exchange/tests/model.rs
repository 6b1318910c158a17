//! Correct clients against an exchange whose process is killed at any moment: nothing acknowledged is lost, QoS 2 comes
//! once, everything comes in order.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::super::super::topic;
use super::*;

const CLIENTS: [&str; 3] = ["door-1", "door-2", "灯-3"];
const FILTERS: [&str; 4] = ["a/+", "a/1", "#", "b/#"];
const TOPICS: [&str; 4] = ["a/1", "a/2", "b", "c"];

#[derive(Clone, Debug)]
enum Op {
    Open {
        client: usize,
        clean: bool,
        receive_max: u16,
    },
    Close {
        client: usize,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: u8,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        topic: usize,
        qos: u8,
    },
    /// A client reads so many packets.
    Read {
        client: usize,
        count: usize,
    },
    /// It answers so many of them.
    Answer {
        client: usize,
        count: usize,
    },
    /// The writer takes what there is.
    Take,
    /// It has committed what it took first.
    Commit,
    /// `kill -9`; perhaps after a commit that nobody heard of.
    Kill {
        committed: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 0..CLIENTS.len();
    prop_oneof![
        3 => (client(), prop::bool::weighted(0.1), 1..6u16)
            .prop_map(|(client, clean, receive_max)| Op::Open { client, clean, receive_max }),
        1 => client().prop_map(|client| Op::Close { client }),
        3 => (client(), 0..FILTERS.len(), 1..=2u8)
            .prop_map(|(client, filter, qos)| Op::Subscribe { client, filter, qos }),
        1 => (client(), 0..FILTERS.len()).prop_map(|(client, filter)| Op::Unsubscribe { client, filter }),
        8 => (0..TOPICS.len(), 1..=2u8).prop_map(|(topic, qos)| Op::Publish { topic, qos }),
        6 => (client(), 1..6usize).prop_map(|(client, count)| Op::Read { client, count }),
        6 => (client(), 1..6usize).prop_map(|(client, count)| Op::Answer { client, count }),
        4 => Just(Op::Take),
        4 => Just(Op::Commit),
        1 => any::<bool>().prop_map(|committed| Op::Kill { committed }),
    ]
}

#[derive(Clone, Copy)]
enum Answer {
    Received(u16),
    Recorded(u16),
    Completed(u16),
}

/// A correct client (MQTT 5.0 §4.3, §4.4).
#[derive(Default)]
struct Client {
    session: Option<SessionId>,
    /// CONNACK comes when this is on disk.
    opening: Mark,
    /// Packet ids of QoS 2 deliveries between PUBLISH and PUBREL.
    held: BTreeSet<u16>,
    answers: VecDeque<Answer>,
    /// Numbers of the messages that it got, and at which QoS.
    handed: Vec<(u32, u8)>,
    /// Filter → QoS.
    subscriptions: BTreeMap<&'static str, u8>,
}

struct Model {
    exchange: Exchange,
    saved: Saved,
    batches: VecDeque<(Mark, Vec<Change>)>,
    clients: [Client; 3],
    last_message: u32,
    /// (client, message, QoS) that are owed once the mark is on disk.
    owed: Vec<(usize, u32, u8, Mark)>,
}

impl Model {
    fn new() -> Self {
        Self {
            exchange: Exchange::new(bounds(), Saved::default(), T0),
            saved: Saved::default(),
            batches: VecDeque::new(),
            clients: Default::default(),
            last_message: 0,
            owed: Vec::new(),
        }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Open { client, clean, receive_max } => self.open(client, clean, receive_max),
            Op::Close { client } => self.close(client),
            Op::Subscribe { client, filter, qos: granted } => {
                if let Some(session) = self.ready(client) {
                    let filter = FILTERS[filter];
                    self.exchange.subscribe(session, None, &[(filter, qos(granted))], T0);
                    self.clients[client].subscriptions.insert(filter, granted);
                }
            }
            Op::Unsubscribe { client, filter } => {
                if let Some(session) = self.ready(client) {
                    let filter = FILTERS[filter];
                    let (codes, _) = self.exchange.unsubscribe(session, &[filter.to_owned()]);
                    let was = self.clients[client].subscriptions.remove(filter).is_some();
                    assert_eq!(codes, [if was { 0 } else { 0x11 }]);
                }
            }
            Op::Publish { topic, qos } => self.publish(TOPICS[topic], qos),
            Op::Read { client, count } => self.read(client, count),
            Op::Answer { client, count } => self.answer(client, count),
            Op::Take => self.batches.extend(self.exchange.journal()),
            Op::Commit => {
                if let Some(mark) = self.commit() {
                    self.exchange.committed(mark);
                }
            }
            Op::Kill { committed } => self.kill(committed),
        }
    }

    /// The session of a client that has got its CONNACK.
    fn ready(&self, client: usize) -> Option<SessionId> {
        let client = &self.clients[client];
        client.session.filter(|_| self.exchange.is_committed(client.opening))
    }

    fn open(&mut self, at: usize, clean: bool, receive_max: u16) {
        if self.clients[at].session.is_some() {
            return;
        }
        let asked = Asked { clean, expiry_s: FOR_EVER, receive_max, level5: true };
        let opened = self.exchange.open(CLIENTS[at], &asked, Arc::default(), T0);
        let client = &mut self.clients[at];
        (client.session, client.opening) = (Some(opened.session), opened.mark);
        if clean {
            self.owed.retain(|(client, ..)| *client != at);
            self.settle();
        }
        let client = &mut self.clients[at];
        if !opened.present {
            client.held.clear();
            client.subscriptions.clear();
            assert!(self.owed.iter().all(|owed| owed.0 != at), "a kept session is there");
        }
    }

    fn close(&mut self, client: usize) {
        self.clients[client].answers.clear();
        if let Some(session) = self.clients[client].session.take() {
            self.exchange.close(session, None, vec![], None, T0);
        }
    }

    fn publish(&mut self, topic: &str, qos: u8) {
        self.last_message += 1;
        let number = self.last_message;
        let published = self.exchange.publish(None, message(topic, qos, &number.to_be_bytes()), T0);
        let before = self.owed.len();
        for (at, client) in self.clients.iter().enumerate() {
            let covering = client.subscriptions.iter().filter(|(filter, _)| topic::covers(filter, topic));
            if let Some(granted) = covering.map(|(_, granted)| *granted).max() {
                self.owed.push((at, number, granted.min(qos), published.mark));
            }
        }
        assert_eq!(published.receivers, self.owed.len() - before);
    }

    fn read(&mut self, client: usize, count: usize) {
        let Some(session) = self.ready(client) else { return };
        for _ in 0..count {
            let Some(outgoing) = self.exchange.next(session, T0) else { return };
            let client = &mut self.clients[client];
            match outgoing {
                Outgoing::Publish { message, qos, pkid, .. } => {
                    let number = u32::from_be_bytes((*message.payload).try_into().expect("four bytes"));
                    if qos == 1 || client.held.insert(pkid) {
                        client.handed.push((number, qos));
                    }
                    client.answers.push_back(if qos == 1 {
                        Answer::Received(pkid)
                    } else {
                        Answer::Recorded(pkid)
                    });
                }
                Outgoing::Release { pkid } => {
                    client.held.remove(&pkid);
                    client.answers.push_back(Answer::Completed(pkid));
                }
            }
        }
    }

    fn answer(&mut self, client: usize, count: usize) {
        let Some(session) = self.ready(client) else { return };
        for _ in 0..count {
            match self.clients[client].answers.pop_front() {
                Some(Answer::Received(pkid)) => self.exchange.acknowledged(session, pkid),
                Some(Answer::Recorded(pkid)) => assert!(self.exchange.recorded(session, pkid)),
                Some(Answer::Completed(pkid)) => assert!(self.exchange.completed(session, pkid)),
                None => return,
            }
        }
    }

    /// The oldest batch is on disk.
    fn commit(&mut self) -> Option<Mark> {
        let (mark, changes) = self.batches.pop_front()?;
        changes.into_iter().for_each(|change| fold::apply(&mut self.saved, change));
        // What is on disk is owed for good.
        self.owed.iter_mut().filter(|owed| owed.3 <= mark).for_each(|owed| owed.3 = Mark::NONE);
        Some(mark)
    }

    fn settle(&mut self) {
        self.batches.extend(self.exchange.journal());
        while let Some(mark) = self.commit() {
            self.exchange.committed(mark);
        }
    }

    fn kill(&mut self, committed: bool) {
        if committed {
            self.commit();
        }
        self.batches.clear();
        self.owed.retain(|owed| owed.3 == Mark::NONE);
        self.exchange = Exchange::new(bounds(), self.saved.clone(), T0);
        for (at, client) in self.clients.iter_mut().enumerate() {
            client.session = None;
            client.answers.clear();
            client.subscriptions.clear();
            let kept = self.saved.sessions.iter().find(|session| *session.client == *CLIENTS[at]);
            for (filter, options, _) in kept.iter().flat_map(|session| &session.subscriptions) {
                let filter = FILTERS.into_iter().find(|known| *known == &**filter).expect("one of ours");
                client.subscriptions.insert(filter, options.qos);
            }
        }
    }

    /// Every client comes back and takes what there is; then the books are compared.
    fn end(&mut self) {
        for client in 0..CLIENTS.len() {
            self.close(client);
            self.open(client, false, 3);
        }
        for _ in 0..2000 {
            self.settle();
            for client in 0..CLIENTS.len() {
                self.read(client, 10);
                self.answer(client, 10);
            }
        }
        self.settle();
        assert_eq!((self.exchange.counts().queued, self.exchange.counts().queued_bytes), (0, 0));
        assert_eq!(self.exchange.counts().dropped_full, 0);
        for (at, number, qos, _) in &self.owed {
            let times = self.clients[*at].handed.iter().filter(|handed| **handed == (*number, *qos)).count();
            assert!(times >= 1, "message {number} is lost for {}", CLIENTS[*at]);
        }
        for client in &self.clients {
            assert!(client.held.is_empty());
            let (mut seen, mut newest) = (BTreeSet::new(), 0);
            for (number, qos) in &client.handed {
                if seen.insert(*number) {
                    assert!(*number > newest, "message {number} came late");
                    newest = *number;
                } else {
                    assert_eq!(*qos, 1, "message {number} came twice");
                }
            }
        }
        assert_eq!(self.saved, fold::state(&self.exchange, |_| vec![]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn nothing_acknowledged_is_lost_and_qos_2_comes_once(ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        for op in &ops {
            model.run(op);
        }
        model.end();
    }
}
