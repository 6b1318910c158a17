//! Modbus slaves on a pseudo-terminal, healthy and otherwise.
//!
//! [`Script`] is the pure part: which bytes come back, and after which delay; the same seed and the same questions give the
//! same bytes. It builds frames by itself, bit by bit from the standard, so that it does not share a mistake with the codec
//! it is there to try. [`SimulatedBus`] plays it on a pty. Nothing here keeps the bauds of a line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::pty::Pty;

/// Answers that wait for their time; beyond it new ones are not sent.
const PENDING_MAX: usize = 256;

/// What a register or bit says over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Signed tenths of a degree, slowly between 17.0 and 25.0.
    Temperature,
    /// Unsigned 32 bit in two registers, high first; only rises.
    Counter,
    /// Percent as a float in two registers, low word first; falls as the temperature rises.
    Humidity,
    /// Always the same.
    Fixed(u16),
}

/// What is wrong with a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Says nothing.
    Dead,
    /// Answers after so long.
    Late(Duration),
    /// So many bytes before the answer.
    GarbageBefore(u8),
    /// So many bytes after the answer.
    GarbageAfter(u8),
    /// One bit of the answer is wrong.
    WrongCrc,
    /// The answer of another slave instead.
    WrongUnit,
    /// The answer of another slave, then its own.
    ForeignFirst,
    /// One register, or one byte of bits, is missing.
    Short,
    /// A second of noise instead of an answer.
    Babble,
    /// Refuses with this code.
    Exception(u8),
}

/// One slave. Registers are the same in both register tables, bits in both bit tables; any other address is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedSlave {
    /// Address.
    pub unit: u8,
    /// Addresses of registers with what they say.
    pub registers: Vec<(u16, Signal)>,
    /// Addresses of bits that change now and then.
    pub bits: Vec<u16>,
    /// Makes its values its own.
    pub seed: u64,
    /// How long it thinks.
    pub delay: Duration,
    /// What is wrong, at every so many-th question.
    pub fault: Option<(Fault, u32)>,
}

impl SimulatedSlave {
    /// A healthy one: temperature at register 0, a counter at 2 and 3, 230 at 4, humidity at 6 and 7, and bits 0 to 7.
    #[must_use]
    pub fn new(unit: u8, seed: u64) -> Self {
        Self {
            unit,
            registers: vec![
                (0, Signal::Temperature),
                (2, Signal::Counter),
                (4, Signal::Fixed(230)),
                (6, Signal::Humidity),
            ],
            bits: (0..8).collect(),
            seed,
            delay: Duration::from_millis(5),
            fault: None,
        }
    }

    /// The same with a fault at every `every`-th question; 1 is always.
    #[must_use]
    pub fn with(mut self, fault: Fault, every: u32) -> Self {
        self.fault = Some((fault, every.max(1)));
        self
    }

    /// What a register says `elapsed` after the start.
    #[must_use]
    pub fn register(&self, address: u16, elapsed: Duration) -> Option<u16> {
        self.registers.iter().find_map(|(first, signal)| {
            let offset = address.checked_sub(*first)?;
            match (signal, offset) {
                (Signal::Temperature, 0) => Some(self.temperature(elapsed) as u16),
                (Signal::Counter, 0) => Some((self.counter(elapsed) >> 16) as u16),
                (Signal::Counter, 1) => Some(self.counter(elapsed) as u16),
                (Signal::Humidity, 0) => Some(self.humidity(elapsed).to_bits() as u16),
                (Signal::Humidity, 1) => Some((self.humidity(elapsed).to_bits() >> 16) as u16),
                (Signal::Fixed(value), 0) => Some(*value),
                _ => None,
            }
        })
    }

    /// What a bit says `elapsed` after the start.
    #[must_use]
    pub fn bit(&self, address: u16, elapsed: Duration) -> Option<bool> {
        let minute = elapsed.as_secs() / 60;
        self.bits.contains(&address).then(|| mix(self.seed ^ u64::from(address) << 32 ^ minute) & 3 == 0)
    }

    /// Up and down by 8 degrees in 20 minutes, and a tenth of noise each second.
    fn temperature(&self, elapsed: Duration) -> i16 {
        let phase = (elapsed.as_secs() + self.seed % 1200) % 1200;
        let slope = phase.min(1200 - phase) * 80 / 600;
        170 + slope as i16 + (mix(self.seed ^ elapsed.as_secs()) % 3) as i16 - 1
    }

