//! scan, read and write: on a port of the running daemon while it reads its meters, and on a path without one.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use smallbrain::simulate::bus::{
    Cjt188Meter, Dlt645Meter, MbusMeter, Signal as Says, SimulatedBus, SimulatedMeter, SimulatedSlave,
};
use tokio::runtime::Runtime;

use super::gateway::{Gateway, Said, Site, example, smallbrain, until};

const ELECTRICITY: &str = "201000000012";
const WATER: &str = "20241234567890";

/// A line with a meter of each protocol, for as long as it lives.
struct Roof {
    bus: Option<SimulatedBus>,
    runtime: Runtime,
    path: String,
}

impl Roof {
    fn new() -> Self {
        let mut slave = SimulatedSlave::new(7, 3);
        slave.registers = vec![(0, Says::Fixed(2305)), (5, Says::Fixed(500))];
        let mut water = Cjt188Meter::new(0x10, WATER.parse().expect("digits"), 2).fixed();
        water.writable = true;
        let meters: [SimulatedMeter; 4] = [
            slave.into(),
            Dlt645Meter::new(ELECTRICITY.parse().expect("digits"), 1).fixed().into(),
            water.into(),
            MbusMeter::new(5, 12_345_678, 4).fixed().into(),
        ];
        Self::of(meters, false)
    }

    /// With `echo`, the adapter hears itself.
    fn of(meters: impl IntoIterator<Item = SimulatedMeter>, echo: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let bus = runtime.block_on(async { SimulatedBus::start(meters, echo, None) }).expect("a pty");
        let path = bus.path().display().to_string();
        Self { bus: Some(bus), runtime, path }
    }

    fn writes_seen(&self) -> u64 {
        self.bus.as_ref().map_or(0, SimulatedBus::writes_seen)
    }

    /// Three of the four are configured, and read all the time.
    fn config(&self) -> String {
        let site = format!(
            r#"
[[port]]
name = "roof"
path = "{}"

[[template]]
name = "plant"
point = [
  {{ metric = "mains", unit = "V", scale = "0.1", modbus = {{ table = "holding", address = 0, type = "u16", period = "200ms" }} }},
  {{ metric = "target", unit = "Cel", scale = "0.1", min = 5, max = 60, writable = true, modbus = {{ table = "holding", address = 5, type = "u16", period = "1s" }} }},
  {{ metric = "missing", unit = "V", modbus = {{ table = "holding", address = 9, type = "u16", period = "1m" }} }},
]
[[template]]
name = "tap"
meter_type = "cold-water"
point = [
  {{ metric = "drunk", unit = "m3", class = "household", cjt188 = {{ item = "current_volume", period = "2s" }} }},
  {{ metric = "tap_open", kind = "flag", writable = true, cjt188 = {{ item = "valve_open", period = "2s" }} }},
  {{ metric = "tap_low", kind = "flag", cjt188 = {{ item = "battery_low", period = "2s" }} }},
]
[[template]]
name = "mains-meter"
point = [ {{ metric = "used", unit = "kWh", class = "household", dlt645 = {{ di = "00010000", period = "1s" }} }} ]

[[device]]
id = "plant-1"
template = "plant"
port = "roof"
unit = 7
[[device]]
id = "tap-1"
template = "tap"
port = "roof"
address = "{WATER}"
[[device]]
id = "mains-1"
template = "mains-meter"
port = "roof"
address = "{ELECTRICITY}"

[[collect]]
id = "C-roof"
templates = ["plant", "tap", "mains-meter"]
purpose = "utility.roof"
fields = {{ mains = "keep", target = "keep", missing = "keep", drunk = "keep", tap_open = "keep", tap_low = "drop", used = "keep" }}
"#,
            self.path
        );
        format!("{}{site}", example())
    }
}

impl Drop for Roof {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.bus = None;
    }
}

