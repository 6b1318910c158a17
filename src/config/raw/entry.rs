//! Where a line of the collection list has its data from, as written.

use crate::config::raw::Do;
use crate::config::read::words;

/// Who tells what a line of the collection list takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Devices, by their messages or on a bus.
    Device,
    /// People, by a form.
    Manual,
}

words!(Origin, "device" => Origin::Device, "manual" => Origin::Manual);

impl Do {
    /// The word in the configuration.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Do::Keep => "keep",
            Do::Generalise => "generalise",
            Do::Pseudonym => "pseudonym",
            Do::Drop => "drop",
            Do::Refuse => "refuse",
        }
    }
}
