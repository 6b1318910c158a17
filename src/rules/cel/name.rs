//! What the names of a condition mean: metrics, devices, functions, the methods of texts.
//!
//! Guarantees: a name means one thing or is a fault with what may have been meant.

use std::time::Duration;

use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};
use cel::parser::Expression;

use super::compile::{Compiler, Typed, called};
use super::tree::{Flag, Number, Search, Text};
use super::{Input, Lookback, Type, What};
use crate::model::{DeviceId, LineId, Metric, Quality};
use crate::spelling::{duration, nearest};

/// How far a condition may look back.
const OVER_MIN: Duration = Duration::from_secs(1);
const OVER_MAX: Duration = Duration::from_hours(24);
/// Names listed in a fault.
const LISTED_MAX: usize = 8;

const FUNCTIONS: &[(&str, &str)] = &[
    ("abs", "abs(x)"),
    ("quality", "quality(m)"),
    ("lowest", "lowest(m, \"10m\")"),
    ("highest", "highest(m, \"10m\")"),
    ("rise", "rise(m, \"10m\")"),
    ("rate", "rate(m, \"10m\")"),
    ("listed", "listed(\"permitted-plates\", plate)"),
];
const METHODS: &[&str] = &["startsWith", "endsWith", "contains"];

/// Dotted names from a device on, or from the rule's own.
struct Path<'e> {
    device: Option<&'e Expression>,
    name: String,
}

/// A path, if a node has the shape of one.
fn path(node: &Expression) -> Option<Path<'_>> {
    let mut parts: Vec<&str> = Vec::new();
    let mut node = node;
    let device = loop {
        match &node.expr {
            Expr::Select(select) if !select.test => {
                parts.push(&select.field);
                node = &select.operand;
            }
            Expr::Ident(name) => {
                parts.push(name);
                break None;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [of, id] if of.expr == Expr::Ident("devices".to_owned()) => break Some(id),
                _ => return None,
            },
            _ => return None,
        }
    };
    parts.reverse();
    Some(Path { device, name: parts.join(".") })
}

/// What would be right instead of a name.
fn instead(name: &str, names: &[String], none: &str) -> String {
    if let Some(near) = nearest(name, names.iter().map(String::as_str)) {
        return format!("did you mean `{near}`?");
    }
    let listed: Vec<&str> = names.iter().take(LISTED_MAX).map(String::as_str).collect();
    let more = names.len() - listed.len();
    match (listed.is_empty(), more) {
        (true, _) => none.to_owned(),
        (_, 0) => format!("there is {}", listed.join(", ")),
        _ => format!("there is {} and {more} more", listed.join(", ")),
    }
}

