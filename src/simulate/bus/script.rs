//! The pure part of a bus full of meters: bytes of a master in, bytes of meters out.

use std::time::Duration;

use super::bytes::{garbage, mix};
use super::fault::{Fault, Twist};
use super::{Question, SimulatedMeter};

/// Bytes kept of what a master sent and nobody understood: longer than any question with its leader. When they are full,
/// the older half goes.
const HEARD_BYTES_MAX: usize = 1024;

/// A bus full of meters. Every question is recognised by its last byte, whatever stood before it and in whatever pieces
/// it came.
#[derive(Debug)]
pub struct Script {
    /// With how many questions each took.
    meters: Vec<(SimulatedMeter, u32)>,
    echo: bool,
    heard: Vec<u8>,
    noise: u64,
}

impl Script {
    /// These meters; with `echo` the adapter of the master hears itself.
    #[must_use]
    pub fn new(meters: impl IntoIterator<Item = impl Into<SimulatedMeter>>, echo: bool) -> Self {
        let meters: Vec<_> = meters.into_iter().map(|meter| (meter.into(), 0)).collect();
        Self { noise: mix(meters.len() as u64), meters, echo, heard: Vec::new() }
    }

    /// The meters as they are now.
    pub fn meters(&self) -> impl Iterator<Item = &SimulatedMeter> {
        self.meters.iter().map(|(meter, _)| meter)
    }

    /// How many questions wanted to change something, over all meters.
    #[must_use]
    pub fn writes_seen(&self) -> u64 {
        self.meters().map(SimulatedMeter::writes_seen).sum()
    }

    /// Takes what the master sent `elapsed` after the start, at a speed of `baud` if that is known; gives what comes back,
    /// each with its delay.
    pub fn hear(&mut self, bytes: &[u8], elapsed: Duration, baud: Option<u32>) -> Vec<(Duration, Vec<u8>)> {
        let mut answers = Vec::new();
        if self.echo && !bytes.is_empty() {
            answers.push((Duration::ZERO, bytes.to_vec()));
        }
        for byte in bytes {
            if self.heard.len() == HEARD_BYTES_MAX {
                self.heard.drain(..HEARD_BYTES_MAX / 2);
            }
            self.heard.push(*byte);
            let Some((len, question)) = Question::ending(&self.heard) else { continue };
            let before = &self.heard[..self.heard.len() - len];
            let leader = before.iter().rev().take_while(|byte| **byte == 0xFE).count();
            let sent = self.heard.split_off(before.len() - leader);
            self.heard.clear();
            answers.extend(self.ask(&question, &sent, leader, elapsed, baud));
        }
        answers
    }

    /// Every meter that takes the question answers; those that answer at once spoil each other's answer.
    fn ask(
        &mut self,
        question: &Question,
        sent: &[u8],
        leader: usize,
        elapsed: Duration,
        baud: Option<u32>,
    ) -> Vec<(Duration, Vec<u8>)> {
        let mut line = Vec::new();
        for (meter, asked) in &mut self.meters {
            let deaf = meter.manner().baud.zip(baud).is_some_and(|(own, set)| own != set);
            if deaf || !meter.takes(question, leader, elapsed) {
                continue;
            }
            *asked = asked.saturating_add(1);
            self.noise = mix(self.noise);
            let fault = meter.manner().fault(*asked);
            for (delay, bytes) in speak(meter, fault, question, sent, elapsed, self.noise) {
                overlay(&mut line, delay, bytes);
            }
        }
        line
    }
}

