//! What there is and what may be asked, over a real socket.

use std::collections::BTreeMap;

use super::*;
use crate::lists::{Query, Share};
use crate::share::query::tests::held_back;
use crate::store::lists::Versions;
use v1::catalog_service_client::CatalogServiceClient;
use v1::query_service_client::QueryServiceClient;

/// The start of a window.
const START_MS: i64 = 1_795_190_400_000;

fn share(id: &str, consumer: &str) -> Share {
    let mut share = crate::lists::tests::closed().shares[0].clone();
    share.id = id.parse().expect("an id");
    share.lane = Some(Lane::Aggregate);
    share.consumers = vec![consumer.parse().expect("a consumer")];
    share
}

fn query(id: &str, share: &str) -> Query {
    Query {
        id: id.parse().expect("an id"),
        title: "passes".into(),
        share: share.parse().expect("an id"),
        aggregate: "A-1h".parse().expect("an id"),
        size_ms: 3_600_000,
        metrics: vec!["card".parse().expect("a metric")],
        by_metric: false,
        buildings: vec!["B1".parse().expect("a place")],
        by_building: true,
        all_buildings: true,
        span_max_ms: 86_400_000,
        spending: None,
    }
}

fn aggregate_line(id: &str, consumer: &str) -> ShareLine {
    let metrics = vec!["card".parse().expect("a metric")];
    let carries = vec!["A-1h".parse().expect("an id")];
    ShareLine { metrics, carries, devices: false, ..line(id, Lane::Aggregate, &[consumer]) }
}

/// A gateway with a query of the city's, one of the police's, and one of a line that needs an approval.
async fn gate() -> Gate {
    let gate = Gate::loopback(CITY).await;
    let tiered = ShareLine { tier: "T2".parse().ok(), ..aggregate_line("G-2", CITY) };
    gate.lines.send_replace(vec![aggregate_line("G-1", CITY), tiered, aggregate_line("G-3", POLICE)].into());
    gate.lists.send_replace(Arc::new(Lists {
        shares: vec![share("G-1", CITY), share("G-2", CITY), share("G-3", POLICE)],
        queries: vec![query("Q-1", "G-1"), query("Q-2", "G-2"), query("Q-3", "G-3")],
        ..Lists::default()
    }));
    gate.fake.version(Versions { lists: 7, ..Versions::default() });
    gate.fake.release(Some(vec![held_back(START_MS), held_back(START_MS + 3_600_000)]));
    gate
}

fn asked(query: &str, more: &[(&str, &str)]) -> v1::QueryRequest {
    let span = [("from", "2026-11-21T00:00:00+08:00"), ("to", "2026-11-21T02:00:00+08:00")];
    let own = span.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    v1::QueryRequest {
        request_id: "r-1".into(),
        query: query.into(),
        arguments: own.collect::<BTreeMap<_, _>>(),
        purpose: "test".into(),
    }
}

#[tokio::test]
async fn the_catalogue_says_what_there_is_and_what_is_missing() {
    let gate = gate().await;
    let mut client = CatalogServiceClient::new(gate.channel().await);
    let told =
        soon(client.list_catalog(v1::ListCatalogRequest::default())).await.expect("a page").into_inner();
    let shown: Vec<_> =
        told.items.iter().map(|item| (&*item.list, &*item.id, &*item.status, &*item.schema)).collect();
    let expected = [
        ("share", "G-1", "granted", "window/1"),
        ("share", "G-2", "missing", "window/1"),
        ("query", "Q-1", "", ""),
        ("query", "Q-2", "", ""),
    ];
    assert_eq!((&shown[..], told.catalog_version), (&expected[..], 7));
    let arguments = &told.items[2].arguments;
    assert_eq!(arguments.keys().collect::<Vec<_>>(), ["building", "from", "to"]);

    let schema = |name: &str| v1::GetSchemaRequest { schema: name.into() };
    let told = soon(client.get_schema(schema("window/1"))).await.expect("a schema").into_inner();
    assert_eq!(told.file_descriptor_set, wire::CONTRACT);
    assert!(serde_json::from_str::<serde_json::Value>(&told.json_schema).is_ok());
    let refused = soon(client.get_schema(schema("window/9"))).await.expect_err("none");
    assert_eq!(refused.code(), Code::NotFound);

    gate.lists.send_replace(Arc::default());
    let refused = soon(client.list_catalog(v1::ListCatalogRequest::default())).await.expect_err("nobody");
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_question_is_answered_after_its_row_and_a_refusal_has_one_too() {
    let gate = gate().await;
    let channel = gate.channel().await;
    let mut client =
        QueryServiceClient::new(channel).accept_compressed(tonic::codec::CompressionEncoding::Zstd);
    let answer = soon(client.query(asked("Q-1", &[("building", "B1")]))).await.expect("an answer");
    assert!(answer.metadata().get("grpc-encoding").is_none(), "an answer is not compressed");
    let mut parts = answer.into_inner();
    let part = soon(parts.message()).await.expect("no error").expect("a part");
    assert_eq!((part.windows.len(), part.audit_row, &*part.budget_left), (2, 1, ""));
    let values = part.windows.iter().flat_map(|window| &window.measures).map(|measure| measure.value.clone());
    let protected = v1::Suppressed { reason: "protected".into() };
    assert!(values.clone().count() == 4);
    assert!(values.into_iter().all(|value| value == Some(v1::measure::Value::Suppressed(protected.clone()))));
    assert_eq!(soon(parts.message()).await.expect("no error"), None);
    let queried = &gate.fake.queried()[0];
    assert_eq!((queried.windows, queried.cells, queried.line.as_str()), (2, 4, "G-1"));
    assert_eq!(
        (queried.from_ms, queried.to_ms, &*queried.approval),
        (START_MS, START_MS + 7_200_000, "AP-1")
    );
    let sought = &gate.fake.sought()[0];
    assert_eq!(sought.places, crate::store::released::Places::One("B1".parse().expect("a place")));

    let wrong_purpose = v1::QueryRequest { purpose: "curiosity".into(), ..asked("Q-1", &[]) };
    let nameless = v1::QueryRequest { request_id: String::new(), ..asked("Q-1", &[]) };
    for (asked, code, reason) in [
        (asked("Q-2", &[]), Code::PermissionDenied, "approval_missing"),
        (asked("Q-3", &[]), Code::NotFound, "query_unknown"),
        (asked("Q-9", &[]), Code::NotFound, "query_unknown"),
        (wrong_purpose, Code::InvalidArgument, "purpose"),
        (nameless, Code::InvalidArgument, "malformed"),
        (asked("Q-1", &[("person", "x")]), Code::InvalidArgument, "argument"),
    ] {
        let refused = soon(client.query(asked)).await.expect_err(reason);
        let told = refused.metadata().get("smallbrain-reason").map(|word| word.as_bytes().to_vec());
        assert_eq!((refused.code(), told), (code, Some(reason.as_bytes().to_vec())));
    }
    gate.fake.release(None);
    let refused = soon(client.query(asked("Q-1", &[]))).await.expect_err("too long");
    assert!(refused.code() == Code::InvalidArgument && refused.message().contains("ask for less time"));
    let denied = gate.fake.denied();
    let denied: Vec<_> = denied
        .iter()
        .map(|row| (row.reason, row.query.as_ref().map_or("", |query| query.as_str())))
        .collect();
    assert_eq!(denied, [("approval_missing", "Q-2"), ("query_unknown", "Q-3"), ("purpose", "Q-1")]);
    assert_eq!(gate.fake.queried().len(), 1, "what was refused was not answered");
}
