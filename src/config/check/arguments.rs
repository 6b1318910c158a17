//! Arguments of commands: closed values, and what a command comes to with each choice of them.
//!
//! Guarantees: every choice is known when the configuration is loaded, so nothing that a caller writes reaches a device.

use std::collections::BTreeMap;

use crate::config::fault::Report;
use crate::config::raw::{Argument, Command};
use crate::config::read::At;
use crate::rules::command::Arguments;

/// Choices of one command; one more is a fault.
const CHOICES_MAX: usize = 256;
/// Bytes of a name, and of a value.
const TEXT_MAX: usize = 64;

/// A command's arguments with their values.
pub(super) fn values(raw: &Command, report: &mut Report) -> BTreeMap<String, Vec<String>> {
    let Some(arguments) = raw.arguments.get() else { return BTreeMap::new() };
    if arguments.value.0.is_empty() {
        report.fault(
            arguments.span,
            "arguments without any",
            "{ level = [\"low\", \"high\"] }, or no arguments",
        );
    }
    let one = |argument: &Argument, report: &mut Report| {
        let At { value: name, span } = &argument.name;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.is_empty() || name.len() > TEXT_MAX || !name.chars().all(is_name) {
            report.fault(*span, format!("argument {name:?}"), "1 to 64 of a-z, 0-9, _");
        }
        let values = argument.values.as_ref()?;
        if values.is_empty() {
            report.fault(*span, format!("argument {name} without values"), "the values that it may have");
        }
        let mut known: Vec<String> = Vec::new();
        for At { value, span } in values {
            let is_plain = |c: char| !c.is_control() && c != '{' && c != '}';
            if value.is_empty() || value.len() > TEXT_MAX || !value.chars().all(is_plain) {
                report.fault(
                    *span,
                    format!("value of argument {name}"),
                    "1 to 64 bytes of a line, without { and }",
                );
            }
            if known.contains(value) {
                report.fault(*span, format!("value {value:?} of {name} stands twice"), "each once");
            } else {
                known.push(value.clone());
            }
        }
        Some((name.clone(), known))
    };
    let all: BTreeMap<_, _> = arguments.value.0.iter().filter_map(|argument| one(argument, report)).collect();
    let count = all.values().fold(1_usize, |count, values| count.saturating_mul(values.len().max(1)));
    if count > CHOICES_MAX {
        let message = format!("{count} choices of arguments");
        report.fault(
            arguments.span,
            message,
            format!("at most {CHOICES_MAX}: fewer values, or two commands"),
        );
        return BTreeMap::new();
    }
    all
}

/// Every choice of values; one that is empty where there are no arguments.
pub(super) fn choices(arguments: &BTreeMap<String, Vec<String>>) -> Vec<Arguments> {
    let mut all = vec![Arguments::new()];
    for (name, values) in arguments {
        let with = |choice: &Arguments| {
            let choice = choice.clone();
            values.iter().map(move |value| {
                let mut more = choice.clone();
                more.insert(name.clone(), value.clone());
                more
            })
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

/// A text with the chosen values in place of their names in braces.
pub(super) fn filled(text: &str, chosen: &Arguments) -> String {
    let mut text = text.to_owned();
    // No value has a brace, so none is taken for a name.
    for (name, value) in chosen {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

/// Arguments that change nothing.
pub(super) fn unused(raw: &Command, texts: &[&str], report: &mut Report) {
    for Argument { name, .. } in raw.arguments.value().map_or(&[][..], |arguments| &arguments.0[..]) {
        let place = format!("{{{}}}", name.value);
        if !texts.iter().any(|text| text.contains(&place)) {
            let message = format!("argument {} is used nowhere", name.value);
            report.fault(
                name.span,
                message,
                format!("{place} in the topic, payload or value, or no such argument"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_made_once_and_fills_its_own_names_only() {
        let arguments = [("level", &["low", "high"][..]), ("zone", &["1", "2", "3"])];
        let arguments = arguments.map(|(name, values)| {
            (name.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
        });
        let texts: Vec<String> = choices(&arguments.into())
            .iter()
            .map(|chosen| filled("{\"v\":\"{level}\",\"z\":{zone},\"{other}\":0}", chosen))
            .collect();
        assert_eq!(texts.len(), 6);
        assert_eq!(texts[0], "{\"v\":\"low\",\"z\":1,\"{other}\":0}");
        assert_eq!(texts[5], "{\"v\":\"high\",\"z\":3,\"{other}\":0}");
        assert_eq!(choices(&BTreeMap::new()), [Arguments::new()]);
    }
}
