//! `smallbrain map --profile P --topic T`: what a mapping profile makes of a payload, one JSON object.
//!
//! It tells what the gateway would take in and what it refuses by name; the value of a refused field is never written. A
//! payload that means nothing is an answer (`accept: false`), not an error. It opens no connection and reads no configuration.

use std::io::{self, Read, Write};

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::decode::{Hex, parse_hex};
use crate::clock::{Clock, SystemClock};
use crate::codec::json::TimeForm;
use crate::codec::profile::{
    Description, Kind, Mapped, Message, PHOTO_PAYLOAD_BYTES_MAX, Pointers, PointersError, Profile,
    ProfileError, State, TimeSource,
};
use crate::model::Value;
use crate::normalise::is_plausible;

/// The profile of pointers that are given as options.
const JSON: &str = "json";

const CHINA_MS: i64 = 8 * 3_600_000;

pub(super) const HELP: &str = "\
Examples:
  echo '{\"contact\":false,\"battery\":100}' | smallbrain map --profile zigbee2mqtt --topic zigbee2mqtt/door
  echo 20CE9E74466310015D01 | smallbrain map --profile lorawan_device_payload --hex
  echo '{\"d\":{\"t\":21.50},\"at\":1704912168}' |
      smallbrain map --profile json --topic room/7 --pattern room/{device} --value temperature=/d/t \\
                     --time /at --time-form seconds";

/// Why nothing was mapped. A payload that means nothing is not an error but an answer.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// No profile of that name.
    #[error("profile {0:?} is not known; there are: {list}", list = names())]
    Profile(String),
    /// Options of the profile `json` with another one.
    #[error("--pattern, --value and --time are of the profile json; {0} knows itself where its values are")]
    Options(String),
    /// Nothing to look for.
    #[error("profile json: say where the values are, like --value temperature=/data/t")]
    NoValue,
    /// As the pointers say it.
    #[error("profile json: {0}")]
    Pointers(#[from] PointersError),
    /// Not hex digits.
    #[error("payload is not hex digits: leave --hex out, or give two digits a byte")]
    Hex,
    /// Input or output.
    #[error("map: {0}")]
    Io(#[from] io::Error),
}

fn names() -> String {
    Profile::all().iter().map(Profile::name).chain([JSON]).collect::<Vec<_>>().join(", ")
}

/// Arguments of `map`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    #[arg(long, help = format!("One of {}", names()))]
    profile: String,
    /// The topic it was published to; without one the profile's main kind of message is assumed
    #[arg(long)]
    topic: Option<String>,
    /// Offset from UTC of times that tell none
    #[arg(long, default_value = "+08:00", value_parser = zone, allow_hyphen_values = true)]
    zone: i64,
    /// When it came, RFC 3339; now when not given
    #[arg(long, value_parser = received)]
    received: Option<i64>,
    /// It was a retained message
    #[arg(long)]
    retain: bool,
    /// The payload on stdin is written as hex digits
    #[arg(long)]
    hex: bool,
    /// json: the topics, with {device} for the level that names the device
    #[arg(long)]
    pattern: Option<String>,
    /// json: a value, METRIC=/pointer; may be repeated
    #[arg(long = "value", value_name = "METRIC=POINTER", value_parser = pointed)]
    values: Vec<(String, String)>,
    /// json: pointer to the device's time
    #[arg(long, value_name = "POINTER")]
    time: Option<String>,
    /// json: how that time is written
    #[arg(long, default_value = "text", value_parser = ["text", "seconds", "millis"])]
    time_form: String,
}

/// Milliseconds east of UTC.
fn zone(text: &str) -> Result<i64, String> {
    let wrong = || format!("zone {text:?}: write it like +08:00");
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = digits.split_once(':').ok_or_else(wrong)?;
    let two = |text: &str, max: i64| match text.as_bytes() {
        [b'0'..=b'9', b'0'..=b'9'] => text.parse::<i64>().ok().filter(|number| *number <= max),
        _ => None,
    };
    let (hours, minutes) = two(hours, 14).zip(two(minutes, 59)).ok_or_else(wrong)?;
    Ok(sign * (hours * 60 + minutes) * 60_000)
}

