//! What the trail says of the city's side: records that leave, and consumers that were turned away.
//!
//! Guarantees: the share server sends a batch only after its [`Delivered`] is on disk. A gateway that dies in between leaves
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

/// A caller that got nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who; none where the certificate does not say.
    pub consumer: Option<Consumer>,
    /// Why, by a machine's word.
    pub reason: &'static str,
    /// How often the same happened since the row before, and was not written down.
    pub unwritten: u64,
}

impl Denied {
    /// As the trail has it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let actor = self.consumer.as_ref().map_or("unknown", Consumer::as_str);
        let detail = (self.unwritten > 0).then(|| format!("{{\"unwritten\":{}}}", self.unwritten));
        Entry { detail, ..Entry::by(actor, "consumer", Action::ShareDeny, "share") }
            .not(Outcome::Denied, self.reason)
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
        let denied = Denied { consumer: None, reason: "identity", unwritten: 0 };
        let entry = denied.entry();
        assert_eq!((entry.actor.as_str(), entry.outcome), ("unknown", Outcome::Denied));
        assert_eq!((entry.reason.as_deref(), entry.detail.as_deref()), (Some("identity"), None));
        let again = Denied { consumer: "spiffe://x/y".parse().ok(), unwritten: 3, ..denied };
        assert_eq!(again.entry().actor, "spiffe://x/y");
        assert_eq!(again.entry().detail.as_deref(), Some("{\"unwritten\":3}"));
    }
}
