//! `[audit]` as written.

use std::time::Duration;

use super::Size;
use crate::config::read::section;

section! {
    /// The trail.
    Audit, "[audit]", {
        key: String,
        keep: Duration,
        size_max: Size,
        digest: Duration,
    }
}
