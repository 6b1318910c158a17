//! The library of templates that comes with the program: `templates/*.toml`.
//!
//! Guarantees: only what a file names and does not define itself is taken from here, so what nobody uses costs nothing
//! and clashes with nothing; faults are told at their place in `templates/`.

use std::collections::BTreeSet;

use super::fault::Report;
use super::raw::Root;
use super::read::At;
use super::source::{Source, Sources};
use crate::model::LineId;

macro_rules! library {
    ($($name:literal,)*) => {
        /// Names and texts.
        const LIBRARY: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../templates/", $name, ".toml"))),)*];
    };
}
library! {
    "dlt645-single-phase",
    "dlt645-three-phase",
    "dlt645-1997",
    "cjt188-water",
    "cjt188-heat",
    "cjt188-gas",
    "mbus-heat",
    "modbus-climate",
    "modbus-di-8",
    "modbus-pump-room",
    "modbus-lift",
    "mqtt-door",
    "mqtt-leak",
    "mqtt-smoke",
    "mqtt-climate",
    "mqtt-plug",
}

/// The templates there are.
pub(crate) fn names<'n>() -> impl Iterator<Item = &'n str> {
    LIBRARY.iter().map(|(name, _)| *name)
}

/// Adds the templates that devices, mappings and collect lines name and no file defines.
pub(crate) fn complete(root: &mut Root, sources: &mut Sources, report: &mut Report) {
    let listed =
        root.collect.list().iter().flat_map(|line| line.templates.list()).map(|at: &At<LineId>| &at.value);
    let named: BTreeSet<&str> = listed
        .chain(root.device.list().iter().filter_map(|device| device.template.value()))
        .chain(root.mapping.list().iter().filter_map(|mapping| mapping.template.value()))
        .map(LineId::as_str)
        .collect();
    let defined = |name: &str| {
        root.template
            .list()
            .iter()
            .any(|template| template.name.value().is_some_and(|own| own.as_str() == name))
    };
    let wanted: Vec<_> = LIBRARY.iter().filter(|(name, _)| named.contains(name) && !defined(name)).collect();
    for (name, text) in wanted {
        root.add(sources.files.len(), text, report);
        sources
            .files
            .push(Source { path: format!("templates/{name}.toml").into(), text: (*text).to_owned() });
    }
}