fn ask(gateway: Option<&Gateway>, args: &[&str]) -> Said {
    let nobody = Path::new("/nonexistent/smallbrain.sock");
    let socket = gateway.map_or(nobody, |gateway| &gateway.socket).display().to_string();
    smallbrain(&[args, &["--socket", &socket]].concat())
}

/// Name, value and unit of what was read.
fn values(said: &Said) -> Vec<(String, String, String)> {
    assert_eq!(said.code(), Some(0), "{said:?}");
    let object = &said.json()[0];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let values = object["values"].as_array().expect("values").iter();
    values.map(|value| (text(&value["name"]), text(&value["value"]), text(&value["unit"]))).collect()
}

fn requests(gateway: &Gateway, device: &str) -> u64 {
    let name = format!("smallbrain_serial_requests_total{{port=\"roof\",device=\"{device}\"}}");
    gateway.metrics().get(&name).copied().unwrap_or_default()
}

#[test]
fn without_a_daemon_a_path_is_scanned_and_read() {
    let roof = Roof::new();
    let scan = ["scan", &roof.path, "--units", "5-7", "--timeout", "300ms", "--json"];
    let said = ask(None, &scan);
    assert_eq!(said.code(), Some(0), "{said:?}");
    let lines = said.json();
    let (summary, found) = lines.split_last().expect("a summary");
    let names: Vec<String> = found
        .iter()
        .map(|found| format!("{} {}", found["protocol"], found["address"]).replace('"', ""))
        .collect();
    assert_eq!(
        names,
        [format!("dlt645 {ELECTRICITY}"), format!("cjt188 {WATER}"), "modbus 7".into(), "mbus 5".into()]
    );
    assert_eq!((&summary["found"], &summary["complete"]), (&4.into(), &true.into()), "{summary}");
    assert_eq!(found[0]["facts"]["edition"], "2007");
    assert_eq!(found[1]["facts"]["meter_type"], "cold-water");
    assert_eq!(found[3]["facts"]["identification"], "12345678");
    assert!(found[0]["values"][0]["value"].is_string(), "{}", found[0]);

    // What it proposes is a configuration.
    let proposed: Vec<&str> = found.iter().filter_map(|found| found["toml"].as_str()).collect();
    let port = "[[port]]\nname = \"bus-1\"\npath = \"/dev/null\"\n";
    // An alarm of the example reads temperatures.
    let collect = "[[collect]]\nid = \"C-9\"\ntemplates = [\"modbus-climate\"]\npurpose = \"climate\"\n\
                   fields = { temperature = \"keep\", humidity = \"keep\" }\n";
    let site = Site::new(&format!("{}{port}{}{collect}", example(), proposed.concat()));
    let checked = super::gateway::finish(site.command("check"));
    assert_eq!(checked.code(), Some(0), "{}\n{checked:?}", proposed.concat());

    for (args, name, unit) in [
        (&["--dlt645", ELECTRICITY, "00010000"][..], "forward_active_energy_total", "kWh"),
        (&["--cjt188", WATER], "current_volume", "m3"),
        (&["--modbus", "7", "holding:0"], "holding:0", ""),
        (&["--mbus", "12345678"], "volume", "m3"),
    ] {
        let read = values(&ask(None, &[&["read", &roof.path, "--json"], args].concat()));
        assert!(
            read.iter().any(|(known, value, known_unit)| known == name && value != "-" && known_unit == unit)
        );
    }
    for (args, code, text) in [
        (&["--modbus", "9", "holding:0", "--timeout", "100ms"][..], 1, "read: 没有应答: no answer"),
        (&["--modbus", "9", "holding:0", "--timeout", "100ms", "--lang", "en"], 1, "read: no answer"),
        (&["--modbus", "7", "holding:9"], 1, "manuals that count from 1 or 40001"),
        (&["--modbus", "7", "holding:0:u99"], 2, "unknown type"),
        (&["--modbus", "300", "holding:0"], 2, "unit 300: slaves have addresses 1 to 247"),
        (&["--modbus", "pump", "holding:0"], 2, "unit \"pump\": slaves"),
        (&["--dlt645", "12x", "00010000"], 2, "up to 12 digits"),
    ] {
        let said = ask(None, &[&["read", &roof.path], args].concat());
        assert_eq!(said.code(), Some(code), "{said:?}");
        assert!(said.err.contains(text), "{}", said.err);
    }
    assert_eq!(roof.writes_seen(), 0);
}