impl Compiler<'_> {
    /// A metric or `online`, of the rule's device or a named one.
    pub(super) fn read(&mut self, node: &Expression) -> Option<Typed> {
        let Some(path) = path(node) else {
            let message = "nothing that has parts";
            self.fault(node, message, "for instance: temperature, energy.forward, devices[\"pump-1\"].level");
            return None;
        };
        let device = self.device(&path)?;
        if path.name == "online" {
            if self.scope.metric(device.as_ref().map(DeviceId::as_str), "online").is_some() {
                let message = "`online` says whether the device is there, and hides the metric of that name";
                self.fault(node, message, "give the metric another name");
                return None;
            }
            let place = self.input(Input { device, what: What::Online });
            return Some(Typed::Flag(Flag::Input(place)));
        }
        let (metric, kind) = self.metric(node, &path, device.as_ref())?;
        let place = self.input(Input { device, what: What::Value(metric) });
        Some(match kind {
            Type::Number => Typed::Number(Number::Input(place)),
            Type::Flag => Typed::Flag(Flag::Input(place)),
            Type::Text => Typed::Text(Text::Input(place)),
        })
    }

    /// The device that a path names; none for the rule's own.
    fn device(&mut self, path: &Path<'_>) -> Option<Option<DeviceId>> {
        let Some(node) = path.device else { return Some(None) };
        let Expr::Literal(LiteralValue::String(id)) = &node.expr else {
            self.fault(node, "no device", "its id as it is declared: devices[\"pump-1\"]");
            return None;
        };
        let id = id.inner();
        match id.parse::<DeviceId>() {
            Ok(device) if self.scope.device(id) => Some(Some(device)),
            _ => {
                let help = instead(id, &self.scope.devices(), "declare it in a [[device]]");
                let shown: String = id.chars().take(64).collect();
                self.fault(node, format!("no device {shown:?}"), help);
                None
            }
        }
    }

    /// The metric at the end of a path.
    fn metric(
        &mut self,
        node: &Expression,
        path: &Path<'_>,
        device: Option<&DeviceId>,
    ) -> Option<(Metric, Type)> {
        let name = path.name.as_str();
        let of = device.map(DeviceId::as_str);
        if let (Ok(metric), Some(kind)) = (name.parse::<Metric>(), self.scope.metric(of, name)) {
            if device.is_none() && name == "devices" {
                let help = "give the metric another name";
                self.fault(node, "`devices` is all devices, and hides the metric of that name", help);
                return None;
            }
            return Some((metric, kind));
        }
        let function = FUNCTIONS.iter().find(|(function, _)| *function == name);
        let shown: String = name.chars().take(64).collect();
        let (message, help) = match (device, function) {
            (Some(device), _) if name.is_empty() => {
                (format!("{device} is no value"), format!("name a metric of it: devices[\"{device}\"].level"))
            }
            (None, Some((_, shape))) => (format!("`{name}` is a function"), format!("call it: {shape}")),
            (None, None) if name == "devices" => {
                ("all devices are no value".to_owned(), "name one: devices[\"pump-1\"].level".to_owned())
            }
            (device, _) => {
                let mut names = self.scope.metrics(of);
                names.sort();
                names.push("online".to_owned());
                let what = device.map_or_else(
                    || format!("no metric `{shown}`"),
                    |device| format!("{device} has no metric `{shown}`"),
                );
                (what, instead(name, &names, "declare it in its template"))
            }
        };
        self.fault(node, message, help);
        None
    }

    /// `quality(m)`, `lowest(m, "3h")`, `abs(x)`, `text.contains("x")`.
    pub(super) fn function(&mut self, node: &Expression, call: &CallExpr, depth: usize) -> Option<Typed> {
        let name = call.func_name.as_str();
        if let Some(text) = &call.target {
            return self.method(node, text, call, depth);
        }
        let lookback = match name {
            "lowest" => Some(Lookback::Lowest),
            "highest" => Some(Lookback::Highest),
            "rise" => Some(Lookback::Rise),
            "rate" => Some(Lookback::Rate),
            _ => None,
        };
        match (name, lookback, call.args.as_slice()) {
            ("abs", _, [number]) => {
                let number = self.number(number, depth)?;
                Some(Typed::Number(Number::Absolute(Box::new(number))))
            }
            ("quality", _, [metric]) => {
                let (device, metric, _) = self.series(metric)?;
                let place = self.input(Input { device, what: What::Quality(metric) });
                Some(Typed::Text(Text::Input(place)))
            }
            ("listed", _, [list, metric]) => self.listed(list, metric),
            (_, Some(of), [metric, over]) => {
                let series = self.series(metric);
                let over_ms = self.over(over);
                let (device, read, kind) = series?;
                if kind != Type::Number {
                    self.fault(
                        metric,
                        format!("{} where a number is meant", called(kind)),
                        "a metric with a number",
                    );
                    return None;
                }
                let what = What::Over { metric: read, of, over_ms: over_ms? };
                let place = self.input(Input { device, what });
                Some(Typed::Number(Number::Input(place)))
            }
            _ => {
                let (message, help) = unknown(name);
                self.fault(node, message, help);
                None
            }
        }
    }

    /// Whether a list has the newest text of a metric.
    fn listed(&mut self, list: &Expression, metric: &Expression) -> Option<Typed> {
        let (named, series) = (self.list(list), self.series(metric));
        let (list, (device, read, kind)) = (named?, series?);
        if kind != Type::Text {
            let message = format!("{} where a text is meant", called(kind));
            self.fault(metric, message, "a metric with a text: what the list has as keys");
            return None;
        }
        let place = self.input(Input { device, what: What::Listed { list, metric: read } });
        Some(Typed::Flag(Flag::Input(place)))
    }

    /// The id of a list that the city may share.
    fn list(&mut self, node: &Expression) -> Option<LineId> {
        let Expr::Literal(LiteralValue::String(id)) = &node.expr else {
            self.fault(node, "no list", "its id as it is declared: listed(\"permitted-plates\", plate)");
            return None;
        };
        let (id, known) = (id.inner(), self.scope.lists());
        match id.parse::<LineId>() {
            Ok(list) if known.iter().any(|known| known == id) => Some(list),
            _ => {
                let shown: String = id.chars().take(64).collect();
                let help = instead(id, &known, "declare it in a [[shared_list]]");
                self.fault(node, format!("no shared list {shown:?}"), help);
                None
            }
        }
    }

    /// A metric that is looked at as a series.
    fn series(&mut self, node: &Expression) -> Option<(Option<DeviceId>, Metric, Type)> {
        let Some(path) = path(node) else {
            self.fault(node, "no metric", "the name of a metric, not what is computed of it");
            return None;
        };
        let device = self.device(&path)?;
        let (metric, kind) = self.metric(node, &path, device.as_ref())?;
        Some((device, metric, kind))
    }

    /// How far back, milliseconds.
    fn over(&mut self, node: &Expression) -> Option<u64> {
        let help = "a duration from \"1s\" to \"24h\", as it is: \"10m\"";
        let Expr::Literal(LiteralValue::String(text)) = &node.expr else {
            self.fault(node, "no duration", help);
            return None;
        };
        let over = duration(text.inner()).ok().filter(|over| (OVER_MIN..=OVER_MAX).contains(over));
        if over.is_none() {
            let shown: String = text.inner().chars().take(32).collect();
            self.fault(node, format!("{shown:?} is no duration to look back"), help);
        }
        over.and_then(|over| u64::try_from(over.as_millis()).ok())
    }

    fn method(
        &mut self,
        node: &Expression,
        text: &Expression,
        call: &CallExpr,
        depth: usize,
    ) -> Option<Typed> {
        let search = match call.func_name.as_str() {
            "startsWith" => Search::StartsWith,
            "endsWith" => Search::EndsWith,
            "contains" => Search::Contains,
            name => {
                let help = match nearest(name, METHODS.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("texts have {}", METHODS.join(", ")),
                };
                self.fault(node, format!("no method `{name}`"), help);
                return None;
            }
        };
        let [part] = call.args.as_slice() else {
            let name = &call.func_name;
            self.fault(
                node,
                format!("`{name}` takes one text"),
                format!("for instance: state.{name}(\"open\")"),
            );
            return None;
        };
        let sides = (self.text(text, depth), self.text(part, depth));
        Some(Typed::Flag(Flag::Search(search, Box::new(sides.0.zip(sides.1)?))))
    }

    /// Whether there is a quality of that name.
    pub(super) fn quality_named(&mut self, at: &Expression, name: &str) -> Option<()> {
        let names = Quality::ALL.map(|quality| quality.as_str().to_owned());
        if names.iter().any(|known| known == name) {
            return Some(());
        }
        let shown: String = name.chars().take(32).collect();
        self.fault(at, format!("no quality {shown:?}"), instead(name, &names, ""));
        None
    }
}

/// A function that there is not, or not so.
fn unknown(name: &str) -> (String, String) {
    if let Some((_, shape)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
        return (format!("`{name}` is called otherwise"), format!("so: {shape}"));
    }
    if METHODS.contains(&name) {
        return (format!("`{name}` is a method of a text"), format!("so: state.{name}(\"open\")"));
    }
    let help = match nearest(name, FUNCTIONS.iter().map(|(known, _)| *known)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let names: Vec<&str> = FUNCTIONS.iter().map(|(known, _)| *known).collect();
            format!("there is {}", names.join(", "))
        }
    };
    let shown: String = name.chars().take(64).collect();
    (format!("no function `{shown}`"), help)
}
