//! `smallbrain read`: points of a configured meter, or anything of any meter, now.
//!
//! It only reads: there is no argument that makes a question which changes anything.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::bus::{Bus, BusError, Lang, LineArgs, SOCKET, as_json, shown};
use crate::wire::bus as wire;
use wire::direct::Protocol;
use wire::read_request::What;

/// The port comes first: an option with two values would take it for one of them.
const USAGE: &str = "\
smallbrain read [OPTIONS] <PORT> <DEVICE> [METRIC]
       smallbrain read [OPTIONS] <PORT> --dlt645 <ADDRESS> <DI>
       smallbrain read [OPTIONS] <PORT> --cjt188 <[TYPE:]ADDRESS> [DI]
       smallbrain read [OPTIONS] <PORT> --modbus <UNIT> <REGISTER>
       smallbrain read [OPTIONS] <PORT> --mbus <ADDRESS>";

/// Arguments of `read`.
#[derive(clap::Args, Debug, Clone)]
#[command(override_usage = USAGE)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["device", "dlt645", "cjt188", "modbus", "mbus"])))]
pub struct Args {
    /// A port of the running daemon by its name, or a path like /dev/ttyUSB0
    pub port: String,
    /// A device of the configuration; a port of the running daemon knows it
    pub device: Option<String>,
    /// One of its metrics [default: all]
    #[arg(requires = "device")]
    pub metric: Option<String>,
    /// An electricity meter: up to 12 digits, and the identifier
    #[arg(long, num_args = 2, value_names = ["ADDRESS", "DI"])]
    pub dlt645: Option<Vec<String>>,
    /// A water, gas or heat meter: up to 14 digits, with a type in front if it needs one, and the identifier [default: 901f]
    #[arg(long, num_args = 1..=2, value_names = ["[TYPE:]ADDRESS", "DI"])]
    pub cjt188: Option<Vec<String>>,
    /// A slave: the unit, and the register as holding:0, input:4:i16, holding:6:f32:CDAB, coil:3
    #[arg(long, num_args = 2, value_names = ["UNIT", "REGISTER"])]
    pub modbus: Option<Vec<String>>,
    /// An M-Bus meter: 1 to 250, or 8 digits
    #[arg(long, value_name = "ADDRESS")]
    pub mbus: Option<String>,
    /// How the line is set.
    #[command(flatten)]
    pub line: LineArgs,
    /// The adapter of a path sends back what it is given
    #[arg(long)]
    pub echo: bool,
    /// The daemon's socket
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
    /// One JSON object instead of lines
    #[arg(long)]
    pub json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    pub lang: Lang,
}

/// Shown below `read --help`.
pub const HELP: &str = "\
Examples:
  smallbrain read bus-1 meter-3 energy_forward
      as the gateway reads it: scaled, and in the unit of the point
  smallbrain read /dev/ttyUSB0 --dlt645 201000000012 00010000
      forward active energy; four digits are an identifier of 1997
  smallbrain read bus-1 --cjt188 heat:20241234567890
  smallbrain read /dev/ttyUSB0 --modbus 7 holding:0:u32:CDAB --baud 19200 --parity even
      addresses count from 0: a manual's 40001 is holding:0
  smallbrain read bus-1 --mbus 12345678

What is not told of the line is as for the port's meters of the protocol, or as the protocol mostly has it. Values are
printed as the meter says them. Exit code 1 when the meter does not answer or refuses, 2 for what no meter can answer.";

/// Reads once.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    match read(args, out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.tell("read", args.lang),
    }
}

async fn read(args: &Args, out: &mut dyn Write) -> Result<(), BusError> {
    let request = request(args)?;
    let mut bus = Bus::open(&args.port, args.echo, &args.socket).await?;
    let answer = bus.read(request).await?;
    if args.json {
        let values: Vec<_> = answer.values.iter().map(as_json).collect();
        let clock = (!answer.clock.is_empty()).then_some(answer.clock);
        writeln!(out, "{}", json!({ "values": values, "clock": clock }))?;
        return Ok(out.flush()?);
    }
    for value in &answer.values {
        writeln!(out, "{}  {}", value.name, shown(value, args.lang))?;
    }
    if !answer.clock.is_empty() {
        writeln!(out, "{}  {}", args.lang.say("表内时钟", "clock"), answer.clock)?;
    }
    Ok(out.flush()?)
}

