//! `simulate bus`: its arguments, and the meters they stand for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::simulate::bus::{
    self, Cjt188Meter, Dlt645Meter, Fault, MbusMeter, SimulatedMeter, SimulatedSlave, When,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  smallbrain simulate bus --link /tmp/bus --slave 1 --slave 2:garbage:4
      unit 1 is healthy, unit 2 has noise before every fourth answer
  smallbrain simulate bus --link /tmp/bus --dlt645 201000000012 --dlt645-1997 63295:dead:10+ --cjt188 water:805000001
      two electricity meters, the second of which is dead from its tenth question on, and a water meter
  smallbrain simulate bus --link /tmp/bus --baud-strict --recreate 60 --mbus 5 --cjt188 heat:1:late --slave 1
      each meter hears only the usual speed of its protocol, and the adapter is pulled once a minute

FAULT is one of
  dead      no answer                          garbage   noise before the answer
  late      too late to count                  trailing  noise after it
  corrupt   one bit is wrong                   preamble  64 FE before it
  stranger  the answer of another meter        echo      the question comes back before it
  foreign   that, and then its own             split     it comes byte by byte
  item      the answer to another question     babble    a second of noise instead
  short     its last register or byte is gone  refuse    an error answer
EVERY is 4 for every fourth question, and 4+ for the fourth and all that follow; without it the fault is always there.

A Modbus slave has a temperature in register 0 (tenths of a degree), a counter in registers 2 and 3, a humidity as a float
in registers 6 and 7 (low word first), and bits 0 to 7. Units 1 and up are what config.example.toml calls room-sensor.
Electricity meters have energies, voltages, currents, powers, clock and status words; heat and water meters 901F, D120 to
D12B and 810A; M-Bus meter 5 has the identification number 10000005 and two telegrams. Nothing is ever written to a meter.
There is no parity on a pseudo-terminal: whichever one the other end is set to, nobody sees it.";

/// Arguments of `simulate bus`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("meters").required(true).multiple(true).args(["slave", "dlt645", "dlt645_1997", "cjt188", "mbus"]))]
pub struct BusArgs {
    /// A Modbus RTU slave: its unit, 1 to 247
    #[arg(long, value_name = "UNIT[:FAULT[:EVERY]]", value_parser = slave)]
    slave: Vec<SimulatedMeter>,
    /// An electricity meter of DL/T 645-2007: its address of up to 12 digits
    #[arg(long, value_name = "ADDRESS[:FAULT[:EVERY]]", value_parser = dlt645)]
    dlt645: Vec<SimulatedMeter>,
    /// The same of DL/T 645-1997
    #[arg(long = "dlt645-1997", value_name = "ADDRESS[:FAULT[:EVERY]]", value_parser = dlt645_1997)]
    dlt645_1997: Vec<SimulatedMeter>,
    /// A meter of CJ/T 188: water, hot-water, gas or heat, and its address of up to 14 digits
    #[arg(long, value_name = "KIND:ADDRESS[:FAULT[:EVERY]]", value_parser = cjt188)]
    cjt188: Vec<SimulatedMeter>,
    /// A heat meter of M-Bus: its primary address, 1 to 250
    #[arg(long, value_name = "ADDRESS[:FAULT[:EVERY]]", value_parser = mbus)]
    mbus: Vec<SimulatedMeter>,
    /// A stable path to the pseudo-terminal
    #[arg(long)]
    link: Option<PathBuf>,
    /// Meters hear only the usual speed of their protocol: 9600 for Modbus, 2400 for all others
    #[arg(long)]
    baud_strict: bool,
    /// Values do not move, and each says whose it is and which (not those of Modbus)
    #[arg(long)]
    fixed: bool,
    /// The adapter hears itself
    #[arg(long)]
    echo: bool,
    /// Seconds that the meters' clocks are ahead of the time at UTC+8
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    clock_offset: i32,
    /// Pull the adapter after so many seconds, and plug it again a second later, and so on
    #[arg(long, value_name = "SECONDS", requires = "link", value_parser = super::positive)]
    recreate: Option<f64>,
}

