//! One bus, with questions of all protocols, in simulated time: each question ends once and in time, and only by what
//! stood on the line behind it.

use std::time::Duration;

use smallbrain::codec::cjt188::{self, IdentifierOrder, ValveCommand};
use smallbrain::codec::dlt645::{self, Identifier, TimeBroadcast};
use smallbrain::codec::modbus::{self, Inquiry, Table, Write, Written};
use smallbrain::codec::{bcd, mbus};
use smallbrain::device::serial::bus::{Action, BUFFER_BYTES_MAX, Bus, Event, Outcome, TURNAROUND};
use smallbrain::device::serial::question::{Answer, Asked, Question};
use smallbrain::device::serial::{Line, Parity, Timing};

use super::feed::{head, sum};
use super::modbus::crc;

/// A script: one byte for what happens, one that says more about it, then bytes of the line.
pub fn run(input: &[u8]) {
    let (head, mut script) = head(input);
    let mut track = Track::new(head[1] & 1 == 1);
    track.open();
    while let [what, more, rest @ ..] = script {
        script = rest;
        let count = usize::from(*more) * if what & 8 == 0 { 1 } else { 4 };
        match what & 7 {
            0..=2 => {
                let (bytes, behind) = rest.split_at(count.min(rest.len()));
                script = behind;
                track.handle(Event::Bytes(bytes));
            }
            3 | 4 => track.pass(Duration::from_millis(count as u64)),
            5 | 6 => track.ask(usize::from(*more)),
            _ if track.open => track.close(),
            _ => track.open(),
        }
    }
    track.pass(Duration::from_secs(60));
    assert!(track.bus.wakeup().is_none() && track.pending.is_none(), "after quiet nothing is asked");
    track.close();
}

const LINE: Line = Line { baud: 9600, parity: Parity::Even, stop_bits: 1 };

/// A question of each kind, to those who answer in the samples.
pub fn questions() -> Vec<Asked> {
    let power = bcd::Address::from_wire([0x61, 1, 0, 0, 0, 0]).expect("digits");
    let water = bcd::Address::from_wire([1, 0, 0, 5, 8, 0, 0]).expect("digits");
    let (order, ser) = (IdentifierOrder::HighFirst, 0);
    let registers = modbus::Request::new(17, Table::Holding, 0, 3).expect("a possible question");
    let bits = modbus::Request::new(0x66, Table::Discrete, 0, 9).expect("a possible question");
    let write = Write::new(17, 1, Written::Register(3)).expect("a possible write");
    let identifier = Identifier::v2007(0x0203_0000);
    let reading = cjt188::Identifier::READING;
    vec![
        Asked::Modbus(registers),
        Asked::Modbus(bits),
        Asked::ModbusInquiry(Inquiry::identification(17).expect("a slave")),
        Asked::ModbusWrite(write),
        Asked::Dlt645(dlt645::Request::Read { address: power, identifier }),
        Asked::Dlt645(dlt645::Request::ReadAddress { address: dlt645::Address::ANY }),
        Asked::Dlt645Time(TimeBroadcast::new(1_790_000_000_000, 0).expect("a time of this century")),
        Asked::Cjt188(cjt188::Request::Read {
            kind: 0x10,
            address: water,
            identifier: reading,
            order,
            ser,
            leader: 4,
            any_ser: true,
        }),
        Asked::Cjt188Valve(ValveCommand { kind: 0x10, address: water, order, ser, open: true }),
        Asked::Mbus(mbus::Request::Select { id: 0x1234_5678 }),
        Asked::Mbus(mbus::Request::Data { address: 254, fcb: true, id: None }),
    ]
}

/// A question that has not ended.
struct Pending {
    question: Question,
    since: Duration,
    /// What was on the line since it was sent.
    heard: Option<Vec<u8>>,
}

struct Track {
    bus: Bus,
    open: bool,
    now: Duration,
    pending: Option<Pending>,
    /// Bytes that came and are not discarded.
    kept: usize,
    discarded: usize,
}

impl Track {
    fn new(echo: bool) -> Self {
        let bus = Bus::new(echo);
        Self { bus, open: false, now: Duration::ZERO, pending: None, kept: 0, discarded: 0 }
    }

    fn ask(&mut self, which: usize) {
        let mut questions = questions();
        let asked = questions.swap_remove(which % questions.len());
        let ms = Duration::from_millis;
        let timing = Timing::of(LINE, ms(20), ms(50), ms(200));
        let question = Question { asked, line: LINE, timing };
        if self.bus.ready() {
            assert!(self.pending.is_none(), "a bus that is ready has no question");
            self.pending = Some(Pending { question: question.clone(), since: self.now, heard: None });
            self.handle(Event::Ask(question));
        } else {
            let actions = self.bus.handle(Event::Ask(question), self.now);
            assert_eq!(actions.first(), Some(&Action::Done(Outcome::Abandoned)), "one question at a time");
            self.act(actions[1..].to_vec());
        }
    }

    fn open(&mut self) {
        self.open = true;
        self.handle(Event::Opened);
    }

    /// What waits when the port goes away is bounded.
    fn close(&mut self) {
        let before = self.discarded;
        self.open = false;
        self.handle(Event::Closed);
        assert!(self.discarded - before <= BUFFER_BYTES_MAX && self.pending.is_none());
    }

