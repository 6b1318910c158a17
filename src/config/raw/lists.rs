//! The demand list and the governance list as written, and the words that close the loop in the other two.

use std::time::Duration;

use crate::config::read::{At, section, words};
use crate::config::values::Until;
use crate::lists::{Class, Decision};
use crate::model::{Consumer, LineId};

section! {
    /// Somebody needs something.
    Demand, "[[demand]]", named "demand" id, {
        id: LineId,
        title: String,
        requester: Consumer,
        purpose: String,
        basis: String,
        wants: Vec<At<LineId>>,
        status: Decision,
        reason: String,
        until: Until,
    }
}

section! {
    /// Something is done about it.
    Governance, "[[governance]]", named "governance" id, {
        id: LineId,
        problem: String,
        triggers: Vec<At<String>>,
        owner: String,
        sla: Sla,
        feedback_from: Vec<At<String>>,
        closes: Vec<At<LineId>>,
    }
}

section! {
    /// How soon.
    Sla, "governance.sla", {
        accept: Duration,
        close: Duration,
    }
}

section! {
    /// How long what is collected may be kept.
    Retention, "collect.retention", {
        raw: Duration,
        sealed: Duration,
    }
}

/// How sensitive something is (GB/T 43697, general data).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sensitivity(pub(crate) &'static str);

words!(
    Sensitivity,
    "S1" => Sensitivity("S1"),
    "S2" => Sensitivity("S2"),
    "S3" => Sensitivity("S3"),
    "S4" => Sensitivity("S4"),
);
words!(Decision, "approved" => Decision::Approved, "refused" => Decision::Refused);
words!(
    Class,
    "unconditional" => Class::Unconditional,
    "conditional" => Class::Conditional,
    "forbidden" => Class::Forbidden,
);
