//! What people enter, as the local socket takes it: forms, entries, second checks.
//!
//! Guarantees: what is entered goes the one way through and is answered after its commit; every call that changes something
//! is logged with the caller's user id, and without a name, a word or a value. Who may open the socket may do all of this;
//! the name that is given is believed. What it does not do: decide what is taken (the collection list and the spine do).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rust_decimal::Decimal;
use serde_json::value::RawValue;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::ingest::act::{Act, Done, Refused};
use crate::ingest::entry::{self, Check, Entered, Form, Submission};
use crate::ingest::{Intake, Plan, Stopped};
use crate::model::{LineId, Value};
use crate::normalise::Kind;
use crate::store::entries::{Entry, ROWS_MAX};
use crate::store::reader::Reader;
use crate::wire::bus as wire;
use crate::wire::bus::manual_entry_service_server::ManualEntryService;

/// Longest name of a person or a role, characters.
const NAME_MAX: usize = 64;
/// Longest reason, characters.
const REASON_MAX: usize = 500;
/// Longest payload, bytes.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Fields of a payload.
const FIELDS_MAX: usize = 256;
/// Longest request id, bytes.
const REQUEST_BYTES_MAX: usize = 128;

/// The service; clones are the same.
#[derive(Clone)]
pub struct Entries(Arc<Inner>);

struct Inner {
    reader: Reader,
    intake: Intake,
    known: RwLock<Arc<Known>>,
}

#[derive(Default)]
struct Known {
    forms: Vec<Form>,
    zone_ms: i64,
}

impl Entries {
    /// Over the store and the writer of this process.
    #[must_use]
    pub fn new(reader: Reader, intake: Intake) -> Self {
        Self(Arc::new(Inner { reader, intake, known: RwLock::default() }))
    }

    /// Takes the forms of the configuration in force, in place of those before.
    pub fn set(&self, plan: &Plan) {
        let known = Known { forms: plan.forms.clone(), zone_ms: plan.rules.zone_ms };
        *self.0.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
    }

    fn known(&self) -> Arc<Known> {
        self.0.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn act(&self, act: Act) -> Result<Entered, Status> {
        match self.0.intake.act(act).await {
            Ok(Ok(Done::Entry(entered))) => Ok(*entered),
            Ok(Ok(_)) => Err(Status::internal(
                "the store answered something else; `smallbrain enter --list` shows what is",
            )),
            Ok(Err(error)) => Err(refused(&error)),
            Err(stopped @ Stopped) => Err(Status::unavailable(stopped.to_string())),
        }
    }
}

fn refused(error: &Refused) -> Status {
    use entry::Refused::{Device, Fields, Form, Full, Future, Past, Unknown};
    let text = error.to_string();
    match error {
        Refused::Entry(Form { .. } | Device { .. } | Unknown(_)) => Status::not_found(text),
        Refused::Entry(Fields(_) | Future | Past) => Status::invalid_argument(text),
        Refused::Entry(Full(_)) => Status::resource_exhausted(text),
        _ => Status::failed_precondition(text),
    }
}

/// Who is behind the socket, as the system knows it.
fn uid<T>(request: &Request<T>) -> String {
    let caller = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    caller.map_or_else(|| "unknown".to_owned(), |caller| caller.uid().to_string())
}

/// Words of a person: one line.
fn words(what: &str, text: &str, most: usize) -> Result<Box<str>, Status> {
    let text = text.trim();
    let count = text.chars().count();
    if count > most {
        return Err(Status::invalid_argument(format!("{what}: {count} characters; at most {most}")));
    }
    if text.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "{what}: one line of text, without control characters"
        )));
    }
    Ok(text.into())
}

fn needed(what: &str, text: &str, most: usize) -> Result<Box<str>, Status> {
    let text = words(what, text, most)?;
    if text.is_empty() {
        return Err(Status::invalid_argument(format!("{what}: has to be said")));
    }
    Ok(text)
}

fn line(text: &str) -> Result<LineId, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("collect_item: {error}")))
}

/// The fields of a JSON object; nothing of a value is in the error.
fn payload(text: &str) -> Result<Vec<(Box<str>, Value)>, Status> {
    let no = |why: String| Err(Status::invalid_argument(format!("payload: {why}")));
    if text.len() > PAYLOAD_BYTES_MAX {
        return no(format!("{} bytes; at most {PAYLOAD_BYTES_MAX}", text.len()));
    }
    // Raw, so that a number keeps the digits that it was written with.
    let Ok(object) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text) else {
        return no("a JSON object of fields and values: {\"fever_cases\": 3}".into());
    };
    if object.len() > FIELDS_MAX {
        return no(format!("{} fields; at most {FIELDS_MAX}", object.len()));
    }
    let mut fields = Vec::with_capacity(object.len());
    for (name, raw) in object {
        let value = match serde_json::from_str(raw.get()) {
            Ok(serde_json::Value::Bool(flag)) => Value::Flag(flag),
            Ok(serde_json::Value::String(text)) => Value::Text(text.into()),
            // The form decides whether it is one.
            Ok(serde_json::Value::Number(_)) => Value::Text(raw.get().into()),
            Ok(serde_json::Value::Null) => continue,
            Ok(_) | Err(_) => {
                let name: String = name.chars().take(NAME_MAX).collect();
                return no(format!("{name}: one value, no list and no object"));
            }
        };
        fields.push((name.into(), value));
    }
    Ok(fields)
}

