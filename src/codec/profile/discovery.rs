//! Home Assistant's MQTT discovery: a retained configuration says where an entity's values are.
//!
//! It is metadata. Short keys (`stat_t`) and the base topic (`~`) are resolved; a value template is understood when it is
//! one member of the JSON payload (`{{ value_json.a.b }}`, `{{ value_json["a"] }}`) and named as not understood otherwise.

use super::node::Node;
use super::topic::Captures;
use super::walk::name;
use super::{Mapped, Message, ProfileError, State};

/// What a discovery message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Whether the entity goes away: the payload is empty.
    pub removed: bool,
    /// What kind of entity it is, from the topic: `sensor`, `binary_sensor`.
    pub component: Option<Box<str>>,
    /// Its name among those of the device, from the topic.
    pub object: Option<Box<str>>,
    /// Where its state is published.
    pub state_topic: Option<Box<str>>,
    /// Where it is published whether the device is there.
    pub availability_topic: Option<Box<str>>,
    /// RFC 6901 pointer to the value in a state's payload; none where the payload is the value.
    pub pointer: Option<Box<str>>,
    /// Whether there is a value template that is not understood: then nobody knows where the value is.
    pub opaque_template: bool,
    /// What is measured: `temperature`, `door`.
    pub device_class: Option<Box<str>>,
    /// As the device writes it: `°C`.
    pub unit: Option<Box<str>>,
    /// Payload that means on.
    pub payload_on: Option<Box<str>>,
    /// Payload that means off.
    pub payload_off: Option<Box<str>>,
}

pub(super) fn read(
    message: &Message<'_>,
    captures: &Captures<'_>,
    _: &mut State,
    mapped: &mut Mapped,
) -> Result<(), ProfileError> {
    let captured =
        |name: &str| captures.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).into());
    let mut description = Description {
        component: captured("component"),
        object: captured("object"),
        ..Description::default()
    };
    const FROM_TOPIC: &[&str] = &["{node}", "{object}"];
    if message.payload.is_empty() {
        description.removed = true;
        mapped.device = name(FROM_TOPIC, captures, &Node::Bare(""));
        mapped.description = Some(description);
        return Ok(());
    }
    let node = Node::parse(message.payload)?;
    if node.members().is_none() {
        return Err(ProfileError::Shape("a discovery message is an object"));
    }
    mapped.device = name(
        &[
            "{/device/identifiers/0}",
            "{/device/identifiers}",
            "{/device/ids/0}",
            "{/device/ids}",
            "{/dev/identifiers/0}",
            "{/dev/ids/0}",
            "{/dev/ids}",
        ],
        captures,
        &node,
    )
    .or_else(|| name(FROM_TOPIC, captures, &node));
    let text = |long: &str, short: &str| node.get(long).or_else(|| node.get(short)).and_then(Node::text);
    let base = text("~", "~").unwrap_or_default();
    let topic = |long, short| text(long, short).map(|topic| topic_of(&topic, &base).into());
    description.state_topic = topic("state_topic", "stat_t");
    description.availability_topic = topic("availability_topic", "avty_t");
    if let Some(template) = text("value_template", "val_tpl") {
        match pointer(&template) {
            Some(pointer) => description.pointer = (!pointer.is_empty()).then(|| pointer.into()),
            None => description.opaque_template = true,
        }
    }
    let boxed = |long, short| text(long, short).map(Into::into);
    description.device_class = boxed("device_class", "dev_cla");
    description.unit = boxed("unit_of_measurement", "unit_of_meas");
    description.payload_on = boxed("payload_on", "pl_on");
    description.payload_off = boxed("payload_off", "pl_off");
    mapped.description = Some(description);
    Ok(())
}

/// A topic with its base filled in, at the front or at the end.
fn topic_of(topic: &str, base: &str) -> String {
    if let Some(rest) = topic.strip_prefix('~') {
        format!("{base}{rest}")
    } else if let Some(rest) = topic.strip_suffix('~') {
        format!("{rest}{base}")
    } else {
        topic.into()
    }
}

/// The pointer of a template that is nothing but one member; the empty one for `{{ value }}`.
fn pointer(template: &str) -> Option<String> {
    let inner = template.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    if inner == "value" {
        return Some(String::new());
    }
    let mut rest = inner.strip_prefix("value_json")?;
    let mut pointer = String::new();
    while !rest.is_empty() {
        let member = if let Some(behind) = rest.strip_prefix('.') {
            let end = behind.find(['.', '[']).unwrap_or(behind.len());
            let (member, behind) = behind.split_at(end);
            let plain = |c: char| c.is_alphanumeric() || c == '_';
            rest = behind;
            member.chars().all(plain).then_some(member)
        } else {
            let (member, behind) = rest.strip_prefix('[')?.split_once(']')?;
            let quoted = |quote| member.strip_prefix(quote).and_then(|text: &str| text.strip_suffix(quote));
            rest = behind;
            let digits = !member.is_empty() && member.bytes().all(|byte| byte.is_ascii_digit());
            quoted('"').or_else(|| quoted('\'')).or(digits.then_some(member))
        };
        let member = member.filter(|member| !member.is_empty() && !member.contains(['"', '\'']))?;
        pointer.push('/');
        pointer.push_str(&member.replace('~', "~0").replace('/', "~1"));
    }
    (!pointer.is_empty()).then_some(pointer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn templates_of_one_member_are_pointers() {
        for (template, expected) in [
            ("{{ value_json.temperature }}", Some("/temperature")),
            ("{{value_json.ENERGY.Total}}", Some("/ENERGY/Total")),
            ("{{ value_json[\"a b\"] }}", Some("/a b")),
            ("{{ value_json['DS18B20-1'].Temperature }}", Some("/DS18B20-1/Temperature")),
            ("{{ value_json.list[1] }}", Some("/list/1")),
            ("{{ value_json['a/b'] }}", Some("/a~1b")),
            ("{{ value }}", Some("")),
            ("{{ value_json }}", None),
            ("{{ value_json.x | float }}", None),
            ("{{ value_json.x * 2 }}", None),
            ("{% if value_json.x %}1{% endif %}", None),
            ("{{ value_json. }}", None),
            ("{{ value_json[ }}", None),
            ("value_json.x", None),
        ] {
            assert_eq!(pointer(template).as_deref(), expected, "{template}");
        }
    }

    proptest! {
        #[test]
        fn any_template_is_understood_or_not(template in "[{} a-z_.\\[\\]'\"|0-9]{0,30}") {
            let _ = pointer(&template);
        }
    }
}
