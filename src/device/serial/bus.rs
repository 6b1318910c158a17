//! The discipline of one half-duplex bus, for any protocol of questions and answers.
//!
//! drain → silence → send → skip the echo → strict match → done; after a timeout the bus goes on listening, so that a late
//! answer is heard and thrown away instead of being taken for the next one. Guarantees: never two questions in flight;
//! each question ends exactly once, in bounded time, whatever the line carries; what is not the answer is counted; the
//! buffer is bounded. It has no clock, opens nothing, and does not choose what to ask.

use std::time::Duration;

use super::{Parity, PortSettings};
use crate::codec::Scan;
use crate::codec::modbus::{self, Direction, Request};

/// Received bytes that may wait for the rest of their frame. Beyond it the oldest are discarded and counted.
pub const BUFFER_BYTES_MAX: usize = 512;

/// Silence that costs little and that cheap slaves need.
const SILENCE_MIN: Duration = Duration::from_millis(20);

/// A pause inside of a frame that ends it. USB adapters hand over in pieces 16 ms apart.
const GAP_MIN: Duration = Duration::from_millis(50);

/// One question to one slave: the form that a protocol fills to run on a bus.
pub trait Question: Clone {
    /// The bytes to send.
    fn frame(&self) -> Vec<u8>;

    /// Bytes of the longest answer, for the time it takes on the wire.
    fn answer_bytes(&self) -> usize;

    /// What the front of the received bytes is to this question. `Need` only while a longer buffer may hold a frame of
    /// at most [`BUFFER_BYTES_MAX`] bytes.
    fn hear(&self, received: &[u8]) -> Scan<Heard>;

    /// Whether the front is the answer but for its checksum.
    fn damaged(&self, received: &[u8]) -> bool;
}

/// A frame, as one question sees it.
#[derive(Clone, PartialEq, Eq)]
pub enum Heard {
    /// Its answer: the values, still encoded.
    Answer(Vec<u8>),
    /// Its refusal, with the protocol's code.
    Refused(u8),
    /// A frame, but to somebody else's question.
    Foreign,
}

impl Question for Request {
    fn frame(&self) -> Vec<u8> {
        self.encode().to_vec()
    }

    fn answer_bytes(&self) -> usize {
        Request::answer_bytes(self)
    }

    fn hear(&self, received: &[u8]) -> Scan<Heard> {
        match modbus::scan(received, Direction::Response) {
            Scan::Need => Scan::Need,
            Scan::Skip(count) => Scan::Skip(count),
            Scan::Frame { len, frame } => {
                let heard = match self.answer(&frame) {
                    // The question itself may look like an answer of three bytes: an echo nobody configured.
                    Some(Ok(_)) if received[..len] == self.encode() => Heard::Foreign,
                    Some(Ok(data)) => Heard::Answer(data.to_vec()),
                    Some(Err(exception)) => Heard::Refused(exception.0),
                    None => Heard::Foreign,
                };
                Scan::Frame { len, frame: heard }
            }
        }
    }

    fn damaged(&self, received: &[u8]) -> bool {
        let head = [self.unit(), self.table().function(), self.data_bytes() as u8];
        received.len() >= Request::answer_bytes(self) && received.starts_with(&head)
    }
}

/// The times of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// One character on the wire.
    pub character: Duration,
    /// Silence before each question.
    pub silence: Duration,
    /// A pause that ends an unfinished frame.
    pub gap: Duration,
    /// From the last byte sent to the first byte received; also how long the bus listens after a timeout.
    pub response_timeout: Duration,
    /// Whether the adapter hears itself.
    pub echo: bool,
}