fn submission(asked: wire::SubmitManualEntryRequest) -> Result<Submission, Status> {
    let is_id = |id: &str| {
        (1..=REQUEST_BYTES_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !is_id(&asked.request_id) {
        let why =
            format!("request_id: 1 to {REQUEST_BYTES_MAX} printable ASCII characters, one for each report");
        return Err(Status::invalid_argument(why));
    }
    let device = Some(asked.device).filter(|device| !device.is_empty()).map(|device| device.parse());
    let device = device.transpose().map_err(|error| Status::invalid_argument(format!("device: {error}")))?;
    Ok(Submission {
        line: line(&asked.collect_item)?,
        device,
        values: payload(&asked.payload)?,
        at_ms: asked.at_ms,
        author: needed("operator", &asked.operator, NAME_MAX)?,
        role: needed("role", &asked.role, NAME_MAX)?,
        reason: needed("reason", &asked.reason, REASON_MAX)?,
        corrects: asked.corrects,
        request: asked.request_id.into(),
    })
}

fn told(entry: Entry) -> wire::ManualEntry {
    let fields = entry.fields.iter().map(|field| {
        let value = match field.value() {
            Value::Number(number) => number.to_string().into(),
            Value::Flag(flag) => (*flag).into(),
            Value::Text(text) => text.to_string().into(),
        };
        (field.metric().to_string(), value)
    });
    let payload = serde_json::Value::Object(fields.collect()).to_string();
    let checked = entry.checked.as_ref();
    let said = |text: Option<&Box<str>>| text.map(ToString::to_string).unwrap_or_default();
    wire::ManualEntry {
        id: entry.id,
        request_id: entry.request.to_string(),
        collect_item: entry.collect.to_string(),
        device: entry.device.to_string(),
        at_ms: entry.at_ms,
        entered_ms: entry.entered_ms,
        operator: entry.author.to_string(),
        role: entry.role.to_string(),
        reason: entry.reason.to_string(),
        payload,
        state: entry.state.as_str().into(),
        checked_by: said(checked.map(|checked| &checked.by)),
        checked_role: said(checked.map(|checked| &checked.role)),
        checked_ms: checked.map(|checked| checked.at_ms),
        check_reason: said(checked.map(|checked| &checked.reason)),
        corrects: entry.corrects,
    }
}

fn field(field: &entry::Field) -> wire::FormField {
    let kind = match field.kind {
        Kind::Number => "number",
        Kind::Flag => "flag",
        Kind::Text => "text",
    };
    // A range that is open on one side has the greatest decimal there.
    let bound = |bound: Decimal| match bound {
        bound if bound == Decimal::MIN || bound == Decimal::MAX => String::new(),
        bound => bound.to_string(),
    };
    wire::FormField {
        name: field.metric.to_string(),
        title: field.title.clone(),
        kind: kind.into(),
        unit: field.unit.clone(),
        min: field.range.map(|(min, _)| bound(min)).unwrap_or_default(),
        max: field.range.map(|(_, max)| bound(max)).unwrap_or_default(),
        treatment: field.how.into(),
    }
}

#[tonic::async_trait]
impl ManualEntryService for Entries {
    async fn get_form(
        &self,
        request: Request<wire::GetFormRequest>,
    ) -> Result<Response<wire::GetFormResponse>, Status> {
        let (known, line) = (self.known(), line(&request.into_inner().collect_item)?);
        let found = known.forms.iter().find(|form| form.line == line).ok_or_else(|| {
            let forms = known.forms.iter().map(|form| form.line.to_string()).collect();
            refused(&entry::Refused::Form { line, forms }.into())
        })?;
        let sheets = found.sheets.iter().map(|sheet| wire::FormSheet {
            template: sheet.template.to_string(),
            title: sheet.title.clone(),
            fields: sheet.fields.iter().map(field).collect(),
            devices: sheet.devices.iter().map(ToString::to_string).collect(),
        });
        Ok(Response::new(wire::GetFormResponse {
            collect_item: found.line.to_string(),
            title: found.title.clone(),
            purpose: found.purpose.clone(),
            second_check: found.second_check,
            sheets: sheets.collect(),
            zone_ms: known.zone_ms,
        }))
    }

    async fn submit_manual_entry(
        &self,
        request: Request<wire::SubmitManualEntryRequest>,
    ) -> Result<Response<wire::SubmitManualEntryResponse>, Status> {
        let uid = uid(&request);
        let submission = submission(request.into_inner())?;
        let (line, fields) = (submission.line.clone(), submission.values.len());
        let done = self.act(Act::Enter(Box::new(submission))).await;
        let entry = done.as_ref().map_or(0, |entered| entered.entry.id);
        tracing::info!(uid, %line, fields, entry, ok = done.is_ok(), "somebody enters a report");
        let Entered { entry, duplicate, fates } = done?;
        let fate = |fate: entry::Fate| wire::FieldFate {
            name: fate.field.into(),
            lost: fate.loss.map(|loss| loss.to_string()).unwrap_or_default(),
        };
        Ok(Response::new(wire::SubmitManualEntryResponse {
            entry: Some(told(entry)),
            duplicate,
            fields: fates.into_iter().map(fate).collect(),
            zone_ms: self.known().zone_ms,
        }))
    }

    async fn confirm_manual_entry(
        &self,
        request: Request<wire::ConfirmManualEntryRequest>,
    ) -> Result<Response<wire::ConfirmManualEntryResponse>, Status> {
        let uid = uid(&request);
        let wire::ConfirmManualEntryRequest { entry, by, role, agree, reason } = request.into_inner();
        let by = needed("by", &by, NAME_MAX)?;
        let role = needed("role", &role, NAME_MAX)?;
        let check = Check { entry, by, role, agree, reason: words("reason", &reason, REASON_MAX)? };
        let done = self.act(Act::Check(check)).await;
        tracing::info!(uid, entry, agree, ok = done.is_ok(), "somebody checks a report");
        let entry = Some(told(done?.entry));
        Ok(Response::new(wire::ConfirmManualEntryResponse { entry, zone_ms: self.known().zone_ms }))
    }

    async fn list_manual_entries(
        &self,
        request: Request<wire::ListManualEntriesRequest>,
    ) -> Result<Response<wire::ListManualEntriesResponse>, Status> {
        let wire::ListManualEntriesRequest { waiting, limit } = request.into_inner();
        let most = if limit == 0 { ROWS_MAX } else { limit as usize };
        let found = self.0.reader.entries(waiting, most).await;
        let found = found.map_err(|error| Status::unavailable(error.to_string()))?;
        let entries = found.into_iter().map(told).collect();
        Ok(Response::new(wire::ListManualEntriesResponse { entries, zone_ms: self.known().zone_ms }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_an_object_of_plain_values_and_errors_show_none() {
        let fields = payload(r#"{"n": 3.50, "flag": true, "text": "B3", "nothing": null}"#).expect("good");
        let text = |text: &str| Value::Text(text.into());
        for (name, value) in [("n", text("3.50")), ("flag", Value::Flag(true)), ("text", text("B3"))] {
            assert!(fields.iter().any(|(known, found)| **known == *name && *found == value), "{name}");
        }
        assert_eq!(fields.len(), 3);
        let many: Vec<String> = (0..=FIELDS_MAX).map(|at| format!("\"f{at}\":1")).collect();
        for (bad, word) in [
            ("3".to_owned(), "JSON object"),
            ("{\"n\": 张三丰".to_owned(), "JSON object"),
            ("{\"n\": [\"张三丰\"]}".to_owned(), "n: one value"),
            (format!("{{{}}}", many.join(",")), "257 fields"),
            (format!("{{\"n\":\"{}\"}}", "9".repeat(PAYLOAD_BYTES_MAX)), "bytes"),
        ] {
            let status = payload(&bad).expect_err(word);
            assert!(status.message().contains(word) && !status.message().contains("张三丰"), "{status}");
        }
    }

    #[test]
    fn a_report_says_who_as_what_and_why() {
        let good = wire::SubmitManualEntryRequest {
            request_id: "r-1".into(),
            collect_item: "C-010".into(),
            payload: "{\"n\":1}".into(),
            operator: " 王医生 ".into(),
            role: "doctor".into(),
            reason: "日报".into(),
            ..Default::default()
        };
        let taken = submission(good.clone()).expect("good");
        assert_eq!((&*taken.author, taken.device), ("王医生", None));
        let bad = |change: fn(&mut wire::SubmitManualEntryRequest)| {
            let mut asked = good.clone();
            change(&mut asked);
            submission(asked).expect_err("bad").message().to_owned()
        };
        for (message, word) in [
            (bad(|asked| asked.request_id.clear()), "request_id"),
            (bad(|asked| asked.request_id = "甲".into()), "request_id"),
            (bad(|asked| asked.collect_item.clear()), "collect_item"),
            (bad(|asked| asked.device = "a/b".into()), "device"),
            (bad(|asked| asked.operator = " ".into()), "operator"),
            (bad(|asked| asked.role.clear()), "role"),
            (bad(|asked| asked.reason.clear()), "reason"),
            (bad(|asked| asked.reason = "a\nb".into()), "one line"),
        ] {
            assert!(message.contains(word), "{message}");
        }
    }
}
