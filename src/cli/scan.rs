//! `smallbrain scan`: finds the meters on a bus, and the lines of the configuration that would read them.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tokio_stream::StreamExt as _;

use super::bus::{Bus, BusError, Lang, SOCKET, as_json, milliseconds, shown};
use crate::wire::bus as wire;
use wire::scan_response::News;

/// Arguments of `scan`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// A port of the running daemon by its name, or a path like /dev/ttyUSB0
    pub port: String,
    /// modbus, dlt645, cjt188 or mbus; may be repeated, or several with commas [default: all]
    #[arg(long, value_delimiter = ',')]
    pub protocol: Vec<String>,
    /// Bits a second, several with commas [default: 9600 for modbus, 2400 for the others, and those of the port's meters]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub baud: Vec<u32>,
    /// none, even, odd, several with commas [default: none for modbus, even for the others]
    #[arg(long, value_delimiter = ',')]
    pub parity: Vec<String>,
    /// Modbus units and primary addresses of M-Bus, as 1-32 or 7 [default: 1-247 and 1-250]
    #[arg(long, value_parser = units)]
    pub units: Option<(u32, u32)>,
    /// How long a meter may take to answer, as 200ms or 1s [default: as the protocol has it]
    #[arg(long, value_parser = milliseconds)]
    pub timeout: Option<u32>,
    /// The adapter of a path sends back what it is given
    #[arg(long)]
    pub echo: bool,
    /// The daemon's socket
    #[arg(long, default_value = SOCKET)]
    pub socket: PathBuf,
    /// One JSON object a line: a meter each, then the summary
    #[arg(long)]
    pub json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    pub lang: Lang,
}

/// Shown below `scan --help`.
pub const HELP: &str = "\
Examples:
  smallbrain scan bus-1
      all protocols on a port of the running daemon, which reads its meters on in between
  smallbrain scan /dev/ttyUSB0 --protocol modbus --baud 9600,19200 --parity none,even --units 1-32
      a port that nobody else has open; --echo if its adapter sends back what it is given

How it searches: electricity meters (dlt645) are asked for their address all at once, and by shortened addresses, two
digits at a time, where they answer at once; water, gas and heat meters (cjt188) are asked for their address, which tells
one meter only; modbus units are asked for register 0 one by one; mbus addresses are reset one by one, then searched by
identification number. It only reads. All protocols together take five to seven minutes; a line is printed as soon as a
meter is found, and Ctrl-C ends it. Exit code 0 when something was found, 1 when nothing was.";

fn units(text: &str) -> Result<(u32, u32), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|unit| (1..=250).contains(unit));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err("units are 1 to 247 (M-Bus 1 to 250), as 1-32 or 7".into()),
    }
}

/// Scans, until the end or an interrupt.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    match scan(args, out).await {
        Ok(0) => ExitCode::from(1),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => error.tell("scan", args.lang),
    }
}

/// How many meters were found.
async fn scan(args: &Args, out: &mut dyn Write) -> Result<u32, BusError> {
    let mut bus = Bus::open(&args.port, args.echo, &args.socket).await?;
    let mut news = bus.scan(request(args)).await?;
    let (mut view, mut summary) = (View::new(args), None);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let next = tokio::select! {
            next = news.next() => next,
            _ = &mut interrupt => None,
        };
        match next.transpose()?.and_then(|response| response.news) {
            Some(News::Progress(progress)) => view.progress(&progress),
            Some(News::Found(found)) => view.found(&found, out)?,
            Some(News::Summary(told)) => summary = Some(told),
            None => break,
        }
    }
    view.end(summary.as_ref(), out)?;
    Ok(view.found)
}

fn request(args: &Args) -> wire::ScanRequest {
    let (first, last) = args.units.unwrap_or_default();
    wire::ScanRequest {
        port: args.port.clone(),
        protocols: args.protocol.clone(),
        bauds: args.baud.clone(),
        parities: args.parity.clone(),
        unit_first: first,
        unit_last: last,
        timeout_ms: args.timeout.unwrap_or_default(),
    }
}

