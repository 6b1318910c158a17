//! Lists that the city shares, as written.

use crate::config::read::{At, section};
use crate::model::{Consumer, LineId};

section! {
    /// A list that the city may put.
    SharedList, "[[shared_list]]", named "shared list" id, {
        id: LineId,
        title: String,
        consumers: Vec<At<Consumer>>,
        entries_max: u64,
        purpose: String,
        publish: bool,
    }
}
