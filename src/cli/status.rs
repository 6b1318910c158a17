//! `smallbrain status`: the running daemon's state, for people in Chinese (or English), for machines as JSON.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::bus::Lang;
use super::devices;
use crate::model::Lane;
use crate::share::client::{PullError, Target};
use crate::wire::{self, v1};
use v1::status_service_client::StatusServiceClient;

/// Arguments of `status`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// The daemon's socket: gateway.socket of its configuration, in store.dir
    #[arg(long, default_value = "/var/lib/smallbrain/smallbrain.sock")]
    pub socket: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// zh or en
    #[arg(long, default_value = "zh", value_parser = ["zh", "en"])]
    pub lang: String,
}

/// Asks and prints. Exit code 0, or 1 when nobody answers.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    let told = match ask(&args.socket).await {
        Ok(status) if args.json => writeln!(out, "{}", as_json(&status)),
        Ok(status) => write_table(out, &status, args.lang == "zh"),
        Err(error) => {
            // Nobody left to tell.
            let _ = writeln!(
                io::stderr(),
                "smallbrain status: {error}; is the daemon running, and does it listen on {}?",
                args.socket.display()
            );
            return ExitCode::from(1);
        }
    };
    match told.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    }
}

/// The state of the daemon behind a status socket.
///
/// # Errors
/// [`PullError`] when nobody answers within 10 s.
pub async fn ask(socket: &Path) -> Result<v1::GetStatusResponse, PullError> {
    let target = Target { gateway: format!("unix:{}", socket.display()), ..Target::default() };
    let mut client = StatusServiceClient::new(target.connect().await?);
    let answer = tokio::time::timeout(Duration::from_secs(10), client.get_status(v1::GetStatusRequest {}));
    Ok(answer.await.map_err(|_| PullError::Silent)??.into_inner())
}

fn as_json(status: &v1::GetStatusResponse) -> Value {
    let time = |time: &Option<prost_types::Timestamp>| time.as_ref().map(wire::event_time);
    let lanes = status.lanes.iter().map(|lane| {
        json!({
            "lane": lane_name(lane), "first": lane.first_seq, "head": lane.head_seq, "acked": lane.acked_seq,
            "oldest_unacked_seconds": lane.oldest_unacked_age.map(|age| age.seconds), "lost": lane.gap_records,
        })
    });
    let devices = status.devices.iter().map(devices::as_json);
    let alarms = status.alarms.iter().map(|alarm| {
        json!({
            "alarm": alarm.alarm, "device": alarm.device, "since": time(&alarm.since),
            "severity": severity(alarm, false),
        })
    });
    let epoch: String = status.stream_epoch.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "gateway": status.gateway_id, "version": status.version, "epoch": epoch,
        "uptime_seconds": status.uptime_seconds, "policy_version": status.catalog_version,
        "storage_bytes_free": status.storage_bytes_free, "degraded": status.degraded,
        "lanes": lanes.collect::<Vec<_>>(), "alarms": alarms.collect::<Vec<_>>(),
        "devices": devices.collect::<Vec<_>>(), "counters": status.counters,
    })
}

fn lane_name(lane: &v1::LaneStatus) -> &'static str {
    wire::lane(lane.lane).map_or("unknown", Lane::as_str)
}

fn severity(alarm: &v1::AlarmStatus, zh: bool) -> &'static str {
    let (chinese, english) = match alarm.severity() {
        v1::Severity::Critical => ("紧急", "critical"),
        v1::Severity::Major => ("重要", "major"),
        v1::Severity::Minor => ("一般", "minor"),
        v1::Severity::Info => ("提示", "info"),
        v1::Severity::Unspecified => ("未知", "unknown"),
    };
    if zh { chinese } else { english }
}