impl Timing {
    /// Of a port: silence is at least 3.5 characters and 20 ms.
    #[must_use]
    pub fn of(settings: &PortSettings) -> Self {
        let parity_bits = u32::from(settings.parity != Parity::None);
        let bits = 1 + 8 + parity_bits + u32::from(settings.stop_bits);
        let character = Duration::from_secs(1) * bits / settings.baud.max(1);
        let silence = settings.silence.max(character * 7 / 2).max(SILENCE_MIN);
        Self {
            character,
            silence,
            gap: silence.max(GAP_MIN),
            response_timeout: settings.response_timeout,
            echo: settings.echo,
        }
    }

    /// How long so many bytes take.
    #[must_use]
    pub fn wire(&self, bytes: usize) -> Duration {
        self.character * u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What happens to a bus.
pub enum Event<'a, Q> {
    /// The port is open.
    Opened,
    /// The port is gone.
    Closed,
    /// The next question; only when [`Bus::ready`].
    Ask(Q),
    /// Bytes came.
    Bytes(&'a [u8]),
    /// The time of [`Bus::wakeup`] has come.
    Wakeup,
}

/// What is to be done about it, in order.
#[derive(Clone, PartialEq, Eq)]
pub enum Action<Q> {
    /// Throw away what the operating system has received, then send this.
    Send(Vec<u8>),
    /// The question has ended.
    Done(Q, Outcome),
    /// The answer to this question came after its timeout and was thrown away.
    Late(Q),
    /// A frame that answers another question was ignored.
    Foreign,
    /// An answer to this question had a wrong checksum.
    Corrupt(Q),
    /// So many bytes belonged to nothing.
    Discarded(usize),
}

/// How a question ended.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With the values, still encoded.
    Answer(Vec<u8>),
    /// With the protocol's code of refusal.
    Refused(u8),
    /// With nothing, in time.
    Timeout,
    /// By the port's end; nobody is to blame.
    Abandoned,
}

/// One bus. Times are of one monotonic clock.
pub struct Bus<Q> {
    timing: Timing,
    state: State<Q>,
    buffer: Vec<u8>,
    /// When the line last carried something.
    busy: Duration,
}

enum State<Q> {
    Closed,
    Idle,
    /// Waits for silence, but not beyond `latest`: noise on an idle line must not stop the bus.
    Silence {
        question: Q,
        latest: Duration,
    },
    /// `first` is the deadline while nothing is being received, `last` the deadline in any case.
    Waiting {
        question: Q,
        first: Duration,
        last: Duration,
        echo: Option<Vec<u8>>,
    },
    /// After a timeout: listens for the late answer.
    Quarantine {
        question: Q,
        until: Duration,
    },
}

impl<Q: Question> Bus<Q> {
    /// A bus whose port is not open yet.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self { timing, state: State::Closed, buffer: Vec::new(), busy: Duration::ZERO }
    }

