//! The same device, metric, device time and value as one of the last few: a repetition, not a reading. Pure.

use crate::model::Value;

/// The last few (device time, value) of one series; bounded.
#[derive(Clone, Debug, Default)]
pub struct Dedupe {}

impl Dedupe {
    /// Whether this one was seen before; remembers it if not. A sample without a device time is never a repetition.
    pub fn seen(&mut self, device_ms: Option<i64>, value: &Value) -> bool {
        let _ = (device_ms, value);
        todo!()
    }
}
