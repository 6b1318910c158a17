//! The words of the four lists (四张清单): which list, and what happens to a line of it.

use std::fmt;

use super::LineId;

/// One of the four lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// 需求清单: who needs what, and what for.
    Demand,
    /// 归集清单: what may come in.
    Collect,
    /// 共享清单: what may go out.
    Share,
    /// 治理清单: what is done with it, by whom and how soon.
    Governance,
}

impl List {
    /// All of them, in the order of the loop.
    pub const ALL: [List; 4] = [List::Demand, List::Collect, List::Share, List::Governance];

    /// The name: of the section, on disk, towards the city.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            List::Demand => "demand",
            List::Collect => "collect",
            List::Share => "share",
            List::Governance => "governance",
        }
    }

    /// The name in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            List::Demand => "需求",
            List::Collect => "归集",
            List::Share => "共享",
            List::Governance => "治理",
        }
    }

    /// The list of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.as_str() == name)
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happened to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// It is new, or there again.
    Added,
    /// It says something else.
    Changed,
    /// It is gone.
    Retired,
}

impl Alteration {
    /// The name: in the trail and towards the city.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Alteration::Added => "added",
            Alteration::Changed => "changed",
            Alteration::Retired => "retired",
        }
    }
}

/// What a consumer is told when the lists change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListChange {
    /// A line of a list has a new version.
    Line {
        /// Of which list.
        list: List,
        /// Which line.
        item: LineId,
        /// Its new version, from 1.
        version: u32,
        /// What happened to it.
        change: Alteration,
        /// The approval that it stands under now; only of the share list, else empty.
        approval: String,
    },
    /// So many changes more that concern the consumer's line are not told one by one.
    More(u64),
}
