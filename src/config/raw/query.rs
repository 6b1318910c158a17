//! Questions of the catalogue as written.

use std::time::Duration;

use crate::config::read::{At, section};
use crate::model::{LineId, Metric, Place};

section! {
    /// What may be asked of windows that were let out.
    Query, "[[query]]", named "query" id, {
        id: LineId,
        title: String,
        share: LineId,
        aggregate: LineId,
        arguments: Arguments,
        span_max: Duration,
    }
}

section! {
    /// What may be chosen, and from which values.
    Arguments, "query.arguments", {
        metric: Vec<At<Metric>>,
        building: Vec<At<Place>>,
    }
}