    fn humidity(&self, elapsed: Duration) -> f32 {
        f32::from(700 - self.temperature(elapsed)) / 10.0
    }

    fn counter(&self, elapsed: Duration) -> u32 {
        let a_second = 1 + self.seed % 5;
        (mix(self.seed) % 1_000_000 + elapsed.as_secs() * a_second) as u32
    }
}

/// The pure part of a bus full of slaves.
#[derive(Debug)]
pub struct Script {
    slaves: Vec<(SimulatedSlave, u32)>,
    echo: bool,
    heard: Vec<u8>,
    noise: u64,
}

impl Script {
    /// These slaves; with `echo` the adapter of the master hears itself.
    #[must_use]
    pub fn new(slaves: Vec<SimulatedSlave>, echo: bool) -> Self {
        let noise = slaves.iter().fold(1, |noise, slave| mix(noise ^ slave.seed));
        Self { slaves: slaves.into_iter().map(|slave| (slave, 0)).collect(), echo, heard: Vec::new(), noise }
    }

    /// Takes what the master sent; gives what comes back, each with its delay.
    pub fn hear(&mut self, bytes: &[u8], elapsed: Duration) -> Vec<(Duration, Vec<u8>)> {
        self.heard.extend_from_slice(bytes);
        let mut answers = Vec::new();
        while let Some(question) = self.heard.first_chunk::<8>().copied() {
            let [unit, function, address @ .., _, _] = question;
            if sealed(&question[..6]) != question || !(1..=4).contains(&function) {
                self.heard.remove(0);
                continue;
            }
            self.heard.drain(..8);
            if self.echo {
                answers.push((Duration::ZERO, question.to_vec()));
            }
            let start = u16::from_be_bytes([address[0], address[1]]);
            let count = u16::from_be_bytes([address[2], address[3]]);
            if let Some(index) = self.slaves.iter().position(|(slave, _)| slave.unit == unit) {
                answers.extend(self.answer(index, function, start, count, elapsed));
            }
        }
        answers
    }

    fn answer(
        &mut self,
        index: usize,
        function: u8,
        start: u16,
        count: u16,
        elapsed: Duration,
    ) -> Vec<(Duration, Vec<u8>)> {
        let noise = self.noise;
        self.noise = mix(noise);
        let (slave, asked) = &mut self.slaves[index];
        *asked += 1;
        let fault = slave.fault.filter(|(_, every)| *asked % every == 0).map(|(fault, _)| fault);
        let short = u16::from(fault == Some(Fault::Short));
        let data = data(slave, function, start, count, short, elapsed);
        let frame = |unit| match (&data, fault) {
            (_, Some(Fault::Exception(code))) => sealed(&[unit, function | 0x80, code]),
            (None, _) => sealed(&[unit, function | 0x80, 2]),
            (Some(data), _) => sealed(&[&[unit, function, data.len() as u8], &data[..]].concat()),
        };
        let (mut own, other) = (frame(slave.unit), frame(slave.unit % 247 + 1));
        let delay = slave.delay;
        let bytes = match fault {
            Some(Fault::Dead) => return Vec::new(),
            Some(Fault::Late(delay)) => return vec![(delay, own)],
            Some(Fault::Babble) => {
                return (0..20)
                    .map(|piece| {
                        (delay + Duration::from_millis(50) * piece, garbage(noise ^ u64::from(piece), 40))
                    })
                    .collect();
            }
            Some(Fault::GarbageBefore(count)) => [garbage(noise, count), own].concat(),
            Some(Fault::GarbageAfter(count)) => [own, garbage(noise, count)].concat(),
            Some(Fault::WrongCrc) => {
                let at = noise as usize % (own.len() - 2) + 2;
                own[at] ^= 1 << (noise >> 32 & 7);
                own
            }
            Some(Fault::WrongUnit) => other,
            Some(Fault::ForeignFirst) => [other, own].concat(),
            Some(Fault::Short | Fault::Exception(_)) | None => own,
        };
        vec![(delay, bytes)]
    }
}