#[test]
fn a_line_that_works_is_not_blamed_when_no_meter_is_told() {
    let crowd = [1, 2].map(|address| Cjt188Meter::new(0x10, address, 2).into());
    let roof = Roof::of(crowd, false);
    let scan = ["scan", &roof.path, "--protocol", "cjt188", "--timeout", "300ms", "--lang", "en"];
    let said = ask(None, &scan);
    assert_eq!(said.code(), Some(1), "{said:?}");
    for text in ["found: 0", "smallbrain read PORT --cjt188 ADDRESS", "first do as it says above"] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    assert!(!said.out.contains("are A and B swapped"), "{}", said.out);
}

#[test]
fn an_adapter_that_hears_itself_is_told_and_borne_with() {
    let roof = Roof::of([SimulatedSlave::new(7, 3).into()], true);
    let scan = ["scan", &roof.path, "--protocol", "modbus", "--units", "5-8", "--json"];
    let notes = |args: &[&str]| {
        let summary = ask(None, args).json().pop().expect("a summary");
        assert_eq!(summary["found"], 1, "{summary}");
        summary["notes"].to_string()
    };
    assert!(notes(&scan).contains("the adapter hears itself; search again with --echo"));
    assert_eq!(notes(&[&scan[..], &["--echo"]].concat()), "[]");
    // Nobody has this unit: its own question is no damaged answer.
    let nobody = ["read", &roof.path, "--modbus", "8", "holding:0", "--timeout", "100ms", "--echo"];
    let said = ask(None, &nobody);
    assert!(said.err.contains("no answer"), "{said:?}");
}

#[test]
fn a_port_that_is_not_to_be_had_is_told_with_what_to_do() {
    let missing = ask(None, &["read", "/dev/nonexistent", "--mbus", "5"]);
    assert_eq!(missing.code(), Some(1), "{missing:?}");
    assert!(
        missing.err.contains("/dev/nonexistent") && missing.err.contains("plugged in"),
        "{}",
        missing.err
    );
    let name = ask(None, &["scan", "bus-1"]);
    assert_eq!(name.code(), Some(1), "{name:?}");
    assert!(name.err.contains("is it running") && name.err.contains("/dev/ttyUSB0"), "{}", name.err);
    for verb in [&["scan"][..], &["read", "--mbus", "5"]] {
        let named = ask(None, &[verb, &["bus-1", "--echo"]].concat());
        assert_eq!(named.code(), Some(2), "{named:?}");
        assert!(named.err.contains("port bus-1 has it in the configuration: echo = true"), "{}", named.err);
    }
    let nothing = ask(None, &["read", "bus-1"]);
    assert_eq!(nothing.code(), Some(2), "{nothing:?}");
}