fn received(text: &str) -> Result<i64, String> {
    let at: Result<jiff::Timestamp, _> = text.parse();
    at.map(jiff::Timestamp::as_millisecond)
        .map_err(|_| format!("time {text:?}: write it like 2026-11-22T08:00:00+08:00"))
}

fn pointed(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((metric, pointer)) if !metric.is_empty() && pointer.starts_with('/') => {
            Ok((metric.into(), pointer.into()))
        }
        _ => Err(format!("value {text:?}: write METRIC=/pointer, like temperature=/data/t")),
    }
}

/// The verb.
///
/// # Errors
/// [`MapError`].
pub fn main(args: &Args, input: impl Read, mut output: impl Write) -> Result<(), MapError> {
    let mut payload = Vec::new();
    // A byte over the largest bound is enough to know.
    input.take(2 * PHOTO_PAYLOAD_BYTES_MAX as u64 + 2).read_to_end(&mut payload)?;
    if args.hex {
        let text = std::mem::take(&mut payload);
        if !parse_hex(&text, &mut payload) {
            return Err(MapError::Hex);
        }
    }
    let received_ms = args.received.unwrap_or_else(|| SystemClock::default().now().wall_ms);
    let message = Message {
        topic: args.topic.as_deref().filter(|topic| !topic.is_empty()),
        payload: &payload,
        received_ms,
        zone_ms: args.zone,
    };
    match map(args, &message)? {
        Ok(mapped) => serde_json::to_writer(&mut output, &Shown::new(&mapped, args, received_ms)),
        Err(error) => serde_json::to_writer(&mut output, &Nothing::new(&error)),
    }
    .map_err(io::Error::from)?;
    writeln!(output)?;
    Ok(output.flush()?)
}

fn map(args: &Args, message: &Message<'_>) -> Result<Result<Mapped, ProfileError>, MapError> {
    if args.profile == JSON {
        if args.values.is_empty() {
            return Err(MapError::NoValue);
        }
        let form = match args.time_form.as_str() {
            "seconds" => TimeForm::Seconds,
            "millis" => TimeForm::Millis,
            _ => TimeForm::Text { zone_ms: args.zone },
        };
        let time = args.time.clone().map(|pointer| (pointer, form));
        let pointers = Pointers::new(args.pattern.as_deref(), args.values.clone(), time)?;
        return Ok(pointers.map(message));
    }
    if args.pattern.is_some() || !args.values.is_empty() || args.time.is_some() {
        return Err(MapError::Options(args.profile.clone()));
    }
    let profile = Profile::find(&args.profile).ok_or_else(|| MapError::Profile(args.profile.clone()))?;
    Ok(profile.map(message, &mut State::default()))
}

/// A payload that means nothing.
#[derive(Serialize)]
struct Nothing {
    accept: bool,
    reason: &'static str,
    message: String,
}

impl Nothing {
    fn new(error: &ProfileError) -> Self {
        Self { accept: false, reason: error.reason(), message: error.to_string() }
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a message means.
#[derive(Serialize)]
struct Shown<'m> {
    accept: bool,
    kind: &'static str,
    device: Option<&'m str>,
    readings: Vec<ShownReading<'m>>,
    timestamp: Option<String>,
    timestamp_source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_utc: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_if_asia_shanghai: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_plausible: Option<bool>,
    #[serde(skip_serializing_if = "is_false")]
    timestamp_unreadable: bool,
    #[serde(skip_serializing_if = "is_false")]
    history: bool,
    #[serde(skip_serializing_if = "is_false")]
    retained: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dedup_key: Option<&'m str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    must_drop: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pseudonymise: Vec<&'static str>,
    #[serde(skip_serializing_if = "is_zero")]
    ignored: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    describes: Option<Describes<'m>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_payload_hex: Option<Hex<&'m [u8]>>,
    #[serde(skip_serializing_if = "is_false")]
    rebirth: bool,
}

#[derive(Serialize)]
struct ShownReading<'m> {
    metric: &'m str,
    value: ShownValue<'m>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t_plausible: Option<bool>,
    #[serde(skip_serializing_if = "is_false")]
    event: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    canonical: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<ShownValue<'m>>,
}

