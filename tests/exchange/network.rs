//! Two directions of queued frames between one stream of the gateway and one instance of the city.
//!
//! Guarantees: what arrives is a prefix of what was sent, in order, as TCP does it. A line that was cut takes frames from a
//! side that has not learnt of it until its window is full, and delivers none of them.

use std::collections::VecDeque;

use smallbrain::wire::v1;

use super::random::Random;

/// What comes down to the city.
pub(crate) enum Down {
    Frame(v1::StreamingPullResponse),
    /// The gateway ends the stream, with its reason where it is no polite end.
    End(Option<&'static str>),
}

/// One connection.
pub(crate) struct Line {
    pub(crate) up: VecDeque<v1::StreamingPullRequest>,
    pub(crate) down: VecDeque<Down>,
    /// Frames that fit on the way down.
    window: usize,
    /// Frames that a cut line has swallowed.
    void: usize,
    pub(crate) is_cut: bool,
    /// The gateway learns of the end once it has read what arrived.
    pub(crate) gateway_knows: bool,
    /// So does the city.
    pub(crate) city_knows: bool,
}

impl Line {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            up: VecDeque::new(),
            down: VecDeque::new(),
            window,
            void: 0,
            is_cut: false,
            gateway_knows: false,
            city_knows: false,
        }
    }

    /// Whether the gateway can send a frame.
    pub(crate) fn has_room(&self) -> bool {
        self.down.len() + self.void < self.window
    }

    pub(crate) fn send_up(&mut self, frame: v1::streaming_pull_request::Frame) {
        if !self.is_cut {
            self.up.push_back(v1::StreamingPullRequest { frame: Some(frame) });
        }
    }

    pub(crate) fn send_down(&mut self, down: Down) {
        match self.is_cut {
            true => self.void += 1,
            false => self.down.push_back(down),
        }
    }

    /// Nothing sent from now on arrives, and of what is on its way only the first frames.
    pub(crate) fn cut(&mut self, random: &mut Random) {
        self.up.truncate(random.below(self.up.len() as u64 + 1) as usize);
        self.down.truncate(random.below(self.down.len() as u64 + 1) as usize);
        self.is_cut = true;
    }
}
