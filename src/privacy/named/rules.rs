//! The rules of release over JSON: a cell, the cells of a parent, a sum.
//!
//! Guarantees: what is not of the shape gives null.

use rust_decimal::Decimal;
use serde_json::{Map, Value as Json};

use super::{decimal, number};
use crate::privacy::protect::one::{Dominance, complementary_1d, k_threshold};

/// The key of a parent's count among its cells.
const TOTAL: &str = "total";

/// How many subjects a cell needs.
#[derive(Clone, Copy)]
pub(super) struct Threshold {
    pub(super) k: u64,
    pub(super) zero_public: bool,
}

impl Threshold {
    /// A count, or an object that has one of different subjects; how many events there were says nothing.
    pub(super) fn cell(self, input: &Json) -> Json {
        let count = match input {
            Json::Object(cell) => cell.get("count_distinct_subjects"),
            input => Some(input),
        };
        let told =
            count.and_then(Json::as_u64).and_then(|count| k_threshold(count, self.k, self.zero_public));
        told.map_or(Json::Null, Json::from)
    }

    /// An object of counts; one is called "total" if the parent is told too.
    pub(super) fn cells(self, input: &Json) -> Json {
        let Json::Object(cells) = input else { return Json::Null };
        let counts: Option<Vec<(&String, u64)>> =
            cells.iter().map(|(name, count)| Some((name, count.as_u64()?))).collect();
        let Some(counts) = counts else { return Json::Null };
        let (parents, cells): (Vec<_>, Vec<_>) = counts.into_iter().partition(|(name, _)| *name == TOTAL);
        let numbers: Vec<u64> = cells.iter().map(|(_, count)| *count).collect();
        let told = complementary_1d(&numbers, self.k, self.zero_public);
        let shown = |count: u64, told: bool| if told { Json::from(count) } else { Json::Null };
        let mut all: Map<String, Json> = cells
            .iter()
            .zip(&told.cells)
            .map(|((name, count), told)| ((*name).clone(), shown(*count, *told)))
            .collect();
        all.extend(parents.into_iter().map(|(name, count)| (name.clone(), shown(count, told.total))));
        Json::Object(all)
    }
}

/// A list of contributions, an object of them, an object with one list of them, or a total with its largest one.
pub(super) fn dominance(rule: Dominance, input: &Json) -> Json {
    let sum = match input {
        Json::Array(parts) => sum(rule, parts),
        Json::Object(fields) => {
            let mut lists = fields.values().filter_map(Json::as_array);
            match (lists.next(), lists.next()) {
                (Some(parts), None) => sum(rule, parts),
                (Some(_), Some(_)) => None,
                (None, _) if fields.contains_key("largest") => share(rule, fields),
                (None, _) => {
                    sum(rule, fields.iter().filter(|(name, _)| *name != TOTAL).map(|(_, part)| part))
                }
            }
        }
        _ => None,
    };
    sum.map_or(Json::Null, number)
}

fn sum<'j>(rule: Dominance, parts: impl IntoIterator<Item = &'j Json>) -> Option<Decimal> {
    let parts: Option<Vec<Decimal>> = parts.into_iter().map(amount).collect();
    rule.sum(&parts?)
}

/// Of one largest contribution no more than one can be told.
fn share(rule: Dominance, fields: &Map<String, Json>) -> Option<Decimal> {
    let (largest, total) = fields.get("largest").and_then(amount).zip(fields.get(TOTAL).and_then(amount))?;
    (rule.largest == 1 && rule.permits(largest, total)).then_some(total)
}

fn amount(json: &Json) -> Option<Decimal> {
    if let Json::Number(amount) = json { decimal(amount) } else { None }
}
