//! An unknown device → the lines of the configuration that would take it in. Pure.
//!
//! Guarantees: what comes out is TOML whatever the device is called and whatever its fields are; metrics, template and id clash
//! with nothing that is taken; what may be about people is proposed to be dropped, and a text that no convention knows too. It
//! is a proposal: a person reads it before it is in force.

use std::fmt::Write as _;

use crate::codec::unit::same_quantity;
use crate::device::mqtt::onboard::JSON;
use crate::device::mqtt::topic::Pattern;
use crate::model::DeviceId;
use crate::wire::bus::{PendingDevice, PendingField, TakenNames};

/// Why there is nothing to write.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StanzaError {
    /// No field that could be a point.
    #[error("pending device {0:?} has shown no number, flag or text yet: wait for its next message")]
    NoField(String),
    /// Somebody is called that.
    #[error("device id {0} is taken in the configuration: give another one with --id")]
    Taken(DeviceId),
    /// No topic that a mapping can name.
    #[error("topic {0:?} has no level that names the device alone: write its [[mapping]] by hand")]
    Topic(String),
}

/// Profiles whose topics may be any, so that a mapping has to say which.
const ANY_TOPIC: [&str; 5] =
    ["senml", "lorawan_device_payload", "neuron_values", "neuron_tags", "hikvision_isapi"];
/// Parts of names that biometrics have; as the collection list knows them.
const BIOMETRIC: [&str; 6] = ["face", "fingerprint", "voiceprint", "palmprint", "iris", "gait"];
/// Words that fields about a person have in their names.
const PERSONAL: [&str; 9] = ["id", "ids", "tel", "age", "sex", "pic", "pics", "mac", "nick"];
/// The same, wherever they stand.
const PERSONAL_PARTS: [&str; 39] = [
    "name",
    "phone",
    "telnum",
    "mobile",
    "card",
    "face",
    "plate",
    "person",
    "people",
    "owner",
    "user",
    "employee",
    "visitor",
    "resident",
    "birth",
    "gender",
    "address",
    "addr",
    "photo",
    "picture",
    "image",
    "finger",
    "passw",
    "email",
    "wechat",
    "openid",
    "badge",
    "token",
    "姓名",
    "名字",
    "手机",
    "电话",
    "身份证",
    "卡号",
    "车牌",
    "人脸",
    "住址",
    "地址",
    "性别",
];
/// What tells how a household lives, by class or last part of the name.
const HOUSEHOLD: [&str; 9] =
    ["presence", "occupancy", "motion", "energy", "power", "water", "gas", "volume", "apparent_power"];
/// Last parts of a pointer to a time.
const TIMES: [&str; 6] = ["ts", "time", "timestamp", "datetime", "date", "at"];

/// Whom a point tells about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Operational,
    Household,
    Personal,
    Biometric,
}

struct Point<'d> {
    field: &'d PendingField,
    metric: String,
    kind: &'static str,
    unit: String,
    class: Class,
    /// Whether nobody told the unit.
    unit_assumed: bool,
}

/// The lines; `id` in place of one that is made from its name.
///
/// # Errors
/// [`StanzaError`].
pub fn stanza(
    device: &PendingDevice,
    taken: &TakenNames,
    id: Option<&DeviceId>,
) -> Result<String, StanzaError> {
    let id = id.cloned().unwrap_or_else(|| id_of(&device.name));
    if taken.devices.iter().any(|known| known == id.as_str()) {
        return Err(StanzaError::Taken(id));
    }
    let is_json = device.profile == JSON;
    let times: Vec<_> = device.fields.iter().filter(|field| is_json && is_time(field)).collect();
    let points = points(device, taken, &times);
    if points.is_empty() {
        return Err(StanzaError::NoField(device.name.clone()));
    }
    let template = unique(&line_id(&format!("{}-{id}", device.profile)), |name| {
        taken.templates.iter().any(|known| known == name)
    });
    let mut out = String::new();
    let text = quoted;
    write_head(&mut out, device);
    write_template(&mut out, device, &template, &points);
    let _ = write!(out, "\n[[device]]\nid = {}\n", text(id.as_str()));
    if !is_json || device.name != id.as_str() {
        let _ = writeln!(out, "name = {}  # what its messages call it", text(&device.name));
    }
    let _ = writeln!(out, "template = {}", text(&template));
    write_mapping(&mut out, device, &template, &times)?;
    write_collect(&mut out, device, &template, &points);
    write_user(&mut out, device, &id);
    Ok(out)
}