/// What a meter with this fault puts on the line.
fn speak(
    meter: &SimulatedMeter,
    fault: Option<Fault>,
    question: &Question,
    sent: &[u8],
    elapsed: Duration,
    noise: u64,
) -> Vec<(Duration, Vec<u8>)> {
    let manner = meter.manner();
    let delay = manner.delay;
    let led = |frame: Vec<u8>| [vec![0xFE; manner.leader.into()], frame].concat();
    let frame = meter.answer(question, elapsed, Twist::of(fault));
    if frame.is_empty() {
        return Vec::new();
    }
    let own = led(if fault == Some(Fault::Corrupt) { corrupted(frame, noise) } else { frame });
    let other = || led(meter.stranger().answer(question, elapsed, Twist::Right));
    let bytes = match fault {
        Some(Fault::Dead) => return Vec::new(),
        Some(Fault::Late(delay)) => return vec![(delay, own)],
        Some(Fault::Babble) => {
            let piece = |n| (delay + Duration::from_millis(50) * n, garbage(noise ^ u64::from(n), 40));
            return (0..20).map(piece).collect();
        }
        Some(Fault::Echo) => return vec![(Duration::ZERO, sent.to_vec()), (delay, own)],
        Some(Fault::Split(pause)) => {
            return own.iter().zip(0..).map(|(byte, n)| (delay + pause * n, vec![*byte])).collect();
        }
        Some(Fault::GarbageBefore(count)) => [garbage(noise, count), own].concat(),
        Some(Fault::GarbageAfter(count)) => [own, garbage(noise, count)].concat(),
        Some(Fault::Preamble(byte, count)) => [vec![byte; count.into()], own].concat(),
        Some(Fault::WrongAddress) => other(),
        Some(Fault::ForeignFirst) => [other(), own].concat(),
        Some(Fault::Corrupt | Fault::WrongItem | Fault::Short | Fault::Refuse(_)) | None => own,
    };
    vec![(delay, bytes)]
}

/// One bit is wrong in the last bytes before the end: data or checksum, and never a length.
fn corrupted(mut frame: Vec<u8>, noise: u64) -> Vec<u8> {
    let end = if frame.len() > 1 && frame.ends_with(&[0x16]) { frame.len() - 1 } else { frame.len() };
    let last = (end / 5).max(1);
    frame[end - 1 - noise as usize % last] ^= 1 << (noise >> 32 & 7);
    frame
}

