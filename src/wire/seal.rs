//! Cleared values into bodies. Deterministic: maps are ordered, and nothing but the arguments goes in.
//!
//! The share line is asked again about the device's name, so that a body can never say more than its line.

use std::collections::{BTreeMap, HashMap};

use prost::Message;

use super::{ALARM, BODY_BYTES_MAX, Gateway, LIST_CHANGE, READINGS, Sealed, WINDOW, severity, timestamp, v1};
use crate::model::{
    Amount, ClosedWindow, DeviceId, Event, Figure, ListChange, Metric, Quality, Reading, Rollup, SeriesKey,
    Step, Value,
};
use crate::privacy::Cleared;
use crate::privacy::release::ShareLine;
use v1::measure::Value as Number;
use v1::record_body::Content;

/// Scale of a flag in [`v1::Readings`].
pub(super) const FLAG: u32 = 254;
/// Scale of a text in [`v1::Readings`].
pub(super) const TEXT: u32 = 255;

/// Quality of [`v1::Aggregate`] when one of its cells leaves out readings, or has a figure that is a bound.
const PARTIAL: &str = "partial";

/// What a row of single readings is about.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// The device.
    pub device: &'a DeviceId,
    /// The metric.
    pub metric: &'a Metric,
    /// UCUM unit; empty for flags and texts.
    pub unit: &'a str,
    /// Whether people told it.
    pub manual: bool,
}

/// An alarm's change as one record; `manual` says that people told what it is of. `sealed_ms` is milliseconds since 1970
/// UTC.
#[must_use]
pub fn event(
    gateway: &Gateway,
    line: &ShareLine,
    policy_version: u32,
    event: &Cleared<Event>,
    manual: bool,
    sealed_ms: i64,
) -> Sealed {
    seal_event(head(gateway, line, policy_version, sealed_ms), line, event.get(), manual)
}

fn seal_event(head: v1::RecordBody, line: &ShareLine, event: &Event, manual: bool) -> Sealed {
    let mut attributes = BTreeMap::from([("metric".to_owned(), event.metric.to_string())]);
    if let Some(value) = &event.value {
        attributes.insert("value".into(), text(value));
        attributes.insert("unit".into(), event.unit.clone());
    }
    if line.devices
        && let Some(device) = &event.device
    {
        attributes.insert("device".into(), device.to_string());
    }
    if let Some(place) = &event.place {
        attributes.insert("place".into(), place.to_string());
    }
    attributes.insert("incident".into(), event.incident.to_string());
    attributes.insert("step".into(), event.step.to_string());
    attributes.insert("life".into(), event.life.to_string());
    attributes.insert("active".into(), event.active.to_string());
    attributes.insert("by".into(), event.by.kind().into());
    if !event.reason.is_empty() {
        attributes.insert("reason".into(), event.reason.to_string());
    }
    let state = match event.step {
        Step::Raised => v1::EventState::Raised,
        Step::Cleared => v1::EventState::Cleared,
        _ => v1::EventState::Updated,
    };
    let content = Content::Event(v1::Event {
        event_code_system: "smallbrain".into(),
        event_code: event.alarm.to_string(),
        device_class: event.device_class.clone(),
        severity: severity(event.severity).into(),
        state: state.into(),
        attributes,
        source_pseudonym: String::new(),
        manual,
    });
    let body = v1::RecordBody { observed_at: Some(timestamp(event.at_ms)), content: Some(content), ..head };
    sealed(line, ALARM, &body)
}

/// A closed window as records of whole cells, each record at most [`BODY_BYTES_MAX`]; `manual` says of a cell whether
/// people told some of it.
#[must_use]
pub fn window(
    gateway: &Gateway,
    line: &ShareLine,
    policy_version: u32,
    window: &Cleared<ClosedWindow>,
    manual: impl Fn(&Rollup) -> bool,
    sealed_ms: i64,
) -> Vec<Sealed> {
    seal_window(head(gateway, line, policy_version, sealed_ms), line, window.get(), &manual)
}

/// A window of the answer to a query: the measures of its cells, byte by byte as a record of the line has them.
#[must_use]
pub fn query_window(line: &ShareLine, window: &Cleared<ClosedWindow>) -> v1::QueryWindow {
    let window = window.get();
    v1::QueryWindow {
        window_start: Some(timestamp(window.start_ms)),
        window_end: Some(timestamp(window.end_ms)),
        measures: window.cells.iter().flat_map(|cell| measures(line, cell)).collect(),
    }
}

