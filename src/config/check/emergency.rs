//! Who may declare an emergency, and for how long: `[emergency]`. The profiles themselves are read later.

use std::collections::HashMap;
use std::time::Duration;

use super::{DAY, MINUTE, Places, millis};
use crate::approval::Rules;
use crate::config::emergency::Settings;
use crate::config::fault::Report;
use crate::config::raw::Root;

/// The longest profile where nothing else is said, and the longest that may be said.
const MAX: Duration = Duration::from_secs(7 * 86_400);
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Checks `[emergency]`.
pub(super) fn settings(root: &Root, places: &Places, rules: &Rules, report: &mut Report) -> Option<Settings> {
    let raw = root.emergency.value()?;
    let dir = report.need(&raw.dir, raw.at, "dir", "\"emergency.d\"");
    let signers = report.need(&raw.signers, raw.at, "signers", "[\"property-manager\"]");
    let max = report.bounded(&raw.max, MAX, MINUTE..=LONGEST.max(DAY), "max");
    let quorum = report.bounded(&raw.quorum, 1, 1..=100, "quorum");
    let mut seen = HashMap::new();
    let mut people = Vec::new();
    for name in raw.signers.list() {
        report.once(&mut seen, name.value.clone(), name.span, "signer");
        match rules.person(name.value.as_str()) {
            Some(person) => people.push((person.name.clone(), person.public_key)),
            None => {
                let known = rules.people.iter().map(|person| person.name.as_str());
                report.unknown(name.span, "person", name.value.as_str(), known);
            }
        }
    }
    if let Some(signers) = signers.filter(|signers| (signers.value.len() as u64) < quorum) {
        let message = format!("a quorum of {quorum} among {}", signers.value.len());
        report.fault(raw.quorum.span_or(signers.span), message, "as many signers, or a smaller quorum");
    }
    Some(Settings {
        dir: places.path(&dir?.value),
        signers: people,
        quorum: quorum as usize,
        max_ms: i64::try_from(millis(max)).unwrap_or(i64::MAX),
    })
}
