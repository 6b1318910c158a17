//! What is written about the messages of MQTT devices: topics, pointers, and values that stand for others.

use rust_decimal::Decimal;
use toml::de::DeValue;

use crate::config::fault::{Report, Span};
use crate::config::read::{At, Node, Read};
use crate::model::Value;

/// One text, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct Texts(pub(crate) Vec<At<String>>);

impl Read for Texts {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        match node.value {
            DeValue::Array(_) => Vec::read(node, report).map(Texts),
            _ => String::read(node, report).map(|value| Texts(vec![At { value, span: node.span }])),
        }
    }
}

/// An RFC 6901 pointer at first sight; the empty one is the payload itself.
#[derive(Clone, Debug)]
pub(crate) struct Pointer(pub(crate) String);

/// Longest pointer, bytes.
const POINTER_BYTES_MAX: usize = 4096;

impl Read for Pointer {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let help = "a JSON pointer (RFC 6901): \"/temperature\", \"/data/0/value\"";
        let text = node.text(help, report)?;
        if text.len() > POINTER_BYTES_MAX {
            report.fault(node.span, format!("a pointer of {} bytes", text.len()), help);
        } else if !text.is_empty() && !text.starts_with('/') {
            report.fault(node.span, format!("pointer {text:?} does not begin with /"), help);
        } else {
            return Some(Pointer(text.to_owned()));
        }
        None
    }
}

/// What a device writes → the value that it means, with the place of each.
#[derive(Clone, Debug)]
pub(crate) struct Words(pub(crate) Vec<(Box<str>, At<Value>)>);

impl Read for Words {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let DeValue::Table(table) = node.value else {
            node.unexpected("a table: { ON = true, OFF = false }", report);
            return None;
        };
        let mut words = Vec::new();
        for (key, value) in table {
            let inner = node.inner(value);
            let value = match inner.value {
                DeValue::Boolean(flag) => Some(Value::Flag(*flag)),
                DeValue::String(text) => Some(Value::Text((**text).into())),
                _ => Decimal::read(&inner, report).map(Value::Number),
            };
            let span = Span::of(node.span.file(), key.span());
            words.extend(value.map(|value| (Box::from(&**key.get_ref()), At { value, span })));
        }
        Some(Words(words))
    }
}
