//! What people enter, on the one way through: normalise → privacy → (second check) → plausible → log → … as a device's.
//!
//! Guarantees: an entry, its readings and its row in the trail are one transaction; a request is one entry; a value that
//! the collection list does not let through is in no row; what waits for a second check is cleared already and becomes
//! readings only by another person. An entry is taken whole or not at all, but for fields that the list drops: those are
//! left out, counted, and told. Neither the rate of devices nor the duplicate filter applies: a request id does.

use serde_json::json;

use super::Spine;
use crate::audit::{self, Action, Outcome};
use crate::ingest::Point;
use crate::ingest::act::{self, Done};
use crate::ingest::entry::{Check, Entered, Fate, Form, Refused, Sheet, Submission, is_same_person};
use crate::model::{DeviceId, Loss, Metric, Reading, Sample, SeriesKey, Stamp, Value};
use crate::normalise::{self, AHEAD_MAX_MS, HISTORY_MAX_MS, Kind};
use crate::privacy::{Cleared, intake};
use crate::store::entries::{Checked, Entry, Field, State, WAITING_MAX};
use crate::store::{StoreError, Txn};

/// Bytes of a field's name that are told back.
const NAME_BYTES_MAX: usize = 64;

/// What was done to an entry, for the trail.
struct Trace<'t> {
    by: &'t str,
    role: &'t str,
    entry: Option<u64>,
    line: &'t str,
    purpose: Option<&'t str>,
}

impl Spine {
    /// Takes what somebody entered.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then. The inner error when nothing was entered; the trail says so.
    pub(super) fn enter(
        &mut self,
        txn: &mut Txn<'_>,
        submission: &Submission,
        now: Stamp,
    ) -> Result<Result<Done, act::Refused>, StoreError> {
        if let Some(known) = txn.entry_of(&submission.request)? {
            let same = known.collect == submission.line
                && submission.device.as_ref().is_none_or(|device| *device == known.device);
            return Ok(match same {
                true => {
                    Ok(Done::Entry(Box::new(Entered { entry: known, duplicate: true, fates: Vec::new() })))
                }
                false => Err(Refused::Request(known.id).into()),
            });
        }
        let outcome = self.entered(txn, submission, now)?;
        let form = self.plan.forms.iter().find(|form| form.line == submission.line);
        let trace = Trace {
            by: &submission.author,
            role: &submission.role,
            entry: outcome.as_ref().ok().map(|entered| entered.entry.id),
            line: submission.line.as_str(),
            purpose: form.map(|form| form.purpose.as_str()),
        };
        match outcome {
            Ok(entered) => {
                let detail = json!({
                    "fields": entered.entry.fields.len(),
                    "state": entered.entry.state.as_str(),
                    "corrects": entered.entry.corrects,
                });
                self.trace(txn, &trace, None, &detail, now)?;
                Ok(Ok(Done::Entry(Box::new(entered))))
            }
            Err(refused) => {
                // Of a line that is no form nobody could have been meant to write.
                if form.is_some() {
                    let detail =
                        json!({ "fields": submission.values.len(), "corrects": submission.corrects });
                    self.trace(txn, &trace, Some(&refused), &detail, now)?;
                }
                Ok(Err(refused.into()))
            }
        }
    }

