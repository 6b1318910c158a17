//! How orders of the city ended, as bodies of lane result.
//!
//! Guarantees: a body is made of a cleared end alone, and equal input gives equal bytes. A line that is gone leaves its purpose
//! and approval out; its id stays on the record.

use prost::Message;

use super::seal::{head, lineless};
use super::{Gateway, RESULT, Sealed, timestamp, v1};
use crate::model::{LineId, OrderEnd};
use crate::privacy::Cleared;
use crate::privacy::release::ShareLine;
use v1::record_body::Content;

/// The end of an order as one record under the line that it came under; `line` is that line, while it is there. `sealed_ms` is
/// milliseconds since 1970 UTC.
#[must_use]
pub fn result(
    gateway: &Gateway,
    share: &LineId,
    line: Option<&ShareLine>,
    policy_version: u32,
    end: &Cleared<OrderEnd>,
    sealed_ms: i64,
) -> Sealed {
    let head = match line {
        Some(line) => head(gateway, line, policy_version, sealed_ms),
        None => lineless(gateway, policy_version, sealed_ms),
    };
    let body = v1::RecordBody {
        observed_at: Some(timestamp(end.get().at_ms)),
        // Nothing of a device is in it.
        treatments: Vec::new(),
        content: Some(Content::Result(command_result(end))),
        ..head
    };
    Sealed { body: body.encode_to_vec().into(), share_item: share.clone(), schema: RESULT }
}

/// The end of an order as the contract has it.
#[must_use]
pub fn command_result(end: &Cleared<OrderEnd>) -> v1::CommandResult {
    let end = end.get();
    v1::CommandResult {
        command_id: end.run.to_string(),
        status: end.status.into(),
        detail: end.detail.into(),
        done_at: Some(timestamp(end.at_ms)),
        request_id: end.request.clone(),
        command: end.command.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privacy::release::order_end;
    use crate::wire::body_json;

    #[test]
    fn an_end_is_sealed_under_its_line_also_when_that_is_gone() {
        let gateway = Gateway { id: "gw-1".into(), ..Gateway::default() };
        let share: LineId = "S-020".parse().expect("an id");
        let end = order_end(OrderEnd {
            run: 7,
            command: "valve-shut".parse().expect("an id"),
            request: "r-1".into(),
            status: "done",
            detail: "the device has it",
            at_ms: 1_500,
        });
        let sealed = result(&gateway, &share, None, 3, &end, 2_000);
        assert_eq!((sealed.share_item(), sealed.schema()), (&share, "result/1"));
        let body = v1::RecordBody::decode(sealed.body().clone()).expect("a body that was just sealed");
        let told = body_json(&body)["result"].clone();
        let expected =
            [("command_id", "7"), ("request_id", "r-1"), ("command", "valve-shut"), ("status", "done")];
        for (key, value) in expected {
            assert_eq!(told[key], value, "{key}: {told}");
        }
        assert_eq!((&*body.purpose, &*body.gateway_id), ("", "gw-1"));
        assert!(!format!("{:?}", end.get()).contains("r-1"), "what a consumer wrote is not shown");
    }
}