fn write_table(out: &mut dyn Write, status: &v1::GetStatusResponse, zh: bool) -> io::Result<()> {
    let say = |chinese: &'static str, english: &'static str| if zh { chinese } else { english };
    let at = |time: &Option<prost_types::Timestamp>| {
        time.as_ref().map_or_else(|| "-".to_owned(), wire::event_time)
    };
    let hours = status.uptime_seconds / 3600;
    let minutes = status.uptime_seconds / 60 % 60;
    writeln!(out, "{}: {} ({})", say("网关", "gateway"), status.gateway_id, status.version)?;
    writeln!(out, "{}: {hours} h {minutes} min", say("运行时间", "uptime"))?;
    writeln!(out, "{}: {} MiB", say("存储余量", "storage left"), status.storage_bytes_free >> 20)?;
    writeln!(out, "{}: {}", say("清单版本", "lists version"), status.catalog_version)?;
    if status.degraded.is_empty() {
        writeln!(out, "{}", say("状态: 正常", "state: good"))?;
    } else {
        writeln!(out, "{}: {}", say("状态异常", "state: not good"), status.degraded.join("; "))?;
    }
    writeln!(out, "\n{}", say("通道  最新  已确认  积压  丢失", "lane  head  acked  owed  lost"))?;
    for lane in &status.lanes {
        let name = match (wire::lane(lane.lane), zh) {
            (Some(Lane::Alarm), true) => "告警",
            (Some(Lane::Event), true) => "事件",
            (Some(Lane::Result), true) => "结果",
            (Some(Lane::Aggregate), true) => "汇总",
            (Some(Lane::Audit), true) => "审计",
            (Some(Lane::Bulk), true) => "明细",
            _ => lane_name(lane),
        };
        let owed = lane.head_seq.saturating_sub(lane.acked_seq);
        writeln!(out, "{name}  {}  {}  {owed}  {}", lane.head_seq, lane.acked_seq, lane.gap_records)?;
    }
    writeln!(out, "\n{}: {}", say("未解除告警", "alarms raised"), status.alarms.len())?;
    for alarm in &status.alarms {
        writeln!(out, "  [{}] {} {} {}", severity(alarm, zh), alarm.alarm, alarm.device, at(&alarm.since))?;
    }
    writeln!(out)?;
    devices::write_devices(out, &status.devices, if zh { Lang::Zh } else { Lang::En })?;
    // What has not happened is in --json.
    let counters: Vec<_> = status.counters.iter().filter(|(_, count)| **count > 0).collect();
    if !counters.is_empty() {
        writeln!(out, "\n{}", say("计数", "counters"))?;
        for (name, count) in counters {
            writeln!(out, "  {name} {count}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_speaks_both_languages_and_json_has_the_same_facts() {
        let status = v1::GetStatusResponse {
            gateway_id: "gw-1".into(),
            uptime_seconds: 3_720,
            lanes: vec![v1::LaneStatus {
                lane: wire::lane_number(Lane::Alarm),
                head_seq: 10,
                acked_seq: 7,
                ..v1::LaneStatus::default()
            }],
            degraded: vec!["disk full".into()],
            alarms: vec![v1::AlarmStatus {
                alarm: "smoke-high".into(),
                device: "smoke-3".into(),
                since: Some(wire::timestamp(0)),
                severity: v1::Severity::Critical.into(),
            }],
            ..v1::GetStatusResponse::default()
        };
        for (zh, words) in [
            (true, ["网关: gw-1", "告警  10  7  3  0", "[紧急] smoke-high", "状态异常: disk full"]),
            (false, ["uptime: 1 h 2 min", "alarm  10  7  3  0", "[critical]", "state: not good: disk full"]),
        ] {
            let mut out = Vec::new();
            write_table(&mut out, &status, zh).expect("written");
            let text = String::from_utf8(out).expect("text");
            for word in words {
                assert!(text.contains(word), "{word} in {text}");
            }
        }
        let json = as_json(&status);
        assert_eq!(json["lanes"][0]["head"], 10);
        assert_eq!(json["alarms"][0]["since"], "1970-01-01T00:00:00Z");
    }
}
