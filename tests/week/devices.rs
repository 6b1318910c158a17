//! What the devices send: calm values, an hour that is not, garbage, repeats, what was long ago, and silence.

use rust_decimal::Decimal;
use smallbrain::config::Config;
use smallbrain::ingest::Delivery;
use smallbrain::model::{Cause, Presence, Sample, SeriesKey, Stamp, Value};

use crate::chance::Chance;
use crate::town::{KINDS, PLACES};

/// The devices, with their series.
pub(crate) struct Fleet {
    chance: Chance,
    devices: Vec<Device>,
}

struct Device {
    id: String,
    metrics: Vec<(&'static str, SeriesKey)>,
}

/// A calm value, and one that is not, in hundredths; flags are 0 and 1. There are three ways of not being calm.
fn values(metric: &str, way: u64) -> (i64, i64) {
    match (metric, way) {
        ("temperature", 1) => return (2_000, 100),
        ("humidity", 1) => return (5_000, 100),
        ("humidity", 2) => return (5_000, 9_500),
        _ => {}
    }
    match metric {
        "battery" => (9_000, 1_000),
        "temperature" => (2_000, 6_500),
        "humidity" => (5_000, 0),
        "density" => (50, 600),
        "flow" => (0, 200),
        "volume" => (0, 6_000),
        "level" => (100, 320),
        "pressure" => (100, 10),
        "power" => (200, 20_000),
        "wind" => (300, 2_000),
        _ => (0, 1),
    }
}

impl Fleet {
    pub(crate) fn new(chance: Chance, config: &Config) -> Self {
        let mut named: Vec<(String, Vec<&'static str>)> = vec![("wind-1".into(), vec!["wind"])];
        for kind in &KINDS {
            let metrics: Vec<&str> = kind.metrics.iter().map(|(metric, _)| *metric).collect();
            named.extend(
                (1..=kind.count * PLACES).map(|number| (format!("{}-{number}", kind.name), metrics.clone())),
            );
        }
        let devices = named.into_iter().map(|(id, metrics)| {
            let series = |metric| config.names.get(&id, metric).expect("a point");
            let metrics = metrics.into_iter().map(|metric| (metric, series(metric))).collect();
            Device { id, metrics }
        });
        Self { chance, devices: devices.collect() }
    }

    /// What they send in a step. On a calm day everybody is well, and speaks once an hour.
    pub(crate) fn deliveries(&self, step: u64, calm: bool, now: Stamp) -> Vec<Delivery> {
        let devices = self.devices.iter().zip(0..);
        devices.filter_map(|(device, at)| self.delivery(device, at, step, calm, now)).collect()
    }

    fn delivery(&self, device: &Device, at: u64, step: u64, calm: bool, now: Stamp) -> Option<Delivery> {
        let chance = self.chance;
        let mut delivery = Delivery::empty(now);
        if calm {
            if step % 12 != at % 12 {
                return None;
            }
        } else {
            // Three hours without a word.
            let silent = chance.one_in(25, ("silent", at, step / 36));
            if silent || !chance.one_in(5, ("sends", at, step)) {
                return None;
            }
            if chance.one_in(60, ("goes", at, step)) {
                let online = chance.one_in(2, ("comes", at, step));
                let device = device.id.parse().expect("a device");
                delivery.presence.push(Presence { device, online, cause: Cause::Told });
            }
        }
        let odd = !calm && chance.one_in(24, ("odd", at, step / 12));
        let lag_ms = chance.below(40_000, ("lag", at, step)) as i64;
        for (metric, series) in &device.metrics {
            let sample = Sample {
                message: None,
                series: *series,
                value: self.value(metric, at, step, odd),
                device_ms: chance.one_in(2, ("timed", at, step)).then_some(now.wall_ms - lag_ms),
                clock_ms: None,
                retained: false,
                history: false,
            };
            if !calm {
                self.besides(&sample, metric, (at, step), &mut delivery);
            }
            delivery.samples.push(sample);
        }
        Some(delivery)
    }

    fn value(&self, metric: &str, at: u64, step: u64, odd: bool) -> Value {
        let chance = self.chance;
        // Not all of it at once, and not all the time.
        let odd = odd && chance.below(3, ("how", at, step, metric)) > 0;
        let (calm, bad) = values(metric, chance.below(3, ("way", at, step / 12)));
        match metric {
            "status" => Value::Text(if odd { "fault" } else { "running" }.into()),
            "open" | "smoke" | "intrusion" => Value::Flag(odd),
            // Only ever in what is past.
            "tamper" => Value::Flag(false),
            "volume" => {
                // It counts.
                let jump = if odd { bad } else { chance.below(50, ("used", at, step)) as i64 };
                Value::Number(Decimal::new(step as i64 * 100 + jump, 2))
            }
            // Nobody is at home, the whole day.
            "flow" if chance.one_in(4, ("dry", at, step / 288)) => Value::Number(Decimal::ZERO),
            _ => {
                let spread = chance.below(100, ("spread", at, step, metric)) as i64;
                let number = if odd { bad + spread / 10 * i64::from(bad != 0) } else { calm + spread };
                Value::Number(Decimal::new(number, 2))
            }
        }
    }

    /// What no alarm may ever be of: garbage, the same again, and the worst of long ago.
    fn besides(&self, sample: &Sample, metric: &str, about: (u64, u64), delivery: &mut Delivery) {
        let chance = self.chance;
        if chance.one_in(20, ("garbage", about, metric)) {
            delivery.samples.push(Sample {
                value: Value::Text("?#!".into()),
                series: sample.series,
                ..sample.clone()
            });
        }
        if chance.one_in(20, ("again", about, metric)) && sample.device_ms.is_some() {
            delivery.samples.push(sample.clone());
        }
        if chance.one_in(12, ("past", about, metric)) {
            let value = match &sample.value {
                Value::Flag(_) => Value::Flag(true),
                Value::Text(_) => Value::Text("stopped".into()),
                Value::Number(_) => Value::Number(Decimal::new(values(metric, 0).1, 2)),
            };
            // Also with a time that nobody believes, and with a clock that is wrong.
            let back_ms = [7_200_000, 90_000_000_000][chance.below(2, ("back", about, metric)) as usize];
            let past_ms = delivery.received.wall_ms - back_ms;
            let clock_ms = chance.one_in(2, ("clock", about, metric)).then_some(past_ms);
            let retained = chance.one_in(2, ("retained", about, metric));
            let device_ms = Some(past_ms);
            delivery.samples.push(Sample {
                value,
                device_ms,
                clock_ms,
                retained,
                history: !retained,
                ..sample.clone()
            });
        }
    }
}
