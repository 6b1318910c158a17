//! `smallbrain catalog`: what a gateway has for this caller, as the city asks it: one JSON object a line, or a JSON Schema.

use std::io::Write;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::gateway::{Gateway, answer, end};
use crate::model::Lane;
use crate::share::client::PullError;
use crate::wire::{self, v1};
use v1::catalog_service_client::CatalogServiceClient;

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Arguments of `catalog`.
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    #[command(flatten)]
    gateway: Gateway,
    /// Only this list [default: all of them]
    #[arg(
        long,
        value_parser = ["demand", "collect", "share", "governance", "command", "query", "shared_list"]
    )]
    list: Option<String>,
    /// The JSON Schema of these records instead: "window/1"
    #[arg(long, conflicts_with = "list")]
    schema: Option<String>,
}

/// Shown below `catalog --help`.
pub const HELP: &str = "\
Examples:
  smallbrain catalog --gateway http://127.0.0.1:50051
      everything that concerns this caller: lines of the four lists, commands and queries
  smallbrain catalog --gateway http://127.0.0.1:50051 --list share
      the lines it may pull, and which of them an approval is missing for
  smallbrain catalog --gateway http://127.0.0.1:50051 --schema window/1
      the JSON Schema of their records, as `smallbrain pull` prints a body

Exit code 1 when it is refused or nobody answers, 77 when the gateway does not let this caller in.";

/// Asks page by page, and prints.
pub async fn run(args: &Args, out: &mut dyn Write) -> ExitCode {
    end("catalog", told(args, out).await)
}

async fn told(args: &Args, out: &mut dyn Write) -> Result<(), PullError> {
    let channel = args.gateway.target().connect().await?;
    let mut client = CatalogServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    if let Some(schema) = &args.schema {
        let asked = v1::GetSchemaRequest { schema: schema.clone() };
        let told = answer(client.get_schema(asked)).await?;
        writeln!(out, "{}", told.json_schema)?;
        return Ok(out.flush()?);
    }
    let mut asked = v1::ListCatalogRequest {
        list: args.list.clone().unwrap_or_default(),
        ..v1::ListCatalogRequest::default()
    };
    loop {
        let page = answer(client.list_catalog(asked.clone())).await?;
        for item in &page.items {
            writeln!(out, "{}", shown(item))?;
        }
        if page.next_page_token.is_empty() {
            return Ok(out.flush()?);
        }
        asked.page_token = page.next_page_token;
    }
}

/// An item as JSON; what is empty is left out.
fn shown(item: &v1::CatalogItem) -> Value {
    let class = match item.share_class() {
        v1::ShareClass::Unspecified => "",
        v1::ShareClass::Unconditional => "unconditional",
        v1::ShareClass::Conditional => "conditional",
        v1::ShareClass::Forbidden => "forbidden",
    };
    let arguments = item.arguments.iter().map(|(name, values)| (name.clone(), json!(values.values)));
    let told = json!({
        "list": item.list, "id": item.id, "title": item.title, "class": class, "public": item.is_public,
        "lane": wire::lane(item.lane).map_or("", Lane::as_str), "schema": item.schema, "purposes": item.purposes,
        "sensitivity": item.sensitivity, "update_period": item.update_period, "retention": item.retention,
        "tier": item.approval_tier, "owner": item.owner, "status": item.status, "version": item.version,
        "links": item.links, "arguments": arguments.collect::<Map<_, _>>(),
    });
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(keys) => !keys.is_empty(),
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Bool(_) => true,
    };
    let kept = told.as_object().into_iter().flatten().filter(|(_, value)| is_said(value));
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out() {
        let values = v1::CatalogValues { values: vec!["B1".into()] };
        let item = v1::CatalogItem {
            list: "query".into(),
            id: "Q-1".into(),
            is_public: Some(false),
            arguments: [("building".to_owned(), values), ("from".to_owned(), v1::CatalogValues::default())]
                .into(),
            ..v1::CatalogItem::default()
        };
        let expected = json!({
            "list": "query", "id": "Q-1", "public": false, "arguments": { "building": ["B1"], "from": [] },
        });
        assert_eq!(shown(&item), expected);
    }
}