    fn entered(
        &mut self,
        txn: &mut Txn<'_>,
        submission: &Submission,
        now: Stamp,
    ) -> Result<Result<Entered, Refused>, StoreError> {
        let (device, second_check) = match self.place(submission) {
            Ok((form, _, device)) => (device.clone(), form.second_check),
            Err(refused) => return Ok(Err(refused)),
        };
        let corrected = match correctable(txn, submission.corrects, &submission.line, &device)? {
            Ok(corrected) => corrected,
            Err(refused) => return Ok(Err(refused)),
        };
        let at_ms = submission.at_ms.or(corrected.map(|entry| entry.at_ms)).unwrap_or(now.wall_ms);
        if let Err(refused) = timely(at_ms, now) {
            return Ok(Err(refused));
        }
        if second_check && txn.entries_waiting()? >= WAITING_MAX {
            return Ok(Err(Refused::Full(WAITING_MAX)));
        }
        let (fields, fates) = self.cleared(submission, &device, at_ms, now);
        let is_wrong = |fate: &Fate| fate.loss.is_some_and(|loss| loss != Loss::Policy);
        let whole = !fields.is_empty() && !fates.iter().any(is_wrong);
        for loss in fates.iter().filter_map(|fate| fate.loss) {
            self.batch.received += 1;
            self.batch.lost.add(loss, 1);
        }
        if !whole {
            return Ok(Err(Refused::Fields(fates)));
        }
        let mut entry = Entry {
            id: 0,
            request: submission.request.clone(),
            collect: submission.line.clone(),
            device,
            at_ms,
            entered_ms: now.wall_ms,
            author: submission.author.clone(),
            role: submission.role.clone(),
            reason: submission.reason.clone(),
            fields,
            state: State::Waiting,
            checked: None,
            corrects: submission.corrects,
            readings: None,
        };
        if !second_check && let Err(refused) = self.count_in(txn, &mut entry, now)? {
            return Ok(Err(refused));
        }
        entry.id = txn.add_entry(&entry)?;
        Ok(Ok(Entered { entry, duplicate: false, fates }))
    }