#[test]
fn the_daemon_reads_on_while_somebody_scans_reads_and_writes() {
    let roof = Roof::new();
    let site = Site::new(&roof.config());
    let gateway = site.start();
    until("the plant is read", || (requests(&gateway, "plant-1") > 1).then_some(()));

    let read = |args: &[&str]| ask(Some(&gateway), &[&["read", "roof", "--json"], args].concat());
    let voltage = ("mains".to_owned(), "230.5".to_owned(), "V".to_owned());
    assert_eq!(values(&read(&["plant-1", "mains"])), std::slice::from_ref(&voltage));
    let all = values(&read(&["plant-1"]));
    assert_eq!((&all[0], all[1].1.as_str(), all[2].1.as_str()), (&voltage, "50.0", "-"));
    let tap = values(&read(&["tap-1"]));
    assert_eq!((tap[1].0.as_str(), tap[1].1.as_str()), ("tap_open", "true"));
    for (lang, none, clock) in [("zh", "missing  无值 (", "表内时钟"), ("en", "missing  no value (", "clock")]
    {
        let text = |device: &str| ask(Some(&gateway), &["read", "roof", device, "--lang", lang]).out;
        assert!(text("plant-1").contains(none), "{}", text("plant-1"));
        assert!(text("tap-1").contains(&format!("\n{clock}  20")), "{}", text("tap-1"));
    }
    // A stranger on the same line.
    assert!(values(&read(&["--mbus", "5"])).iter().any(|(name, ..)| name == "volume"));

    for (args, code, text) in [
        (&["read", "cellar", "plant-1"][..], 1, "known: roof ("),
        (&["read", "roof", "plant-2"], 1, "known: plant-1, tap-1, mains-1"),
        (&["read", "roof", "plant-1", "voltage"], 1, "known: mains, target, missing"),
        (&["read", &roof.path, "--mbus", "5"], 1, "as roof; give that name"),
        (&["scan", "roof", "--protocol", "knx"], 2, "one of dlt645, cjt188, modbus, mbus"),
        (&["write", "plant-1", "mains", "231", "--yes"], 1, "read-only"),
        (&["write", "plant-1", "target", "61", "--yes"], 1, "outside of what may be written, 5 to 60"),
        (&["write", "plant-1", "target", "warm", "--yes"], 2, "numbers for registers"),
        (&["write", "plant-1", "mains", "warm", "--yes"], 1, "read-only"),
        (&["write", "mains-1", "used", "0", "--yes"], 1, "DL/T 645 meters are never written from here"),
        (&["write", "mains-1", "used", "closed", "--yes"], 1, "DL/T 645 meters are never written from here"),
        (&["write", "door-1", "door_open", "true", "--yes"], 1, "no device on a serial port"),
        // Nobody at a terminal, and nobody said yes.
        (&["write", "tap-1", "tap_open", "closed"], 1, "没有写入"),
        (&["write", "tap-1", "tap_open", "closed", "--lang", "en"], 1, "nothing was written"),
    ] {
        let said = ask(Some(&gateway), args);
        assert_eq!(said.code(), Some(code), "{args:?} {said:?}");
        assert!(said.err.contains(text), "{args:?} {}", said.err);
    }
    assert_eq!(roof.writes_seen(), 0);
    // A path the daemon holds cannot be had behind its back either.
    let busy = ask(None, &["read", &roof.path, "--mbus", "5"]);
    assert!(busy.code() == Some(1) && busy.err.contains("another program has it open"), "{busy:?}");

    let before = requests(&gateway, "plant-1");
    let scan = ["scan", "roof", "--protocol", "dlt645,modbus", "--units", "6-8", "--lang", "en"];
    let said = ask(Some(&gateway), &scan);
    assert_eq!(said.code(), Some(0), "{said:?}");
    for text in ["configured as mains-1", "configured as plant-1", "found: 2"] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    assert!(requests(&gateway, "plant-1") > before + 2, "polling goes on");

    let closed = ask(Some(&gateway), &["write", "tap-1", "tap_open", "closed", "--yes"]);
    assert_eq!((closed.code(), closed.out.as_str()), (Some(0), "tap-1 tap_open: 已写入, 表已确认\n"));
    assert_eq!(values(&read(&["tap-1", "tap_open"]))[0].1, "false");
    assert_eq!(roof.writes_seen(), 1);
    let asked = gateway.log.wait("somebody asks to write a point", 7);
    let own = format!("uid=\"{}\"", rustix::process::getuid().as_raw());
    for part in [own.as_str(), "device=\"tap-1\"", "metric=\"tap_open\"", "value=\"false\""] {
        assert!(asked.contains(part), "{asked}");
    }
    assert!(gateway.log.wait("the write has ended", 7).contains("the meter confirms it"));
    assert_eq!(gateway.metric("smallbrain_serial_writes_total{port=\"roof\"}"), 7);
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
}