fn seal_window(
    mut head: v1::RecordBody,
    line: &ShareLine,
    window: &ClosedWindow,
    manual: &dyn Fn(&Rollup) -> bool,
) -> Vec<Sealed> {
    head.window_start = Some(timestamp(window.start_ms));
    head.window_end = Some(timestamp(window.end_ms));
    let mut metrics: Vec<&Metric> = window.cells.iter().map(|cell| &cell.metric).collect();
    metrics.dedup();
    head.treatments
        .extend(metrics.iter().map(|metric| treatment("aggregate", metric.as_str(), head.policy_version)));
    for (protect, metric) in line.protect.iter().flat_map(|protect| metrics.iter().map(move |m| (protect, m)))
    {
        let treatment = treatment(protect.mode(), metric.as_str(), head.policy_version);
        head.treatments.push(v1::Treatment { parameter: protect.to_string(), ..treatment });
    }
    split(&window.cells, line, WINDOW, &|cells| {
        let measures = cells.iter().flat_map(|cell| measures(line, cell)).collect();
        let partial = cells.iter().any(|cell| cell.partial);
        let quality = if partial { PARTIAL } else { Quality::Good.as_str() };
        let manual = cells.iter().any(manual);
        let is_withheld =
            |cell: &&Rollup| cell.figures.iter().any(|figure| matches!(figure.amount, Amount::Withheld(_)));
        let suppressed_cells = cells.iter().filter(is_withheld).count().try_into().unwrap_or(u32::MAX);
        let quality = quality.into();
        let aggregate = v1::Aggregate { measures, suppressed_cells, quality, manual };
        v1::RecordBody { content: Some(Content::Aggregate(aggregate)), ..head.clone() }
    })
}

/// Single readings as records of columns, each at most [`BODY_BYTES_MAX`]. A row whose series `describe` does not know
/// any more has lost its point, and with it the line's permission: it is left out.
#[must_use]
pub fn readings<'a>(
    gateway: &Gateway,
    line: &ShareLine,
    policy_version: u32,
    rows: &[Cleared<Reading>],
    describe: impl Fn(SeriesKey) -> Option<Column<'a>>,
    sealed_ms: i64,
) -> Vec<Sealed> {
    let head = head(gateway, line, policy_version, sealed_ms);
    split(rows, line, READINGS, &|rows| {
        let columns = columns(line, rows, &describe);
        v1::RecordBody { content: Some(Content::Readings(columns)), ..head.clone() }
    })
}

/// A change of the lists as one record.
#[must_use]
pub fn list_change(
    gateway: &Gateway,
    line: &ShareLine,
    policy_version: u32,
    change: &Cleared<ListChange>,
    sealed_ms: i64,
) -> Sealed {
    let content = match change.get() {
        ListChange::Line { list, item, version, change, approval } => v1::ListChange {
            list: list.as_str().into(),
            item: item.to_string(),
            version: *version,
            change: change.as_str().into(),
            approval_id: approval.clone(),
            more: 0,
        },
        ListChange::More(count) => v1::ListChange { more: *count, ..v1::ListChange::default() },
    };
    let head = head(gateway, line, policy_version, sealed_ms);
    // Nothing of a device is in it.
    let body = v1::RecordBody { treatments: Vec::new(), content: Some(Content::ListChange(content)), ..head };
    sealed(line, LIST_CHANGE, &body)
}

/// Halves the items until each half's body fits; halves keep their order.
fn split<T>(
    items: &[T],
    line: &ShareLine,
    schema: &'static str,
    body: &dyn Fn(&[T]) -> v1::RecordBody,
) -> Vec<Sealed> {
    if items.is_empty() {
        return Vec::new();
    }
    let whole = body(items);
    if items.len() == 1 || whole.encoded_len() <= BODY_BYTES_MAX {
        return vec![sealed(line, schema, &whole)];
    }
    let (left, right) = items.split_at(items.len() / 2);
    let mut records = split(left, line, schema, body);
    records.extend(split(right, line, schema, body));
    records
}

pub(super) fn sealed(line: &ShareLine, schema: &'static str, body: &v1::RecordBody) -> Sealed {
    Sealed { body: body.encode_to_vec().into(), share_item: line.id.clone(), schema }
}