    /// The form, its sheet and the device that an entry is for.
    fn place<'p>(
        &'p self,
        submission: &'p Submission,
    ) -> Result<(&'p Form, &'p Sheet, &'p DeviceId), Refused> {
        let forms = &self.plan.forms;
        let form = forms.iter().find(|form| form.line == submission.line).ok_or_else(|| Refused::Form {
            line: submission.line.clone(),
            forms: forms.iter().map(|form| form.line.to_string()).collect(),
        })?;
        let all = || form.sheets.iter().flat_map(|sheet| sheet.devices.iter().map(move |id| (sheet, id)));
        let mut found = all().filter(|(_, id)| submission.device.as_ref().is_none_or(|device| device == *id));
        match (found.next(), found.next()) {
            (Some((sheet, device)), None) => Ok((form, sheet, device)),
            _ => Err(Refused::Device {
                device: submission.device.as_ref().map_or_else(|| "no device".into(), ToString::to_string),
                line: form.line.clone(),
                devices: all().map(|(_, id)| id.to_string()).collect(),
            }),
        }
    }

    /// Takes every value through both doors of the intake: what is left, and what became of each.
    fn cleared(
        &self,
        submission: &Submission,
        device: &DeviceId,
        at_ms: i64,
        now: Stamp,
    ) -> (Vec<Field>, Vec<Fate>) {
        let sheet = self.place(submission).ok().map(|(_, sheet, _)| sheet);
        let (mut fields, mut fates) = (Vec::new(), Vec::new());
        for (name, value) in &submission.values {
            let field =
                sheet.and_then(|sheet| sheet.fields.iter().find(|field| field.metric.as_str() == &**name));
            let taken = field.ok_or(Loss::Unlisted).and_then(|field| {
                let (series, point) = self.point(device, &field.metric).ok_or(Loss::Unlisted)?;
                let cleared = clear(series, point, worded(field.kind, value), at_ms, now)?;
                Ok(Field::of(field.metric.clone(), field.how, &cleared))
            });
            let field = name[..name.floor_char_boundary(NAME_BYTES_MAX)].into();
            fates.push(Fate { field, loss: taken.as_ref().err().copied() });
            fields.extend(taken);
        }
        (fields, fates)
    }

    fn point(&self, device: &DeviceId, metric: &Metric) -> Option<(SeriesKey, &Point)> {
        let index = self.plan.points.iter().position(|point| {
            point.as_ref().is_some_and(|point| point.metric == *metric && point.device == *device)
        })?;
        let point = self.plan.points[index].as_ref().filter(|point| point.manual)?;
        Some((SeriesKey(u32::try_from(index).ok()?), point))
    }

    /// Makes readings of an entry, and takes the entry that it corrects out of force.
    fn count_in(
        &mut self,
        txn: &mut Txn<'_>,
        entry: &mut Entry,
        now: Stamp,
    ) -> Result<Result<(), Refused>, StoreError> {
        let corrected = match correctable(txn, entry.corrects, &entry.collect, &entry.device)? {
            Ok(corrected) => corrected,
            Err(refused) => return Ok(Err(refused)),
        };
        let series = |metric: &Metric| self.point(&entry.device, metric).map(|(series, _)| series);
        let Some(readings) = entry.readings_at(now.wall_ms, series) else {
            let gone = entry.fields.iter().find(|field| series(field.metric()).is_none());
            let gone = gone.or(entry.fields.first()).map(|field| field.metric().clone());
            return Ok(Err(
                gone.map_or(Refused::Fields(Vec::new()), |metric| Refused::Changed(entry.id, metric))
            ));
        };
        let (past, first) = (entry.is_past(now.wall_ms), txn.reading_head() + 1);
        let mut device = None;
        for cleared in readings {
            self.batch.received += 1;
            self.batch.stored += 1;
            device = self.log(txn, cleared, past, now, now)?.or(device);
        }
        if let Some(device) = device.filter(|_| !past) {
            self.heard(txn, device, now)?;
        }
        self.engine.settle(now);
        entry.readings = Some((first, txn.reading_head()));
        entry.state = State::Stored;
        if let Some(corrected) = corrected {
            txn.set_entry(&Entry { state: State::Corrected, ..corrected })?;
        }
        Ok(Ok(()))
    }

    /// Takes the second look at an entry.
    ///
    /// # Errors
    /// [`StoreError`]; the spine must be opened anew then. The inner error when nothing changed; the trail says so.
    pub(super) fn check_entry(
        &mut self,
        txn: &mut Txn<'_>,
        check: &Check,
        now: Stamp,
    ) -> Result<Result<Done, act::Refused>, StoreError> {
        let Some(mut entry) = txn.entry(check.entry)? else {
            return Ok(Err(Refused::Unknown(check.entry).into()));
        };
        let line = entry.collect.clone();
        let outcome = self.checked(txn, &mut entry, check, now)?;
        if let Ok(true) = outcome {
            let entered = Entered { entry, duplicate: true, fates: Vec::new() };
            return Ok(Ok(Done::Entry(Box::new(entered))));
        }
        let form = self.plan.forms.iter().find(|form| form.line == line);
        let trace = Trace {
            by: &check.by,
            role: &check.role,
            entry: Some(check.entry),
            line: line.as_str(),
            purpose: form.map(|form| form.purpose.as_str()),
        };
        let detail = json!({ "check": if check.agree { "confirm" } else { "refuse" } });
        self.trace(txn, &trace, outcome.as_ref().err(), &detail, now)?;
        Ok(match outcome {
            Ok(_) => Ok(Done::Entry(Box::new(Entered { entry, duplicate: false, fates: Vec::new() }))),
            Err(refused) => Err(refused.into()),
        })
    }

    /// True when the same was said before.
    fn checked(
        &mut self,
        txn: &mut Txn<'_>,
        entry: &mut Entry,
        check: &Check,
        now: Stamp,
    ) -> Result<Result<bool, Refused>, StoreError> {
        if entry.state != State::Waiting {
            let by_them = entry.checked.as_ref().is_some_and(|known| known.by == check.by);
            let said = if check.agree { State::Stored } else { State::Refused };
            return Ok(match by_them && entry.state == said {
                true => Ok(true),
                false => Err(Refused::NotWaiting(entry.id, entry.state)),
            });
        }
        if check.agree {
            // Whoever made it may take it back, and nothing else.
            if is_same_person(&entry.author, &check.by) {
                return Ok(Err(Refused::Same(entry.id)));
            }
            if let Some(changed) = self.changed(entry) {
                return Ok(Err(Refused::Changed(entry.id, changed)));
            }
            if let Err(refused) = timely(entry.at_ms, now) {
                return Ok(Err(refused));
            }
            if let Err(refused) = self.count_in(txn, entry, now)? {
                return Ok(Err(refused));
            }
        } else {
            if check.reason.is_empty() {
                return Ok(Err(Refused::Reason));
            }
            entry.state = State::Refused;
        }
        let Check { by, role, reason, .. } = check.clone();
        entry.checked = Some(Checked { by, role, at_ms: now.wall_ms, reason });
        txn.set_entry(entry)?;
        Ok(Ok(false))
    }

    /// The first field that is not taken any more as it was when the entry was made.
    fn changed(&self, entry: &Entry) -> Option<Metric> {
        let form = self.plan.forms.iter().find(|form| form.line == entry.collect);
        let sheet =
            form.and_then(|form| form.sheets.iter().find(|sheet| sheet.devices.contains(&entry.device)));
        let is_same = |field: &&Field| {
            let mut now = sheet.map_or(&[][..], |sheet| &sheet.fields).iter();
            now.any(|known| known.metric == *field.metric() && known.how == field.how())
        };
        entry.fields.iter().find(|field| !is_same(field)).map(|field| field.metric().clone())
    }

    fn trace(
        &self,
        txn: &mut Txn<'_>,
        trace: &Trace<'_>,
        refused: Option<&Refused>,
        detail: &serde_json::Value,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let object = trace.entry.map_or_else(|| "entry".to_owned(), |id| format!("entry:{id}"));
        let row = audit::Entry {
            list: Some(format!("collect/{}@{}", trace.line, self.policy_version)),
            purpose: trace.purpose.map(str::to_owned),
            detail: Some(detail.to_string()),
            ..audit::Entry::by(trace.by, trace.role, Action::ManualEntry, object)
        };
        let row = match refused {
            Some(refused) => row.not(Outcome::Denied, refused.word()),
            None => row,
        };
        txn.audit(&row, now).map(|_| ())
    }
}

