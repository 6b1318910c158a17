//! A message of a device, and what the device believes to have said with it: the other side of what `codec::profile` reads.
//!
//! Payloads are written here and in the conventions' files, not by the code that reads them. Names and texts are those of
//! the simulator itself, so none of them needs an escape in JSON.

use std::fmt::Display;

use crate::codec::profile::Kind;

/// A publish, QoS 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
    /// Whether the server keeps it.
    pub retain: bool,
    /// What is said with it.
    pub said: Said,
}

/// What a device believes to have said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// What kind of message it is.
    pub kind: Kind,
    /// Its values, in no order.
    pub readings: Vec<Told>,
    /// Whether the device is there, where it is about that.
    pub online: Option<bool>,
    /// Whether it tells of the past.
    pub history: bool,
    /// Fields that nobody should take, by the name that the profile has for them.
    pub refused: Vec<&'static str>,
    /// Values about people in it, all synthetic.
    pub personal: Vec<String>,
    /// The device's own bytes that it carries.
    pub bytes: Option<Vec<u8>>,
}

/// One value that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whose it is.
    pub device: String,
    /// As the convention names it.
    pub metric: String,
    /// As JSON, with the digits it has.
    pub value: String,
    /// Where the convention fixes it, or the message tells it.
    pub unit: Option<&'static str>,
    /// When it was, milliseconds since 1970 UTC; none where nobody tells.
    pub time_ms: Option<i64>,
    /// Whether it tells that something happened.
    pub event: bool,
}

impl Message {
    /// A message that says nothing yet but what kind it is.
    pub(super) fn new(kind: Kind, topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let said = Said { kind, ..Said::default() };
        Self { topic: topic.into(), payload: payload.into(), retain: false, said }
    }

    /// Whether the device is there, kept by the server.
    pub(super) fn presence(topic: impl Into<String>, payload: impl Into<Vec<u8>>, online: bool) -> Self {
        let mut message = Self::new(Kind::Availability, topic, payload).retained();
        message.said.online = Some(online);
        message
    }

    pub(super) fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// One value that is the whole payload: `payload` on the wire, `value` as JSON.
    pub(super) fn scalar(topic: String, payload: impl Into<Vec<u8>>, told: Told) -> Self {
        let mut message = Self::new(Kind::Data, topic, payload);
        message.said.readings.push(told);
        message
    }
}

impl Told {
    /// A value without unit and time.
    pub(super) fn new(device: &str, metric: impl Into<String>, value: impl Display) -> Self {
        let (device, metric, value) = (device.to_owned(), metric.into(), value.to_string());
        Self { device, metric, value, unit: None, time_ms: None, event: false }
    }

    pub(super) fn in_unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit).filter(|unit| !unit.is_empty());
        self
    }
}

/// A JSON object as it is written, and the readings that its members are.
pub(super) struct Facts {
    device: String,
    time_ms: Option<i64>,
    /// Goes before the metrics.
    prefix: String,
    /// Whether the members tell that something happened.
    pub(super) event: bool,
    members: Vec<String>,
    pub(super) readings: Vec<Told>,
}

impl Facts {
    /// Of a device, at a time if it tells one.
    pub(super) fn new(device: impl Into<String>, time_ms: Option<i64>) -> Self {
        let device = device.into();
        Self { device, time_ms, prefix: String::new(), event: false, members: vec![], readings: vec![] }
    }

    /// Metrics begin with this.
    pub(super) fn under(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// A member that is no reading; its value as JSON.
    pub(super) fn aside(&mut self, name: &str, json: impl Display) -> &mut Self {
        self.members.push(format!(r#""{name}":{json}"#));
        self
    }

    /// The same with a text.
    pub(super) fn note(&mut self, name: &str, text: impl Display) -> &mut Self {
        self.aside(name, quoted(text))
    }

    /// A reading without a member of its own; an empty unit is none.
    pub(super) fn mean(&mut self, name: &str, value: impl Display, unit: &'static str) -> &mut Self {
        let told = Told::new(&self.device, format!("{}{name}", self.prefix), value).in_unit(unit);
        self.readings.push(Told { time_ms: self.time_ms, event: self.event, ..told });
        self
    }

    /// A member that is a reading; its value as JSON.
    pub(super) fn tell(&mut self, name: &str, value: impl Display, unit: &'static str) -> &mut Self {
        let value = value.to_string();
        self.mean(name, &value, unit).aside(name, value)
    }

    /// A member that is a text on the wire, and a value as JSON for who knows the convention.
    pub(super) fn tell_as(
        &mut self,
        name: &str,
        text: impl Display,
        value: impl Display,
        unit: &'static str,
    ) -> &mut Self {
        self.mean(name, value, unit).note(name, text)
    }

    /// A member that is an object, whose name and a point go before the metrics in it.
    pub(super) fn within(&mut self, name: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Facts::new(&*self.device, self.time_ms).under(format!("{}{name}.", self.prefix));
        inner.event = self.event;
        fill(&mut inner);
        self.readings.append(&mut inner.readings);
        self.aside(name, inner.json())
    }

    /// The object as it stands.
    pub(super) fn json(&self) -> String {
        format!("{{{}}}", self.members.join(","))
    }

    /// The object as a payload, and what it says.
    pub(super) fn message(self, kind: Kind, topic: impl Into<String>) -> Message {
        let mut message = Message::new(kind, topic, self.json());
        message.said.readings = self.readings;
        message
    }
}

/// A text as JSON.
pub(super) fn quoted(text: impl Display) -> String {
    format!(r#""{text}""#)
}