impl BusArgs {
    /// Plays the meters until cancelled.
    pub(super) async fn play(self) -> std::io::Result<()> {
        let recreate = self.recreate.map(Duration::from_secs_f64);
        let (echo, link) = (self.echo, self.link.clone());
        bus::run(self.meters(Timestamp::now()), echo, link, recreate).await
    }

    fn meters(self, now: Timestamp) -> Vec<SimulatedMeter> {
        let ahead = SignedDuration::from_secs(self.clock_offset.into());
        let clock = Offset::constant(8).to_datetime(now).saturating_add(ahead);
        let (fixed, strict) = (self.fixed, self.baud_strict);
        let mut meters = [self.slave, self.dlt645, self.dlt645_1997, self.cjt188, self.mbus].concat();
        for meter in &mut meters {
            let usual = match meter {
                SimulatedMeter::Modbus(_) => 9600,
                SimulatedMeter::Dlt645(meter) => {
                    (meter.clock, meter.fixed) = (clock, fixed);
                    2400
                }
                SimulatedMeter::Cjt188(meter) => {
                    (meter.clock, meter.fixed) = (Some(clock), fixed);
                    2400
                }
                SimulatedMeter::Mbus(meter) => {
                    (meter.clock, meter.fixed) = (clock, fixed);
                    2400
                }
            };
            meter.manner_mut().baud = strict.then_some(usual);
        }
        meters
    }
}

fn slave(text: &str) -> Result<SimulatedMeter, String> {
    let (unit, fault) = text.split_once(':').unwrap_or((text, ""));
    let unit = unit.parse().ok().filter(|unit| (1..=247).contains(unit)).ok_or("a unit is 1 to 247")?;
    with(SimulatedSlave::new(unit, unit.into()), fault, 1500, 6)
}

fn dlt645(text: &str) -> Result<SimulatedMeter, String> {
    let (address, fault) = text.split_once(':').unwrap_or((text, ""));
    let address = digits(address, 12)?;
    with(Dlt645Meter::new(address, address), fault, 1500, 1)
}

fn dlt645_1997(text: &str) -> Result<SimulatedMeter, String> {
    let (address, fault) = text.split_once(':').unwrap_or((text, ""));
    let address = digits(address, 12)?;
    with(Dlt645Meter::v1997(address, address), fault, 1500, 1)
}

fn cjt188(text: &str) -> Result<SimulatedMeter, String> {
    let mut parts = text.splitn(3, ':');
    let kind = match parts.next() {
        Some("water") => 0x10,
        Some("hot-water") => 0x11,
        Some("heat") => 0x20,
        Some("gas") => 0x30,
        _ => return Err("a kind is water, hot-water, gas or heat: \"water:805000001\"".into()),
    };
    let address = digits(parts.next().unwrap_or_default(), 14)?;
    // Battery meters take their time: a master waits for up to three seconds.
    with(Cjt188Meter::new(kind, address, address), parts.next().unwrap_or_default(), 4000, 0x04)
}

fn mbus(text: &str) -> Result<SimulatedMeter, String> {
    let (address, fault) = text.split_once(':').unwrap_or((text, ""));
    let primary = address.parse().ok().filter(|primary| (1..=250).contains(primary));
    let primary: u8 = primary.ok_or("a primary address is 1 to 250")?;
    with(MbusMeter::new(primary, 10_000_000 + u32::from(primary), primary.into()), fault, 1500, 8)
}

fn digits(text: &str, most: usize) -> Result<u64, String> {
    let good = (1..=most).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    let number = text.parse().ok().filter(|_| good);
    number.ok_or_else(|| format!("an address has up to {most} digits, and {text:?} is none"))
}

