//! New lists come into force, on a real store.

use std::path::PathBuf;

use prost::Message;

use super::*;
use crate::config::Config;
use crate::ingest::Plan;
use crate::model::Seq;
use crate::store::reader::Reader;
use crate::store::{Settings, Store};
use crate::wire::v1::record_body::Content;
use crate::wire::v1::{ListChange as Told, RecordBody};

const NOW: Stamp = Stamp { wall_ms: 1_795_190_400_000, mono_ms: 1_000 };

fn plan(lists: &str) -> Plan {
    let text = format!(
        "{}{lists}",
        r#"
[gateway]
id = "gw-1"
division_code = "310115013007"
compound_code = "C-1"
[store]
dir = "data"
[mqtt]
anonymous = true
[[mapping]]
topic = "x/{device}"
[[template]]
name = "thermometer"
[[template.point]]
metric = "temperature"
unit = "Cel"
json = "/t"
[[device]]
id = "t-1"
template = "thermometer"
[[collect]]
id = "C-1"
templates = ["thermometer"]
purpose = "climate"
fields = { temperature = "keep" }
"#
    );
    let texts = vec![(PathBuf::from("smallbrain.toml"), text)];
    Config::of_texts(texts, &[], NOW.wall_ms).unwrap_or_else(|faults| panic!("{faults}")).plan
}

fn share(id: &str, more: &str) -> String {
    format!(
        "[[share]]\nid = \"{id}\"\npurpose = \"climate\"\nlane = \"bulk\"\ndevices = true\n\
         consumers = [\"spiffe://brain.example/city\"]\nmetrics = [\"temperature\"]\napproval = \"AP-{id}\"\n{more}\n"
    )
}

const DEMAND: &str = "[[demand]]\nid = \"D-1\"\nrequester = \"spiffe://brain.example/city\"\npurpose = \"climate\"\n\
                      wants = [\"S-1\"]\nstatus = \"approved\"\n";

fn store(dir: &std::path::Path) -> Store {
    let settings = Settings {
        dir: dir.to_owned(),
        bytes_max: 64 << 20,
        reserve_bytes: 1 << 20,
        group_window: std::time::Duration::ZERO,
        retention: std::time::Duration::from_secs(86_400),
        promises: crate::store::room::Promises::of(64 << 20),
    };
    Store::open(settings, [7; 32], NOW).expect("a store")
}

/// Every record of lane event: its share line and what it says.
async fn told(store: &Store, dir: &std::path::Path) -> Vec<(String, Told)> {
    let heads = tokio::sync::watch::Sender::new(store.heads());
    let reader = Reader::open(dir, store.epoch(), heads.subscribe()).expect("a reader");
    let page = reader.page(Lane::Event, Seq(0), 4096, 16 << 20).await.expect("a page");
    let records = page.records.iter();
    records
        .map(|record| {
            let body = RecordBody::decode(&record.body[..]).expect("a body");
            let Some(Content::ListChange(change)) = body.content else { panic!("another content") };
            (record.share_item.to_string(), change)
        })
        .collect()
}

fn short(told: &[(String, Told)]) -> Vec<String> {
    let line = |(share, told): &(String, Told)| {
        format!("{share}: {}/{}@{} {} {}", told.list, told.item, told.version, told.change, told.approval_id)
    };
    told.iter().map(|told| line(told).trim_end().to_owned()).collect()
}

#[tokio::test]
async fn lists_are_announced_once_to_whom_they_concern() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    let first = plan(&format!("{DEMAND}{}", share("S-1", "")));
    Spine::open(first.clone(), &mut store, NOW).expect("a spine");
    let begun = ["S-1: demand/D-1@1 added", "S-1: collect/C-1@1 added", "S-1: share/S-1@1 added AP-S-1"];
    assert_eq!(short(&told(&store, dir.path()).await), begun);

    // The same again, after a failed commit or a start, says nothing.
    Spine::reopen(first.clone(), &mut store, NOW).expect("a spine");
    Spine::open(first, &mut store, NOW).expect("a spine");
    assert_eq!(told(&store, dir.path()).await.len(), 3);

    // The line is another, the demand is gone, and there is a second line.
    let second = plan(&format!("{}{}", share("S-1", "sample = \"1m\""), share("S-2", "")));
    Spine::reopen(second, &mut store, NOW).expect("a spine");
    let all = short(&told(&store, dir.path()).await);
    assert_eq!(
        all[3..],
        ["S-1: demand/D-1@2 retired", "S-1: share/S-1@2 changed AP-S-1", "S-2: share/S-2@1 added AP-S-2",]
    );
    let head = store.begin().expect("a transaction").audit_head();
    assert!(head.seq >= 6, "a row of the trail for each change: {}", head.seq);
}

/// Nobody hears of a line that is gone but those who still hold one that hung on it.
#[tokio::test]
async fn a_line_that_is_gone_tells_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    Spine::open(plan(&format!("{}{}", share("S-1", ""), share("S-2", ""))), &mut store, NOW)
        .expect("a spine");
    let before = told(&store, dir.path()).await.len();
    Spine::reopen(plan(&share("S-1", "")), &mut store, NOW).expect("a spine");
    assert_eq!(told(&store, dir.path()).await.len(), before);
    let newest = store.begin().expect("a transaction").newest_items().expect("items");
    let gone = &newest[&(List::Share, "S-2".parse().expect("an id"))];
    assert_eq!((gone.version, gone.retired), (2, true));
}

#[tokio::test]
async fn beyond_the_bound_one_record_says_how_many() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = store(dir.path());
    let mut many = plan(&share("S-1", ""));
    let mut lists = crate::lists::Lists::clone(&many.lists);
    let demand = lists.items[0].clone();
    for number in 0..ANNOUNCED_MAX + 5 {
        let id: crate::model::LineId = format!("D-{number}").parse().expect("an id");
        lists.items.push(crate::lists::Item { list: List::Demand, id: id.clone(), ..demand.clone() });
        lists.shares[0].demands.push(id);
    }
    many.lists = lists.into();
    Spine::open(many, &mut store, NOW).expect("a spine");
    let told = told(&store, dir.path()).await;
    assert_eq!(told.len(), ANNOUNCED_MAX + 1);
    // All demands, the collect line and the share line.
    let (_, last) = &told[ANNOUNCED_MAX];
    assert_eq!((last.more, last.item.as_str()), (7, ""));
}