/// Numbers with the digits they have.
#[derive(Serialize)]
#[serde(untagged)]
enum ShownValue<'m> {
    Number(Box<RawValue>),
    Flag(bool),
    Text(&'m str),
}

impl<'m> ShownValue<'m> {
    fn new(value: &'m Value) -> Self {
        match value {
            Value::Number(number) => Self::number(*number),
            Value::Flag(flag) => Self::Flag(*flag),
            Value::Text(text) => Self::Text(text),
        }
    }

    fn number(number: Decimal) -> Self {
        Self::Number(RawValue::from_string(number.to_string()).expect("a decimal is a JSON number"))
    }

    fn serial(text: &'m str) -> Self {
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => Self::number(number.into()),
            _ => Self::Text(text),
        }
    }
}

#[derive(Serialize)]
struct Describes<'m> {
    #[serde(skip_serializing_if = "is_false")]
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_topic: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    availability_topic: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'m str>,
    #[serde(skip_serializing_if = "is_false")]
    opaque_template: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_class: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_on: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_off: Option<&'m str>,
}

impl<'m> Describes<'m> {
    fn new(told: &'m Description) -> Self {
        Self {
            removed: told.removed,
            component: told.component.as_deref(),
            object: told.object.as_deref(),
            state_topic: told.state_topic.as_deref(),
            availability_topic: told.availability_topic.as_deref(),
            pointer: told.pointer.as_deref(),
            opaque_template: told.opaque_template,
            device_class: told.device_class.as_deref(),
            unit: told.unit.as_deref(),
            payload_on: told.payload_on.as_deref(),
            payload_off: told.payload_off.as_deref(),
        }
    }
}

impl<'m> Shown<'m> {
    fn new(mapped: &'m Mapped, args: &Args, received_ms: i64) -> Self {
        let plausible = |time_ms| is_plausible(time_ms, received_ms, mapped.history);
        let time = |shift_ms| time(mapped.device_ms?.checked_add(shift_ms)?, mapped.device_nanos);
        let local = mapped.time_source == TimeSource::PayloadLocal;
        let utc = time(0);
        let names = |which: Option<bool>| {
            let refused =
                mapped.refused.iter().filter(|refused| which.is_none_or(|id| refused.identifier == id));
            refused.map(|refused| refused.field).collect()
        };
        let readings = mapped.readings.iter().map(|reading| ShownReading {
            metric: &reading.metric,
            value: ShownValue::new(&reading.value),
            unit: reading.unit.as_deref(),
            device: reading.device.as_deref(),
            t_ms: reading.time_ms,
            t_plausible: reading.time_ms.map(plausible),
            event: reading.event,
            canonical: reading.canonical,
            raw_type: reading.was_text.then_some("string"),
            serial: mapped.serial.as_deref().filter(|_| reading.event).map(ShownValue::serial),
        });
        Self {
            accept: true,
            kind: Kind::as_str(mapped.kind),
            device: mapped.device.as_deref(),
            readings: readings.collect(),
            timestamp: if local {
                time(args.zone).map(|text| text.trim_end_matches('Z').to_owned())
            } else {
                utc.clone()
            },
            timestamp_source: mapped.time_source.as_str(),
            timestamp_if_asia_shanghai: time(args.zone - CHINA_MS).filter(|_| local),
            timestamp_utc: utc.filter(|_| local),
            timestamp_plausible: mapped.device_ms.map(plausible),
            timestamp_unreadable: mapped.time_unreadable,
            history: mapped.history,
            retained: args.retain,
            dedup_key: mapped.message_id.as_deref(),
            refused: names(None),
            must_drop: names(Some(false)),
            pseudonymise: names(Some(true)),
            ignored: mapped.ignored,
            online: mapped.online,
            describes: mapped.description.as_ref().map(Describes::new),
            raw_payload_hex: mapped.raw.as_ref().map(|raw| Hex(&*raw.0)),
            rebirth: mapped.rebirth,
        }
    }
}

