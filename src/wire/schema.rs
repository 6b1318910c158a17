//! JSON Schemas (draft 2020-12) of bodies as [`super::body_json`] prints them, by the name of the schema.
//!
//! Guarantees: every body of a schema fits it, and has no key that it does not describe. A later build may add keys: a schema
//! does not forbid them.

use serde_json::{Map, Value, json};

use super::{ALARM, AUDIT, LIST_CHANGE, READINGS, RESULT, WINDOW};
use crate::model::Quality;

/// All schemas there are.
pub const NAMES: [&str; 6] = [ALARM, WINDOW, READINGS, LIST_CHANGE, RESULT, AUDIT];

/// The JSON Schema of a body; none of a name that is not in [`NAMES`].
#[must_use]
pub fn json_schema(name: &str) -> Option<Value> {
    let (title, content, required) = match name {
        ALARM => ("A change in the life of an alarm", json!({ "event": event() }), &["event"][..]),
        WINDOW => ("What was let out of a closed window", window(), &["quality", "manual", "measures"][..]),
        READINGS => ("Single readings", json!({ "readings": readings() }), &["readings"][..]),
        LIST_CHANGE => {
            ("A change of the lists", json!({ "list_change": list_change() }), &["list_change"][..])
        }
        RESULT => ("How a command ended", json!({ "result": result() }), &["result"][..]),
        AUDIT => ("What the trail has come to", json!({ "audit": audit() }), &["audit"][..]),
        _ => return None,
    };
    let mut properties = head();
    properties.extend(content.as_object().cloned().unwrap_or_default());
    let required: Vec<&str> = ["gateway", "purpose", "policy_version", "treatments", "approvals"]
        .iter()
        .chain(required)
        .copied()
        .collect();
    Some(json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": format!("schema {name} of package smallbrain.v1"),
        "type": "object",
        "properties": properties,
        "required": required,
    }))
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn whole() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

/// RFC 3339 in UTC.
fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn hex() -> Value {
    json!({ "type": "string", "description": "bytes as hexadecimal digits" })
}

/// An object of these properties, all of which are there.
fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// What every body has.
fn head() -> Map<String, Value> {
    let place = json!({
        "type": "object",
        "properties": {
            "division": text(), "compound": text(), "building": text(), "grid": text(), "address": text(),
        },
    });
    let head = json!({
        "gateway": text(),
        "purpose": text(),
        "policy_version": whole(),
        "place": place,
        "window_start": time(),
        "window_end": time(),
        "observed_at": time(),
        "sealed_at": time(),
        "treatments": { "type": "array", "items": text() },
        "approvals": { "type": "array", "items": text() },
    });
    head.as_object().cloned().unwrap_or_default()
}

fn event() -> Value {
    object(json!({
        "code": text(),
        "device_class": text(),
        "severity": { "enum": ["unspecified", "info", "minor", "major", "critical"] },
        "state": { "enum": ["unspecified", "raised", "updated", "cleared"] },
        "attributes": { "type": "object", "additionalProperties": text() },
        "manual": { "type": "boolean" },
    }))
}

fn window() -> Value {
    let suppressed = object(json!({ "suppressed": text() }));
    let value = json!({
        "description": "a count as an integer, an exact decimal as a text, what was never exact as a number",
        "anyOf": [{ "type": ["integer", "number", "string", "null"] }, suppressed],
    });
    let measure = object(json!({
        "name": text(),
        "dimensions": { "type": "object", "additionalProperties": text() },
        "value": value,
        "unit": text(),
    }));
    json!({
        "quality": text(),
        "manual": { "type": "boolean" },
        "measures": { "type": "array", "items": measure },
    })
}

fn readings() -> Value {
    let qualities: Vec<&str> =
        Quality::ALL.iter().map(|quality| quality.as_str()).chain(["unknown"]).collect();
    let row = object(json!({
        "device": text(),
        "metric": text(),
        "unit": text(),
        "time": time(),
        "value": { "type": ["string", "boolean"], "description": "an exact decimal and a text as a text, a flag as true or false" },
        "quality": { "enum": qualities },
        "manual": { "type": "boolean" },
    }));
    json!({ "type": "array", "items": row })
}

fn list_change() -> Value {
    let line = object(json!({
        "list": { "enum": ["demand", "collect", "share", "governance"] },
        "item": text(),
        "version": whole(),
        "change": { "enum": ["added", "changed", "retired"] },
        "approval": text(),
    }));
    json!({ "anyOf": [line, object(json!({ "more": whole() }))] })
}

fn result() -> Value {
    object(json!({
        "command_id": text(),
        "request_id": text(),
        "command": text(),
        "status": { "enum": ["done", "failed", "expired"] },
        "detail": text(),
        "done_at": { "type": ["string", "null"], "format": "date-time" },
    }))
}

fn audit() -> Value {
    let checkpoint = object(json!({
        "origin": text(),
        "size": whole(),
        "head": hex(),
        "signature": hex(),
        "at": { "type": ["string", "null"], "format": "date-time" },
    }));
    object(json!({
        "checkpoint": { "anyOf": [checkpoint, { "type": "null" }] },
        "counts": { "type": "object", "additionalProperties": whole() },
    }))
}

#[cfg(test)]
mod tests;