/// Meters that answer at the same moment pull the line low together: what arrives has the zeros of both.
fn overlay(line: &mut Vec<(Duration, Vec<u8>)>, delay: Duration, bytes: Vec<u8>) {
    match line.iter_mut().find(|(at, _)| *at == delay) {
        Some((_, there)) => {
            there.iter_mut().zip(&bytes).for_each(|(there, byte)| *there &= byte);
            there.extend_from_slice(bytes.get(there.len()..).unwrap_or_default());
        }
        None => line.push((delay, bytes)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bytes::{crc, hex, sum};
    use super::super::{Cjt188Meter, Dlt645Meter, MbusMeter, SimulatedSlave};
    use super::*;

    const START: Duration = Duration::ZERO;

    fn modbus(content: &str) -> Vec<u8> {
        let content = hex(content);
        [&content[..], &crc(&content)].concat()
    }

    /// One meter of each protocol on the line, and a question that each answers.
    fn all() -> [(SimulatedMeter, Vec<u8>); 4] {
        [
            (SimulatedSlave::new(3, 42).into(), modbus("030300000003")),
            (Dlt645Meter::new(260_305_510_020, 5).into(), hex("fefefefe68200051050326681104333334335116")),
            (Cjt188Meter::new(0x10, 12, 6).into(), hex("fefe6810120000000000000103901f003d16")),
            (MbusMeter::new(5, 1, 7).into(), hex("105b056016")),
        ]
    }

    fn script(echo: bool) -> Script {
        Script::new(all().map(|(meter, _)| meter), echo)
    }

    #[test]
    fn every_fault_is_one_in_every_protocol() {
        for (meter, question) in all() {
            let faulty = |fault, times: usize| {
                let mut meter = meter.clone();
                meter.manner_mut().fault = Some((fault, super::super::When::Every(1)));
                let mut script = Script::new([meter], false);
                (0..times).map(|_| script.hear(&question, START, None)).next_back().expect("asked")
            };
            let healthy = Script::new([meter.clone()], false).hear(&question, START, None);
            let [(delay, good)] = &healthy[..] else { panic!("one answer") };
            assert_eq!(*delay, meter.manner().delay);
            let late = Duration::from_secs(3);
            assert!(faulty(Fault::Dead, 1).is_empty());
            assert_eq!(faulty(Fault::Late(late), 1), [(late, good.clone())]);
            assert!(faulty(Fault::GarbageBefore(7), 1)[0].1.ends_with(good));
            assert!(faulty(Fault::GarbageAfter(7), 1)[0].1.starts_with(good));
            assert_eq!(faulty(Fault::Preamble(0xFE, 64), 1)[0].1, [&[0xFE; 64], &good[..]].concat());
            assert_eq!(faulty(Fault::Echo, 1), [(START, question.clone()), (*delay, good.clone())]);
            assert_eq!(faulty(Fault::Babble, 1).len(), 20);
            let foreign = faulty(Fault::WrongAddress, 1)[0].1.clone();
            assert_eq!(faulty(Fault::ForeignFirst, 1)[0].1, [&foreign, &good[..]].concat());
            let pause = Duration::from_millis(3);
            let split = faulty(Fault::Split(pause), 1);
            assert_eq!(
                split.iter().flat_map(|(_, byte)| byte).collect::<Vec<_>>(),
                good.iter().collect::<Vec<_>>()
            );
            assert!(split.windows(2).all(|two| two[1].0 - two[0].0 == pause));
            for asked in 1..100 {
                let corrupt = faulty(Fault::Corrupt, asked)[0].1.clone();
                let wrong = corrupt.iter().zip(good).map(|(is, was)| (is ^ was).count_ones()).sum::<u32>();
                assert_eq!((corrupt.len(), wrong), (good.len(), 1));
            }
            let short = faulty(Fault::Short, 1)[0].1.len();
            assert!(short == good.len() - 1 || short == good.len() - 2);
            for twisted in [Fault::WrongItem, Fault::WrongAddress, Fault::Refuse(4), Fault::Short] {
                let said = faulty(twisted, 1)[0].1.clone();
                assert_ne!(&said, good, "{twisted:?}");
                // Whatever it says, its checksum is right.
                let frame: Vec<u8> = said.iter().copied().skip_while(|byte| *byte == 0xFE).collect();
                let content = &frame[..frame.len() - 2];
                let right = match &meter {
                    SimulatedMeter::Modbus(_) => frame[content.len()..] == crc(content),
                    SimulatedMeter::Mbus(_) => frame[content.len()] == sum(&content[4..]),
                    _ => frame[content.len()] == sum(content),
                };
                assert!(right, "{twisted:?} {frame:02x?}");
            }
        }
    }

    #[test]
    fn faults_come_when_they_were_ordered() {
        let slave = SimulatedSlave::new(3, 42);
        let answers = |slave: SimulatedSlave| {
            let mut script = Script::new([slave], false);
            (0..6).map(|_| script.hear(&modbus("030300000003"), START, None).len()).collect::<Vec<_>>()
        };
        assert_eq!(answers(slave.clone().with(Fault::Dead, 3)), [1, 1, 0, 1, 1, 0]);
        assert_eq!(answers(slave.clone().failing_from(Fault::Dead, 4)), [1, 1, 1, 0, 0, 0]);
        assert_eq!(answers(slave), [1; 6]);
    }

    #[test]
    fn a_meter_hears_only_its_own_speed() {
        let question = hex("68200051050326681104333334335116");
        let mut script = Script::new([Dlt645Meter::new(260_305_510_020, 5).at(2400)], false);
        for (set, answers) in [(Some(2400), 1), (Some(9600), 0), (None, 1)] {
            assert_eq!(script.hear(&question, START, set).len(), answers, "{set:?}");
        }
    }

    #[test]
    fn meters_that_answer_at_once_spoil_each_other() {
        let wildcard = hex("68aaaaaaaaaaaa681300df16");
        let one = Dlt645Meter::new(1, 5);
        let other = Dlt645Meter::new(222, 5);
        let said = |meters: Vec<Dlt645Meter>| Script::new(meters, false).hear(&wildcard, START, None);
        let alone = said(vec![one.clone()]);
        assert_eq!(alone[0].1, hex("fefefefe 680100000000006893063433333333339d16"));
        let both = said(vec![one.clone(), other.clone()]);
        assert_eq!(both.len(), 1);
        assert!(both[0].1 != alone[0].1 && both[0].1 != said(vec![other])[0].1);
        // With a delay of its own each is understood.
        let mut later = Dlt645Meter::new(222, 5);
        later.manner.delay = Duration::from_millis(300);
        assert_eq!(said(vec![one, later]).len(), 2);
    }

    #[test]
    fn an_adapter_that_hears_itself_gives_back_every_byte_at_once() {
        let mut script = script(true);
        let question = modbus("030300000001");
        assert_eq!(script.hear(&[0, 0xFF], START, None), [(START, vec![0, 0xFF])]);
        assert_eq!(script.hear(&question[..5], START, None), [(START, question[..5].to_vec())]);
        let answers = script.hear(&question[5..], START, None);
        assert_eq!(answers[0], (START, question[5..].to_vec()), "the echo comes first");
        assert_eq!(answers.len(), 2);
    }

    #[test]
    fn nothing_is_written_and_every_attempt_is_seen() {
        let mut script = script(false);
        let before: Vec<_> = script.meters().cloned().collect();
        let summed = |text: &str, from: usize| {
            let content = hex(text);
            [&content[..], &[sum(&content[from..]), 0x16]].concat()
        };
        for (write, seen) in [
            // A date, the time to all, a relay.
            (summed("6820005105032668 1410 34343337 35333333 44444444 383c4348", 0), 1),
            (summed("6899999999999968 0806 333d3d3e3e59", 0), 2),
            (summed("6820005105032668 1c10 35373333 444444444d33 4c3c3d3e3f45", 0), 3),
            // A valve, a new address, a register.
            (summed("6810120000000000000404a0170055", 0), 4),
            (summed("68060668 530551017a08", 4), 5),
            (modbus("030600010003"), 6),
        ] {
            script.hear(&write, START, None);
            assert_eq!(script.writes_seen(), seen, "{write:02x?}");
        }
        for ((is, _), was) in script.meters.iter().zip(&before) {
            let (mut is, mut was) = (is.clone(), was.clone());
            for meter in [&mut is, &mut was] {
                match meter {
                    SimulatedMeter::Modbus(meter) => meter.writes_seen = 0,
                    SimulatedMeter::Dlt645(meter) => meter.writes_seen = 0,
                    SimulatedMeter::Cjt188(meter) => meter.writes_seen = 0,
                    SimulatedMeter::Mbus(meter) => meter.writes_seen = 0,
                }
            }
            assert_eq!(is, was);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// In whatever pieces, and with whatever noise between them, the four protocols are told apart.
        #[test]
        fn questions_of_all_protocols_in_any_split(
            order in proptest::collection::vec((0..4usize, proptest::collection::vec(any::<u8>(), 0..6)), 1..12),
            cuts in proptest::collection::vec(1..9usize, 1..40),
        ) {
            let all = all();
            let mut bytes = Vec::new();
            for (which, noise) in &order {
                bytes.extend_from_slice(noise);
                bytes.extend_from_slice(&all[*which].1);
            }
            let mut whole = script(false);
            let expected = whole.hear(&bytes, START, None);
            let each: Vec<_> = {
                let mut script = script(false);
                order.iter().flat_map(|(which, _)| script.hear(&all[*which].1, START, None)).collect()
            };
            prop_assert_eq!(&expected, &each);
            prop_assert_eq!(expected.len(), order.len());
            let (mut split, mut got, mut rest) = (script(false), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                got.extend(split.hear(piece, START, None));
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(got, expected);
        }

        /// A master that babbles costs nothing but its bytes.
        #[test]
        fn any_bytes_are_borne(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..700),
                    proptest::collection::vec(prop_oneof![Just(0x68_u8), Just(0x16), Just(0x10), Just(0xFE), 0..20u8], 0..300),
                ],
                0..8,
            ),
            echo in any::<bool>(),
        ) {
            let mut script = script(echo);
            for piece in &pieces {
                let answers = script.hear(piece, Duration::MAX, Some(2400));
                prop_assert!(answers.iter().all(|(_, bytes)| !bytes.is_empty()));
                prop_assert!(script.heard.len() <= HEARD_BYTES_MAX);
            }
            let question = modbus("030300000001");
            let answers = script.hear(&question, START, None);
            prop_assert_eq!(answers.len(), 1 + usize::from(echo), "and the next question is heard");
        }
    }
}