    /// Whether a question may be asked.
    #[must_use]
    pub fn ready(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// When to call with [`Event::Wakeup`] if nothing else happens before.
    #[must_use]
    pub fn wakeup(&self) -> Option<Duration> {
        let given_up = || self.busy + self.timing.gap;
        match &self.state {
            State::Closed | State::Idle => None,
            State::Silence { latest, .. } => Some((self.busy + self.timing.silence).min(*latest)),
            State::Waiting { first, .. } if self.buffer.is_empty() => Some(*first),
            State::Waiting { last, .. } => Some(given_up().min(*last)),
            State::Quarantine { until, .. } if self.buffer.is_empty() => Some(*until),
            State::Quarantine { until, .. } => Some(given_up().min(*until)),
        }
    }

    /// Takes an event at the time `now`; the actions are to be done in order.
    #[must_use]
    pub fn handle(&mut self, event: Event<'_, Q>, now: Duration) -> Vec<Action<Q>> {
        let mut actions = Vec::new();
        let mut discarded = 0;
        match event {
            Event::Opened => {
                self.state = State::Idle;
                self.busy = now;
            }
            Event::Closed => {
                discarded += self.clear();
                let state = std::mem::replace(&mut self.state, State::Closed);
                if let State::Silence { question, .. } | State::Waiting { question, .. } = state {
                    actions.push(Action::Done(question, Outcome::Abandoned));
                }
            }
            Event::Ask(question) if self.ready() => {
                self.state = State::Silence { question, latest: now + self.timing.response_timeout };
            }
            Event::Ask(question) => actions.push(Action::Done(question, Outcome::Abandoned)),
            Event::Bytes(bytes) => {
                self.busy = now;
                for chunk in bytes.chunks(BUFFER_BYTES_MAX / 2) {
                    let excess = (self.buffer.len() + chunk.len()).saturating_sub(BUFFER_BYTES_MAX);
                    self.buffer.drain(..excess);
                    self.buffer.extend_from_slice(chunk);
                    discarded += excess + self.read(false, now, &mut actions);
                }
            }
            Event::Wakeup => {}
        }
        discarded += self.tick(now, &mut actions);
        if discarded > 0 {
            actions.push(Action::Discarded(discarded));
        }
        actions
    }

    /// What time alone does; gives the bytes discarded.
    fn tick(&mut self, now: Duration, actions: &mut Vec<Action<Q>>) -> usize {
        let mut discarded = 0;
        if !self.buffer.is_empty() && now >= self.busy + self.timing.gap {
            discarded += self.read(true, now, actions);
        }
        let timing = self.timing;
        match &self.state {
            State::Silence { question, latest } if now >= (self.busy + timing.silence).min(*latest) => {
                let question = question.clone();
                let frame = question.frame();
                let sent = now + timing.wire(frame.len());
                let first = sent + timing.response_timeout;
                let last = first + timing.wire(question.answer_bytes()) + timing.gap;
                self.busy = sent;
                let echo = timing.echo.then(|| frame.clone());
                self.state = State::Waiting { question, first, last, echo };
                actions.push(Action::Send(frame));
            }
            State::Waiting { question, first, last, .. }
                if now >= *last || (now >= *first && self.buffer.is_empty()) =>
            {
                let question = question.clone();
                actions.push(Action::Done(question.clone(), Outcome::Timeout));
                // An answer that is half there may still become the late one.
                self.state = State::Quarantine { question, until: now + timing.response_timeout };
            }
            State::Quarantine { until, .. } if now >= *until => {
                self.state = State::Idle;
                discarded += self.clear();
            }
            _ => {}
        }
        discarded
    }

    /// Reads what the buffer holds; gives the bytes discarded. With `last`, nothing more comes: what is unfinished is
    /// garbage, but a frame may stand behind it.
    fn read(&mut self, last: bool, now: Duration, actions: &mut Vec<Action<Q>>) -> usize {
        let mut discarded = 0;
        loop {
            let (question, waiting) = match &mut self.state {
                State::Waiting { question, echo, .. } => {
                    if let Some(own) = echo {
                        if self.buffer.len() < own.len() && own.starts_with(&self.buffer) && !last {
                            return discarded;
                        }
                        if self.buffer.starts_with(own) {
                            self.buffer.drain(..own.len());
                        }
                        *echo = None;
                    }
                    (question.clone(), true)
                }
                State::Quarantine { question, .. } => (question.clone(), false),
                State::Closed | State::Idle | State::Silence { .. } => return discarded + self.clear(),
            };
            let (len, heard) = match question.hear(&self.buffer) {
                Scan::Need if last && !self.buffer.is_empty() => (1, None),
                Scan::Need => return discarded,
                Scan::Skip(count) => {
                    if question.damaged(&self.buffer) {
                        actions.push(Action::Corrupt(question.clone()));
                    }
                    (count, None)
                }
                Scan::Frame { len, frame } => (len, Some(frame)),
            };
            self.buffer.drain(..len);
            let outcome = match heard {
                None => {
                    discarded += len;
                    continue;
                }
                Some(Heard::Foreign) => {
                    actions.push(Action::Foreign);
                    continue;
                }
                Some(Heard::Answer(data)) => Outcome::Answer(data),
                Some(Heard::Refused(code)) => Outcome::Refused(code),
            };
            self.state = State::Idle;
            self.busy = now;
            actions.push(if waiting { Action::Done(question, outcome) } else { Action::Late(question) });
        }
    }

    fn clear(&mut self) -> usize {
        let count = self.buffer.len();
        self.buffer.clear();
        count
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::modbus::{Table, crc16};

    const TIMING: Timing = Timing {
        character: Duration::from_millis(1),
        silence: Duration::from_millis(20),
        gap: Duration::from_millis(50),
        response_timeout: Duration::from_millis(200),
        echo: false,
    };

    fn question() -> Request {
        Request::new(1, Table::Holding, 0, 2).expect("a possible question")
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        [content, &crc16(content).to_le_bytes()].concat()
    }

    fn own() -> Vec<u8> {
        sealed(&[1, 3, 4, 0xAB, 0xCD, 0x12, 0x34])
    }

    /// One bus and what it did, with the time in milliseconds.
    struct Line {
        bus: Bus<Request>,
        log: Vec<(u64, &'static str)>,
        discarded: usize,
    }

    impl Line {
        fn new(timing: Timing) -> Self {
            let mut line = Self { bus: Bus::new(timing), log: Vec::new(), discarded: 0 };
            line.handle(Event::Opened, 0);
            line
        }

        fn handle(&mut self, event: Event<'_, Request>, ms: u64) {
            for action in self.bus.handle(event, Duration::from_millis(ms)) {
                let name = match action {
                    Action::Send(frame) => {
                        assert_eq!(frame, question().encode());
                        "send"
                    }
                    Action::Done(_, Outcome::Answer(data)) => {
                        assert_eq!(data, [0xAB, 0xCD, 0x12, 0x34]);
                        "answer"
                    }
                    Action::Done(_, Outcome::Refused(2)) => "refused 2",
                    Action::Done(_, Outcome::Refused(_)) => "refused",
                    Action::Done(_, Outcome::Timeout) => "timeout",
                    Action::Done(_, Outcome::Abandoned) => "abandoned",
                    Action::Late(_) => "late",
                    Action::Foreign => "foreign",
                    Action::Corrupt(_) => "corrupt",
                    Action::Discarded(count) => {
                        self.discarded += count;
                        continue;
                    }
                };
                self.log.push((ms, name));
            }
        }

        /// Lets time pass, with every wakeup at its time.
        fn pass(&mut self, until: u64) {
            while let Some(at) = self.bus.wakeup().map(|at| at.as_millis() as u64).filter(|at| *at <= until) {
                let before = (self.bus.wakeup(), self.log.len());
                self.handle(Event::Wakeup, at);
                assert_ne!(before, (self.bus.wakeup(), self.log.len()), "a wakeup moves something");
            }
        }
    }

    #[test]
    fn each_discipline_in_its_time() {
        let (own, other) = (own(), sealed(&[2, 3, 4, 9, 9, 9, 9]));
        let (short, refusal) = (sealed(&[1, 3, 2, 9, 9]), sealed(&[1, 0x83, 2]));
        let ask = question().encode().to_vec();
        let mut wrong = own.clone();
        wrong[4] ^= 0x10;
        let long = [&[7, 3, 0xF0], &own[..]].concat();
        let around = [&[0, 0xFF, 0xFE], &own[..], &[0, 0]].concat();
        let echoed = [&ask[..], &own[..]].concat();
        let part = |range: std::ops::Range<usize>| own[range].to_vec();
        // What arrives when; what follows; bytes discarded. The question is sent at 20, its timeout is 228 or, when
        // something is being received, 287; the bus listens for 200 more.
        type Case<'a> = (&'a str, bool, Vec<(u64, Vec<u8>)>, &'a [(u64, &'static str)], usize);
        let cases: Vec<Case<'_>> = vec![
            ("an answer", false, vec![(40, own.clone())], &[(20, "send"), (40, "answer")], 0),
            (
                "in pieces",
                false,
                vec![(40, part(0..1)), (80, part(1..8)), (120, part(8..9))],
                &[(20, "send"), (120, "answer")],
                0,
            ),
            (
                "across the timeout",
                false,
                vec![(225, part(0..5)), (270, part(5..9))],
                &[(20, "send"), (270, "answer")],
                0,
            ),
            ("nothing", false, vec![], &[(20, "send"), (228, "timeout")], 0),
            ("late", false, vec![(300, own.clone())], &[(20, "send"), (228, "timeout"), (300, "late")], 0),
            ("later than that", false, vec![(500, own.clone())], &[(20, "send"), (228, "timeout")], 9),
            ("before it was asked", false, vec![(10, own.clone())], &[(30, "send"), (238, "timeout")], 9),
            (
                "foreign first",
                false,
                vec![(40, other.clone()), (100, own.clone())],
                &[(20, "send"), (40, "foreign"), (100, "answer")],
                0,
            ),
            (
                "foreign only",
                false,
                vec![(200, other.clone())],
                &[(20, "send"), (200, "foreign"), (228, "timeout")],
                0,
            ),
            ("short", false, vec![(40, short)], &[(20, "send"), (40, "foreign"), (228, "timeout")], 0),
            ("refused", false, vec![(40, refusal)], &[(20, "send"), (40, "refused 2")], 0),
            (
                "wrong checksum",
                false,
                vec![(40, wrong)],
                &[(20, "send"), (40, "corrupt"), (228, "timeout")],
                9,
            ),
            ("cut off", false, vec![(40, part(0..6))], &[(20, "send"), (228, "timeout")], 6),
            ("garbage around", false, vec![(40, around)], &[(20, "send"), (40, "answer")], 5),
            ("a long length in the garbage", false, vec![(40, long)], &[(20, "send"), (90, "answer")], 3),
            ("an echo", true, vec![(25, echoed.clone())], &[(20, "send"), (25, "answer")], 0),
            (
                "an echo in pieces",
                true,
                vec![(25, echoed[..3].to_vec()), (40, echoed[3..].to_vec())],
                &[(20, "send"), (40, "answer")],
                0,
            ),
            ("an echo only", true, vec![(25, ask)], &[(20, "send"), (228, "timeout")], 0),
            ("an echo that is missing", true, vec![(40, own.clone())], &[(20, "send"), (40, "answer")], 0),
            ("an echo nobody configured", false, vec![(25, echoed)], &[(20, "send"), (75, "answer")], 8),
        ];
        for (name, echo, arrivals, expected, discarded) in cases {
            let mut line = Line::new(Timing { echo, ..TIMING });
            line.handle(Event::Ask(question()), 0);
            for (at, bytes) in arrivals {
                line.pass(at);
                line.handle(Event::Bytes(&bytes), at);
            }
            line.pass(1000);
            assert_eq!((&line.log[..], line.discarded), (expected, discarded), "{name}");
            assert!(line.bus.ready(), "{name}");
        }
    }

    #[test]
    fn after_a_timeout_the_line_is_listened_to_and_after_a_late_answer_it_is_silent() {
        let mut line = Line::new(TIMING);
        line.handle(Event::Ask(question()), 0);
        line.pass(427);
        assert!(!line.bus.ready());
        line.pass(428);
        assert!(line.bus.ready());
        line.handle(Event::Ask(question()), 428);
        line.pass(700);
        assert_eq!(line.log[2..], [(428, "send"), (636, "timeout")]);
        line.handle(Event::Bytes(&own()), 700);
        assert!(line.bus.ready());
        line.handle(Event::Ask(question()), 701);
        line.pass(800);
        assert_eq!(line.log[4..], [(700, "late"), (720, "send")]);
    }

    #[test]
    fn a_babbler_ends_no_question_and_stops_no_bus() {
        let mut line = Line::new(TIMING);
        line.handle(Event::Ask(question()), 0);
        for at in (1..2000).step_by(5) {
            line.pass(at);
            line.handle(Event::Bytes(&[0, 3, 250, 0xFF, 1]), at);
            assert!(line.bus.buffer.len() <= BUFFER_BYTES_MAX);
            if line.bus.ready() {
                line.handle(Event::Ask(question()), at);
            }
        }
        let sent: Vec<_> = line.log.iter().filter(|(_, name)| *name == "send").map(|(at, _)| *at).collect();
        let ended = line.log.iter().filter(|(_, name)| *name == "timeout").count();
        assert_eq!(sent[0], 200, "noise holds the line for one response timeout");
        assert!(sent.len() >= 3 && ended + 1 >= sent.len(), "{:?}", line.log);
    }

    #[test]
    fn a_port_that_goes_away_gives_the_question_back() {
        let mut line = Line::new(TIMING);
        line.handle(Event::Ask(question()), 0);
        line.pass(20);
        line.handle(Event::Bytes(&[1, 3]), 30);
        line.handle(Event::Closed, 31);
        assert_eq!((line.bus.wakeup(), line.discarded), (None, 2));
        line.handle(Event::Ask(question()), 32);
        assert_eq!(line.log, [(20, "send"), (31, "abandoned"), (32, "abandoned")]);
        line.handle(Event::Opened, 100);
        line.handle(Event::Ask(question()), 100);
        line.pass(130);
        assert_eq!(line.log[3..], [(120, "send")]);
    }

    #[test]
    fn an_echo_that_looks_like_an_answer_is_none() {
        let bits = Request::new(1, Table::Coil, 0x0300, 20).expect("a possible question");
        assert!(matches!(bits.hear(&bits.encode()), Scan::Frame { len: 8, frame: Heard::Foreign }));
    }

    #[test]
    fn the_times_of_a_line() {
        for (baud, parity, configured, character_us, silence_ms) in [
            (9600, Parity::Even, 0, 1145, 20),
            (9600, Parity::None, 30, 1041, 30),
            (1200, Parity::Even, 0, 9166, 32),
        ] {
            let silence = Duration::from_millis(configured);
            let settings = PortSettings {
                name: "roof".into(),
                path: "/dev/null".into(),
                baud,
                parity,
                stop_bits: 1,
                response_timeout: Duration::from_secs(1),
                silence,
                echo: false,
                slaves: Vec::new(),
            };
            let timing = Timing::of(&settings);
            assert_eq!(timing.character.as_micros(), character_us);
            assert_eq!(timing.silence.as_millis(), silence_ms);
        }
    }

    proptest! {
        /// Any bytes at any times: each question ends once and in time, and only its own values end it.
        #[test]
        fn every_question_ends_once_and_in_time(
            pieces in proptest::collection::vec((0..60u64, proptest::collection::vec(any::<u8>(), 0..80)), 0..60),
            echo in any::<bool>(),
        ) {
            let mut line = Line::new(Timing { echo, ..TIMING });
            line.handle(Event::Ask(question()), 0);
            let mut at = 0;
            for (pause, bytes) in pieces {
                at += pause;
                line.pass(at);
                line.handle(Event::Bytes(&bytes), at);
                prop_assert!(line.bus.buffer.len() <= BUFFER_BYTES_MAX);
            }
            line.pass(at + 2000);
            prop_assert!(line.bus.ready());
            let count = |names: &[&str]| line.log.iter().filter(|(_, name)| names.contains(name)).count();
            prop_assert_eq!(count(&["send"]), 1);
            prop_assert_eq!(count(&["answer", "refused", "refused 2", "timeout"]), 1);
            prop_assert!(line.log.iter().all(|(at, name)| *name != "timeout" || *at <= 200 + 267));
        }
    }
}
