//! Reports that people enter, with the real binary: the form, the second check, corrections, files, and what the city sees.

use serde_json::{Value, json};
use smallbrain::share::client::Target;
use smallbrain::wire::bus::{self, manual_entry_service_client::ManualEntryServiceClient};

use rustix::process::Signal;

use super::gateway::{Gateway, Said, Site, example, until};

/// Forms of a clinic: one with a second check, and one without.
const FORMS: &str = r#"
[[template]]
name = "clinic-report"
[[template.point]]
metric = "fever_cases"
min = 0
max = 1000
[[template.point]]
metric = "report_place"
kind = "text"
[[template.point]]
metric = "reporter_phone"
kind = "text"
class = "personal"

[[template]]
name = "water-test"
[[template.point]]
metric = "chlorine"
unit = "mg/L"

[[device]]
id = "clinic"
template = "clinic-report"

[[device]]
ids = ["tap-1", "tap-2"]
template = "water-test"

[[collect]]
id = "C-010"
templates = ["clinic-report"]
purpose = "health.fever"
source = "manual"
second_check = true
fields = { fever_cases = "keep", report_place = "keep", reporter_phone = "drop" }

[[collect]]
id = "C-011"
templates = ["water-test"]
purpose = "health.water"
source = "manual"
fields = { chlorine = "keep" }

[[alarm]]
id = "fever"
when = "fever_cases >= 5"
severity = "major"

[[share]]
id = "S-010"
purpose = "health"
lane = "bulk"
consumers = ["spiffe://brain.example/city/310115/brain/demo"]
metrics = ["fever_cases", "chlorine"]
devices = true
approval = "2026-010"

[[share]]
id = "S-011"
purpose = "health"
lane = "alarm"
consumers = ["spiffe://brain.example/city/310115/brain/demo"]
metrics = ["fever_cases"]
carries = ["fever"]
approval = "2026-010"
"#;

const PHONE: &str = "13800138000";
const DOCTOR: [&str; 6] = ["--by", "王医生", "--role", "doctor", "--reason", "日报"];
const HEAD: [&str; 4] = ["--by", "李医生", "--role", "head"];

fn site() -> Site {
    let example = example();
    let at = example.find("consumer = \"").expect("a consumer") + "consumer = \"".len();
    let consumer = example[at..].split('"').next().expect("a name");
    Site::new(&(example.clone() + &FORMS.replace("spiffe://brain.example/city/310115/brain/demo", consumer)))
}

fn enter(gateway: &Gateway, args: &[&str]) -> Said {
    gateway.ask(&[&["enter"][..], args].concat())
}

fn entered(gateway: &Gateway, args: &[&str]) -> Value {
    let said = enter(gateway, &[args, &["--json"]].concat());
    assert_eq!(said.code(), Some(0), "{said:?}\n{}", gateway.log.text());
    said.json().remove(0)
}

