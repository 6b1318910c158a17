//! The profile without a convention: a topic pattern, and pointers to the values, the time and nothing else.

use super::node::Node;
use super::topic::{Captures, capture, render};
use super::walk::number;
use super::{Mapped, Message, PAYLOAD_BYTES_MAX, ProfileError, Reading, TimeSource};
use crate::codec::json::{Plan, TimeForm};
use crate::model::Value;

/// Where the values of one kind of message are.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointers {
    topic: Option<Box<str>>,
    metrics: Vec<Box<str>>,
    plan: Plan,
}

/// Pointers that make no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointersError {
    /// As the plan says it.
    #[error("{0}")]
    Pointer(String),
    /// The same metric twice.
    #[error("metric {0:?} is named twice: give each value a metric of its own")]
    Twice(Box<str>),
}

impl Pointers {
    /// `values` are metrics with their RFC 6901 pointers. The device is the capture `{device}` of the topic pattern; without
    /// a pattern every topic will do, and nobody says whose it is.
    ///
    /// # Errors
    /// [`PointersError`].
    pub fn new(
        topic: Option<&str>,
        values: Vec<(String, String)>,
        time: Option<(String, TimeForm)>,
    ) -> Result<Self, PointersError> {
        let (metrics, pointers): (Vec<Box<str>>, Vec<String>) =
            values.into_iter().map(|(metric, pointer)| (metric.into_boxed_str(), pointer)).unzip();
        for (at, metric) in metrics.iter().enumerate() {
            if metrics[..at].contains(metric) {
                return Err(PointersError::Twice(metric.clone()));
            }
        }
        let plan = Plan::new(pointers, time).map_err(PointersError::Pointer)?;
        Ok(Self { topic: topic.map(Into::into), metrics, plan })
    }

    /// What a message means.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn map(&self, message: &Message<'_>) -> Result<Mapped, ProfileError> {
        let captures = match (&self.topic, message.topic) {
            (Some(pattern), Some(topic)) => capture(pattern, topic).ok_or(ProfileError::Topic)?,
            _ => Captures::new(),
        };
        let bytes = message.payload.len();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(ProfileError::TooLarge { bytes, max: PAYLOAD_BYTES_MAX });
        }
        let device = render("{device}", &captures, &Node::Bare(""));
        let mut mapped = Mapped { device: device.map(Into::into), ..Mapped::default() };
        let mut values: Vec<_> = self.metrics.iter().map(|_| None).collect();
        let extracted = self.plan.extract(message.payload, |slot, value| values[slot] = Some(value))?;
        for (metric, value) in self.metrics.iter().zip(values) {
            let Some(value) = value else { continue };
            let told = match &value {
                Value::Text(text) => number(text),
                _ => None,
            };
            mapped.add(Reading {
                metric: metric.clone(),
                was_text: told.is_some(),
                value: told.unwrap_or(value),
                unit: None,
                device: None,
                time_ms: None,
                event: false,
                canonical: None,
            });
        }
        mapped.ignored += extracted.invalid;
        mapped.device_ms = extracted.device_ms;
        mapped.time_source = match extracted.device_ms {
            None => TimeSource::Receive,
            Some(_) if extracted.device_local => TimeSource::PayloadLocal,
            Some(_) => TimeSource::Payload,
        };
        Ok(mapped)
    }
}