fn points<'d>(device: &'d PendingDevice, taken: &TakenNames, times: &[&PendingField]) -> Vec<Point<'d>> {
    let mut points: Vec<Point<'d>> = Vec::new();
    for field in &device.fields {
        let kind = match field.r#type.as_str() {
            "number" => "number",
            "flag" => "flag",
            "text" | "mixed" => "text",
            _ => continue,
        };
        // With something below it now and then it is no value; the whole payload has no pointer that a point may have.
        let below = format!("{}/", field.path);
        let parent =
            device.profile == JSON && device.fields.iter().any(|other| other.path.starts_with(&below));
        if field.path.is_empty() || parent || times.iter().any(|time| time.path == field.path) {
            continue;
        }
        let told = if kind == "number" { field.unit.as_str() } else { "" };
        let mut unit = told.to_owned();
        let metric = unique(&metric_of(&field.path), |name| {
            let known = taken.metrics.iter().find(|known| known.name == name);
            unit = told.to_owned();
            points.iter().any(|point| point.metric == name)
                || known.is_some_and(|known| {
                    let fits = known.kind == kind && (told.is_empty() || same_quantity(told, &known.unit));
                    unit.clone_from(&known.unit);
                    !fits
                })
        });
        let class = class(field, &metric);
        let unit_assumed = told.is_empty() && !unit.is_empty();
        points.push(Point { field, metric, kind, unit, class, unit_assumed });
    }
    points
}