pub(super) fn head(
    gateway: &Gateway,
    line: &ShareLine,
    policy_version: u32,
    sealed_ms: i64,
) -> v1::RecordBody {
    let operator = if line.devices { "keep" } else { "drop" };
    v1::RecordBody {
        purpose: line.purpose.clone(),
        treatments: vec![treatment(operator, "device", policy_version)],
        approval_ids: line.approval_ids().map(str::to_owned).collect(),
        ..lineless(gateway, policy_version, sealed_ms)
    }
}

/// What a body says whatever line it goes out under.
pub(super) fn lineless(gateway: &Gateway, policy_version: u32, sealed_ms: i64) -> v1::RecordBody {
    v1::RecordBody {
        gateway_id: gateway.id.clone(),
        policy_version,
        place: Some(v1::Place {
            division_code: gateway.division_code.clone(),
            compound_code: gateway.compound_code.clone(),
            ..v1::Place::default()
        }),
        sealed_at: Some(timestamp(sealed_ms)),
        ..v1::RecordBody::default()
    }
}

fn treatment(operator: &str, field: &str, policy_version: u32) -> v1::Treatment {
    v1::Treatment { operator: operator.into(), field: field.into(), parameter: String::new(), policy_version }
}

fn text(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) => text.to_string(),
    }
}

fn measures(line: &ShareLine, cell: &Rollup) -> Vec<v1::Measure> {
    let device = cell.device.iter().filter(|_| line.devices);
    let device = device.map(|device| ("device".to_owned(), device.to_string()));
    let building = cell.place.iter().map(|place| ("building".to_owned(), place.to_string()));
    let measure = |Figure { statistic, le, amount }: &Figure| {
        let (unit, value) = match amount {
            // A count has no unit of its own: UCUM writes 1.
            Amount::Count(count) => ("1", Number::Count(i64::try_from(*count).unwrap_or(i64::MAX))),
            Amount::Exact(decimal) => (cell.unit.as_str(), Number::Decimal(decimal.to_string())),
            Amount::Near(number) => (cell.unit.as_str(), Number::Number(*number)),
            Amount::Percent(percent) => ("%", Number::Decimal(percent.to_string())),
            Amount::Withheld(why) => ("", Number::Suppressed(v1::Suppressed { reason: why.as_str().into() })),
        };
        let le = le.iter().map(|le| ("le".to_owned(), le.to_string()));
        v1::Measure {
            name: format!("{}.{statistic}", cell.metric),
            dimensions: device.clone().chain(building.clone()).chain(le).collect(),
            unit: unit.to_owned(),
            value: Some(value),
            noise: cell.noise.to_string(),
        }
    };
    cell.figures.iter().map(measure).collect()
}

fn columns<'a>(
    line: &ShareLine,
    rows: &[Cleared<Reading>],
    describe: &impl Fn(SeriesKey) -> Option<Column<'a>>,
) -> v1::Readings {
    let mut known: HashMap<SeriesKey, Option<u32>> = HashMap::new();
    let mut out = v1::Readings::default();
    for row in rows {
        let row = row.get();
        let index = *known.entry(row.series).or_insert_with(|| {
            let Column { device, metric, unit, manual } = describe(row.series)?;
            out.series.push(v1::Series {
                device: if line.devices { device.to_string() } else { String::new() },
                metric: metric.to_string(),
                unit: unit.to_owned(),
                manual,
            });
            u32::try_from(out.series.len() - 1).ok()
        });
        let Some(index) = index else { continue };
        if out.series_index.is_empty() {
            out.base_ms = row.time_ms;
        }
        let (mantissa, scale) = match &row.value {
            Value::Flag(flag) => (i64::from(*flag), FLAG),
            Value::Text(text) => push_text(&mut out.texts, text.to_string()),
            Value::Number(number) => match i64::try_from(number.mantissa()) {
                Ok(mantissa) => (mantissa, number.scale()),
                Err(_) => push_text(&mut out.texts, number.to_string()),
            },
        };
        out.series_index.push(index);
        out.time_delta_ms.push(row.time_ms.wrapping_sub(out.base_ms));
        out.mantissa.push(mantissa);
        out.scale.push(scale);
        out.quality.push(u32::from(row.quality as u8));
    }
    if out.quality.iter().all(|quality| *quality == u32::from(Quality::Good as u8)) {
        out.quality.clear();
    }
    out
}

