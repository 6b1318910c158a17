//! A token bucket per device, on the monotonic clock. Pure.

/// What a device may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Samples a second, lasting.
    pub per_second: u32,
    /// Samples at once.
    pub burst: u32,
}

/// The bucket of one device.
#[derive(Clone, Debug)]
pub struct Bucket {}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        let _ = rate;
        todo!()
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, rate: Rate, mono_ms: u64) -> bool {
        let _ = (rate, mono_ms);
        todo!()
    }
}