/// The values of an answer without its last `missing` registers or bytes; none when the slave has no such address.
fn data(
    slave: &SimulatedSlave,
    function: u8,
    start: u16,
    count: u16,
    missing: u16,
    elapsed: Duration,
) -> Option<Vec<u8>> {
    let addresses = || (0..count).map(|offset| start.checked_add(offset));
    if function <= 2 {
        if !(1..=2000).contains(&count) {
            return None;
        }
        let bits = addresses().map(|address| slave.bit(address?, elapsed)).collect::<Option<Vec<_>>>()?;
        let mut bytes: Vec<u8> = bits
            .chunks(8)
            .map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect();
        bytes.truncate(bytes.len().saturating_sub(missing.into()));
        return Some(bytes);
    }
    if count > 125 {
        return None;
    }
    // Between two values that exist there may be registers without meaning.
    let last = start.checked_add(count.checked_sub(1)?)?;
    slave.register(start, elapsed).and(slave.register(last, elapsed))?;
    let known = count.saturating_sub(missing);
    Some(
        addresses()
            .take(known.into())
            .flat_map(|address| {
                address.and_then(|address| slave.register(address, elapsed)).unwrap_or_default().to_be_bytes()
            })
            .collect(),
    )
}

/// With its CRC: poly A001 reflected, from FFFF, low byte first.
fn sealed(content: &[u8]) -> Vec<u8> {
    let mut crc = 0xFFFF_u16;
    for byte in content {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    [content, &crc.to_le_bytes()].concat()
}

/// What turn-round and noise leave: zeros, ones, anything.
fn garbage(seed: u64, count: u8) -> Vec<u8> {
    (0..count)
        .map(|index| match mix(seed ^ u64::from(index)) {
            any if any % 4 == 0 => 0x00,
            any if any % 4 == 1 => 0xFF,
            any => (any >> 16) as u8,
        })
        .collect()
}

/// splitmix64.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// A bus that is being played. Dropping it unplugs the adapter.
#[derive(Debug)]
pub struct SimulatedBus {
    path: PathBuf,
    link: Option<PathBuf>,
    task: JoinHandle<()>,
}

impl SimulatedBus {
    /// Plays the slaves on a new pty; `link` is a stable path to it. Inside a tokio runtime.
    ///
    /// # Errors
    /// No pty, or the link cannot be made.
    pub fn start(slaves: Vec<SimulatedSlave>, echo: bool, link: Option<PathBuf>) -> io::Result<Self> {
        let pty = Pty::open()?;
        let path = pty.path().to_path_buf();
        if let Some(link) = &link {
            point(link, &path)?;
        }
        Ok(Self { path, link, task: tokio::spawn(play(pty, Script::new(slaves, echo))) })
    }

    /// What to open: the link, or the pty itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.link.as_ref().unwrap_or(&self.path)
    }

    /// Unplugs the adapter and waits until it is gone.
    pub async fn unplug(mut self) {
        self.task.abort();
        // An aborted task ends with an error that says so.
        let _ = (&mut self.task).await;
    }
}

impl Drop for SimulatedBus {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(link) = &self.link
            && std::fs::read_link(link).is_ok_and(|target| target == self.path)
        {
            let _ = std::fs::remove_file(link);
        }
    }
}

/// Plays the slaves until cancelled; the path to open is the first line on the standard output.
///
/// # Errors
/// No pty, or the link cannot be made.
pub async fn run(slaves: Vec<SimulatedSlave>, link: Option<PathBuf>) -> io::Result<()> {
    let mut bus = SimulatedBus::start(slaves, false, link)?;
    writeln!(io::stdout().lock(), "{}", bus.path().display())?;
    (&mut bus.task).await.map_err(io::Error::other)
}

/// Replaces the link in one step, so that it always leads somewhere.
fn point(link: &Path, path: &Path) -> io::Result<()> {
    let mut new = link.as_os_str().to_owned();
    new.push(".new");
    let _ = std::fs::remove_file(&new);
    std::os::unix::fs::symlink(path, &new)?;
    std::fs::rename(&new, link)
}

