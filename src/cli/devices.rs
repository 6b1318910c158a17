//! `smallbrain devices`: the devices of the configuration and whether they are there; `smallbrain devices pending`: those that
//! speak and are in no configuration.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::bus::{Lang, SOCKET};
use super::{onboard, status};
use crate::wire::{event_time, v1};

/// Shown below `devices --help`.
pub const HELP: &str = "\
Examples:
  smallbrain devices --lang en
      every device of the configuration, and whether it is there
  smallbrain devices pending
      who speaks to the gateway and is not configured: names, fields and types, never a value
  smallbrain device add --from-pending hall/door
      the lines of the configuration that would take one in";

const PENDING_HELP: &str = "\
Example: smallbrain devices pending --lang en --socket smallbrain-data/smallbrain.sock";

/// Arguments of `devices`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Whose
    #[command(subcommand)]
    what: Option<What>,
    /// The daemon's socket: gateway.socket of its configuration, in store.dir
    #[arg(long, default_value = SOCKET, global = true)]
    socket: PathBuf,
    /// One JSON object instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh, global = true)]
    lang: Lang,
}

#[derive(clap::Subcommand, Clone, Copy, Debug)]
enum What {
    /// Devices that speak to the gateway and are not configured
    #[command(after_help = PENDING_HELP)]
    Pending,
}

/// Asks and prints. Exit code 0, or 1 when nobody answers.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    if let Some(What::Pending) = args.what {
        return onboard::pending(&args.socket, args.json, args.lang, out).await;
    }
    let told = match status::ask(&args.socket).await {
        Ok(state) if args.json => {
            let devices: Vec<_> = state.devices.iter().map(as_json).collect();
            writeln!(out, "{}", json!({ "devices": devices }))
        }
        Ok(state) => write_devices(out, &state.devices, args.lang),
        Err(error) => {
            let socket = args.socket.display();
            // Nobody left to tell.
            let _ = writeln!(
                io::stderr(),
                "smallbrain devices: {error}; is the daemon running, and does it listen on {socket}?"
            );
            return ExitCode::from(1);
        }
    };
    match told.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

/// One device, for machines.
pub(super) fn as_json(device: &v1::DeviceStatus) -> Value {
    let presence = device.presence.as_ref().map(|presence| {
        let since = presence.since.as_ref().map(event_time);
        json!({ "online": presence.online, "since": since, "cause": presence.cause })
    });
    json!({
        "device": device.device, "last_seen": device.last_seen.as_ref().map(event_time),
        "readings": device.readings, "presence": presence,
    })
}

/// How many there are, and a line for each.
///
/// # Errors
/// The output's.
pub(super) fn write_devices(out: &mut dyn Write, devices: &[v1::DeviceStatus], lang: Lang) -> io::Result<()> {
    writeln!(out, "{}: {}", lang.say("设备", "devices"), devices.len())?;
    for device in devices {
        let seen = device.last_seen.as_ref().map_or_else(|| "-".to_owned(), event_time);
        writeln!(
            out,
            "  {}  {}  {} {seen}  {} {}",
            device.device,
            presence(device.presence.as_ref(), lang),
            lang.say("最近上报", "last seen"),
            lang.say("读数", "readings"),
            device.readings
        )?;
    }
    Ok(())
}

/// 在线 自 2026-… (收到数据)
fn presence(presence: Option<&v1::Presence>, lang: Lang) -> String {
    let Some(presence) = presence else { return lang.say("未知", "unknown").to_owned() };
    let state = if presence.online { lang.say("在线", "online") } else { lang.say("离线", "offline") };
    let since = presence.since.as_ref().map(event_time).unwrap_or_default();
    let cause = match (presence.cause.as_str(), presence.online) {
        ("connection", true) => lang.say("已连接", "connected"),
        ("connection", false) => lang.say("连接断开", "disconnected"),
        ("told", _) => lang.say("设备自报", "it said so"),
        ("silence", _) => lang.say("长时间无数据", "silent for too long"),
        ("heard", _) => lang.say("收到数据", "heard"),
        (other, _) => other,
    };
    format!("{state} {} {since} ({cause})", lang.say("自", "since"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::timestamp;

    #[test]
    fn a_device_is_there_or_not_and_since_when() {
        let device = |cause: &str, online| v1::DeviceStatus {
            device: "door-1".into(),
            last_seen: None,
            readings: 7,
            presence: (!cause.is_empty()).then(|| v1::Presence {
                online,
                since: Some(timestamp(0)),
                cause: cause.into(),
            }),
        };
        for (cause, online, chinese, english) in [
            ("", false, "door-1  未知  最近上报 -  读数 7", "door-1  unknown  last seen -  readings 7"),
            (
                "heard",
                true,
                "door-1  在线 自 1970-01-01T00:00:00Z (收到数据)  最近上报",
                "door-1  online since 1970-01-01T00:00:00Z (heard)  last seen",
            ),
            ("silence", false, "离线 自 1970-01-01T00:00:00Z (长时间无数据)", "(silent for too long)"),
            ("connection", false, "(连接断开)", "(disconnected)"),
            ("connection", true, "(已连接)", "(connected)"),
            ("told", false, "(设备自报)", "(it said so)"),
            ("later", true, "(later)", "(later)"),
        ] {
            for (lang, expected) in [(Lang::Zh, chinese), (Lang::En, english)] {
                let mut out = Vec::new();
                write_devices(&mut out, &[device(cause, online)], lang).expect("written");
                let text = String::from_utf8(out).expect("text");
                assert!(text.contains(expected), "{expected} in {text}");
            }
        }
        assert_eq!(as_json(&device("told", false))["presence"]["online"], false);
        assert_eq!(as_json(&device("", false))["presence"], Value::Null);
    }
}
