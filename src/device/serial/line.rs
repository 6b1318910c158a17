//! How a line is set, and its times.

use std::time::Duration;

/// Silence that costs little and that cheap meters need.
const SILENCE_MIN: Duration = Duration::from_millis(20);

/// How a port is set while a meter is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Bits a second.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
}

/// Parity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parity {
    /// None.
    None,
    /// Even.
    Even,
    /// Odd.
    Odd,
}

impl Line {
    /// One character on the wire.
    #[must_use]
    pub fn character(self) -> Duration {
        let parity_bits = u32::from(self.parity != Parity::None);
        Duration::from_secs(1) * (1 + 8 + parity_bits + u32::from(self.stop_bits)) / self.baud.max(1)
    }

    /// How long so many bytes take.
    #[must_use]
    pub fn wire(self, bytes: usize) -> Duration {
        self.character() * u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// The times of one meter on its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Silence before each question.
    pub silence: Duration,
    /// A pause that ends an unfinished frame.
    pub gap: Duration,
    /// From the last byte sent to the first byte received; also how long the bus listens after a timeout.
    pub response_timeout: Duration,
}

impl Timing {
    /// Silence is at least 3.5 characters and 20 ms, and a pause inside of a frame may be as long as `gap`, or as the
    /// silence.
    #[must_use]
    pub fn of(line: Line, silence: Duration, gap: Duration, response_timeout: Duration) -> Self {
        let silence = silence.max(line.character() * 7 / 2).max(SILENCE_MIN);
        Self { silence, gap: gap.max(silence), response_timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_line() {
        for (baud, parity, configured, character_us, silence_ms, gap_ms) in [
            (9600, Parity::Even, 0, 1145, 20, 50),
            (9600, Parity::None, 30, 1041, 30, 50),
            (1200, Parity::Even, 0, 9166, 32, 50),
            (300, Parity::Even, 0, 36_666, 128, 128),
        ] {
            let line = Line { baud, parity, stop_bits: 1 };
            let ms = Duration::from_millis;
            let timing = Timing::of(line, ms(configured), ms(50), ms(1000));
            assert_eq!(line.character().as_micros(), character_us);
            assert_eq!((timing.silence.as_millis(), timing.gap.as_millis()), (silence_ms, gap_ms));
        }
    }
}
