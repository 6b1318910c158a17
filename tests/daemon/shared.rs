//! Lists that the city shares, through the real binary: put over the city's own door, looked into by an alarm, held by a
//! barrier over MQTT, told beside the gateway, and there again after a restart.

use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::Value;
use smallbrain::share::client::Target;
use smallbrain::wire::v1;
use tonic::Code;
use v1::downlink_service_client::DownlinkServiceClient;

use super::device::Device;
use super::gateway::{Gateway, Site, example, finish, until};

const LISTS: &str = r#"
[[shared_list]]
id = "codes"
consumers = ["spiffe://brain.example/city/310115/brain/yiwangtongguan"]
purpose = "parking.permit"
publish = true
[[shared_list]]
id = "not-yours"
consumers = ["spiffe://brain.example/city/310115/brain/else"]
purpose = "parking.permit"

[[mapping]]
topic = "compound/{device}/up"
template = "barrier"
[[template]]
name = "barrier"
[[template.point]]
metric = "code"
kind = "text"
json = "/code"
[[device]]
id = "gate-1"
template = "barrier"
[[collect]]
id = "C-950"
templates = ["barrier"]
purpose = "parking.permit"
fields = { code = "keep" }
[[alarm]]
id = "stray"
when = '!listed("codes", code)'
severity = "minor"
"#;

fn list(request: &str, list: &str, version: u64, keys: &[&str]) -> v1::PutSharedListRequest {
    let entry = |key: &&str| v1::SharedListEntry { key: (*key).into(), ..v1::SharedListEntry::default() };
    v1::PutSharedListRequest {
        request_id: request.into(),
        list: list.into(),
        version,
        entries: keys.iter().map(entry).collect(),
        not_after: Some((SystemTime::now() + Duration::from_secs(3600)).into()),
    }
}

async fn put(
    gateway: &Gateway,
    asked: v1::PutSharedListRequest,
) -> Result<v1::PutSharedListResponse, tonic::Status> {
    let target = Target { gateway: gateway.url(), ..Target::default() };
    let mut city = DownlinkServiceClient::new(target.connect().await.expect("the gateway listens"));
    city.put_shared_list(asked).await.map(tonic::Response::into_inner)
}

/// What `lists shared --has` says of a key: its exit code.
fn has(site: &Site, key: &str) -> Option<i32> {
    let mut command = std::process::Command::new(super::gateway::SMALLBRAIN);
    command.args(["lists", "shared", "codes", "--has", key, "--config"]).arg(site.config());
    finish(command).code()
}

#[tokio::test]
async fn a_list_of_the_city_is_looked_into_held_by_a_barrier_and_survives() {
    let site = Site::new(&(example() + LISTS));
    let gateway = site.start();
    let mut barrier = Device::of(gateway.mqtt, "barrier");
    barrier.subscribe("smallbrain/#", 1);
    let mut sensor = Device::of(gateway.mqtt, "sensor");

    let answer = put(&gateway, list("r-1", "codes", 1, &["P-17"])).await.expect("taken");
    assert_eq!((answer.version, answer.entries, answer.duplicate), (1, 1, false));
    let (topic, payload) = barrier.delivery();
    let told: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!((topic.as_str(), &told["version"]), ("smallbrain/lists/codes", &1.into()));
    assert_eq!(told["entries"], serde_json::json!([{ "key": "P-17" }]));
    for (asked, code, reason) in [
        (list("r-2", "codes", 1, &["P-18"]), Code::FailedPrecondition, "list_old"),
        (list("r-3", "not-yours", 1, &[]), Code::PermissionDenied, "not_listed"),
        (list("r-4", "codes", 2, &["沪A12345"]), Code::InvalidArgument, "personal"),
        (list("r-1", "codes", 2, &["P-18"]), Code::InvalidArgument, "request_reused"),
    ] {
        let refused = put(&gateway, asked).await.expect_err(reason);
        let said = refused.metadata().get("smallbrain-reason").and_then(|said| said.to_str().ok());
        assert_eq!((refused.code(), said), (code, Some(reason)), "{refused}");
    }

    sensor.publish("compound/gate-1/up", r#"{"code":"P-17"}"#);
    sensor.publish("compound/gate-1/up", r#"{"code":"P-99"}"#);
    let (topic, payload) = barrier.delivery();
    let told: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(topic, "smallbrain/incidents/stray/gate-1");
    assert_eq!((&told["step"], &told["by"]), (&"raised".into(), &"rule".into()));
    put(&gateway, list("r-5", "codes", 2, &["P-17", "P-99"])).await.expect("taken");
    let mut steps = Vec::new();
    while steps.len() < 3 {
        let (topic, payload) = barrier.delivery();
        let told: Value = serde_json::from_slice(&payload).expect("JSON");
        steps.push(match topic.as_str() {
            "smallbrain/lists/codes" => told["version"].to_string(),
            _ => told["step"].to_string(),
        });
    }
    steps.sort();
    assert_eq!(steps, ["\"cleared\"", "\"closed\"", "2"]);
    assert_eq!((has(&site, "P-99"), has(&site, "P-1")), (Some(0), Some(1)));
    assert_eq!(gateway.stop(Signal::TERM), Some(0));

    let gateway = site.start();
    let mut barrier = Device::of(gateway.mqtt, "barrier");
    barrier.subscribe("smallbrain/lists/codes", 1);
    let (_, payload) = barrier.delivery();
    assert_eq!(serde_json::from_slice::<Value>(&payload).expect("JSON")["version"], 2);
    let mut sensor = Device::of(gateway.mqtt, "sensor");
    sensor.publish("compound/gate-1/up", r#"{"code":"P-1"}"#);
    until("the list is looked into", || {
        let said = gateway.ask(&["alarms", "--json"]);
        said.out.contains("stray").then_some(())
    });
}