/// What is printed.
struct View {
    json: bool,
    lang: Lang,
    /// Whether somebody watches the progress.
    watched: bool,
    found: u32,
}

impl View {
    fn new(args: &Args) -> Self {
        Self { json: args.json, lang: args.lang, watched: io::stderr().is_terminal(), found: 0 }
    }

    fn progress(&self, progress: &wire::Progress) {
        if self.watched {
            let wire::Progress { protocol, line, asked, left } = progress;
            let line = line.as_ref().map(line_text).unwrap_or_default();
            let (searching, found) =
                (self.lang.say("正在搜索", "searching"), self.lang.say("已找到", "found"));
            // A terminal that is gone misses nothing.
            let _ = write!(
                io::stderr(),
                "\r\x1b[K{searching} {protocol} {line}: {asked}/{}, {found} {}",
                asked + left,
                self.found
            );
        }
    }

    /// Clears the line of the progress.
    fn clear(&self) {
        if self.watched {
            // A terminal that is gone misses nothing.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    fn found(&mut self, found: &wire::Found, out: &mut dyn Write) -> io::Result<()> {
        self.clear();
        self.found += 1;
        if self.json {
            writeln!(out, "{}", found_json(found))?;
        } else {
            let line = found.line.as_ref().map(line_text).unwrap_or_default();
            write!(out, "{}  {}  {line}", found.protocol, found.address)?;
            for fact in &found.facts {
                write!(out, "  {}: {}", fact.name, fact.text)?;
            }
            for value in found.values.iter().filter(|value| value.value.is_some()) {
                write!(out, "  {} {}", value.name, shown(value, self.lang))?;
            }
            writeln!(out)?;
            if found.device.is_empty() {
                found.toml.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
            } else {
                writeln!(out, "    {} {}", self.lang.say("已配置为", "configured as"), found.device)?;
            }
        }
        out.flush()
    }

    fn end(&self, summary: Option<&wire::Summary>, out: &mut dyn Write) -> io::Result<()> {
        self.clear();
        let notes = summary.map_or(&[][..], |summary| &summary.notes);
        if self.json {
            let complete = summary.is_some();
            writeln!(out, "{}", json!({ "found": self.found, "complete": complete, "notes": notes }))?;
            return out.flush();
        }
        if summary.is_none() {
            writeln!(out, "{}", self.lang.say("搜索被中断", "the search was stopped"))?;
        }
        writeln!(out, "{}: {}", self.lang.say("找到设备", "found"), self.found)?;
        notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
        if self.found == 0 && !notes.is_empty() {
            let hint = self.lang.say(
                "线上收到了数据, 但没有认出表: 请先按上面的说明做",
                "something came over the line, but no meter could be told by it: first do as it says above",
            );
            writeln!(out, "{hint}")?;
        } else if self.found == 0 {
            let hint = self.lang.say(
                "请检查: A/B 线是否接反; 表地址、波特率和校验位 (--baud, --parity); 表是否上电; \
                 120 Ω 终端电阻; 距离和接头",
                "check: are A and B swapped; baud rate and parity (--baud, --parity); the address range (--units); \
                 is the meter powered; 120 ohm termination at both ends; length and joints of the line",
            );
            writeln!(out, "{hint}")?;
        }
        out.flush()
    }
}

fn line_text(line: &wire::Line) -> String {
    let parity = line.parity.chars().next().unwrap_or('n').to_ascii_uppercase();
    format!("{} 8{parity}{}", line.baud, line.stop_bits)
}

fn found_json(found: &wire::Found) -> serde_json::Value {
    let facts = found.facts.iter().map(|fact| (fact.name.clone(), fact.text.clone().into()));
    let line = found.line.clone().unwrap_or_default();
    json!({
        "protocol": found.protocol, "address": found.address,
        "baud": line.baud, "parity": line.parity, "stop_bits": line.stop_bits,
        "device": (!found.device.is_empty()).then_some(&found.device),
        "facts": facts.collect::<serde_json::Map<_, _>>(),
        "values": found.values.iter().map(as_json).collect::<Vec<_>>(),
        "toml": found.toml,
    })
}
