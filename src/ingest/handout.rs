//! What the trail says of the city's side: records that leave, queries that are answered, and consumers that were turned
//! away.
//!
//! Guarantees: the share server sends a batch only after its [`Delivered`] is on disk, and an answer after its [`Queried`]. A gateway that dies in between leaves
//! a row of a batch that did not leave: the trail may say more than happened, never less. Holds no body of a record.

use std::fmt::Write as _;

use crate::audit::{Action, Entry, Outcome};
use crate::model::{Consumer, Lane, LineId, Seq};

/// A batch that is about to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Who gets it.
    pub consumer: Consumer,
    /// Of which lane.
    pub lane: Lane,
    /// Its first record.
    pub from: Seq,
    /// Its last record. What lies between and is of no line below does not leave.
    pub to: Seq,
    /// Its records by line of the share list.
    pub lines: Vec<(LineId, u64)>,
    /// The line's purpose and its approval, where all are of one line.
    pub under: Option<(String, String)>,
}

impl Delivered {
    /// As the trail has it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let object = format!("{}:{}-{}", self.lane, self.from, self.to);
        let (mut list, mut detail) = (String::new(), String::from("{"));
        for (id, records) in &self.lines {
            let comma = if list.is_empty() { "" } else { "," };
            // Writing to a text cannot fail. A line's id has no character that JSON would have to escape.
            let _ = write!(list, "{comma}share/{id}");
            let _ = write!(detail, "{comma}\"{id}\":{records}");
        }
        detail.push('}');
        let (purpose, approval) = self.under.clone().unzip();
        Entry {
            list: Some(list),
            purpose,
            approval: approval.filter(|approval| !approval.is_empty()),
            detail: Some(detail),
            ..Entry::by(self.consumer.as_str(), "consumer", Action::ShareDeliver, object)
        }
    }
}

/// An answer to a query that is about to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queried {
    /// Who gets it.
    pub consumer: Consumer,
    /// The query.
    pub query: LineId,
    /// Its share line.
    pub line: LineId,
    /// The line's purpose, which the caller has named too.
    pub purpose: String,
    /// Under which approval; the line's paper where no tier asks for more.
    pub approval: String,
    /// Asked from here, milliseconds since 1970 UTC.
    pub from_ms: i64,
    /// Asked up to here, exclusive.
    pub to_ms: i64,
    /// Windows of the answer.
    pub windows: u64,
    /// Cells of the answer.
    pub cells: u64,
    /// SHA-256 of the caller's own id of the call: what a caller writes is not in the trail.
    pub request: [u8; 32],
}

impl Queried {
    /// As the trail has it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let request: String = self.request[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let detail = serde_json::json!({
            "from_ms": self.from_ms, "to_ms": self.to_ms, "windows": self.windows, "cells": self.cells,
            "request": request,
        });
        let object = format!("query:{}", self.query);
        Entry {
            list: Some(format!("share/{}", self.line)),
            purpose: Some(self.purpose.clone()),
            approval: Some(self.approval.clone()).filter(|approval| !approval.is_empty()),
            ..Entry::by(self.consumer.as_str(), "consumer", Action::QueryRun, object).with(detail)
        }
    }
}

/// A caller that got nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who; none where the certificate does not say.
    pub consumer: Option<Consumer>,
    /// Why, by a machine's word.
    pub reason: &'static str,
    /// Which query it asked; none where it asked for records or anything else.
    pub query: Option<LineId>,
    /// How often the same happened since the row before, and was not written down.
    pub unwritten: u64,
}

impl Denied {
    /// As the trail has it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let actor = self.consumer.as_ref().map_or("unknown", Consumer::as_str);
        let detail = (self.unwritten > 0).then(|| format!("{{\"unwritten\":{}}}", self.unwritten));
        let (action, object) = match &self.query {
            Some(query) => (Action::QueryDeny, format!("query:{query}")),
            None => (Action::ShareDeny, "share".to_owned()),
        };
        Entry { detail, ..Entry::by(actor, "consumer", action, object) }.not(Outcome::Denied, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_names_its_lines_and_an_approval_only_where_it_is_one() {
        let id = |id: &str| id.parse::<LineId>().expect("a line");
        let delivered = Delivered {
            consumer: "city".parse().expect("consumer"),
            lane: Lane::Bulk,
            from: Seq(17),
            to: Seq(4112),
            lines: vec![(id("S-001"), 12), (id("S-002"), 3)],
            under: None,
        };
        let entry = delivered.entry();
        assert_eq!((entry.actor.as_str(), entry.role.as_str()), ("city", "consumer"));
        assert_eq!((entry.action, entry.object.as_str()), (Action::ShareDeliver, "bulk:17-4112"));
        assert_eq!(entry.list.as_deref(), Some("share/S-001,share/S-002"));
        assert_eq!((entry.purpose, entry.approval), (None, None));
        let detail: serde_json::Value =
            serde_json::from_str(entry.detail.as_deref().expect("a detail")).expect("JSON");
        assert_eq!(detail, serde_json::json!({ "S-001": 12, "S-002": 3 }));

        let one = Delivered {
            lines: vec![(id("S-001"), 12)],
            under: Some(("fire".into(), "AP-1".into())),
            ..delivered
        };
        let entry = one.entry();
        assert_eq!(entry.list.as_deref(), Some("share/S-001"));
        assert_eq!((entry.purpose.as_deref(), entry.approval.as_deref()), (Some("fire"), Some("AP-1")));
    }

    #[test]
    fn a_denial_names_who_where_that_is_known() {
        let denied = Denied { consumer: None, reason: "identity", query: None, unwritten: 0 };
        let entry = denied.entry();
        assert_eq!((entry.actor.as_str(), entry.outcome), ("unknown", Outcome::Denied));
        assert_eq!((entry.reason.as_deref(), entry.detail.as_deref()), (Some("identity"), None));
        let again = Denied { consumer: "spiffe://x/y".parse().ok(), unwritten: 3, ..denied };
        assert_eq!(again.entry().actor, "spiffe://x/y");
        assert_eq!(again.entry().detail.as_deref(), Some("{\"unwritten\":3}"));
        assert_eq!((again.entry().action, again.entry().object.as_str()), (Action::ShareDeny, "share"));
        let asked = Denied { query: "Q-1".parse().ok(), ..again };
        assert_eq!((asked.entry().action, asked.entry().object.as_str()), (Action::QueryDeny, "query:Q-1"));
    }

    #[test]
    fn an_answer_says_what_of_and_under_what_and_nothing_that_the_caller_wrote() {
        let queried = Queried {
            consumer: "city".parse().expect("consumer"),
            query: "Q-1".parse().expect("an id"),
            line: "S-5".parse().expect("an id"),
            purpose: "safety.gate".into(),
            approval: String::new(),
            from_ms: 1_000,
            to_ms: 2_000,
            windows: 1,
            cells: 4,
            request: [0xab; 32],
        };
        let entry = queried.entry();
        assert_eq!((entry.action, entry.object.as_str()), (Action::QueryRun, "query:Q-1"));
        assert_eq!((entry.list.as_deref(), entry.approval), (Some("share/S-5"), None));
        let detail: serde_json::Value =
            serde_json::from_str(entry.detail.as_deref().expect("a detail")).expect("JSON");
        let expected = serde_json::json!({
            "from_ms": 1000, "to_ms": 2000, "windows": 1, "cells": 4, "request": "abababababababab",
        });
        assert_eq!(detail, expected);
    }
}