/// What the arguments ask for. Texts go to the service as they are: one place says what is wrong with them.
///
/// # Errors
/// [`BusError::Unit`].
pub fn request(args: &Args) -> Result<wire::ReadRequest, BusError> {
    let pair = |texts: &[String]| {
        let text = |at: usize| texts.get(at).cloned().unwrap_or_default();
        (text(0), text(1))
    };
    let dlt645 = args
        .dlt645
        .as_deref()
        .map(pair)
        .map(|(address, identifier)| Protocol::Dlt645(wire::Dlt645 { address, identifier }));
    let cjt188 = args
        .cjt188
        .as_deref()
        .map(pair)
        .map(|(address, identifier)| Protocol::Cjt188(wire::Cjt188 { address, identifier }));
    let modbus = match args.modbus.as_deref().map(pair) {
        Some((unit, register)) => {
            let unit = unit.parse().map_err(|_| BusError::Unit(unit))?;
            Some(Protocol::Modbus(wire::Modbus { unit, register }))
        }
        None => None,
    };
    let mbus = args.mbus.clone().map(|address| Protocol::Mbus(wire::Mbus { address }));
    let what = match &args.device {
        Some(device) => {
            let metric = args.metric.clone().unwrap_or_default();
            What::Configured(wire::Configured { device: device.clone(), metric })
        }
        None => What::Direct(wire::Direct {
            protocol: dlt645.or(cjt188).or(modbus).or(mbus),
            line: args.line.line(),
            timeout_ms: args.line.timeout.unwrap_or_default(),
        }),
    };
    Ok(wire::ReadRequest { port: args.port.clone(), what: Some(what) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Scan;
    use crate::codec::modbus::Direction;
    use crate::codec::{cjt188, dlt645, mbus, modbus};
    use crate::device::serial::exchange::{Exchange, Habits};
    use crate::device::serial::question::Asked;
    use crate::local::target::Target;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn target(words: &[&str]) -> Option<Target> {
        let words = ["read", "/dev/null"].iter().chain(words);
        let cli = Cli::try_parse_from(words).ok()?;
        match request(&cli.args).ok()?.what? {
            What::Direct(direct) => Target::of(&direct, &[]).ok(),
            What::Configured(_) => None,
        }
    }

    /// Every first question of a target.
    fn asked(target: &Target) -> Vec<Asked> {
        let raw = target.raw.iter().map(|question| question.asked.clone());
        let exchange = Exchange::new(&target.meter, target.want.clone(), &mut Habits::default());
        raw.chain(exchange.map(|exchange| exchange.question().asked)).collect()
    }

    /// Whether the bytes are a question that changes nothing, by the functions of the standards.
    fn only_reads(asked: &Asked) -> bool {
        let bytes = asked.encode();
        let frame = |at: usize| bytes.get(at).copied();
        let leader = bytes.iter().take_while(|byte| **byte == 0xFE).count();
        match asked {
            Asked::Modbus(_) => match modbus::scan(&bytes, Direction::Request) {
                Scan::Frame { frame, .. } => (1..=4).contains(&frame.function),
                _ => false,
            },
            Asked::Dlt645(_) => match dlt645::scan(&bytes) {
                Scan::Frame { frame, .. } => [0x01, 0x11].contains(&frame.control),
                _ => false,
            },
            Asked::Cjt188(_) => match cjt188::scan(&bytes) {
                Scan::Frame { frame, .. } => [0x01, 0x03, 0x09].contains(&frame.control),
                _ => false,
            },
            Asked::Mbus(_) => match mbus::scan(&bytes) {
                Scan::Frame { frame: mbus::Frame::Short { control, .. }, .. } => {
                    [0x40, 0x5B, 0x7B].contains(&control)
                }
                // A selection: control information 52.
                Scan::Frame { frame: mbus::Frame::Long { .. }, .. } => frame(leader + 6) == Some(0x52),
                _ => false,
            },
            _ => false,
        }
    }

    #[test]
    fn examples_ask_for_what_they_say() {
        for words in [
            &["--dlt645", "201000000012", "00010000"][..],
            &["--dlt645", "12", "9010", "--baud", "1200", "--timeout", "2s"],
            // An identifier that no table has.
            &["--dlt645", "12", "04090101"],
            &["--cjt188", "20241234567890"],
            &["--cjt188", "heat:20241234567890", "d120"],
            &["--cjt188", "20:1", "810a"],
            // The valve's: it is read, not moved.
            &["--cjt188", "1", "a017"],
            &["--modbus", "7", "holding:0:u32:CDAB", "--parity", "even"],
            &["--modbus", "7", "coil:3"],
            &["--modbus", "7", "input:3:text:4:BADC"],
            &["--mbus", "5"],
            &["--mbus", "12345678"],
        ] {
            let target = target(words).unwrap_or_else(|| panic!("{words:?}"));
            let asked = asked(&target);
            assert!(!asked.is_empty() && asked.iter().all(only_reads), "{words:?}: {asked:?}");
        }
    }

    /// What stands in the usage and in the examples can be typed.
    #[test]
    fn what_the_help_shows_is_understood() {
        let lines = USAGE.lines().chain(HELP.lines()).map(str::trim);
        let shown: Vec<&str> = lines.filter(|line| line.starts_with("smallbrain read")).collect();
        assert_eq!(shown.len(), 10);
        for line in shown {
            let line =
                line.replace("[OPTIONS] ", "").replace("[TYPE:]", "heat:").replace(['<', '>', '[', ']'], "");
            let cli = Cli::try_parse_from(line.split_whitespace().skip(1));
            let port = cli.map(|cli| cli.args.port).unwrap_or_default();
            assert!(["PORT", "bus-1", "/dev/ttyUSB0"].contains(&port.as_str()), "{line}: {port:?}");
        }
    }

    #[test]
    fn what_no_meter_can_answer_is_refused() {
        for words in [
            &[][..],
            &["--dlt645", "201000000012"],
            &["--dlt645", "12x", "00010000"],
            &["--dlt645", "12", "0001", "--mbus", "5"],
            &["--cjt188", "steam:1"],
            &["--modbus", "0", "holding:0"],
            &["--modbus", "248", "holding:0"],
            &["--modbus", "300", "holding:0"],
            &["--modbus", "pump", "holding:0"],
            &["--modbus", "7", "holding:65536"],
            &["--modbus", "7", "holding:65535:u32"],
            &["--modbus", "7", "holding:0:bit"],
            &["--modbus", "7", "coil:0:u16"],
            &["--modbus", "7", "holding:0:u16:CDAB"],
            &["--modbus", "7", "write:0"],
            &["--mbus", "251"],
            &["--mbus", "5", "--baud", "0"],
            &["--mbus", "5", "--parity", "mark"],
            &["--mbus", "5", "--timeout", "31s"],
            &["--mbus", "5", "--timeout", "5"],
        ] {
            assert_eq!(target(words), None, "{words:?}");
        }
    }

    proptest! {
        /// Whatever is typed behind `read`, what goes out changes nothing.
        #[test]
        fn no_argument_makes_a_write(
            flag in prop_oneof![Just("--dlt645"), Just("--cjt188"), Just("--modbus"), Just("--mbus")],
            first in "(heat:|[0-9a-f]{2}:|)[0-9aA]{1,14}",
            second in proptest::option::of(prop_oneof![
                "[0-9a-f]{4}",
                "[0-9a-f]{8}",
                "(holding|input|coil|discrete):[0-9]{1,5}(:(u16|u32|f64|bit|bit3|text:[0-9]{1,3})(:(CDAB|BA))?)?",
                ".{0,20}",
            ]),
        ) {
            let words: Vec<&str> = [flag, first.as_str()].into_iter().chain(second.as_deref()).collect();
            if let Some(target) = target(&words) {
                for asked in asked(&target) {
                    prop_assert!(only_reads(&asked), "{words:?}: {asked:?}");
                }
            }
        }
    }
}
