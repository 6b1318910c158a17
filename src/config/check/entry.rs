//! Forms: lines of the collection list that people fill in (`source = "manual"`).
//!
//! Guarantees: a template has one source: what people tell of its devices no message and no bus tells, nor another line of
//! the list takes it from there. That a device of it is on no port, the ports' check says.

use std::collections::{HashMap, HashSet};

use super::Fleet;
use super::fleet::{Point, Template};
use crate::config::fault::{Report, Span};
use crate::config::raw::{self, Origin, Root};
use crate::config::read::At;
use crate::ingest::entry::{Field, Form, Sheet};
use crate::model::LineId;

const ONE: &str =
    "source = \"manual\" for what people tell, a mapping or a port for what devices tell; not both";

fn is_manual(raw: &raw::Collect) -> bool {
    raw.source.or(Origin::Device) == Origin::Manual
}

/// The templates that people fill in.
pub(super) fn templates(root: &Root) -> HashSet<LineId> {
    let lines = root.collect.list().iter().filter(|raw| is_manual(raw));
    lines.flat_map(|raw| raw.templates.list()).map(|name| name.value.clone()).collect()
}

/// Checks what forms are made of.
pub(super) fn check(root: &Root, fleet: &Fleet<'_>, report: &mut Report) {
    let mut sources: HashMap<&LineId, (Span, bool)> = HashMap::new();
    for raw in root.collect.list() {
        let manual = is_manual(raw);
        if let Some(at) = raw.second_check.get().filter(|_| !manual) {
            report.fault(
                at.span,
                "second_check of what devices tell",
                "source = \"manual\", or no second_check",
            );
        }
        for name in raw.templates.list() {
            match sources.get(&name.value) {
                Some((first, other)) if *other != manual => {
                    let message = format!("template {} has two sources", name.value);
                    report.twice(name.span, *first, message, ONE);
                }
                Some(_) => {}
                None => drop(sources.insert(&name.value, (name.span, manual))),
            }
        }
    }
    for template in fleet.templates.iter().filter(|template| template.manual) {
        for raw in template.raw.point.list() {
            point(raw, template, report);
        }
        for mapping in root.mapping.list() {
            let named = mapping.template.get().filter(|name| name.value == template.name);
            if let Some(At { span, .. }) = named {
                two(*span, &format!("template {}", template.name), report);
            }
        }
    }
}

/// What is said of a point that people tell, and is of devices.
fn point(raw: &raw::Point, template: &Template<'_>, report: &mut Report) {
    let metric = raw.metric.value().map_or("", |metric| metric.as_str());
    let source = [
        raw.json.get().map(|at| at.span),
        raw.field.get().map(|at| at.span),
        raw.map.get().map(|at| at.span),
        raw.modbus.get().map(|at| at.span),
        raw.dlt645.get().map(|at| at.span),
        raw.cjt188.get().map(|at| at.span),
        raw.mbus.get().map(|at| at.span),
    ];
    if let Some(span) = source.into_iter().flatten().next() {
        two(span, &format!("{metric} of template {}", template.name), report);
    }
    let thins = [
        ("deadband", raw.deadband.get().map(|at| at.span)),
        ("change_only", raw.change_only.get().map(|at| at.span)),
        ("sample", raw.sample.get().map(|at| at.span)),
    ];
    for (name, span) in thins {
        if let Some(span) = span {
            let message = format!("{name} on {metric}, which people enter");
            report.fault(span, message, "every entry is shared: a correction may be small");
        }
    }
}

fn two(span: Span, whose: &str, report: &mut Report) {
    report.fault(span, format!("{whose} has two sources"), ONE);
}

/// The forms of a configuration without faults.
pub(super) fn forms(root: &Root, fleet: &Fleet<'_>) -> Vec<Form> {
    let lines = root.collect.list().iter().filter(|raw| is_manual(raw));
    let form = |raw: &raw::Collect| {
        Some(Form {
            line: raw.id.value()?.clone(),
            title: raw.title.or(String::new()),
            purpose: raw.purpose.or(String::new()),
            second_check: raw.second_check.or(false),
            sheets: raw.templates.list().iter().filter_map(|name| sheet(raw, &name.value, fleet)).collect(),
        })
    };
    lines.filter_map(form).collect()
}

fn sheet(raw: &raw::Collect, name: &LineId, fleet: &Fleet<'_>) -> Option<Sheet> {
    let template = fleet.templates.iter().find(|template| template.name == *name)?;
    let devices = fleet.devices.iter().filter(|device| fleet.template_of(device).name == *name);
    let titles: HashMap<_, _> = template
        .raw
        .point
        .list()
        .iter()
        .filter_map(|raw| Some((raw.metric.value()?, raw.title.value()?)))
        .collect();
    let field = |point: &Point| {
        // Another line may take other fields of the template.
        let said = raw.fields.value()?.get(&point.metric)?;
        Some(Field {
            metric: point.metric.clone(),
            title: titles.get(&point.metric).map_or_else(String::new, ToString::to_string),
            kind: point.rule.kind,
            unit: point.unit.clone(),
            range: point.rule.range,
            how: said.value.as_ref()?.what()?.word(),
        })
    };
    Some(Sheet {
        template: name.clone(),
        title: template.raw.title.or(String::new()),
        fields: template.points.iter().filter_map(field).collect(),
        devices: devices.map(|device| device.id.clone()).collect(),
    })
}