/// RFC 3339 in UTC, with the digits that are not zero; none beyond the years that it can write.
fn time(ms: i64, nanos: u32) -> Option<String> {
    let nanos = i128::from(ms) * 1_000_000 + i128::from(nanos);
    jiff::Timestamp::from_nanosecond(nanos).ok().map(|at| at.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value as Json, json};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// What is printed.
    fn run(args: &[&str], payload: &[u8]) -> Json {
        let line = Line::try_parse_from(["map"].iter().chain(args)).expect("good arguments");
        let mut output = Vec::new();
        main(&line.args, payload, &mut output).expect("it maps");
        serde_json::from_slice(&output).expect("one object")
    }

    /// Whether all of `expected` is there; numbers by their value.
    fn holds(got: &Json, expected: &Json) -> bool {
        match (got, expected) {
            (Json::Object(got), Json::Object(expected)) => {
                expected.iter().all(|(key, expected)| holds(got.get(key).unwrap_or(&Json::Null), expected))
            }
            (Json::Array(got), Json::Array(expected)) => {
                expected.iter().all(|expected| got.iter().any(|got| holds(got, expected)))
            }
            (Json::Number(got), Json::Number(expected)) => got.as_f64() == expected.as_f64(),
            (got, expected) => got == expected,
        }
    }

    #[test]
    fn every_sample_is_what_it_says() {
        let samples = include_str!("../../tests/data/mqtt_payloads.jsonl");
        for (number, sample) in samples.lines().enumerate() {
            let sample: Json = serde_json::from_str(sample).expect("a sample is JSON");
            let text = |key: &str| sample[key].as_str();
            let mut args = vec!["--profile", text("convention").expect("a profile")];
            if let Some(topic) = text("topic") {
                args.extend(["--topic", topic]);
            }
            if sample["payload_is_hex"] == true {
                args.push("--hex");
            }
            if sample["retain"] == true {
                args.push("--retain");
            }
            let got = run(&args, text("payload").expect("a payload").as_bytes());
            let mut expected = sample["expect"].clone();
            let partial = expected.as_object_mut().expect("an object").remove("readings_partial").is_some();
            assert!(holds(&got, &expected), "line {}: {got:#} is not {expected:#}", number + 1);
            let count = |json: &Json| json["readings"].as_array().map(Vec::len);
            assert!(
                partial || count(&got).unwrap_or(0) == count(&expected).unwrap_or(0),
                "line {}",
                number + 1
            );
        }
    }

    #[test]
    fn digits_are_kept_as_they_came() {
        let line = Line::try_parse_from(["map", "--profile", "zigbee2mqtt"]).expect("good arguments");
        let mut output = Vec::new();
        main(&line.args, &br#"{"energy":12345678901234567.1230,"a":"35.0"}"#[..], &mut output)
            .expect("it maps");
        let text = String::from_utf8(output).expect("a text");
        assert!(text.contains(r#""value":12345678901234567.1230,"unit":"kWh""#), "{text}");
        assert!(text.contains(r#""value":35.0,"raw_type":"string""#), "{text}");
    }

    #[test]
    fn times_are_told_with_what_becomes_of_them() {
        let received = ["--received", "2024-01-11T03:00:00+08:00"];
        for (more, payload, expected) in [
            (
                &[][..],
                r#"{"Time":"2024-01-11T02:42:48"}"#,
                json!({"timestamp": "2024-01-11T02:42:48", "timestamp_utc": "2024-01-10T18:42:48Z",
                       "timestamp_plausible": true, "retained": null}),
            ),
            (
                &["--zone", "-05:30", "--retain"][..],
                r#"{"Time":"2024-01-10T13:12:48.5"}"#,
                json!({"timestamp": "2024-01-10T13:12:48.5", "timestamp_utc": "2024-01-10T18:42:48.5Z",
                       "timestamp_if_asia_shanghai": "2024-01-10T05:12:48.5Z", "retained": true}),
            ),
            (&[], r#"{"Time":"2024-01-09T02:42:48"}"#, json!({"timestamp_plausible": false})),
            (&[], r#"{"Time":"2024-01-11T03:06:00"}"#, json!({"timestamp_plausible": false})),
            (
                &[],
                r#"{"Time":"soon"}"#,
                json!({"timestamp": null, "timestamp_source": "receive", "timestamp_unreadable": true}),
            ),
        ] {
            let args: Vec<_> =
                ["--profile", "tasmota"].into_iter().chain(received).chain(more.iter().copied()).collect();
            let got = run(&args, payload.as_bytes());
            assert!(holds(&got, &expected), "{payload}: {got:#}");
        }
    }

    #[test]
    fn pointers_are_given_as_options() {
        let args =
            ["--profile", "json", "--topic", "room/7", "--pattern", "room/{device}", "--value", "t=/d/t"];
        let got = run(
            &[&args[..], &["--time", "/at", "--time-form", "seconds"]].concat(),
            br#"{"d":{"t":1},"at":1704912168}"#,
        );
        let expected = json!({"device": "7", "readings": [{"metric": "t", "value": 1}],
                              "timestamp": "2024-01-10T18:42:48Z", "timestamp_source": "payload"});
        assert!(holds(&got, &expected), "{got:#}");
    }

    #[test]
    fn wrong_arguments_say_what_would_be_right() {
        for (args, payload, part) in [
            (&["--profile", "zigbee"][..], "{}", "zigbee2mqtt"),
            (&["--profile", "json"], "{}", "--value"),
            (&["--profile", "json", "--value", "a=/x", "--value", "a=/y"], "{}", "named twice"),
            (&["--profile", "json", "--value", "a=/x", "--value", "b=/x/y"], "{}", "/x"),
            (&["--profile", "senml", "--value", "a=/x"], "{}", "senml"),
            (&["--profile", "lorawan_device_payload", "--hex"], "2G", "hex"),
        ] {
            let line = Line::try_parse_from(["map"].iter().chain(args)).expect("they parse");
            let error = main(&line.args, payload.as_bytes(), io::sink()).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
        for args in [&["--zone", "8"][..], &["--zone", "+8:00"], &["--received", "now"], &["--value", "a"]] {
            assert!(
                Line::try_parse_from(["map", "--profile", "json"].iter().chain(args)).is_err(),
                "{args:?}"
            );
        }
    }

    /// What is refused is named, and stands nowhere in what is printed: not when it is accepted, not when it is not.
    #[test]
    fn nothing_about_people_is_printed() {
        let person =
            r#""name":"CANARY","idCard":"CANARY","telnum":"CANARY","cardNo":"CANARY","pic":"CANARY""#;
        for (profile, payload) in [
            ("face_terminal", format!(r#"{{"info":{{{person},"VerifyStatus":"1"}}}}"#)),
            ("hikvision_isapi", format!(r#"{{"deviceID":"d","AccessControllerEvent":{{{person}}}}}"#)),
            ("hikvision_isapi", format!("{{{person}")),
        ] {
            let got = run(&["--profile", profile], payload.as_bytes());
            assert!(!got.to_string().contains("CANARY"), "{got:#}");
            let named = json!({"must_drop": ["name", "idCard", "telnum", "pic"], "pseudonymise": ["cardNo"]});
            assert!(got["accept"] == false || holds(&got, &named), "{got:#}");
        }
    }

    #[test]
    fn every_profile_stands_in_the_documentation() {
        let page = include_str!("../../docs/mqtt.md");
        for name in names().split(", ") {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