/// The entry that one puts right; none when it corrects nothing.
fn correctable(
    txn: &Txn<'_>,
    corrects: Option<u64>,
    line: &crate::model::LineId,
    device: &DeviceId,
) -> Result<Result<Option<Entry>, Refused>, StoreError> {
    let Some(id) = corrects else { return Ok(Ok(None)) };
    Ok(match txn.entry(id)? {
        None => Err(Refused::Unknown(id)),
        Some(entry) if entry.collect != *line || entry.device != *device => Err(Refused::Other(id)),
        Some(entry) if entry.state != State::Stored => Err(Refused::NotStored(id, entry.state)),
        Some(entry) => Ok(Some(entry)),
    })
}

fn timely(at_ms: i64, now: Stamp) -> Result<(), Refused> {
    match at_ms.saturating_sub(now.wall_ms) {
        ahead if ahead > AHEAD_MAX_MS => Err(Refused::Future),
        ahead if ahead < -HISTORY_MAX_MS => Err(Refused::Past),
        _ => Ok(()),
    }
}

/// What a flag is called on paper.
fn worded(kind: Kind, value: &Value) -> Value {
    match (kind, value) {
        (Kind::Flag, Value::Text(text)) => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "1" | "是" | "有" => Value::Flag(true),
            "false" | "no" | "0" | "否" | "无" => Value::Flag(false),
            _ => value.clone(),
        },
        (Kind::Number, Value::Text(text)) => Value::Text(text.trim().into()),
        _ => value.clone(),
    }
}

/// The same doors as a device's sample.
fn clear(
    series: SeriesKey,
    point: &Point,
    value: Value,
    at_ms: i64,
    now: Stamp,
) -> Result<Cleared<Reading>, Loss> {
    let sample = Sample {
        series,
        value,
        device_ms: Some(at_ms),
        clock_ms: None,
        message: None,
        retained: false,
        history: true,
    };
    let reading = normalise::normalise(&point.rule, sample, now)?;
    intake::clear(point.treatment.as_ref(), reading)
}

#[cfg(test)]
mod tests;
