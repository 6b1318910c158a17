//! What of the disk each lane is promised, and for how long.
//!
//! Guarantees: the promises of all lanes together fit in the store. Whether the configuration leaves them time enough is
//! the outage budget's to say.

use std::time::Duration;

use super::{DAY, HOUR, Size};
use crate::config::fault::Report;
use crate::config::raw;
use crate::model::Lane;
use crate::store::room::Promises;

/// Checks `store.lanes` and `store.promise`.
pub(super) fn promises(raw: &raw::Store, size: Size, reserve: Size, report: &mut Report) -> Promises {
    let room = size.0.saturating_sub(reserve.0);
    let mut promises = Promises::of(room);
    let default = raw::LaneRoom::default();
    let said = raw.lanes.value().unwrap_or(&default);
    let keys = [&said.alarm, &said.event, &said.result, &said.aggregate, &said.audit, &said.bulk];
    for (lane, key) in Lane::ALL.into_iter().zip(keys) {
        let bytes = &mut promises.bytes[lane.index()];
        *bytes = report.bounded(key, Size(*bytes), Size(0)..=Size(1 << 40), lane.as_str()).0;
    }
    let sum = promises.bytes.iter().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
    if sum > room {
        let message = format!("the lanes are promised {} of a store of {size}", Size(sum));
        let help = format!("together at most {}: store.size_max without store.reserve", Size(room));
        report.fault(raw.lanes.span_or(raw.at), message, help);
    }
    let lasts: Duration = report.bounded(&raw.promise, 7 * DAY, HOUR..=3660 * DAY, "promise");
    Promises { lasts, ..promises }
}
