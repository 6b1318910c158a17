//! The discipline of the bus, in simulated time.

use proptest::prelude::*;

use super::*;
use crate::codec::dlt645::TimeBroadcast;
use crate::codec::mbus;
use crate::codec::modbus::{Request, Table, crc16};
use crate::device::serial::question::Asked;
use crate::device::serial::{Parity, Timing};

const TIMING: Timing = Timing {
    silence: Duration::from_millis(20),
    gap: Duration::from_millis(50),
    response_timeout: Duration::from_millis(200),
};

fn request() -> Request {
    Request::new(1, Table::Holding, 0, 2).expect("a possible question")
}

/// A character takes a millisecond.
fn question() -> Question {
    let line = Line { baud: 10_000, parity: Parity::None, stop_bits: 1 };
    Question { asked: Asked::Modbus(request()), line, timing: TIMING }
}

fn sealed(content: &[u8]) -> Vec<u8> {
    [content, &crc16(content).to_le_bytes()].concat()
}

fn own() -> Vec<u8> {
    sealed(&[1, 3, 4, 0xAB, 0xCD, 0x12, 0x34])
}

/// One bus and what it did, with the time in milliseconds.
struct Track {
    bus: Bus,
    log: Vec<(u64, &'static str)>,
    discarded: usize,
}

impl Track {
    fn new(echo: bool) -> Self {
        let mut line = Self { bus: Bus::new(echo), log: Vec::new(), discarded: 0 };
        line.handle(Event::Opened, 0);
        line
    }

    fn handle(&mut self, event: Event<'_>, ms: u64) {
        for action in self.bus.handle(event, Duration::from_millis(ms)) {
            let name = match action {
                Action::Send(line, _) => {
                    assert_eq!(line, question().line);
                    "send"
                }
                Action::Done(Outcome::Answer(answer)) => {
                    assert_eq!(answer, Answer::Modbus(vec![0xAB, 0xCD, 0x12, 0x34]));
                    "answer"
                }
                Action::Done(Outcome::Refused(Refusal { code: 2, .. })) => "refused 2",
                Action::Done(Outcome::Refused(_)) => "refused",
                Action::Done(Outcome::Timeout) => "timeout",
                Action::Done(Outcome::Sent) => "told",
                Action::Done(Outcome::Abandoned) => "abandoned",
                Action::Late => "late",
                Action::Foreign => "foreign",
                Action::Corrupt => "corrupt",
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
    let ask = request().encode().to_vec();
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
        ("wrong checksum", false, vec![(40, wrong)], &[(20, "send"), (40, "corrupt"), (228, "timeout")], 9),
        ("cut off", false, vec![(40, part(0..6))], &[(20, "send"), (228, "timeout")], 6),
        ("garbage around", false, vec![(40, around)], &[(20, "send"), (40, "answer")], 5),
        ("a long length in the garbage", false, vec![(40, long)], &[(20, "send"), (40, "answer")], 3),
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
        ("an echo nobody configured", false, vec![(25, echoed)], &[(20, "send"), (25, "answer")], 8),
    ];
    for (name, echo, arrivals, expected, discarded) in cases {
        let mut line = Track::new(echo);
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
    let mut line = Track::new(false);
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
    let mut line = Track::new(false);
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
    let mut line = Track::new(false);
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
fn what_is_told_to_all_waits_for_no_answer_and_then_the_line_is_left_alone() {
    let mut line = Track::new(false);
    let time = TimeBroadcast::new(1_790_000_000_000, 0).expect("a time of this century");
    line.handle(Event::Ask(Question { asked: Asked::Dlt645Time(time), ..question() }), 0);
    line.pass(100);
    line.handle(Event::Bytes(&[1, 2, 3]), 100);
    line.pass(1000);
    // 22 bytes on the wire, and 200 ms.
    assert_eq!((&line.log[..], line.discarded), (&[(20, "send"), (242, "told")][..], 3));
    assert!(line.bus.ready());
}

/// The last byte of the longest M-Bus frame came together with noise, and the two did not fit behind the rest of it.
#[test]
fn noise_behind_the_longest_frame_does_not_push_its_beginning_out() {
    let mut frame = [&[0x68, 255, 255, 0x68, 8, 1, 0x78][..], &[0x2F; 252]].concat();
    frame.extend([frame[4..].iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)), 0x16]);
    frame.extend([0xFF; BUFFER_BYTES_MAX]);
    let asked = Asked::Mbus(mbus::Request::Data { address: 1, fcb: false, id: None });
    for split in [1, mbus::FRAME_BYTES_MAX - 1, mbus::FRAME_BYTES_MAX] {
        let mut bus = Bus::new(false);
        let _ = bus.handle(Event::Opened, Duration::ZERO);
        let _ = bus.handle(Event::Ask(Question { asked: asked.clone(), ..question() }), Duration::ZERO);
        let _ = bus.handle(Event::Wakeup, Duration::from_millis(20));
        let mut actions = Vec::new();
        for bytes in [&frame[..split], &frame[split..]] {
            actions.extend(bus.handle(Event::Bytes(bytes), Duration::from_millis(40)));
        }
        assert!(matches!(actions[0], Action::Done(Outcome::Answer(_))), "{split}: {actions:?}");
    }
}

/// Found by fuzzing: a port that went away while the line was left alone swallowed the question, which then never ended.
#[test]
fn what_is_told_to_all_ends_with_the_port() {
    let mut line = Track::new(false);
    let time = TimeBroadcast::new(1_790_000_000_000, 0).expect("a time of this century");
    line.handle(Event::Ask(Question { asked: Asked::Dlt645Time(time), ..question() }), 0);
    line.pass(100);
    line.handle(Event::Closed, 100);
    assert_eq!(line.log, [(20, "send"), (100, "abandoned")]);
}

proptest! {
    /// Any bytes at any times: each question ends once and in time, and only its own values end it.
    #[test]
    fn every_question_ends_once_and_in_time(
        pieces in proptest::collection::vec((0..60u64, proptest::collection::vec(any::<u8>(), 0..80)), 0..60),
        echo in any::<bool>(),
    ) {
        let mut line = Track::new(echo);
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
