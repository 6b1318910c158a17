//! Who may approve what: the tiers, the people, and that a line's tier can be met.
//!
//! Guarantees: a tier is standing or asks somebody; a role is one that some tier asks; a key is one person's.

use std::collections::HashMap;
use std::time::Duration;

use super::{DAY, MINUTE, millis};
use crate::approval::{Person, Rules, Tier};
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::model::LineId;

/// id, who, quorum, days, who must be among them.
type Default = (&'static str, &'static [&'static str], usize, i64, &'static [&'static str]);

/// The tiers where `[approval]` has none.
const TIERS: [Default; 4] = [
    ("T0", &[], 0, 0, &[]),
    ("T1", &["property.manager"], 1, 365, &[]),
    ("T2", &["committee.secretary", "street.data_officer"], 2, 90, &[]),
    (
        "T3",
        &["street.data_officer", "district.data_bureau", "police.liaison"],
        2,
        7,
        &["district.data_bureau"],
    ),
];
/// The longest that an approval may hold.
const MAX: Duration = Duration::from_secs(3660 * 86_400);

/// Checks `[approval]` and `[[person]]`.
pub(super) fn rules(root: &Root, report: &mut Report) -> Rules {
    let tiers = match root.approval.value().map(|raw| (raw, raw.tiers.get())) {
        Some((_, Some(tiers))) => {
            if tiers.value.is_empty() {
                report.fault(tiers.span, "no tiers", "one or more, or leave tiers out for T0 to T3");
            }
            let mut seen = HashMap::new();
            for id in tiers.value.iter().filter_map(|raw| raw.id.get()) {
                report.once(&mut seen, id.value.clone(), id.span, "tier");
            }
            tiers.value.iter().filter_map(|raw| tier(raw, report)).collect()
        }
        _ => defaults(),
    };
    let separation = root.approval.value().is_none_or(|raw| raw.separation_of_duties.or(true));
    let people = people(root, &tiers, report);
    Rules { tiers, people, separation }
}

fn defaults() -> Vec<Tier> {
    let names = |names: &[&str]| names.iter().filter_map(|name| name.parse().ok()).collect();
    let tier = |(id, who, quorum, days, must): &Default| {
        let (who, must_include) = (names(who), names(must));
        Some(Tier { id: id.parse().ok()?, who, quorum: *quorum, max_ms: days * 86_400_000, must_include })
    };
    TIERS.iter().filter_map(tier).collect()
}

fn tier(raw: &raw::Tier, report: &mut Report) -> Option<Tier> {
    let id = report.need(&raw.id, raw.at, "id", "\"T2\"");
    let quorum = report.bounded(&raw.quorum, 0, 0..=100, "quorum") as usize;
    let who: Vec<LineId> = raw.who.list().iter().map(|role| role.value.clone()).collect();
    if quorum == 0 {
        let strays = [
            ("who", raw.who.get().filter(|who| !who.value.is_empty()).map(|at| at.span)),
            ("must_include", raw.must_include.get().filter(|who| !who.value.is_empty()).map(|at| at.span)),
            ("max", raw.max.get().map(|at| at.span)),
        ];
        for (name, span) in strays.into_iter().filter_map(|(name, span)| Some((name, span?))) {
            let help =
                "quorum = 1 or more; without one the tier is a standing grant, for which nobody is asked";
            report.fault(span, format!("{name} without a quorum"), help);
        }
    } else {
        let asked = report.need(&raw.who, raw.at, "who", "[\"street.data_officer\"]");
        if let Some(asked) = asked.filter(|asked| asked.value.is_empty()) {
            report.fault(asked.span, "a quorum of nobody", "one or more roles");
        }
        report.need(&raw.max, raw.at, "max", "\"90d\"");
    }
    let mut seen = HashMap::new();
    for role in raw.who.list() {
        report.once(&mut seen, role.value.clone(), role.span, "role");
    }
    for role in raw.must_include.list().iter().filter(|role| !who.contains(&role.value)) {
        report.unknown(role.span, "role of the tier", role.value.as_str(), who.iter().map(LineId::as_str));
    }
    let max = report.within(&raw.max, MINUTE..=MAX, "max").unwrap_or(if quorum == 0 { DAY } else { MINUTE });
    Some(Tier {
        id: id?.value.clone(),
        who,
        quorum,
        max_ms: i64::try_from(millis(max)).unwrap_or(i64::MAX),
        must_include: raw.must_include.list().iter().map(|role| role.value.clone()).collect(),
    })
}

fn people(root: &Root, tiers: &[Tier], report: &mut Report) -> Vec<Person> {
    let (mut names, mut keys, mut people) = (HashMap::new(), HashMap::new(), Vec::new());
    for raw in root.person.list() {
        let name = report.need(&raw.name, raw.at, "name", "\"property-manager\"");
        if let Some(name) = name {
            report.once(&mut names, name.value.as_str().to_lowercase(), name.span, "person");
        }
        let key =
            report.need(&raw.public_key, raw.at, "public_key", "what `smallbrain approvals key` prints");
        if let Some(key) = key {
            match keys.get(&key.value) {
                Some(first) => {
                    let help = "a key of their own for each person: `smallbrain approvals key`";
                    report.twice(key.span, *first, "two people have this key", help);
                }
                None => drop(keys.insert(key.value, key.span)),
            }
        }
        let roles = report.need(&raw.roles, raw.at, "roles", "[\"property.manager\"]");
        if let Some(roles) = roles.filter(|roles| roles.value.is_empty()) {
            report.fault(roles.span, "a person without a role", "one or more roles of the tiers");
        }
        let mut seen = HashMap::new();
        for role in raw.roles.list() {
            report.once(&mut seen, role.value.clone(), role.span, "role");
            let known = || tiers.iter().flat_map(|tier| &tier.who);
            if !known().any(|known| *known == role.value) {
                report.unknown(role.span, "role", role.value.as_str(), known().map(LineId::as_str));
            }
        }
        if let (Some(name), Some(key)) = (name, key) {
            people.push(Person {
                name: name.value.clone(),
                roles: raw.roles.list().iter().map(|role| role.value.clone()).collect(),
                public_key: key.value.0,
            });
        }
    }
    people
}

/// The tier of a share line, where something has to be granted in it; `approval` is needed where nothing has.
pub(super) fn of_line(raw: &raw::Share, rules: &Rules, report: &mut Report) -> Option<LineId> {
    let paper = |report: &mut Report| {
        report.need(&raw.approval, raw.at, "approval", "\"2026-014\"");
    };
    let Some(named) = raw.tier.get() else {
        paper(report);
        return None;
    };
    let Some(tier) = rules.tier(&named.value) else {
        let known = rules.tiers.iter().map(|tier| tier.id.as_str());
        report.unknown(named.span, "tier", named.value.as_str(), known);
        return None;
    };
    if tier.is_standing() {
        paper(report);
        return None;
    }
    let may = |person: &&Person| rules.role(tier, person).is_some();
    let people = rules.people.iter().filter(may);
    let missing = |role: &&LineId| !rules.people.iter().any(|person| person.roles.contains(role));
    let (count, quorum) = (people.count(), tier.quorum);
    if count < quorum {
        let message = format!("tier {} needs {quorum} people, and {count} may vote", tier.id);
        report.warn(
            named.span,
            message,
            "nothing can be granted, so nothing leaves: more [[person]] with its roles",
        );
    } else if let Some(role) = tier.must_include.iter().find(missing) {
        let message = format!("tier {} needs a {role}, and there is none", tier.id);
        report.warn(
            named.span,
            message,
            "nothing can be granted, so nothing leaves: a [[person]] with this role",
        );
    }
    Some(tier.id.clone())
}