    fn handle(&mut self, event: Event<'_>) {
        if let Event::Bytes(bytes) = event {
            self.kept += bytes.len();
            if let Some(heard) = self.pending.as_mut().and_then(|pending| pending.heard.as_mut()) {
                heard.extend_from_slice(bytes);
            }
        }
        let actions = self.bus.handle(event, self.now);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(line, frame) => {
                    let pending = self.pending.as_mut().expect("a question is sent");
                    assert_eq!((line, frame), (LINE, pending.question.asked.encode()));
                    assert!(pending.heard.replace(Vec::new()).is_none(), "it is sent once");
                }
                Action::Done(outcome) => self.done(&outcome),
                Action::Discarded(count) => {
                    self.discarded += count;
                    assert!(count <= self.kept, "only what came is discarded");
                    self.kept -= count;
                }
                Action::Late | Action::Foreign | Action::Corrupt => {}
            }
        }
    }

    fn done(&mut self, outcome: &Outcome) {
        let Pending { question, since, heard } = self.pending.take().expect("a question ends once");
        let (asked, timing) = (&question.asked, question.timing);
        let wire = LINE.wire(asked.encode().len() + asked.answer_bytes());
        let latest = since + 2 * timing.response_timeout + wire + timing.gap + TURNAROUND;
        assert!(self.now <= latest, "{asked:?} ends at {:?}, not by {latest:?}", self.now);
        let heard = heard.as_deref();
        match outcome {
            Outcome::Abandoned => {}
            Outcome::Sent => assert!(asked.is_broadcast() && heard.is_some()),
            Outcome::Timeout => assert!(!asked.is_broadcast() && heard.is_some()),
            Outcome::Answer(answer) => {
                let heard = heard.expect("an answer to what was sent");
                assert!(stands(asked, answer, heard), "{asked:?}: {answer:?} is not in {heard:02x?}");
            }
            Outcome::Refused(refusal) => {
                let heard = heard.expect("a refusal of what was sent");
                let sent = asked.encode();
                let code = refusal.code;
                if asked.unit().is_some() {
                    assert!(contains(heard, &sealed(vec![sent[0], sent[1] | 0x80, code])), "{asked:?}");
                }
            }
        }
    }

    /// Lets time pass, with every wakeup at its time.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut same = 0;
        while let Some(at) = self.bus.wakeup().filter(|at| *at <= until) {
            same = if at <= self.now { same + 1 } else { 0 };
            assert!(same < 4, "wakeups at {at:?} move nothing");
            self.now = self.now.max(at);
            self.handle(Event::Wakeup);
        }
        self.now = until;
    }
}

fn sealed(content: Vec<u8>) -> Vec<u8> {
    [&content[..], &crc(&content)].concat()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether the frame of an answer, put together again, was on the line.
fn stands(asked: &Asked, answer: &Answer, heard: &[u8]) -> bool {
    let sent = asked.encode();
    match (asked, answer) {
        (Asked::Modbus(_), Answer::Modbus(data)) => {
            contains(heard, &sealed([&[sent[0], sent[1], data.len() as u8], &data[..]].concat()))
        }
        (Asked::ModbusInquiry(_), Answer::ModbusInquiry(_)) => contains(heard, &[sent[0], sent[1], 14, 1]),
        (Asked::ModbusWrite(_), Answer::Written) => contains(heard, &sent),
        (Asked::Dlt645(request), Answer::Dlt645(answer)) => {
            let head = match request {
                dlt645::Request::Read { identifier, .. } => identifier.number().to_le_bytes().to_vec(),
                _ => vec![],
            };
            let data: Vec<u8> = head.iter().chain(&answer.data).map(|byte| byte.wrapping_add(0x33)).collect();
            let control = if head.is_empty() { 0x93 } else { 0x91 | u8::from(answer.more) << 5 };
            let content = [&[0x68, control, data.len() as u8], &data[..]].concat();
            heard.windows(7 + content.len() + 2).any(|frame| {
                let (inner, seal) = frame.split_at(7 + content.len());
                inner[0] == 0x68 && inner[7..] == content && seal == [sum(inner), 0x16]
            })
        }
        (Asked::Cjt188(_), Answer::Cjt188(answer)) => {
            let [first, second] = cjt188::Identifier::READING.wire(answer.order);
            let head = [&[0x68, answer.kind], &answer.address.wire()[..]].concat();
            let count = answer.data.len() as u8 + 3;
            (0..=255).any(|ser| {
                let behind = [&[0x81, count, first, second, ser], &answer.data[..]].concat();
                let frame = [&head[..], &behind].concat();
                contains(heard, &[&frame[..], &[sum(&frame), 0x16]].concat())
            })
        }
        (Asked::Cjt188Valve(valve), Answer::Written) => {
            contains(heard, &[&[0x68, valve.kind], &valve.address.wire()[..], &[0x84]].concat())
        }
        (Asked::Mbus(_), Answer::Mbus(answer)) if answer.data.is_empty() => heard.contains(&0xE5),
        (Asked::Mbus(_), Answer::Mbus(answer)) => (0..4).any(|bits| {
            let content = [&[0x08 | bits << 4, answer.address], &answer.data[..]].concat();
            let count = content.len() as u8;
            contains(heard, &[&[0x68, count, count, 0x68], &content[..], &[sum(&content), 0x16]].concat())
        }),
        _ => false,
    }
}