/// FAULT, FAULT:EVERY, or nothing; `late` in milliseconds, `code` for a refusal.
fn with(
    meter: impl Into<SimulatedMeter>,
    fault: &str,
    late: u64,
    code: u8,
) -> Result<SimulatedMeter, String> {
    let mut meter = meter.into();
    if fault.is_empty() {
        return Ok(meter);
    }
    let (name, when) = fault.split_once(':').unwrap_or((fault, "1"));
    let fault = match name {
        "dead" => Fault::Dead,
        "late" => Fault::Late(Duration::from_millis(late)),
        "corrupt" => Fault::Corrupt,
        "stranger" => Fault::WrongAddress,
        "foreign" => Fault::ForeignFirst,
        "item" => Fault::WrongItem,
        "short" => Fault::Short,
        "garbage" => Fault::GarbageBefore(3),
        "trailing" => Fault::GarbageAfter(3),
        "preamble" => Fault::Preamble(0xFE, 64),
        "echo" => Fault::Echo,
        "split" => Fault::Split(Duration::from_millis(3)),
        "babble" => Fault::Babble,
        "refuse" => Fault::Refuse(code),
        _ => return Err(format!("there is no fault {name:?}; --help lists them")),
    };
    let number = |text: &str| text.parse::<u32>().ok().filter(|number| *number > 0);
    let when = match when.strip_suffix('+') {
        Some(first) => number(first).map(When::From),
        None => number(when).map(When::Every),
    };
    let when = when.ok_or("EVERY is a number from 1 on, or a number and +")?;
    meter.manner_mut().fault = Some((fault, when));
    Ok(meter)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Top {
        #[command(flatten)]
        args: BusArgs,
    }

    fn meters(line: &str) -> Result<Vec<SimulatedMeter>, clap::Error> {
        let words = std::iter::once("bus").chain(line.split(' '));
        Top::try_parse_from(words).map(|top| top.args.meters(Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn meters_are_what_was_asked_for() {
        let line = "--cjt188 hot-water:00000805000001:refuse --slave 7:corrupt:3 --mbus 250:split --dlt645-1997 63295 \
                    --dlt645 201000000012:dead:5+ --baud-strict --fixed --clock-offset -3600";
        let meters = meters(line).expect("good arguments");
        let [
            SimulatedMeter::Modbus(slave),
            SimulatedMeter::Dlt645(new),
            SimulatedMeter::Dlt645(old),
            SimulatedMeter::Cjt188(water),
            SimulatedMeter::Mbus(heat),
        ] = &meters[..]
        else {
            panic!("{meters:?}")
        };
        assert_eq!((slave.unit, slave.manner.baud), (7, Some(9600)));
        assert_eq!(slave.manner.fault, Some((Fault::Corrupt, When::Every(3))));
        assert_eq!((new.address, new.manner.fault), (201_000_000_012, Some((Fault::Dead, When::From(5)))));
        assert_eq!((old.edition, old.address), (bus::Edition::V1997, 63_295));
        assert_eq!(old.clock.to_string(), "1970-01-01T07:00:00");
        assert_eq!((water.kind, water.address, water.fixed), (0x11, 805_000_001, true));
        assert_eq!(water.manner.fault, Some((Fault::Refuse(4), When::Every(1))));
        assert_eq!((heat.primary, heat.id, heat.manner.baud), (250, 10_000_250, Some(2400)));
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for (line, told) in [
            ("--link /tmp/bus", "required"),
            ("--slave 248", "a unit is 1 to 247"),
            ("--slave 1:ill", "there is no fault \"ill\""),
            ("--slave 1:dead:0", "EVERY is a number from 1 on"),
            ("--slave 1:dead:+", "EVERY is a number from 1 on"),
            ("--dlt645 1234567890123", "up to 12 digits"),
            ("--dlt645-1997 +1", "up to 12 digits"),
            ("--cjt188 beer:1", "water, hot-water, gas or heat"),
            ("--cjt188 heat", "up to 14 digits"),
            ("--mbus 251", "1 to 250"),
            ("--slave 1 --recreate 5", "--link"),
            ("--slave 1 --link x --recreate 0", "above 0"),
        ] {
            let error = meters(line).expect_err(line).to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }
}
