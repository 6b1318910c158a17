//! Who may approve what, as written.

use std::time::Duration;

use crate::config::fault::Report;
use crate::config::read::{At, Node, Read, parsed, section};
use crate::model::LineId;

section! {
    /// Approvals.
    Approval, "[approval]", {
        separation_of_duties: bool,
        tiers: Vec<Tier>,
    }
}

section! {
    /// What it takes.
    Tier, "approval.tiers", named "tier" id, {
        id: LineId,
        who: Vec<At<LineId>>,
        quorum: u64,
        max: Duration,
        must_include: Vec<At<LineId>>,
    }
}

section! {
    /// Somebody who may vote.
    Person, "[[person]]", {
        name: LineId,
        roles: Vec<At<LineId>>,
        public_key: PublicKey,
    }
}

/// The public half of an Ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PublicKey(pub(crate) [u8; 32]);

impl Read for PublicKey {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        let expected = "64 hex digits, as `smallbrain approvals key` prints them";
        let key = |text: &str| crate::approval::bytes(text).map(Self).ok_or("not a public key");
        parsed(node, expected, report, key)
    }
}
