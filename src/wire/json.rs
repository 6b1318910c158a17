//! Bodies as JSON for people and scripts: exact decimals as strings, times as RFC 3339 in UTC.
//!
//! Never fails: columns of readings that do not fit together are told under `malformed`, and fields that this build
//! does not know are not shown.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::seal::{FLAG, TEXT};
use super::v1;
use crate::model::Quality;
use v1::measure::Value as Number;
use v1::record_body::Content;

/// A time as RFC 3339 in UTC, as exact as it came; empty where it is none.
#[must_use]
pub fn event_time(time: &Timestamp) -> String {
    jiff::Timestamp::new(time.seconds, time.nanos).map(|time| time.to_string()).unwrap_or_default()
}

/// The body as one JSON object.
#[must_use]
pub fn body_json(body: &v1::RecordBody) -> Value {
    let mut out = Map::new();
    out.insert("gateway".into(), json!(body.gateway_id));
    out.insert("purpose".into(), json!(body.purpose));
    out.insert("policy_version".into(), json!(body.policy_version));
    if let Some(place) = &body.place {
        let mut codes = BTreeMap::from([
            ("division", &place.division_code),
            ("compound", &place.compound_code),
            ("building", &place.building_code),
            ("grid", &place.grid_code),
            ("address", &place.standard_address_code),
        ]);
        codes.retain(|_, code| !code.is_empty());
        out.insert("place".into(), json!(codes));
    }
    for (name, time) in [
        ("window_start", &body.window_start),
        ("window_end", &body.window_end),
        ("observed_at", &body.observed_at),
        ("sealed_at", &body.sealed_at),
    ] {
        if let Some(time) = time {
            out.insert(name.into(), json!(event_time(time)));
        }
    }
    let treatments = body.treatments.iter().map(|done| format!("{} {}", done.operator, done.field));
    out.insert("treatments".into(), treatments.collect());
    out.insert("approvals".into(), json!(body.approval_ids));
    match &body.content {
        Some(Content::Event(event)) => out.insert("event".into(), event_json(event)),
        Some(Content::Aggregate(window)) => {
            out.insert("quality".into(), json!(window.quality));
            out.insert("manual".into(), json!(window.manual));
            out.insert("measures".into(), window.measures.iter().map(measure_json).collect())
        }
        Some(Content::Readings(readings)) => match rows_json(readings) {
            Some(rows) => out.insert("readings".into(), rows),
            None => out.insert("malformed".into(), json!("columns of readings do not fit together")),
        },
        Some(Content::ListChange(change)) => out.insert("list_change".into(), list_change_json(change)),
        Some(Content::Result(result)) => out.insert("result".into(), result_json(result)),
        Some(Content::Audit(digest)) => out.insert("audit".into(), digest_json(digest)),
        None => None,
    };
    Value::Object(out)
}

/// A window of the answer to a query as one JSON object: times and measures as [`body_json`] has them.
#[must_use]
pub fn query_json(window: &v1::QueryWindow) -> Value {
    json!({
        "window_start": window.window_start.as_ref().map(event_time),
        "window_end": window.window_end.as_ref().map(event_time),
        "measures": window.measures.iter().map(measure_json).collect::<Value>(),
    })
}

fn result_json(result: &v1::CommandResult) -> Value {
    json!({
        "command_id": result.command_id, "request_id": result.request_id, "command": result.command,
        "status": result.status, "detail": result.detail, "done_at": result.done_at.as_ref().map(event_time),
    })
}

fn digest_json(digest: &v1::AuditDigest) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let checkpoint = digest.checkpoint.as_ref().map(|signed| {
        json!({
            "origin": signed.origin, "size": signed.size, "head": hex(&signed.head),
            "signature": hex(&signed.signature), "at": signed.at.as_ref().map(event_time),
        })
    });
    json!({ "checkpoint": checkpoint, "counts": digest.counts })
}

