//! Publishes → deliveries: which topic is whose, and what its payload holds. Sans-IO.
//!
//! Guarantees: a publish on an ingest topic becomes samples or a counted loss, never nothing in silence; a topic that is
//! known is found without allocation.

use std::sync::Arc;

use super::Settings;
use super::packet::Publish;
use crate::codec::json;
use crate::ingest::Delivery;
use crate::model::{Loss, Sample, SeriesKey, Stamp, Tally};

/// Topics remembered by a connection.
const REMEMBERED_MAX: usize = 32;
/// A batch of this many samples is handed in before the next publish is read.
pub(super) const BATCH_SAMPLES_MAX: usize = 256;

/// Where a publish goes.
#[derive(Clone)]
pub(super) enum Route {
    /// Into the spine.
    Ingest { plan: Arc<json::Plan>, series: Arc<[SeriesKey]> },
    /// Into the spine as a loss: the topic is one of readings, the device is not configured.
    UnknownDevice,
    /// No topic of readings.
    FanOut,
}

/// The routes of one connection.
pub(super) struct Routes {
    settings: Arc<Settings>,
    remembered: Vec<(Box<str>, Route)>,
    oldest: usize,
}

impl Routes {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, remembered: Vec::new(), oldest: 0 }
    }

    /// Where a topic leads.
    pub(super) fn find(&mut self, topic: &str) -> &Route {
        let at = match self.remembered.iter().position(|(known, _)| **known == *topic) {
            Some(at) => at,
            None => {
                let entry = (Box::from(topic), self.resolve(topic));
                if self.remembered.len() < REMEMBERED_MAX {
                    self.remembered.push(entry);
                    self.remembered.len() - 1
                } else {
                    let at = self.oldest;
                    self.oldest = (at + 1) % REMEMBERED_MAX;
                    self.remembered[at] = entry;
                    at
                }
            }
        };
        &self.remembered[at].1
    }

    /// The first mapping that knows the device wins.
    fn resolve(&self, topic: &str) -> Route {
        let mut route = Route::FanOut;
        for mapping in &self.settings.mappings {
            let Some(device) = mapping.topic.device(topic) else { continue };
            if let Some(series) = mapping.devices.get(device) {
                return Route::Ingest { plan: Arc::clone(&mapping.plan), series: Arc::clone(series) };
            }
            route = Route::UnknownDevice;
        }
        route
    }
}

/// What has been read and not yet been handed in.
#[derive(Default)]
pub(super) struct Batch {
    samples: Vec<Sample>,
    lost: Tally,
}

impl Batch {
    /// Takes in a publish.
    pub(super) fn add(&mut self, route: &Route, publish: &Publish<'_>) {
        let Route::Ingest { plan, series } = route else {
            return self.lost.add(Loss::UnknownDevice, 1);
        };
        let (first, retained) = (self.samples.len(), publish.retain);
        let extracted = plan.extract(publish.payload, |slot, value| {
            if let Some(series) = series.get(slot) {
                let sample = Sample {
                    series: *series,
                    value,
                    device_ms: None,
                    clock_ms: None,
                    retained,
                    history: false,
                };
                self.samples.push(sample);
            }
        });
        match extracted {
            Ok(extracted) => {
                for sample in &mut self.samples[first..] {
                    sample.device_ms = extracted.device_ms;
                }
                self.lost.add(Loss::Invalid, extracted.invalid);
                let nothing = self.samples.len() == first && extracted.invalid == 0;
                self.lost.add(Loss::Unlisted, u64::from(nothing));
            }
            Err(_) => self.lost.add(Loss::Malformed, 1),
        }
    }

    /// Whether there is nothing to hand in.
    pub(super) fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.lost.total() == 0
    }

    /// Whether it has to be handed in before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.samples.len() >= BATCH_SAMPLES_MAX
    }

    /// All of it.
    pub(super) fn take(&mut self, received: Stamp) -> Delivery {
        let Self { samples, lost } = std::mem::take(self);
        Delivery { received, samples, lost, presence: vec![], changes: vec![] }
    }
}