fn push_text(texts: &mut Vec<String>, text: String) -> (i64, u32) {
    texts.push(text);
    (i64::try_from(texts.len() - 1).unwrap_or(i64::MAX), TEXT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;
    use crate::model::{Actor, IncidentId, Lane, Life, LineId, Severity};
    use crate::privacy::intake::restored;
    use crate::wire::body_json;

    fn line(devices: bool) -> ShareLine {
        ShareLine {
            id: "S-001".parse().expect("id"),
            purpose: "fire safety".into(),
            lane: Lane::Bulk,
            consumers: vec!["spiffe://brain.example/city".parse().expect("consumer")],
            metrics: vec!["temperature".parse().expect("metric")],
            devices,
            places: devices,
            carries: vec!["A-1".parse().expect("id")],
            protect: None,
            approval: "AP-7".into(),
            until_ms: None,
            tier: None,
            granted: vec![],
        }
    }

    fn gateway() -> Gateway {
        Gateway { id: "gw-1".into(), division_code: "310115001001".into(), compound_code: "C-9".into() }
    }

    fn reading(series: u32, value: Value, time_ms: i64) -> Cleared<Reading> {
        restored(Reading {
            series: SeriesKey(series),
            value,
            time_ms,
            received_ms: time_ms,
            device_time: true,
            quality: Quality::Good,
        })
    }

    fn decoded(sealed: &Sealed) -> v1::RecordBody {
        v1::RecordBody::decode(sealed.body().clone()).expect("a body that was just sealed")
    }

    fn cell(metric: &str, device: Option<&str>, sum: Option<&str>) -> Rollup {
        Rollup {
            metric: metric.parse().expect("metric"),
            unit: "Cel".into(),
            device: device.map(|d| d.parse().expect("device")),
            place: None,
            crowd: None,
            noise: "".into(),
            partial: false,
            figures: [
                Some(figure("count", Amount::Count(4))),
                sum.map(|sum| figure("sum", exact(sum))),
                Some(figure("min", exact("-1.5"))),
                sum.map(|_| figure("mean", Amount::Near(12.5))),
                Some(figure("last", exact("20.0"))),
            ]
            .into_iter()
            .flatten()
            .collect(),
        }
    }

    fn exact(text: &str) -> Amount {
        Amount::Exact(text.parse().expect("decimal"))
    }

    fn figure(statistic: &str, amount: Amount) -> Figure {
        Figure { statistic: statistic.into(), le: None, amount }
    }

    #[test]
    fn an_event_says_no_more_than_its_line() {
        let change = Event {
            incident: IncidentId(7),
            alarm: "smoke-high".parse().expect("id"),
            step: Step::Raised,
            life: Life::Raised,
            active: true,
            place: None,
            by: Actor::Gateway,
            reason: "".into(),
            device: Some("smoke-3".parse().expect("device")),
            device_class: "smoke-detector".into(),
            metric: "smoke_density".parse().expect("metric"),
            severity: Severity::Critical,
            value: Some(Value::Number(Decimal::new(1250, 2))),
            unit: "%".into(),
            at_ms: 1_700_000_000_123,
        };
        for devices in [true, false] {
            let sealed = seal_event(
                head(&gateway(), &line(devices), 3, 1_700_000_000_200),
                &line(devices),
                &change,
                devices,
            );
            assert_eq!((sealed.schema(), sealed.share_item().as_str()), (ALARM, "S-001"));
            let body = decoded(&sealed);
            assert_eq!(body.approval_ids, ["AP-7"]);
            assert_eq!(body.policy_version, 3);
            assert_eq!(body.observed_at, Some(timestamp(1_700_000_000_123)));
            let Some(Content::Event(told)) = body.content else { panic!("no event") };
            assert_eq!((told.event_code.as_str(), told.manual), ("smoke-high", devices));
            assert_eq!(told.attributes.get("value").map(String::as_str), Some("12.50"));
            assert_eq!(told.attributes.contains_key("device"), devices);
            assert_eq!(told.state(), v1::EventState::Raised);
        }
    }

    fn seal(cells: Vec<Rollup>) -> Vec<Sealed> {
        let aggregate = "A-1".parse::<LineId>().expect("id");
        let window = ClosedWindow { aggregate, start_ms: 0, end_ms: 60_000, cells };
        seal_window(head(&gateway(), &line(true), 1, 61_000), &line(true), &window, &|cell| {
            cell.metric.as_str() == "fever_cases"
        })
    }

    #[test]
    fn a_window_tells_its_figures_in_their_order() {
        for (sum, names) in [
            (Some("50.0"), vec!["count", "sum", "min", "mean", "last"]),
            (None, vec!["count", "min", "last"]),
        ] {
            let sealed = seal(vec![cell("temperature", Some("t-1"), sum)]);
            assert_eq!(sealed.len(), 1);
            let Some(Content::Aggregate(told)) = decoded(&sealed[0]).content else { panic!("no window") };
            let expected: Vec<String> = names.iter().map(|n| format!("temperature.{n}")).collect();
            assert_eq!(told.measures.iter().map(|m| m.name.clone()).collect::<Vec<_>>(), expected);
            assert!(!told.manual);
            if sum.is_some() {
                assert_eq!(told.measures[1].value, Some(Number::Decimal("50.0".into())));
                assert_eq!(told.measures[3].value, Some(Number::Number(12.5)));
            }
        }
        let mixed =
            seal(vec![cell("temperature", Some("t-1"), None), cell("fever_cases", Some("clinic"), None)]);
        let Some(Content::Aggregate(told)) = decoded(&mixed[0]).content else { panic!("no window") };
        assert!(told.manual, "some of it people told");
        let many: Vec<_> =
            (0..500).map(|i| cell("temperature", Some(&format!("sensor-{i:04}")), Some("1"))).collect();
        let sealed = seal(many.clone());
        assert!(sealed.len() > 1);
        assert!(sealed.iter().all(|record| record.body().len() <= BODY_BYTES_MAX));
        let devices: Vec<String> = sealed
            .iter()
            .flat_map(|record| match decoded(record).content {
                Some(Content::Aggregate(told)) => told.measures,
                _ => Vec::new(),
            })
            .filter(|measure| measure.name.ends_with(".count"))
            .map(|measure| measure.dimensions["device"].clone())
            .collect();
        assert_eq!(devices, (0..500).map(|i| format!("sensor-{i:04}")).collect::<Vec<_>>());
        assert_eq!(sealed, seal(many), "equal input, equal bytes");
    }

    #[test]
    fn every_amount_has_its_unit_and_its_form() {
        let bucket =
            |le: &str, count| Figure { le: Some(le.into()), ..figure("histogram", Amount::Count(count)) };
        let figures = vec![
            figure("delta", exact("1.50")),
            figure("p99.9", Amount::Near(3.25)),
            bucket("10.0", 3),
            bucket("+Inf", 7),
            figure("online", Amount::Percent(Decimal::new(995, 1))),
        ];
        let cell = Rollup { figures, ..cell("energy.forward", Some("m-1"), None) };
        let Some(Content::Aggregate(told)) = decoded(&seal(vec![cell])[0]).content else {
            panic!("no window")
        };
        let expected = [
            ("delta", None, Number::Decimal("1.50".into()), "Cel"),
            ("p99.9", None, Number::Number(3.25), "Cel"),
            ("histogram", Some("10.0"), Number::Count(3), "1"),
            ("histogram", Some("+Inf"), Number::Count(7), "1"),
            ("online", None, Number::Decimal("99.5".into()), "%"),
        ];
        assert_eq!(told.measures.len(), expected.len());
        for (measure, (statistic, le, value, unit)) in told.measures.iter().zip(expected) {
            assert_eq!(measure.name, format!("energy.forward.{statistic}"));
            assert_eq!((measure.value.as_ref(), measure.unit.as_str()), (Some(&value), unit));
            assert_eq!(measure.dimensions.get("le").map(String::as_str), le);
            assert_eq!(measure.dimensions["device"], "m-1");
        }
    }

    #[test]
    fn a_window_says_when_it_is_partial() {
        let whole = cell("temperature", Some("t-1"), Some("50.0"));
        let partial = Rollup { partial: true, ..whole.clone() };
        for (cells, quality) in [
            (vec![whole.clone()], "good"),
            (vec![partial.clone()], "partial"),
            (vec![whole, partial], "partial"),
        ] {
            let Some(Content::Aggregate(told)) = decoded(&seal(cells)[0]).content else {
                panic!("no window")
            };
            assert_eq!(told.quality, quality);
        }
    }

    #[test]
    fn readings_tell_their_quality_unless_all_are_good() {
        let (device, metric) = ("meter-1".parse().expect("device"), "energy".parse().expect("metric"));
        let row = |quality| reading(0, Value::Flag(true), 5_000).of_quality(quality);
        for (qualities, told, shown) in [
            (vec![Quality::Good, Quality::Good], vec![], vec!["good", "good"]),
            (vec![Quality::Good, Quality::CounterBack], vec![0, 3], vec!["good", "counter_back"]),
            (vec![Quality::Clock], vec![6], vec!["clock"]),
        ] {
            let rows: Vec<_> = qualities.into_iter().map(row).collect();
            let column = Column { device: &device, metric: &metric, unit: "", manual: false };
            let sealed = readings(&gateway(), &line(true), 1, &rows, |_| Some(column), 8_000);
            let body = decoded(&sealed[0]);
            let json = body_json(&body);
            let Some(Content::Readings(columns)) = body.content else { panic!("no readings") };
            assert_eq!(columns.quality, told);
            let rows = json["readings"].as_array().expect("rows");
            assert_eq!(rows.iter().map(|row| &row["quality"]).collect::<Vec<_>>(), shown);
        }
    }

    #[test]
    fn readings_of_every_kind_come_back_and_points_that_are_gone_stay_out() {
        let device: DeviceId = "meter-1".parse().expect("device");
        let metric: Metric = "energy".parse().expect("metric");
        let describe = |key: SeriesKey| {
            (key.0 < 2).then_some(Column { device: &device, metric: &metric, unit: "kWh", manual: false })
        };
        let long = Decimal::from_i128_with_scale(79_228_162_514_264_337_593_543_950_335, 10);
        let rows = [
            reading(0, Value::Number(Decimal::new(12_340, 3)), 5_000),
            reading(7, Value::Flag(true), 5_001),
            reading(1, Value::Flag(true), 4_000),
            reading(1, Value::Text("open".into()), 6_000),
            reading(0, Value::Number(long), 7_000),
        ];
        let sealed = readings(&gateway(), &line(true), 1, &rows, describe, 8_000);
        assert_eq!(sealed.len(), 1);
        let told = body_json(&decoded(&sealed[0]));
        let values: Vec<_> = told["readings"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| (row["value"].clone(), row["time"].clone()))
            .collect();
        assert_eq!(
            values,
            [
                (serde_json::json!("12.340"), serde_json::json!("1970-01-01T00:00:05Z")),
                (serde_json::json!(true), serde_json::json!("1970-01-01T00:00:04Z")),
                (serde_json::json!("open"), serde_json::json!("1970-01-01T00:00:06Z")),
                (serde_json::json!(long.to_string()), serde_json::json!("1970-01-01T00:00:07Z")),
            ]
        );
        let anonymous = readings(&gateway(), &line(false), 1, &rows, describe, 8_000);
        assert!(!anonymous[0].body().windows(7).any(|bytes| bytes == b"meter-1"));
        assert!(readings(&gateway(), &line(true), 1, &[], describe, 8_000).is_empty());
    }

    proptest! {
        #[test]
        fn readings_split_in_order_and_lose_nothing(
            values in proptest::collection::vec((0u32..40, any::<i64>(), 0u32..28, any::<i32>()), 1..6000)
        ) {
            let device: DeviceId = "m".parse().expect("device");
            let metric: Metric = "x".parse().expect("metric");
            let rows: Vec<_> = values
                .iter()
                .map(|(s, m, scale, t)| reading(*s, Value::Number(Decimal::new(*m, *scale)), i64::from(*t)))
                .collect();
            let column = Column { device: &device, metric: &metric, unit: "1", manual: true };
            let records = readings(&gateway(), &line(true), 1, &rows, |_| Some(column), 0);
            let mut back = Vec::new();
            for record in &records {
                prop_assert!(record.body().len() <= BODY_BYTES_MAX);
                let Some(Content::Readings(told)) = decoded(record).content else { panic!("no readings") };
                for i in 0..told.mantissa.len() {
                    back.push((told.mantissa[i], told.scale[i], told.base_ms + told.time_delta_ms[i]));
                }
            }
            let sent: Vec<_> = values.iter().map(|(_, m, s, t)| (*m, *s, i64::from(*t))).collect();
            prop_assert_eq!(back, sent);
        }
    }
}
