//! The lines of the four lists as they were written, also with keys that other parts check.
//!
//! Guarantees: reads texts and judges nothing; of what is no line with an id there is nothing here.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use crate::config::fault::{Report, Span};
use crate::config::read::At;
use crate::config::source::Sources;
use crate::lists::{self, Item, Lists, lint};
use crate::model::{LineId, List};

/// The lines of the four lists as they were written.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    all: Vec<Line>,
    /// Id and epsilon of what may be spent on noise.
    budgets: Vec<(String, String)>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Line {
    list: List,
    id: LineId,
    at: Span,
    /// Its keys.
    pub(super) json: Json,
    /// The tier of approval, with its place.
    pub(super) tier: Option<At<String>>,
}

impl Lines {
    /// Every line that has an id.
    pub(crate) fn of(sources: &Sources) -> Self {
        let mut lines = Self::default();
        for (file, source) in sources.files.iter().enumerate() {
            let (table, _) = DeTable::parse_recoverable(&source.text);
            for list in List::ALL {
                let Some(DeValue::Array(items)) =
                    table.get_ref().get(list.as_str()).map(|value| value.get_ref())
                else {
                    continue;
                };
                for item in items {
                    let DeValue::Table(keys) = item.get_ref() else { continue };
                    let text = |key: &str| {
                        let value = keys.get(key)?;
                        Some((value.get_ref().as_str()?.to_owned(), Span::of(file, value.span())))
                    };
                    let Some(id) = text("id").and_then(|(id, _)| id.parse().ok()) else { continue };
                    let tier = text("tier").map(|(value, span)| At { value, span });
                    let at = Span::of(file, item.span());
                    lines.all.push(Line { list, id, at, json: json(item.get_ref()), tier });
                }
            }
            if let Some(DeValue::Array(items)) = table.get_ref().get("budget").map(|value| value.get_ref()) {
                let text = |json: &Json, key: &str| json[key].as_str().unwrap_or_default().to_owned();
                let budgets = items.iter().map(|item| json(item.get_ref()));
                lines.budgets.extend(budgets.map(|json| (text(&json, "id"), text(&json, "epsilon"))));
            }
        }
        lines
    }

    /// One of them.
    pub(super) fn get(&self, list: List, id: &LineId) -> Option<&Line> {
        self.all.iter().find(|line| line.list == list && line.id == *id)
    }

    /// As versions of them are kept.
    pub(super) fn items(&self) -> Vec<Item> {
        let item = |line: &Line| Item { list: line.list, id: line.id.clone(), body: line.json.to_string() };
        self.all.iter().map(item).collect()
    }

    /// Says that the loop is not closed, where somebody has begun to close it.
    pub(crate) fn warn(&self, lists: &Lists, report: &mut Report) {
        let begun = self.all.iter().find(|line| matches!(line.list, List::Demand | List::Governance));
        let Some(line) = begun else { return };
        let count = lint::lint(lists).len();
        if count > 0 {
            let message = format!("{count} open end{} in the four lists", if count == 1 { "" } else { "s" });
            report.warn(
                line.at,
                message,
                "`smallbrain lists check --config FILE` names each with the next step",
            );
        }
    }
}

/// The same as JSON, with the keys in alphabetical order.
fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Integer(number) => number.to_string().into(),
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let keys: BTreeMap<String, Json> =
                table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect();
            keys.into_iter().collect()
        }
    }
}

/// What may be spent on noise.
pub(super) fn budgets(lines: &Lines) -> Vec<lists::Budget> {
    let budget = |(id, epsilon): &(String, String)| {
        Some(lists::Budget { id: id.clone(), epsilon: fraction(epsilon)? })
    };
    lines.budgets.iter().filter_map(budget).collect()
}

/// "1/2", "0.5" or "2" as a fraction.
pub(super) fn fraction(text: &str) -> Option<(u64, u64)> {
    if let Some((num, den)) = text.split_once('/') {
        let den: u64 = den.trim().parse().ok()?;
        return Some((num.trim().parse().ok()?, den)).filter(|_| den > 0);
    }
    let number: rust_decimal::Decimal = text.trim().parse().ok()?;
    Some((u64::try_from(number.mantissa()).ok()?, 10_u64.checked_pow(number.scale())?))
}

/// What noise of these parameters costs.
pub(super) fn noise(protect: &Json) -> Option<lists::Noise> {
    Some(lists::Noise {
        budget: protect["budget"].as_str()?.to_owned(),
        cells: protect["contribution"].as_str().and_then(|cells| cells.parse().ok()).unwrap_or(1),
        epsilon: fraction(protect["epsilon"].as_str()?)?,
    })
}