fn list_change_json(change: &v1::ListChange) -> Value {
    if change.more > 0 {
        return json!({ "more": change.more });
    }
    json!({
        "list": change.list,
        "item": change.item,
        "version": change.version,
        "change": change.change,
        "approval": change.approval_id,
    })
}

fn event_json(event: &v1::Event) -> Value {
    let lower = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_ascii_lowercase();
    json!({
        "code": event.event_code,
        "device_class": event.device_class,
        "severity": lower(event.severity().as_str_name(), "SEVERITY_"),
        "state": lower(event.state().as_str_name(), "EVENT_STATE_"),
        "attributes": event.attributes,
        "manual": event.manual,
    })
}

fn measure_json(measure: &v1::Measure) -> Value {
    let value = match &measure.value {
        Some(Number::Count(count)) => json!(count),
        Some(Number::Number(number)) => json!(number),
        Some(Number::Decimal(decimal)) => json!(decimal),
        Some(Number::Suppressed(why)) => json!({ "suppressed": why.reason }),
        None => Value::Null,
    };
    json!({ "name": measure.name, "dimensions": measure.dimensions, "value": value, "unit": measure.unit })
}

fn rows_json(readings: &v1::Readings) -> Option<Value> {
    let rows = readings.series_index.len();
    if [readings.time_delta_ms.len(), readings.mantissa.len(), readings.scale.len()] != [rows; 3]
        || ![0, rows].contains(&readings.quality.len())
    {
        return None;
    }
    (0..rows)
        .map(|row| {
            let series = readings.series.get(readings.series_index[row] as usize)?;
            let value = match (readings.scale[row], readings.mantissa[row]) {
                (FLAG, flag) => json!(flag != 0),
                (TEXT, index) => json!(readings.texts.get(usize::try_from(index).ok()?)?),
                (scale @ 0..=28, mantissa) => json!(Decimal::new(mantissa, scale).to_string()),
                _ => return None,
            };
            let time = super::timestamp(readings.base_ms.wrapping_add(readings.time_delta_ms[row]));
            Some(json!({
                "device": series.device,
                "metric": series.metric,
                "unit": series.unit,
                "time": event_time(&time),
                "value": value,
                "quality": quality(readings.quality.get(row).copied().unwrap_or_default()),
                "manual": series.manual,
            }))
        })
        .collect::<Option<Vec<_>>>()
        .map(Value::Array)
}

/// Of a later build's numbers nothing is known but that they are not good.
fn quality(code: u32) -> &'static str {
    let known = usize::try_from(code).ok().and_then(|code| Quality::ALL.get(code));
    known.map_or("unknown", |quality| quality.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_do_not_fit_are_said_to_be_malformed() {
        let good = v1::Readings {
            series: vec![v1::Series { device: "d".into(), metric: "m".into(), ..Default::default() }],
            series_index: vec![0],
            base_ms: 0,
            time_delta_ms: vec![0],
            mantissa: vec![1],
            scale: vec![0],
            texts: vec![],
            quality: vec![],
        };
        let cases = [
            (good.clone(), true),
            (v1::Readings { quality: vec![99], ..good.clone() }, true),
            (v1::Readings { quality: vec![0, 0], ..good.clone() }, false),
            (v1::Readings { series_index: vec![1], ..good.clone() }, false),
            (v1::Readings { mantissa: vec![], ..good.clone() }, false),
            (v1::Readings { scale: vec![29], ..good.clone() }, false),
            (v1::Readings { scale: vec![TEXT], ..good.clone() }, false),
            (v1::Readings { scale: vec![TEXT], mantissa: vec![-1], ..good }, false),
        ];
        for (readings, fits) in cases {
            let body =
                v1::RecordBody { content: Some(Content::Readings(readings)), ..v1::RecordBody::default() };
            assert_eq!(body_json(&body).get("readings").is_some(), fits, "{body:?}");
        }
    }
}