/// What the city has of the forms: metric, value, whether it was entered.
fn shared(gateway: &Gateway) -> Vec<(String, String, bool)> {
    let records = gateway.pull("bulk");
    let rows = records.iter().flat_map(|record| record["body"]["readings"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    rows.map(|row| (text(&row["metric"]), text(&row["value"]), row["manual"] == true)).collect()
}

#[test]
fn a_report_waits_for_another_person_over_a_kill_and_goes_to_the_city_as_manual() {
    let site = site();
    let gateway = site.start();
    let form = enter(&gateway, &["C-010", "--lang", "en"]);
    assert!(
        form.out.contains("another person") && form.out.contains("fever_cases  number [0, 1000]"),
        "{form:?}"
    );

    let phone = format!("reporter_phone={PHONE}");
    let report =
        [&["C-010", "fever_cases=7", "report_place=B3", &phone, "--request", "day-1"][..], &DOCTOR].concat();
    let done = entered(&gateway, &report);
    assert_eq!((&done["entry"], &done["state"]), (&json!(1), &json!("waiting")));
    assert_eq!(done["left_out"], json!(["reporter_phone"]));
    assert_eq!(done["payload"], json!({ "fever_cases": "7", "report_place": "B3" }));
    assert_eq!(entered(&gateway, &report)["duplicate"], true, "the same request is the same report");

    assert_eq!(gateway.stop(Signal::KILL), None, "no time for anything");
    let gateway = site.start();
    assert_eq!(entered(&gateway, &["--waiting"]).as_array().map(Vec::len), Some(1));
    let same = enter(&gateway, &["--confirm", "1", "--by", "王医生", "--role", "doctor"]);
    assert!(same.code() == Some(1) && same.err.contains("somebody else"), "{same:?}");
    let done = entered(&gateway, &[&["--confirm", "1"][..], &HEAD].concat());
    assert_eq!((&done["state"], &done["checked_by"]), (&json!("stored"), &json!("李医生")));
    let correction = [&["C-010", "fever_cases=2", "--corrects", "1"][..], &DOCTOR].concat();
    assert_eq!(entered(&gateway, &correction)["state"], "waiting");
    entered(&gateway, &[&["--confirm", "2"][..], &HEAD].concat());
    let wrong = entered(&gateway, &[&["C-010", "fever_cases=900"][..], &DOCTOR].concat());
    let refuse = ["--refuse", "3", "--reason", "typo"];
    assert_eq!(entered(&gateway, &[&refuse[..], &HEAD].concat())["state"], "refused", "{wrong}");
    let all = entered(&gateway, &["--list"]);
    let states: Vec<_> =
        all.as_array().expect("entries").iter().map(|entry| entry["state"].clone()).collect();
    assert_eq!(states, ["refused", "stored", "corrected"], "the newest first");

    let manual = |value: &str| ("fever_cases".to_owned(), value.to_owned(), true);
    let told = until("both in the bulk lane", || Some(shared(&gateway)).filter(|told| told.len() >= 2));
    assert_eq!(told, [manual("7"), manual("2")]);
    let alarms = gateway.pull("alarm");
    let event = &alarms.first().expect("an alarm")["body"]["event"];
    assert_eq!((&event["code"], &event["manual"]), (&json!("fever"), &json!(true)));
    let log = gateway.log.text();
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    for file in std::fs::read_dir(site.store()).expect("a directory") {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        let held = bytes.windows(PHONE.len()).any(|window| window == PHONE.as_bytes());
        assert!(!held, "the phone in {}", path.display());
    }
    assert!(![PHONE, "王医生", "李医生", "typo"].iter().any(|word| log.contains(word)), "{log}");
}

#[test]
fn a_file_is_entered_row_by_row_and_once() {
    let site = site();
    let gateway = site.start();
    let file = site.path("water.csv");
    std::fs::write(
        &file,
        "\u{feff}device,chlorine\ntap-1,0.5\ntap-2,much\ntap-9,0.4\ntap-2,0.60,x\ntap-2,0.60\n",
    )
    .expect("a file");
    let path = file.display().to_string();
    let args = [&["C-011", "--csv", &path, "--json"][..], &DOCTOR].concat();
    let said = enter(&gateway, &args);
    assert_eq!(said.code(), Some(1), "{said:?}");
    let rows = said.json();
    let told: Vec<_> = rows[..5].iter().map(|row| (row["line"].as_u64(), row["ok"] == true)).collect();
    let line = |line| Some(line);
    assert_eq!(
        told,
        [(line(2), true), (line(3), false), (line(4), false), (line(5), false), (line(6), true)]
    );
    for (row, why) in [(1, "chlorine: not of the field's kind"), (2, "tap-9 is not in form"), (3, "3 cells")]
    {
        assert!(rows[row]["why"].as_str().is_some_and(|said| said.contains(why)), "{}", rows[row]);
    }
    assert_eq!(rows[5], json!({ "taken": 2, "failed": 3 }));
    std::fs::write(&file, "device,chlorine\ntap-1,0.5\ntap-2,0.7\n").expect("a file");
    let said = enter(&gateway, &args);
    assert_eq!((said.code(), &said.json()[0]["duplicate"]), (Some(0), &json!(true)), "{said:?}");
    let told = until("all in the bulk lane", || Some(shared(&gateway)).filter(|told| told.len() >= 3));
    let values: Vec<&str> = told.iter().map(|(_, value, _)| value.as_str()).collect();
    assert_eq!(values, ["0.5", "0.60", "0.7"]);
}

#[test]
fn only_the_local_socket_takes_reports_and_only_of_forms() {
    let site = site();
    let gateway = site.start();
    let said = enter(&gateway, &[&["C-002", "temperature=21"][..], &DOCTOR].concat());
    assert!(said.code() == Some(1) && said.err.contains("known: C-010, C-011"), "{said:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let code = runtime.block_on(async {
        let city = Target { gateway: gateway.url(), ..Target::default() };
        let channel = city.connect().await.expect("the city's side");
        let asked = bus::SubmitManualEntryRequest { collect_item: "C-010".into(), ..Default::default() };
        let answer = ManualEntryServiceClient::new(channel).submit_manual_entry(asked).await;
        answer.expect_err("not here").code()
    });
    assert_eq!(code, tonic::Code::Unimplemented);
}
