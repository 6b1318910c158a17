//! Profiles for emergencies, as written: where they lie and who signs them, and the head of one.

use std::time::Duration;

use crate::config::read::{At, section};
use crate::config::values::Until;
use crate::model::LineId;

section! {
    /// Where profiles lie, and what it takes for one to be in force.
    Emergency, "[emergency]", {
        dir: String,
        signers: Vec<At<LineId>>,
        quorum: u64,
        max: Duration,
    }
}

section! {
    /// The head of a profile. It stands in the profile's file alone.
    Profile, "[profile]", {
        id: LineId,
        title: String,
        reason: String,
        from: Until,
        until: Until,
    }
}