/// Ends when the pty does.
async fn play(mut pty: Pty, mut script: Script) {
    let start = Instant::now();
    let mut pending: Vec<(Instant, Vec<u8>)> = Vec::new();
    let mut buffer = [0; 256];
    loop {
        let next =
            pending.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(index, (at, _))| (index, *at));
        let due = next.map_or_else(Instant::now, |(_, at)| at);
        tokio::select! {
            read = pty.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { return };
                let now = Instant::now();
                for (delay, bytes) in script.hear(&buffer[..count], now - start) {
                    if pending.len() < PENDING_MAX {
                        pending.push((now + delay, bytes));
                    }
                }
            }
            () = sleep_until(due), if next.is_some() => {
                let Some((index, _)) = next else { continue };
                let (_, bytes) = pending.remove(index);
                if pty.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Scan;
    use crate::codec::modbus::{Direction, Request, Table, scan};

    fn ask(slave: SimulatedSlave, request: Request) -> Vec<(Duration, Vec<u8>)> {
        Script::new(vec![slave], false).hear(&request.encode(), Duration::from_secs(100))
    }

    fn answer(bytes: &[u8], request: Request) -> Option<Result<Vec<u8>, u8>> {
        let Scan::Frame { frame, .. } = scan(bytes, Direction::Response) else { return None };
        Some(request.answer(&frame)?.map(<[u8]>::to_vec).map_err(|exception| exception.0))
    }

    #[test]
    fn a_healthy_slave_answers_in_the_form_of_the_codec() {
        let slave = SimulatedSlave::new(3, 42);
        for (table, start, count, expected) in [
            (Table::Holding, 0, 5, Ok(10)),
            (Table::Input, 2, 2, Ok(4)),
            (Table::Coil, 0, 8, Ok(1)),
            (Table::Discrete, 6, 2, Ok(1)),
            (Table::Holding, 9, 1, Err(2)),
            (Table::Coil, 7, 2, Err(2)),
        ] {
            let request = Request::new(3, table, start, count).expect("a possible question");
            let [(delay, bytes)] = &ask(slave.clone(), request)[..] else { panic!("one answer") };
            assert_eq!(*delay, slave.delay);
            assert_eq!(answer(bytes, request).map(|data| data.map(|data| data.len())), Some(expected));
        }
        let stranger = Request::new(4, Table::Holding, 0, 1).expect("a possible question");
        assert!(ask(slave, stranger).is_empty());
    }

    #[test]
    fn each_fault_is_one() {
        let request = Request::new(3, Table::Holding, 0, 3).expect("a possible question");
        let healthy = SimulatedSlave::new(3, 42);
        let good = ask(healthy.clone(), request)[0].1.clone();
        let faulty = |fault| ask(healthy.clone().with(fault, 1), request);
        let late = Duration::from_secs(3);
        assert!(faulty(Fault::Dead).is_empty());
        assert_eq!(faulty(Fault::Late(late)), [(late, good.clone())]);
        assert!(faulty(Fault::GarbageBefore(7))[0].1.ends_with(&good));
        assert!(faulty(Fault::GarbageAfter(7))[0].1.starts_with(&good));
        assert!(faulty(Fault::ForeignFirst)[0].1.ends_with(&good));
        assert_eq!(faulty(Fault::Babble).len(), 20);
        assert_eq!(answer(&faulty(Fault::Exception(6))[0].1, request), Some(Err(6)));
        for fault in [Fault::WrongCrc, Fault::WrongUnit, Fault::Short, Fault::ForeignFirst] {
            assert_eq!(answer(&faulty(fault)[0].1, request), None, "{fault:?}");
        }
        let mut every_third = Script::new(vec![healthy.with(Fault::Dead, 3)], false);
        let heard = |_| every_third.hear(&request.encode(), Duration::ZERO).len();
        assert_eq!((0..6).map(heard).collect::<Vec<_>>(), [1, 1, 0, 1, 1, 0]);
    }

    #[test]
    fn values_move_like_what_they_stand_for() {
        let slave = SimulatedSlave::new(1, 7);
        let mut last = 0;
        for second in (0..3600).step_by(10) {
            let elapsed = Duration::from_secs(second);
            let temperature = slave.register(0, elapsed).expect("a register");
            assert!((160..=260).contains(&temperature), "{temperature}");
            let counter = slave.counter(elapsed);
            assert!(counter >= last);
            last = counter;
        }
    }

    #[test]
    fn noise_before_a_question_and_a_question_in_pieces_are_understood() {
        let request = Request::new(3, Table::Holding, 0, 1).expect("a possible question");
        let mut script = Script::new(vec![SimulatedSlave::new(3, 1)], true);
        let question = request.encode();
        let (head, tail) = question.split_at(5);
        assert!(script.hear(&[0, 0xFF], Duration::ZERO).is_empty());
        assert!(script.hear(head, Duration::ZERO).is_empty());
        let answers = script.hear(tail, Duration::ZERO);
        assert_eq!(answers[0], (Duration::ZERO, request.encode().to_vec()), "the echo comes first");
        assert_eq!(answers.len(), 2);
    }
}