fn write_head(out: &mut String, device: &PendingDevice) {
    let topics: Vec<String> = device.topics.iter().map(|topic| quoted(topic)).collect();
    let _ = writeln!(out, "# {} as {}, heard on {}", quoted(&device.name), device.profile, topics.join(", "));
    if !device.refused.is_empty() {
        let _ = writeln!(out, "# Refused at the door whatever stands here: {}", device.refused.join(", "));
    }
    let skipped =
        device.fields.iter().filter(|field| matches!(field.r#type.as_str(), "null" | "array" | "object"));
    for field in skipped {
        let _ = writeln!(out, "# No point: {} ({})", quoted(&field.path), field.r#type);
    }
}

fn write_template(out: &mut String, device: &PendingDevice, template: &str, points: &[Point<'_>]) {
    let _ = writeln!(out, "\n[[template]]\nname = {}\ntitle = {}", quoted(template), quoted(&device.name));
    for point in points {
        let Point { field, metric, kind, unit, class, unit_assumed } = point;
        let _ = writeln!(out, "[[template.point]]\nmetric = {}", quoted(metric));
        if device.profile == JSON {
            let _ = writeln!(out, "json = {}", quoted(&field.path));
        } else if field.path != *metric {
            let _ = writeln!(out, "field = {}", quoted(&field.path));
        }
        if *kind != "number" {
            let _ = writeln!(out, "kind = {}", quoted(kind));
        }
        if !unit.is_empty() {
            let why = if *unit_assumed { "  # none was told: that of the metric elsewhere" } else { "" };
            let _ = writeln!(out, "unit = {}{why}", quoted(unit));
        }
        let class = match class {
            Class::Operational => continue,
            Class::Household => "household",
            Class::Personal => "personal",
            Class::Biometric => "biometric",
        };
        let _ = writeln!(out, "class = {}", quoted(class));
    }
}

fn write_mapping(
    out: &mut String,
    device: &PendingDevice,
    template: &str,
    times: &[&PendingField],
) -> Result<(), StanzaError> {
    if device.profile != JSON {
        if device.mapped {
            out.push_str("\n# Its topics are mapped already.\n");
            return Ok(());
        }
        let _ = writeln!(out, "\n[[mapping]]\nprofile = {}", quoted(&device.profile));
        if let Some(topic) = device.topics.first().filter(|_| ANY_TOPIC.contains(&device.profile.as_str())) {
            let _ = writeln!(out, "topic = {}", quoted(topic));
        }
        return Ok(());
    }
    let mut patterns: Vec<String> = Vec::new();
    for topic in &device.topics {
        let mut left = true;
        let levels = topic.split('/').map(|level| {
            if left && level == device.name {
                left = false;
                "{device}"
            } else {
                level
            }
        });
        let pattern = levels.collect::<Vec<_>>().join("/");
        if Pattern::parse(&pattern).is_err() {
            return Err(StanzaError::Topic(topic.clone()));
        }
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    for pattern in patterns {
        let _ = writeln!(out, "\n[[mapping]]\ntopic = {}\ntemplate = {}", quoted(&pattern), quoted(template));
        for time in times {
            let form = if time.r#type == "number" { "millis" } else { "text" };
            let _ = writeln!(
                out,
                "#time = {{ pointer = {}, form = \"{form}\" }}  # if it is one; or \"seconds\"",
                quoted(&time.path)
            );
        }
    }
    Ok(())
}

fn write_collect(out: &mut String, device: &PendingDevice, template: &str, points: &[Point<'_>]) {
    out.push_str("\n# A proposal: read every line before this is in force. What is dropped is not stored.\n");
    let id = line_id(&format!("C-{template}"));
    let _ = writeln!(
        out,
        "[[collect]]\nid = {}\ntemplates = [{}]\npurpose = \"to.be.named\"  # what it is taken for\n[collect.fields]",
        quoted(&id),
        quoted(template)
    );
    for point in points {
        let unknown_text = point.kind == "text" && device.profile == JSON;
        let (what, why) = match point.class {
            Class::Operational if unknown_text => {
                ("drop", "  # a text: keep it if it says nothing about people")
            }
            Class::Operational => ("keep", ""),
            Class::Household => ("drop", "  # tells how a household lives: keep it if it may be known"),
            Class::Personal => ("drop", "  # looks like something about a person"),
            Class::Biometric => ("refuse", "  # biometrics are never taken"),
        };
        let _ = writeln!(out, "{} = {}{why}", quoted(&point.metric), quoted(what));
    }
}

fn write_user(out: &mut String, device: &PendingDevice, id: &DeviceId) {
    if device.user.is_empty() {
        out.push_str(
            "\n# It connects without a name. `smallbrain device add` makes it credentials of its own.\n",
        );
        return;
    }
    let (user, id) = (quoted(&device.user), quoted(id.as_str()));
    let _ = writeln!(
        out,
        "\n# Its user has to be allowed to speak for it:\n#[[mqtt.user]]\n#name = {user}\n#devices = [{id}]"
    );
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Letters, digits, `-_.:`; everything else is a hyphen.
fn id_of(name: &str) -> DeviceId {
    let letter = |c: char| if c.is_alphanumeric() || "-_.:".contains(c) { c } else { '-' };
    let text: String = name.chars().map(letter).collect();
    bounded(text.trim_matches('-'), 100).parse().unwrap_or_else(|_| "device".parse().expect("a device id"))
}

/// As an id of a line has its letters; what is given begins with one.
fn line_id(text: &str) -> String {
    bounded(&text.replace(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)), "-"), 120).to_owned()
}

fn bounded(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Lower case, digits, `_` and `.`; everything else is `_`, and none of it stands at an end or twice.
fn metric_of(path: &str) -> String {
    let mut metric = String::new();
    for c in path.chars().flat_map(char::to_lowercase) {
        let c = if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '_' };
        if !("_.".contains(c) && metric.chars().next_back().is_none_or(|last| "_.".contains(last))) {
            metric.push(c);
        }
    }
    let metric = bounded(metric.trim_end_matches(['_', '.']), 120);
    if metric.is_empty() { "value".to_owned() } else { metric.to_owned() }
}

/// The name, or the name with the first number that makes it nobody else's.
fn unique(name: &str, mut is_taken: impl FnMut(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let numbered = (2_u64..).map(|number| format!("{name}_{number}"));
    numbered.into_iter().find(|name| !is_taken(name)).expect("numbers do not end")
}

fn is_time(field: &PendingField) -> bool {
    let last = field.path.rsplit('/').next().unwrap_or_default();
    matches!(field.r#type.as_str(), "number" | "text")
        && TIMES.iter().any(|time| time.eq_ignore_ascii_case(last))
}

fn class(field: &PendingField, metric: &str) -> Class {
    if metric.split('.').any(|part| BIOMETRIC.contains(&part)) {
        return Class::Biometric;
    }
    let lower = field.path.to_lowercase();
    if PERSONAL_PARTS.iter().any(|part| lower.contains(part))
        || words(&field.path).any(|word| PERSONAL.contains(&&*word))
    {
        return Class::Personal;
    }
    let last = words(&field.path).last().unwrap_or_default();
    if HOUSEHOLD.iter().any(|known| *known == field.device_class || *known == last) {
        return Class::Household;
    }
    Class::Operational
}

/// `cardNo`, `card_no` and `card.no` are two words.
fn words(path: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for c in path.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && lower) {
            words.push(String::new());
        }
        lower = c.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.into_iter().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests;
