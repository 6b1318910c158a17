//! `[[shared_list]]`: which lists the city may put, and who of it.
//!
//! Guarantees: an id stands once; every list has somebody who may put it and says what it is for.

use std::collections::HashMap;

use super::alarms::{TEXT_MAX, TITLE_MAX};
use super::condition::text;
use crate::config::fault::Report;
use crate::config::raw::Root;
use crate::rules::listed::Line;

/// Lists of one configuration; one more is a fault.
const LISTS_MAX: usize = 100;
/// Entries where nothing else is said, and the most that may be said: what one message of the city holds.
const ENTRIES: u64 = 10_000;
const ENTRIES_MAX: u64 = 100_000;

/// Checks all of them.
pub(super) fn lists(root: &Root, report: &mut Report) -> Vec<Line> {
    let (mut seen, mut found) = (HashMap::new(), Vec::new());
    if let Some(raw) = root.shared_list.list().get(LISTS_MAX) {
        report.fault(raw.at, "too many shared lists", format!("at most {LISTS_MAX}"));
    }
    for raw in root.shared_list.list() {
        let id = report.need(&raw.id, raw.at, "id", "\"permitted-plates\"");
        if let Some(id) = id {
            report.once(&mut seen, id.value.clone(), id.span, "shared list");
        }
        let example = "[\"spiffe://brain.example/city/310115/brain/traffic\"]";
        let consumers = report.need(&raw.consumers, raw.at, "consumers", example);
        if let Some(none) = consumers.filter(|consumers| consumers.value.is_empty()) {
            report.fault(none.span, "nobody may put it", format!("consumers = {example}"));
        }
        let purpose = report.need(&raw.purpose, raw.at, "purpose", "\"parking.permit\"");
        let entries = report.bounded(&raw.entries_max, ENTRIES, 1..=ENTRIES_MAX, "entries_max");
        let title = text(&raw.title, "title", TITLE_MAX, report);
        let said = text(&raw.purpose, "purpose", TEXT_MAX, report);
        let (Some(id), Some(_), Some(_)) = (id, consumers, purpose) else { continue };
        found.push(Line {
            id: id.value.clone(),
            title,
            consumers: raw.consumers.list().iter().map(|at| at.value.clone()).collect(),
            entries_max: usize::try_from(entries).unwrap_or(usize::MAX),
            purpose: said,
            publish: raw.publish.or(false),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// The example, with more behind it.
    fn load(more: &str) -> Result<Config, String> {
        let text = include_str!("../../../config.example.toml").to_owned() + more;
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
        Config::of_texts(vec![(path.into(), text)], &[], 1_795_190_400_000)
            .map_err(|faults| faults.faults.first().map(|fault| fault.message.clone()).unwrap_or_default())
    }

    const LIST: &str = "\n[[shared_list]]\nid = \"permitted\"\nconsumers = [\"spiffe://brain.example/city/a\"]\npurpose = \"parking\"\n";

    #[test]
    fn a_list_has_somebody_who_puts_it_and_a_purpose() {
        let found = load(LIST).expect("good").plan.rules.shared;
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].entries_max, found[0].publish), (10_000, false));
        for (from, to, fault) in [
            ("id = \"permitted\"\n", "", "missing key `id`"),
            ("purpose = \"parking\"\n", "", "missing key `purpose`"),
            ("[\"spiffe://brain.example/city/a\"]", "[]", "nobody may put it"),
            ("purpose", "entries_max = 100001\npurpose", "entries_max = 100001 is out of range"),
            ("purpose", "publish = 1\npurpose", ""),
        ] {
            let said = load(&LIST.replacen(from, to, 1)).expect_err(to);
            assert!(said.contains(fault), "{to}: {said}");
        }
        assert!(load(&LIST.repeat(2)).expect_err("twice").contains("stands twice"));
    }

    #[test]
    fn a_condition_looks_only_into_lists_that_there_are() {
        let alarm = |list: &str| {
            format!(
                "{LIST}\n[[device]]\nid = \"gate-1\"\ntemplate = \"gate\"\n[[template]]\nname = \"gate\"\n[[template.point]]\nmetric = \"plate\"\nkind = \"text\"\njson = \"/plate\"\n[[collect]]\nid = \"C-900\"\ntemplates = [\"gate\"]\npurpose = \"parking\"\nfields = {{ plate = \"keep\" }}\n[[alarm]]\nid = \"stranger\"\nwhen = '!listed(\"{list}\", plate)'\nseverity = \"minor\"\n"
            )
        };
        let good = load(&alarm("permitted")).expect("good");
        let found = good.plan.rules.alarms.iter().find(|alarm| alarm.id.as_str() == "stranger");
        assert!(found.is_some_and(|alarm| !alarm.tells_its_value() && alarm.metric.as_str() == "plate"));
        assert_eq!(load(&alarm("permited")).err().as_deref(), Some("no shared list \"permited\""));
    }
}
