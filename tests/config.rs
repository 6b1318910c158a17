//! The configuration from outside: the example, a file with every kind of fault, and what a reload keeps.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rust_decimal::Decimal;
use smallbrain::cli::check;
use smallbrain::config::{Config, Fault, Faults};
use smallbrain::device::serial::{Address, Meter, Parity, Source};
use smallbrain::model::{Lane, Loss, Quality, Reading, SeriesKey, Value};
use smallbrain::normalise::Outside;
use smallbrain::privacy::Cleared;
use smallbrain::privacy::intake::clear;
use smallbrain::rules::plan::Plan;
use smallbrain::share::Listener;

/// 2026-11-21 00:00 in +08:00.
const NOW_MS: i64 = 1_795_190_400_000;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn example() -> String {
    std::fs::read_to_string(root().join("config.example.toml")).expect("the example")
}

/// The example with every setting that is switched off switched on.
fn uncommented() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    example().lines().map(|line| on(line) + "\n").collect()
}

/// A directory with a configuration and the secrets that the example names.
fn site(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    for name in [
        "pseudonym.key",
        "audit.key",
        "gateway.pem",
        "gateway.key",
        "city-ca.pem",
        "city.crl",
        "devices-ca.pem",
        "property.secret",
    ] {
        let file = dir.path().join(name);
        std::fs::write(&file, "5f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d486")
            .expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    }
    // That of a webhook is looked into.
    let key = rcgen::KeyPair::generate().expect("a key");
    let root = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    std::fs::write(dir.path().join("city-ca.pem"), root.pem()).expect("a file");
    let path = dir.path().join("smallbrain.toml");
    std::fs::write(&path, text).expect("a file");
    (dir, path)
}

fn load(text: &str) -> Result<Config, Faults> {
    let (_dir, path) = site(text);
    Config::load(&path, NOW_MS, None)
}

/// Everything but what has no order.
fn watched(rules: &Plan) -> String {
    let Plan { alarms, inhibits, recipients, routes, commands, .. } = rules;
    format!("{alarms:?} {inhibits:?} {recipients:?} {routes:?} {commands:?}")
}

fn places(faults: &[Fault]) -> Vec<(usize, usize, &str)> {
    faults.iter().map(|fault| (fault.line, fault.column, fault.message.as_str())).collect()
}

/// A small good configuration, with one passage replaced.
fn with(from: &str, to: &str) -> Result<Config, Faults> {
    let text = example();
    assert!(text.contains(from), "{from}");
    load(&text.replacen(from, to, 1))
}

#[test]
fn the_example_runs_as_it_is() {
    let config = Config::load(&root().join("config.example.toml"), NOW_MS, None).expect("no fault");
    assert_eq!(places(&config.warnings), []);
    let mqtt = config.mqtt.expect("MQTT");
    assert!(
        mqtt.listen.is_some_and(|address| address.ip().is_loopback())
            && mqtt.access.anonymous
            && config.ports.is_empty()
    );
    assert!(matches!(&config.share.listeners[..], [Listener::Loopback { .. }]));
    assert_eq!(config.store.dir, root().join("smallbrain-data"));
    assert_eq!(config.socket, root().join("smallbrain-data/smallbrain.sock"));
    let lanes: Vec<Lane> = config.share.lines.iter().map(|line| line.lane).collect();
    assert_eq!(lanes, [Lane::Alarm, Lane::Aggregate, Lane::Aggregate, Lane::Bulk]);
    let door = &mqtt.mappings[0].speakers.get("door-2").expect("the second door").series;
    assert_eq!(door.len(), 5);
    let point = config.plan.points[door[0].index()].as_ref().expect("its first point");
    assert_eq!(
        (point.device.as_str(), point.metric.as_str(), point.class.as_str()),
        ("door-2", "door_open", "door")
    );
    assert_eq!(point.aggregates, [1], "A-15m");
    let watched = |alarm: usize| config.plan.rules.alarms[alarm].devices.len();
    assert_eq!([watched(0), watched(1), watched(2)], [1, 3, 3], "smoke, hot, frost");
}

#[test]
fn what_a_point_is_judged_by() {
    let config = load(&example()).unwrap_or_else(|faults| panic!("{faults}"));
    let point = |metric| {
        let key = config.names.get(if metric == "volume" { "water-1" } else { "thermometer-1" }, metric);
        config.plan.points[key.expect("a point").index()].as_ref().expect("a point")
    };
    let decimal = |text: &str| text.parse::<Decimal>().ok();
    let volume = point("volume");
    assert_eq!(volume.rule.outside, Outside::Flag);
    assert_eq!((volume.plausible.monotonic, volume.plausible.slope_max), (true, decimal("0.005")));
    assert_eq!(volume.thinning.band, decimal("0.01"));
    let temperature = point("temperature");
    assert_eq!(temperature.rule.outside, Outside::Drop);
    assert_eq!((temperature.plausible.judges(), temperature.thinning.band), (false, None));
}

#[test]
fn the_example_is_right_with_everything_switched_on() {
    let config = load(&uncommented()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.share.listeners.len(), 3);
    let mqtt = config.mqtt.as_ref().expect("MQTT");
    assert_eq!((mqtt.access.users.len(), mqtt.access.certificates.len()), (2, 1));
    assert!(mqtt.tls.as_ref().is_some_and(|tls| tls.listen.port() == 8883 && tls.files.client_ca.is_some()));
    let http = config.http.as_ref().expect("HTTP");
    assert!(http.listen.port() == 8080 && http.tls.as_ref().is_some_and(|files| files.client_ca.is_some()));
    let port = &config.ports[0];
    let meters: Vec<(&str, u32, Parity, u128)> = port
        .meters
        .iter()
        .map(|meter| {
            let timeout = meter.timing.response_timeout.as_millis();
            (meter.address.protocol().name(), meter.line.baud, meter.line.parity, timeout)
        })
        .collect();
    let even = Parity::Even;
    let expected =
        [("modbus", 9600, Parity::None, 1000), ("dlt645", 2400, even, 1000), ("cjt188", 4800, even, 2000)];
    assert_eq!((port.name.as_str(), &meters[..]), ("bus-1", &expected[..]));
    assert!(port.meters[1].watch_clock && port.zone_ms == 8 * 3_600_000);
    let valve = &config.ports[1].meters[0];
    let writable = |meter: &Meter| meter.points.iter().filter(|point| point.writable.is_some()).count();
    assert_eq!(writable(valve), 1);
    assert!(port.meters.iter().all(|meter| writable(meter) == 0), "read-only by default");
    let (dir, path) = site(&uncommented().replace("/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0", "bus"));
    let config = Config::load(&path, NOW_MS, None).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.ports[0].path, dir.path().join("bus").display().to_string(), "beside the file");
    let first = &port.meters[0].points[0].source;
    assert!(matches!(first, Source::Modbus { absent, .. } if *absent == [0x7fff]), "{first:?}");
    let badge = config.names.get("gate-1", "badge_no").expect("the gate");
    assert!(config.plan.points[badge.index()].as_ref().is_some_and(|point| point.treatment.is_some()));
}

#[test]
fn the_defaults_of_the_example_are_those_of_the_code() {
    let default = |line: &&str| -> bool {
        let Some((setting, comment)) = line.split_once(" # ") else { return false };
        let value = setting.split_once(" = ").map_or("", |(_, value)| value).trim();
        let said = comment.trim().strip_prefix("default ").unwrap_or("");
        !value.is_empty() && said.split(';').next().unwrap_or("").trim() == value
    };
    let text = uncommented();
    let without: String =
        text.lines().filter(|line| !default(line)).map(|line| format!("{line}\n")).collect();
    assert!(text.lines().filter(default).count() > 25, "the comments are read");
    let (dir, path) = site(&text);
    let shown = || {
        let config = Config::load(&path, NOW_MS, None).unwrap_or_else(|faults| panic!("{faults}"));
        let mqtt = config.mqtt.as_ref().map(|mqtt| (mqtt.listen, &mqtt.tls, mqtt.limits));
        let mqtt = (mqtt, &config.http);
        let (plan, lines) = (&config.plan, &config.share.lines);
        let spine = (&plan.rate, &plan.block, &plan.points, watched(&plan.rules), &plan.aggregates);
        let mut bulk: Vec<_> = plan.rules.bulk.iter().map(|line| format!("{line:?}")).collect();
        bulk.sort_unstable();
        format!(
            "{bulk:?} {:?} {:?} {mqtt:?} {spine:?} {lines:?} {:?}",
            config.store, config.queue, config.ports
        ) + &format!("{:?} {:?}", config.socket, config.telemetry)
    };
    let written = shown();
    std::fs::write(&path, without).expect("a file");
    assert_eq!(shown(), written);
    drop(dir);
}

#[test]
fn every_planted_fault_is_told_at_its_place() {
    let faults =
        Config::load(&root().join("tests/data/config/broken.toml"), NOW_MS, None).expect_err("a broken file");
    let told = places(&faults.faults);
    let planted = [
        (2, 12, "* in the name of a directory"),
        (3, 1, "unknown key `telemtry` in the file"),
        (5, 1, "missing key `compound_code`"),
        (6, 6, "id \"gw 1\""),
        (7, 17, "division code \"3101\""),
        (8, 8, "\"8\" is no offset from UTC"),
        (12, 12, "\"2 GB\" is no size"),
        (13, 16, "\"2 seconds\" is no duration"),
        (14, 13, "an integer stands here"),
        (15, 1, "unknown key `retain` in [store]"),
        (18, 9, "queue = 0 is out of range"),
        (19, 16, "-1 is out of range"),
        (23, 13, "anybody may connect to 0.0.0.0:1883"),
        (24, 16, "a text stands here"),
        (27, 17, "no argon2id password hash"),
        (30, 9, "0 times {device}"),
        (31, 12, "unknown template \"thermometre\""),
        (37, 11, "silence = \"5ms\" is out of range"),
        (38, 10, "unknown word \"evn\""),
        (40, 1, "template without points"),
        (49, 9, "scale = 0"),
        (50, 7, "min = 85 is above max = -40"),
        (52, 8, "pointer \"temperature\" does not begin with /"),
        (53, 39, "address 65535 with 2 registers"),
        (57, 8, "unit on a point that is no number"),
        (76, 8, "unit = 248 is out of range"),
        (88, 8, "unit 7 of port bus-1 stands twice"),
        (91, 8, "device room-1 stands twice"),
        (96, 9, "no metric `temprature`"),
        (97, 1, "unknown key `above` in [[alarm]]"),
        (103, 29, "no metric `humdity`"),
        (104, 6, "\"25:00\" is no time of a day from 00:00 to 24:00"),
        (105, 8, "\"10\" is no duration"),
        (106, 12, "unknown word \"bad\""),
        (110, 27, "card_no is a text"),
        (111, 8, "windows of \"7m\" do not end with a day"),
        (116, 8, "windows of \"10s\", but room-3 is read every \"20s\""),
        (124, 1, "a pseudonym without a key"),
        (125, 9, "unknown word \"dorp\""),
        (126, 1, "face is biometric"),
        (127, 1, "unknown point \"colour\""),
        (129, 1, "single readings without their devices"),
        (133, 14, "consumer \"a consumer\""),
        (134, 27, "card_no is shared, but its collect line has it pseudonymised"),
        (134, 38, "door_open is shared but not collected"),
        (136, 9, "\"2027-02-30\" is no date"),
        (138, 1, "missing key `approval`"),
        (139, 6, "share line S-001 stands twice"),
        (144, 12, "A-10s is an aggregate, the lane is alarm"),
        (144, 21, "unknown alarm \"smoke\""),
        (148, 23, "plain text on 192.0.2.1:50051"),
        (149, 18, "0.0.0.0:1883 is taken"),
        (149, 48, "no such file"),
        (149, 66, "no such file"),
        (149, 90, "no such file"),
        (152, 7, "error parsing level filter"),
        (158, 11, "outside = \"flag\" without a range"),
        (159, 13, "a text stands here"),
        (160, 13, "slope_max = -1"),
        (161, 12, "deadband = 0"),
        (166, 11, "unknown word \"keep\""),
        (171, 11, "outside on a point that is no number"),
        (172, 13, "monotonic on a point that is no number"),
        (173, 13, "slope_max on a point that is no number"),
        (174, 12, "deadband on a point that is no number"),
        (180, 13, "stop_bits = 3 is out of range"),
        (184, 8, "baud = 100 is out of range"),
        (185, 10, "leader in a template without points of CJ/T 188"),
        (188, 8, "point energy: forward_active_energy_total does not convert to kW.h"),
        (194, 36, "point voltage: unknown item \"voltage_d\""),
        (198, 10, "point current: 0202ff00 holds several items"),
        (201, 10, "point relay: status_3.relay_open is a flag"),
        (204, 17, "point odd: identifier 99999999 is not known"),
        (207, 17, "point odder: data identifier \"0001000\""),
        (213, 12, "point power: the point cannot be writable"),
        (218, 10, "point energy_1997: DL/T 645-1997 in a template of DL/T 645-2007"),
        (222, 14, "unknown meter type \"cold\""),
        (223, 1, "unknown key `unit_frist`"),
        (224, 10, "leader = 40 is out of range"),
        (227, 10, "point volume: current_volume comes in a unit, and the point has none"),
        (227, 46, "point volume: period = \"2d\" is out of range"),
        (232, 10, "point volume_settled: cjt188 beside modbus"),
        (241, 12, "point battery_low: the point cannot be writable"),
        (246, 9, "clock in a template without points of DL/T 645"),
        (250, 12, "point setpoint: writable without limits"),
        (255, 49, "point level: unknown type \"u15\""),
        (259, 1, "point label: unknown key `scael`"),
        (260, 12, "point label: the point cannot be writable"),
        (261, 41, "point label: address 65530 with 8 registers"),
        (264, 12, "point half: the point cannot be writable"),
        (265, 72, "point half: an order of bytes in one register"),
        (265, 90, "point half: a pattern of more than 8 bits"),
        (272, 17, "point heat: item \"Energy\""),
        (275, 8, "point heat_flow: volume_flow does not convert to L"),
        (282, 8, "a unit of a DL/T 645-2007 device"),
        (288, 11, "meter address \"20100000001X\""),
        (295, 8, "baud = 12 is out of range"),
        (301, 11, "address 201000000012 of port bus-2 stands twice"),
        (307, 11, "an address with wildcards, and port bus-2 has 3 dlt645 devices"),
        (313, 11, "everybody's address"),
        (319, 11, "one address for several devices"),
        (319, 11, "a valve of any meter"),
        (323, 12, "unknown template \"cjt188-watr\""),
        (331, 11, "an address of a Modbus device"),
        (337, 11, "M-Bus address \"251\""),
        (342, 8, "a port without address"),
        (347, 11, "an address without port"),
        (352, 8, "baud without port"),
        (357, 8, "a device on a port, but no point of its template is on one"),
        (371, 12, "energy of single devices tells how one household lives"),
        (373, 12, "A-10s is about none of the line's metrics"),
        (379, 15, "a file of TLS, which is switched off"),
        (380, 12, "body_max = \"1 GiB\" is out of range"),
        (381, 19, "connections_max = 0 is out of range"),
        (382, 16, "\"2 seconds\" is no duration"),
        (389, 10, "point siren: sample = \"1ms\" is out of range"),
        (400, 9, "place \"B 3\""),
        (409, 6, "alarm hot stands twice"),
        (410, 8, "`when` is always true"),
        (411, 12, "no device \"rooom-*\""),
        (418, 9, "times = 1 is out of range"),
        (418, 9, "times without within"),
        (419, 8, "then without within"),
        (419, 8, "both times and then"),
        (420, 8, "hold = \"2d\" is out of range"),
        (421, 12, "cooldown = \"30d\" is out of range"),
        (422, 23, "3 devices of a place, but none of them has a place"),
        (
            423,
            13,
            "schedule \"Mo-Fri\": \"Mo\" is no day of Mon to Sun; write it like \"Mon-Fri 22:00-06:00\"",
        ),
        (424, 13, "unknown command \"siren-onn\""),
        (425, 29, "command siren-on stands twice"),
        (426, 11, "unknown collect line \"C-0003\""),
        (427, 9, "unknown word \"me\""),
        (432, 10, "absent = \"10s\", but it is read every \"20s\""),
        (434, 9, "clear with absent"),
        (440, 13, "energy tells how people live"),
        (446, 9, "3 times within \"30s\", but it is read every \"20s\""),
        (451, 1, "missing key `severity`"),
        (451, 1, "alarm without a condition"),
        (453, 10, "metric without absent"),
        (457, 8, "it reads nothing of a device of its own"),
        (462, 11, "s-1 has no siren"),
        (466, 1, "it would inhibit for good"),
        (468, 11, "unknown alarm \"colder\""),
        (471, 6, "inhibit always stands twice"),
        (472, 8, "no device \"wind-1\""),
        (473, 9, "lasts = \"10d\" is out of range"),
        (474, 11, "both when and between"),
        (474, 11, "between a time and one that is not after it"),
        (
            478,
            13,
            "schedule \"22:00-6:00\": \"6:00\" is no time of a day from 00:00 to 24:00; write it like \"Mon-Fri 22:00-06:00\"",
        ),
        (479, 9, "lasts without when"),
        (481, 1, "a recipient that cannot be reached"),
        (483, 8, "unknown word \"polices\""),
        (485, 1, "a recipient with several channels"),
        (488, 19, "a url of another scheme than https or http"),
        (488, 41, "secret file"),
        (490, 20, "a field that stands twice"),
        (490, 29, "a field that is not for residents"),
        (495, 12, "no alarm share line serves this consumer"),
        (500, 19, "a url with a user or password"),
        (501, 10, "digest = \"2d\" is out of range"),
        (504, 6, "recipient hook stands twice"),
        (506, 11, "unknown command \"siren-off\""),
        (509, 11, "unknown alarm \"nothin-*\""),
        (510, 15, "unknown word \"worst\""),
        (511, 10, "unknown word \"escalated\""),
        (512, 7, "unknown recipient \"propertty\""),
        (513, 34, "an escalation to nobody"),
        (513, 50, "\"1m\" after \"5m\""),
        (513, 83, "after = \"10ms\" is out of range"),
        (517, 10, "unknown device \"siren-2\""),
        (518, 21, "topic \"siren/+/set\""),
        (519, 11, "expires = \"2h\" is out of range"),
        (520, 9, "level = 3 is out of range"),
        (523, 6, "command siren-on stands twice"),
        (525, 20, "siren of siren-1 is not writable"),
        (525, 37, "\"loud\" for siren"),
        (527, 1, "command that does nothing"),
        (530, 11, "no metric `sirene`"),
        (536, 9, "both publish and write"),
        (547, 8, "when on another lane than bulk"),
        (548, 10, "places on another lane than alarm"),
        (554, 8, "visits of template report has two sources"),
        (555, 12, "deadband on visits, which people enter"),
        (560, 8, "a device on a port, but no point of its template is on one"),
        (565, 12, "template report has two sources"),
        (572, 16, "a text stands here"),
        (577, 14, "template report has two sources"),
        (579, 10, "unknown word \"people\""),
        (580, 16, "second_check of what devices tell"),
        // Who may approve what.
        (584, 24, "a text stands here"),
        (586, 22, "max without a quorum"),
        (587, 3, "missing key `max`"),
        (588, 10, "tier T1 stands twice (see "),
        (588, 22, "a quorum of nobody"),
        (588, 44, "max = \"9000d\" is out of range"),
        (588, 69, "unknown role of the tier \"guard\""),
        (593, 10, "unknown role \"gard\""),
        (597, 8, "person zhang stands twice (see "),
        (598, 9, "a person without a role"),
        (599, 14, "two people have this key (see "),
        (601, 1, "missing key `roles`"),
        (603, 14, "not a public key"),
        (612, 8, "unknown tier \"T9\""),
        (614, 1, "missing key `approval`"),
        // In the library: the file's own template has the metric in another unit.
        (11, 14, "point heat_flow: metric heat_flow with another kind or unit (see "),
    ];
    for ((line, column, message), told) in planted.iter().zip(&told) {
        assert_eq!((*line, *column), (told.0, told.1), "{message} / {}", told.2);
        assert!(told.2.contains(message), "{line}: {message} / {}", told.2);
    }
    assert_eq!(told.len(), planted.len(), "no more and no less");
    assert!(faults.faults.iter().all(|fault| !fault.help.is_empty()));
    let warned = places(&faults.warnings);
    assert!(warned.contains(&(145, 9, "the line has ended")), "{warned:?}");
    let shown = faults.to_string();
    assert!(!shown.contains("hunter2") && !shown.contains("hunter3"), "a password is never shown");
}

#[test]
fn check_tells_faults_and_what_a_good_file_says() {
    let run = |file: &str, json: bool| {
        let mut out = Vec::new();
        let code = check::run(&root().join(file), json, &mut out);
        (code, String::from_utf8(out).expect("UTF-8"))
    };
    let (code, text) = run("tests/data/config/broken.toml", false);
    assert_eq!(code, 78);
    assert!(text.contains("broken.toml:3:1\n") && text.trim_end().ends_with("205 faults"), "{text}");
    let (code, text) = run("tests/data/config/broken.toml", true);
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
    assert_eq!((code, array.iter().filter(|entry| entry["level"] == "error").count()), (78, 205));
    assert_eq!((array[1]["line"].as_u64(), array[1]["column"].as_u64()), (Some(3), Some(1)));
    let (code, text) = run("config.example.toml", false);
    assert_eq!(code, 0);
    for said in ["7 with 24 points", "4 lines in, 4 lines out", "mqtt 127.0.0.1:1883, anybody\n", "no faults"]
    {
        assert!(text.contains(said), "{said} in {text}");
    }
    let (code, text) = run("config.example.toml", true);
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
    let is_kept = |entry: &serde_json::Value| entry["level"] == "lane" && entry["kept"] == true;
    assert_eq!((code, array.len(), array.iter().all(is_kept)), (0, Lane::ALL.len(), true), "{text}");
    let (_dir, path) = site(&uncommented());
    let (code, text) = run(&path.display().to_string(), false);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("port        bus-1: 3 meters, 11 points, a round of 7 questions in "), "{text}");
    let (_, text) = run(&path.display().to_string(), true);
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
    let ports: Vec<_> = array.iter().filter(|entry| entry["level"] == "port").collect();
    assert_eq!((ports.len(), &ports[0]["port"], &ports[0]["points"]), (2, &"bus-1".into(), &11.into()));
    assert!(ports[0]["sweep_ms"].as_u64() > Some(1000) && ports[0]["busy_permille"].as_u64() < Some(1000));
    let (_dir, path) = site(&example().replacen("bulk = \"400 MiB\"", "bulk = \"64 KiB\"", 1));
    let (code, text) = run(&path.display().to_string(), false);
    let said = text.lines().find(|line| line.starts_with("error       lane bulk gets about "));
    assert!(code == 78 && said.is_some_and(|said| said.contains("store.promise is 7.0")), "{text}");
    assert!(text.contains("a promise that cannot be kept"), "{text}");
    let (code, text) = run(&path.display().to_string(), true);
    assert!(code == 78 && text.contains("\"kept\": false"), "{text}");
    let (code, text) = run("tests/data/config/none.toml", false);
    assert_eq!(code, 78);
    assert!(text.contains("none.toml") && text.ends_with("1 fault\n"), "{text}");
}

#[test]
fn broken_syntax_hides_no_other_fault() {
    let text = "[gateway]\nid = \"gw\ncolour = 1\n[store]\ndir = = \nsize_max = 7\n";
    let faults = load(text).expect_err("broken syntax");
    let lines: Vec<usize> = faults.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [2, 3, 5, 6], "{faults}");
}

/// As the example has them, out of use.
const STATISTICS: &str =
    "#statistics = [\"count\", \"min\", \"max\", \"mean\", \"p95\", \"histogram\", \"coverage\", \"online\"]";

/// The statistics of an aggregate come whole into the plan, with the pace of the points that they are of.
#[test]
fn statistics_as_the_example_explains_them() {
    let edges = "\nedges = [\"0\", \"10\", \"20\", \"30\"]";
    let config = with(STATISTICS, &format!("{}{edges}", &STATISTICS[1..])).expect("a good configuration");
    let aggregate = &config.plan.aggregates[0];
    let names = "count,min,max,mean,p95,histogram,coverage,online";
    assert_eq!((aggregate.statistics.to_string().as_str(), aggregate.edges.len()), (names, 4));
    assert_eq!(config.plan.aggregates[1].statistics.to_string(), "count,sum,min,max,mean,last");
    assert!(config.plan.points.iter().flatten().all(|point| !point.pace.time_mean));
    let config = with("#mean = \"time\" ", "mean = \"time\" ").expect("a good configuration");
    let by_time = |point: &&smallbrain::ingest::Point| point.pace.time_mean;
    let points = config.plan.points.iter().flatten().filter(by_time);
    let metrics: Vec<&str> = points.map(|point| point.metric.as_str()).collect();
    assert!(!metrics.is_empty() && metrics.iter().all(|metric| *metric == "flow"), "{metrics:?}");
}

#[test]
fn one_wrong_passage_is_one_fault() {
    for (from, to, message) in [
        (
            "devices = true\ncarries = [\"A-1m\"]",
            "carries = [\"A-1m\"]",
            "A-1m is by device, the line leaves devices out",
        ),
        ("volume = \"drop\", ", "volume = \"pseudonym\", ", "a pseudonym without a key"),
        (
            "metrics = [\"smoke_alarm\", \"temperature\"]",
            "metrics = [\"smoke\"]",
            "is about none of the line's metrics",
        ),
        ("temperature = \"keep\"", "temperature = \"drop\"", "not kept as it is by the collection list"),
        ("[[aggregate]]\nid = \"A-15m\"", "[[aggregate]]\nid = \"A-1m\"", "aggregate A-1m stands twice"),
        ("unit = \"Cel\" ", "unit = \"K\" ", "metric temperature with another kind or unit"),
        (STATISTICS, "statistics = [\"meen\"]", "unknown statistic \"meen\""),
        (STATISTICS, "statistics = [\"p100\"]", "quantile \"p100\""),
        (STATISTICS, "statistics = [\"p95\", \"p95.0\"]", "statistic p95 stands twice"),
        (STATISTICS, "statistics = []", "an aggregate of 0 statistics"),
        (STATISTICS, "statistics = [\"histogram\"]", "histogram without edges"),
        (STATISTICS, "edges = [1, 2]", "edges without histogram"),
        (STATISTICS, "statistics = [\"histogram\"]\nedges = [\"2\", \"2.0\"]", "edge 2.0 after 2"),
        (STATISTICS, "statistics = [\"histogram\"]\nedges = []", "0 edges of a histogram"),
        (STATISTICS, "statistics = [\"delta\"]", "delta of temperature, which is not monotonic"),
        (
            "size = \"15m\"\n",
            "size = \"15m\"\nstatistics = [\"count\", \"p95\"]\n",
            "p95 of door_open, which is a flag",
        ),
        ("#mean = \"time\" ", "mean = \"weight\" ", "unknown word \"weight\""),
        ("scale = \"0.1\"", "scale = \"0,1\"", "is no exact decimal"),
        ("when = \"smoke_alarm\" ", "", "alarm without a condition"),
        ("max = 85 ", "outside = \"drop\"\nslope_max = 0\nmax = 85 ", "slope_max = 0"),
        ("device_burst = 400", "device_burst = 4", "a message may carry 5 points"),
        ("thermometer-{1..3}", "thermometer-{1..30000}", "device id"),
        ("[share_server]", "[shareserver]", "unknown key `shareserver`"),
        ("conf.d/*.toml", "lost.toml", "lost.toml"),
        ("order = \"CDAB\", ", "order = \"CDAB\", type = \"u16\", ", "duplicate key"),
        ("type = \"i16\", absent", "type = \"bit\", absent", "a type that the table does not hold"),
        ("card_no = \"drop\"", "card_no = \"keep\"", "card_no is personal"),
        ("card_no = \"drop\"", "card_no = { do = \"truncate\", keep = 2 }", "card_no is personal"),
        ("metric = \"door_open\"", "metric = \"door_open\"\nclass = \"biometric\"", "door_open is biometric"),
    ] {
        let faults = with(from, to).expect_err(to);
        assert!(faults.faults.iter().any(|fault| fault.message.contains(message)), "{message} in {faults}");
    }
}

#[test]
fn a_key_that_cannot_be_read_is_a_fault() {
    let (dir, path) = site(&uncommented());
    std::fs::remove_file(dir.path().join("pseudonym.key")).expect("the key");
    let faults = Config::load(&path, NOW_MS, None).expect_err("no key");
    assert_eq!(faults.count(), 1, "{faults}");
    assert!(faults.faults[0].text.starts_with("key = \"pseudonym.key\""));
}

/// What the plan makes of a card at a door.
fn card(config: &Config) -> Result<Cleared<Reading>, Loss> {
    let point = config.plan.points.iter().flatten().find(|point| point.metric.as_str() == "card_no");
    let reading = Reading {
        series: SeriesKey(0),
        value: Value::Text("0412".into()),
        time_ms: NOW_MS,
        received_ms: NOW_MS,
        device_time: false,
        quality: Quality::Good,
    };
    clear(point.expect("a card").treatment.as_ref(), reading)
}

/// Names that end with their epoch wait for its key, which comes from beside the store; the others need none.
#[test]
fn the_keys_of_epochs() {
    let configured = |section: &str| {
        let rest = format!("[pseudonym]\nkey = 'pseudonym.key'\n{section}\n");
        site(
            &(example().replace("card_no = \"drop\"", "card_no = { do = 'pseudonym', subject = 'code' }")
                + &rest),
        )
    };
    for (section, epoch, keep) in [
        ("", "2026-11", 2),
        ("epoch = 'week'\nhash = 'sm3'\ndestroy_after_epochs = 8", "2026-W47", 8),
        ("epoch = 'day'", "2026-11-21", 2),
    ] {
        let (dir, path) = configured(section);
        let mut config = Config::load(&path, NOW_MS, None).unwrap_or_else(|faults| panic!("{faults}"));
        let settings = config.pseudonyms.clone().expect("names that end");
        assert_eq!((settings.epoch.to_string().as_str(), settings.keep), (epoch, keep));
        assert!(settings.dir.ends_with("keys") && !settings.dir.exists(), "loading writes nothing");
        assert!(settings.dir.starts_with(dir.path()));
        assert_eq!(card(&config), Err(Loss::Invalid), "no name before the epoch has its key");
        assert_eq!(config.turn_keys().expect("a key").created, [epoch]);
        assert!(card(&config).is_ok());
        assert!(settings.dir.join(format!("epoch-{epoch}.key")).exists());
    }
    let (_dir, path) = configured("epoch = 'none'");
    let mut config = Config::load(&path, NOW_MS, None).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(config.pseudonyms.is_none() && config.turn_keys().expect("nothing").created.is_empty());
    for (section, message) in [
        ("epoch = 'none'\ndestroy_after_epochs = 2", "destroy_after_epochs with epoch = \"none\""),
        ("destroy_after_epochs = 0", "destroy_after_epochs = 0 is out of range"),
        ("epoch = 'year'", "unknown word \"year\""),
        ("hash = 'md5'", "unknown word \"md5\""),
    ] {
        let (_dir, path) = configured(section);
        let faults = Config::load(&path, NOW_MS, None).expect_err(section);
        assert!(faults.faults.iter().any(|fault| fault.message.contains(message)), "{message} in {faults}");
    }
}

#[test]
fn what_is_for_eyes_or_sealed_is_not_shared() {
    for (treatment, word) in [
        ("{ do = 'mask', as = 'plate' }", "masked"),
        ("{ do = 'seal', to = 'age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p' }", "sealed"),
    ] {
        let faults = with("humidity = \"keep\"", &format!("humidity = {treatment}")).expect_err(word);
        let message = format!("humidity is shared, but its collect line has it {word}");
        assert!(faults.faults.iter().any(|fault| fault.message.starts_with(&message)), "{faults}");
    }
}

/// What a gate tells of a visit, by one line of the collection list.
fn visit(fields: &str) -> Result<Config, Faults> {
    let points = [
        "metric = 'phone', kind = 'text', class = 'personal'",
        "metric = 'age', class = 'personal'",
        "metric = 'at', kind = 'text'",
        "metric = 'open', kind = 'flag'",
        "metric = 'waiting'",
    ];
    let points: Vec<String> =
        points.iter().enumerate().map(|(at, point)| format!("{{ {point}, json = '/{at}' }}")).collect();
    load(&format!(
        "[gateway]\nid = 'g'\ndivision_code = '310115013007'\ncompound_code = 'C1'\n[store]\ndir = 'data'\n\
         [mqtt]\nanonymous = true\n[[mapping]]\ntopic = 'gate/{{device}}'\ntemplate = 'visit'\n\
         [[device]]\nid = 'gate'\ntemplate = 'visit'\n[[template]]\nname = 'visit'\npoint = [{}]\n\
         [[collect]]\nid = 'C'\ntemplates = ['visit']\npurpose = 'test'\nfields = {{ {fields} }}\n",
        points.join(", ")
    ))
}

#[test]
fn treatments_are_checked() {
    const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    for fields in [
        "phone = { do = 'mask', as = 'mobile' }, age = { do = 'generalise', age = '0-17,18+' }, open = 'keep'",
        &format!("phone = {{ do = 'seal', to = '{RECIPIENT}' }}, waiting = {{ do = 'round', base = 5 }}"),
        "phone = 'redact', at = { do = 'generalise', time = '2h' }",
        "at = { do = 'generalise', place = 'street' }, age = { do = 'generalise', bands = [0, 18] }",
        "at = { do = 'truncate', keep = 4 }, waiting = { do = 'mask', as = 'mobile' }",
    ] {
        assert!(visit(fields).is_ok(), "{fields}: {}", visit(fields).expect_err("faults"));
    }
    for (fields, messages) in [
        ("phone = { do = 'mask' }", &["missing key `as`"][..]),
        ("phone = { do = 'mask', as = 'shoe' }", &["unknown word \"shoe\""]),
        ("open = { do = 'mask', as = 'plate' }", &["open is a flag"]),
        ("age = { do = 'generalise' }", &["generalised by nothing"]),
        ("age = { do = 'generalise', age = '0-17,17+' }", &["band \"17+\" does not begin above"]),
        ("age = { do = 'generalise', time = 'day' }", &["age is no text"]),
        ("at = { do = 'generalise', time = '7min' }", &["unit \"7min\""]),
        ("at = { do = 'generalise', time = 'day', place = 'street' }", &["generalised twice"]),
        ("at = { do = 'generalise', age = '0+' }", &["at is no number"]),
        ("at = { do = 'generalise', place = 'room' }", &["unknown word \"room\""]),
        ("at = { do = 'seal', to = 'age1x' }", &["no age recipient"]),
        ("at = { do = 'seal' }", &["missing key `to`"]),
        ("at = { do = 'truncate', keep = 0 }", &["1 to 64 characters"]),
        ("age = { do = 'round', base = 5 }", &["age is personal"]),
        ("phone = { do = 'truncate', keep = 3 }", &["phone is personal"]),
        (
            "waiting = { do = 'round', base = 0, keep = 3 }",
            &["a base that is not above zero", "keep with another treatment"],
        ),
        ("waiting = 'redact'", &["waiting is no text"]),
        ("waiting = { do = 'drop', to = 'x' }", &["to with another treatment"]),
    ] {
        let faults = visit(fields).expect_err(fields);
        assert_eq!(faults.count(), messages.len(), "{fields}: {faults}");
        for message in messages {
            assert!(
                faults.faults.iter().any(|fault| fault.message.contains(message)),
                "{message} in {faults}"
            );
        }
    }
}

#[test]
fn an_ended_permission_does_not_keep_the_gateway_from_starting() {
    let text = example();
    for (until, ended) in [
        ("2026-11-19", true),
        ("2026-11-20", true),
        ("2026-11-21", false),
        ("2026-11-21T00:00:00+08:00", true),
        ("2026-11-20T16:00:01Z", false),
    ] {
        let config = load(&text.replacen("until = \"2030-12-31\"", &format!("until = \"{until}\""), 1));
        let config = config.unwrap_or_else(|faults| panic!("{faults}"));
        let warned = config.warnings.iter().any(|warning| warning.message.contains("has ended"));
        assert_eq!(warned, ended, "{until}");
        assert_eq!(config.share.lines[0].until_ms.is_some_and(|end| end <= NOW_MS), ended, "{until}");
    }
}

#[test]
fn what_may_not_be_meant_is_warned_of() {
    for (from, to, message) in [
        (
            "templates = [\"water\"]",
            "templates = [\"door\"]",
            "device water-1: no line of the collection list",
        ),
        ("battery = { do", "humidity2 = { do", "battery of thermometer is in no line"),
        (
            "metric = \"battery\"\nunit = \"%\"",
            "metric = \"battery\"\nunit = \"%\"\ndeadband = 1",
            "battery of thermometer is compared, but not kept as a number",
        ),
        ("anonymous = true", "anonymous = false", "nobody may connect"),
        (
            "[[mapping]]\ntopic = \"compound/{device}/up\"\ntemplate = \"water\"",
            "[[mapping]]\ntopic = \"compound/{device}/up\"\ntemplate = \"smoke\"",
            "device water-1: neither on a port nor in a mapping",
        ),
        (
            "metrics = [\"temperature\", \"humidity\", \"flow\", \"door_open\"]\ncarries",
            "metrics = [\"temperature\", \"humidity\"]\ncarries",
            "nothing shares or alarms on what C-001 collects",
        ),
        ("brain/yiwangtongguan\" }\n", "brain/other\" }\n", "no share line names this consumer"),
        (
            "#[http]\n#listen = \"127.0.0.1",
            "[http]\nlisten = \"0.0.0.0",
            "passwords in clear text on 0.0.0.0:8080",
        ),
    ] {
        let warnings = match with(from, to) {
            Ok(config) => config.warnings,
            Err(faults) => faults.warnings,
        };
        assert!(
            warnings.iter().any(|warning| warning.message.contains(message)),
            "{message} in {warnings:?}"
        );
    }
}

/// A configuration with only a port and what the rest says.
fn with_port(baud: u32, rest: &str) -> Result<Config, Faults> {
    load(&format!(
        "[gateway]\nid = 'gw'\ndivision_code = '310115013007'\ncompound_code = 'C1'\n[store]\ndir = 'data'\n\
         [[port]]\nname = 'bus'\npath = 'bus'\nbaud = {baud}\nparity = 'even'\n{rest}"
    ))
}

#[test]
fn a_setting_of_the_line_is_the_devices_then_the_templates_then_the_ports() {
    let template = "[[template]]\nname = 'meter'\nstop_bits = 2\nresponse_timeout = '2s'\n\
                    point = [{ metric = 'energy', unit = 'kWh', dlt645 = { di = '00010000' } }]\n";
    let device = |number: u32, more: &str| {
        format!(
            "[[device]]\nid = 'm{number}'\ntemplate = 'meter'\nport = 'bus'\naddress = '{number}'\n{more}\n"
        )
    };
    let rest = format!("{template}{}{}", device(1, "baud = 600\nresponse_timeout = '3s'"), device(2, ""));
    let config = with_port(1200, &rest).unwrap_or_else(|faults| panic!("{faults}"));
    let meters = config.ports[0].meters.iter();
    let lines: Vec<_> = meters
        .map(|meter| {
            (
                meter.line.baud,
                meter.line.parity,
                meter.line.stop_bits,
                meter.timing.response_timeout.as_secs(),
            )
        })
        .collect();
    assert_eq!(lines, [(600, Parity::Even, 2, 3), (1200, Parity::Even, 2, 2)]);
    assert_eq!(config.ports[0].line, config.ports[0].meters[0].line, "how it is opened");
    let gap = config.ports[0].meters[0].timing.gap.as_millis();
    assert_eq!(gap, 500, "as DL/T 645 has it");
}

#[test]
fn points_of_meters_are_of_a_kind_and_unit_that_can_come() {
    for (point, fault) in [
        ("unit = 'MWh', dlt645 = { di = '00010000' }", None),
        ("unit = 'kWh', dlt645 = { di = '0001ff00', item = 'forward_active_energy_tariff_3' }", None),
        ("kind = 'text', dlt645 = { di = '04000402' }", None),
        ("dlt645 = { di = '02060000' }", None),
        ("unit = '1', dlt645 = { di = '02060000' }", Some("power_factor_total has no unit")),
        ("kind = 'flag', dlt645 = { di = '00010000' }", Some("is no flag")),
        ("unit = 'L', cjt188 = { item = 'current_volume' }", None),
        ("unit = 'kWh', cjt188 = { di = 'd121', item = 'history_heat_2' }", None),
        ("unit = 'kWh', cjt188 = { item = 'current_volume' }", Some("does not convert to kWh")),
        ("unit = 'm3', cjt188 = { di = 'a017', item = 'valve_open' }", Some("identifier a017")),
        ("kind = 'flag', writable = true, cjt188 = { item = 'valve_open' }", None),
        ("unit = 'm3', mbus = { item = 'volume_1' }", None),
        ("unit = 'm3', mbus = { item = 'volume_per_input_pulse_0' }", None),
        ("unit = 'whatever', mbus = { item = 'x5a' }", None),
        ("unit = 'm3', mbus = { item = 'energy_tariff_2' }", Some("does not convert to m3")),
        (
            "kind = 'text', modbus = { table = 'holding', address = 65_532, type = 'text:4', order = 'BADC' }",
            None,
        ),
        (
            "modbus = { table = 'input', address = 65_533, type = 'bcd64' }",
            Some("address 65533 with 4 registers"),
        ),
        ("kind = 'flag', writable = true, modbus = { table = 'coil', address = 0 }", None),
        (
            "min = 0, max = 9, writable = true, modbus = { table = 'holding', address = 0, type = 'f32' }",
            None,
        ),
        (
            "min = 0, max = 9, writable = true, modbus = { table = 'input', address = 0, type = 'u16' }",
            Some("writable"),
        ),
        ("writable = true, json = '/a'", Some("writable without a place on a bus")),
    ] {
        let told = match with_port(
            2400,
            &format!("[[template]]\nname = 't'\npoint = [{{ metric = 'x', {point} }}]\n"),
        ) {
            Ok(_) => String::new(),
            Err(faults) => faults.summary(),
        };
        assert!(
            fault.map_or(told.is_empty(), |fault| told.contains("point x: ") && told.contains(fault)),
            "{point}: {told}"
        );
    }
}

#[test]
fn a_meter_alone_may_have_any_address() {
    let device = "[[device]]\nid = 'e'\ntemplate = 'dlt645-1997'\nport = 'bus'\naddress = 'AAAAAAAAAAAA'\n";
    let config = with_port(1200, device).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(matches!(config.ports[0].meters[0].address, Address::Dlt645(address) if address.is_wildcard()));
    let warned = |warning: &Fault| warning.message.contains("any dlt645 meter on port bus is taken for e");
    assert!(config.warnings.iter().any(warned), "{:?}", config.warnings);
}

#[test]
fn periods_that_cannot_be_kept_are_warned_of() {
    let template = |period: &str| {
        format!(
            "[[template]]\nname = 'meter'\npoint = [{{ metric = 'energy', unit = 'kWh', dlt645 = {{ di = '00010000', \
             period = '{period}' }} }}]\n"
        )
    };
    let devices: String = (1..=32)
        .map(|number| {
            format!("[[device]]\nid = 'm{number}'\ntemplate = 'meter'\nport = 'bus'\naddress = '{number}'\n")
        })
        .collect();
    let collect =
        "[[collect]]\nid = 'C'\ntemplates = ['meter']\npurpose = 'x'\nfields = { energy = 'keep' }\n";
    let overloads = |baud: u32, period: &str| {
        let config = with_port(baud, &(template(period) + &devices + collect))
            .unwrap_or_else(|faults| panic!("{faults}"));
        config
            .warnings
            .into_iter()
            .filter(|warning| warning.message.contains("cannot be met"))
            .collect::<Vec<_>>()
    };
    let told = overloads(2400, "5s");
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].line, told[0].column), (8, 8), "at the port's name");
    assert!(told[0].message.contains("the shortest, \"5s\" of m1"), "{}", told[0].message);
    assert!(told[0].help.starts_with("periods of at least \"15s\", a higher baud"), "{}", told[0].help);
    assert!(overloads(2400, "15s").is_empty(), "what it advises fits");
    assert!(overloads(300, "15s").len() == 1, "the baud counts");
}

#[test]
fn every_template_of_the_library_is_whole() {
    let mut rest = "[[mapping]]\nprofile = 'zigbee2mqtt'\n".to_owned();
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("templates"))
        .expect("templates")
        .map(|file| file.expect("one").path())
        .collect();
    files.sort();
    for (number, file) in files.iter().enumerate() {
        let text = std::fs::read_to_string(file).expect("a template");
        let table: toml::Table = text.parse().expect("valid TOML");
        let template = &table["template"][0];
        let name = template["name"].as_str().expect("a name");
        assert_eq!(file.file_stem().and_then(|stem| stem.to_str()), Some(name));
        let points = template["point"].as_array().expect("points");
        let address = match name.split('-').next() {
            Some("mqtt") => None,
            Some("modbus") => Some("unit = 1"),
            Some("mbus") => Some("address = '5'"),
            _ => Some("address = '12345678'"),
        };
        rest += &format!("[[device]]\nid = 'd-{number}'\ntemplate = '{name}'\n");
        if let Some(address) = address {
            rest += &format!(
                "port = 'bus-{number}'\n{address}\n[[port]]\nname = 'bus-{number}'\npath = 'bus-{number}'\n"
            );
        }
        let metrics = || points.iter().map(|point| point["metric"].as_str().expect("a metric"));
        let fields: String = metrics().map(|metric| format!("{metric} = 'keep'\n")).collect();
        rest += &format!(
            "[[collect]]\nid = 'L-{number}'\ntemplates = ['{name}']\npurpose = 'test'\n[collect.fields]\n{fields}"
        );
        let condition = if points[0].get("kind").is_some() { "" } else { " > 1000000" };
        let metric = metrics().next().expect("a first point");
        // Whose lives they tell of is asked nowhere else.
        let consent =
            if points[0].get("class").is_some() { format!("consent = 'L-{number}'") } else { String::new() };
        rest += &format!(
            "[[alarm]]\nid = 'A-{number}'\ndevices = ['d-{number}']\nseverity = 'info'\nwhen = '{metric}{condition}'\n{consent}\n"
        );
    }
    assert!(files.len() >= 11);
    // Beside the example, because a metric has one kind and one unit in a whole configuration.
    let config = load(&(example() + &rest)).unwrap_or_else(|faults| panic!("{faults}"));
    // What is collected here has no use, and the loop of the example says so.
    let others = |fault: &&Fault| !fault.message.ends_with("in the four lists");
    let warnings: Vec<Fault> = config.warnings.iter().filter(others).cloned().collect();
    assert_eq!(places(&warnings), []);
    let heard = &config.mqtt.as_ref().and_then(|mqtt| mqtt.mappings.last()).expect("a mapping").speakers;
    assert_eq!(heard.len() + config.ports.len(), files.len(), "each is on a port or heard by its name");
    let on_ports = files.iter().filter(|file| !file.to_string_lossy().contains("/mqtt-"));
    for (port, file) in config.ports.iter().zip(on_ports) {
        let points = port.meters[0].points.len();
        assert!(points >= 2, "{}", file.display());
        assert!(port.meters[0].points.iter().all(|point| point.writable.is_none()), "{}", file.display());
    }
    assert_eq!(config.files.len(), 1, "the library is no file of the configuration");
}

#[test]
fn a_template_of_the_file_is_taken_before_that_of_the_library() {
    let rest = "[[template]]\nname = 'cjt188-water'\n\
                point = [{ metric = 'volume', unit = 'm3', cjt188 = { item = 'current_volume' } }]\n\
                [[device]]\nid = 'w'\ntemplate = 'cjt188-water'\nport = 'bus'\naddress = '1'\n\
                [[collect]]\nid = 'C'\ntemplates = ['cjt188-water']\npurpose = 'x'\nfields = { volume = 'keep' }\n";
    let config = with_port(2400, rest).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.ports[0].meters[0].points.len(), 1);
}

#[test]
fn what_may_not_be_taken_is_not_asked_for() {
    let asked = |fields: &str| {
        let rest = format!(
            "[[template]]\nname = 'water'\npoint = [\
             {{ metric = 'volume', unit = 'm3', cjt188 = {{ item = 'current_volume' }} }},\
             {{ metric = 'settled', unit = 'm3', cjt188 = {{ item = 'settlement_volume' }} }},\
             {{ metric = 'valve', kind = 'flag', writable = true, cjt188 = {{ item = 'valve_open' }} }}]\n\
             [[device]]\nid = 'w'\ntemplate = 'water'\nport = 'bus'\naddress = '1'\n\
             [[collect]]\nid = 'C'\ntemplates = ['water']\npurpose = 'x'\nfields = {{ {fields} }}\n"
        );
        let config = with_port(2400, &rest).unwrap_or_else(|faults| panic!("{faults}"));
        let points = &config.ports[0].meters[0].points;
        assert_eq!(points.len(), 3, "somebody on the spot may read them all");
        points.iter().filter(|point| point.polled).count()
    };
    for (fields, points) in [
        ("volume = 'keep', settled = 'keep', valve = 'keep'", 3),
        ("volume = 'keep', settled = 'drop', valve = 'keep'", 2),
        ("volume = 'keep', valve = 'refuse'", 1),
        ("volume = { do = 'generalise', bands = [0, 5] }", 1),
        ("volume = 'drop'", 0),
    ] {
        assert_eq!(asked(fields), points, "{fields}");
    }
}

#[test]
fn points_keep_their_keys_over_reloads() {
    let (_dir, path) = site(&example());
    let first = Config::load(&path, NOW_MS, None).expect("the example");
    let key = |config: &Config, device: &str| config.names.get(device, "temperature").map(SeriesKey::index);
    let text = example().replace("thermometer-{1..3}", "thermometer-{2..4}");
    std::fs::write(&path, &text).expect("a file");
    let second = Config::load(&path, NOW_MS, Some(&first.names)).expect("fewer and more devices");
    for device in ["thermometer-1", "thermometer-2", "thermometer-3"] {
        assert_eq!(key(&first, device), key(&second, device), "{device}");
    }
    let gone = key(&second, "thermometer-1").expect("still numbered");
    assert!(first.plan.points[gone].is_some() && second.plan.points[gone].is_none());
    let new = key(&second, "thermometer-4").expect("numbered");
    assert!(new >= first.names.len() && second.plan.points.len() == second.names.len());
    std::fs::write(&path, example()).expect("a file");
    let third = Config::load(&path, NOW_MS, Some(&second.names)).expect("as before");
    assert_eq!(key(&third, "thermometer-1"), Some(gone), "an old name gets its old number");
}

#[test]
fn a_reload_says_what_it_does_not_reach() {
    let old = load(&example()).expect("the example");
    for (from, to, sections) in [
        ("temperature > 60", "temperature > 61", &[][..]),
        ("queue = 256", "queue = 257", &["ingest.queue"]),
        ("size_max = \"2 GiB\"", "size_max = \"3 GiB\"", &["store"]),
        ("keep = \"1095d\"", "keep = \"400d\"", &["audit"]),
        ("inflight_max = 64", "inflight_max = 63", &["mqtt limits"]),
        ("#[mqtt.tls]", "[mqtt.tls]\ncertificate = \"gateway.pem\"\nkey = \"gateway.key\"\n#", &["mqtt.tls"]),
        ("127.0.0.1:1883\"   ", "127.0.0.1:1884\"   ", &["mqtt.listen"]),
        ("127.0.0.1:50051", "127.0.0.1:50053", &["share_server"]),
        ("log = \"info\"", "log = \"debug\"", &["telemetry"]),
        ("compound_code = \"C0012\"", "compound_code = \"C0013\"", &["gateway"]),
    ] {
        let mut new = with(from, to).unwrap_or_else(|faults| panic!("{faults}"));
        // Each stands in a directory of its own.
        (new.store.dir, new.socket) = (old.store.dir.clone(), old.socket.clone());
        new.trail.key.clone_from(&old.trail.key);
        assert_eq!(old.restart_needed(&new), sections, "{to}");
    }
}

#[test]
fn the_lists_have_a_version_of_their_own() {
    let digest = |text: &str| load(text).unwrap_or_else(|faults| panic!("{faults}")).plan.lists_digest;
    let text = example();
    let old = digest(&text);
    assert_eq!(digest(&format!("# a comment\n{text}").replace("queue = 256", "queue = 9")), old);
    assert_ne!(digest(&text.replace("purpose = \"city.operation\"", "purpose = \"city.other\"")), old);
    assert_ne!(
        digest(
            &text
                .replace("flow = \"keep\"", "flow = \"keep\", volume = \"keep\"")
                .replace("volume = \"drop\", ", "")
        ),
        old
    );
}

#[test]
fn several_files_are_one_configuration() {
    let (dir, path) = site(&example());
    std::fs::create_dir(dir.path().join("conf.d")).expect("a directory");
    let more = dir.path().join("conf.d/10-more.toml");
    let device = "[[device]]\nid = \"water-2\"\ntemplate = \"water\"\n";
    // What `smallbrain device add` prints belongs to a section of another file, and was refused beside it.
    let credentials = ["water-1", "water-2"].map(|name| {
        let hash =
            "$argon2id$v=19$m=19456,t=2,p=1$c21hbGxicmFpbi1zYWx0$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";
        format!("[[mqtt.user]]\nname = \"{name}\"\npassword_hash = \"{hash}\"\n")
    });
    std::fs::write(&more, device.to_owned() + &credentials[0]).expect("a file");
    let third = dir.path().join("conf.d/20-more.toml");
    std::fs::write(&third, &credentials[1]).expect("a file");
    let config = Config::load(&path, NOW_MS, None).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.files, [path.clone(), more.clone(), third.clone()]);
    assert!(config.names.get("water-2", "flow").is_some());
    assert_eq!(config.mqtt.map(|mqtt| mqtt.access.users.len()), Some(2));
    std::fs::write(&third, "[mqtt]\ninflight_max = 3\n").expect("a file");
    let faults = Config::load(&path, NOW_MS, None).expect_err("a key of a table that stands elsewhere");
    assert!(faults.to_string().contains("`mqtt` stands twice"), "{faults}");
    std::fs::remove_file(&third).expect("removed");
    std::fs::write(
        &more,
        "include = []\n[ingest]\nqueue = 2\n[[device]]\nid = \"water-1\"\ntemplate = \"wasser\"\n",
    )
    .expect("a file");
    let faults = Config::load(&path, NOW_MS, None).expect_err("faults in the second file");
    let told: Vec<_> =
        faults.faults.iter().map(|fault| (fault.file == more, fault.line, fault.column)).collect();
    assert_eq!(told, [(true, 1, 11), (true, 2, 1), (true, 5, 6), (true, 6, 12)], "{faults}");
}

#[test]
fn http_has_the_files_of_mqtt_or_its_own() {
    let mqtt = "[mqtt]\n[mqtt.tls]\ncertificate = \"gateway.pem\"\nkey = \"gateway.key\"\n";
    let own =
        "tls = true\ncertificate = \"city-ca.pem\"\nkey = \"gateway.key\"\nclient_ca = \"devices-ca.pem\"\n";
    let start = "[gateway]\nid = \"g\"\ndivision_code = \"310115013007\"\ncompound_code = \"C\"\n[store]\ndir = \"data\"\n";
    let user = "[[mqtt.user]]\nname = \"d\"\ncertificate = \"d.example\"\n";
    for (what, text, expected) in [
        ("none", format!("{mqtt}[http]\n"), Ok(None)),
        ("those of MQTT", format!("{mqtt}[http]\ntls = true\n"), Ok(Some("gateway.pem"))),
        ("its own", format!("{mqtt}[http]\n{own}"), Ok(Some("city-ca.pem"))),
        ("its own, for certificates of users", format!("{mqtt}{user}[http]\n{own}"), Ok(Some("city-ca.pem"))),
        ("nobody's", "[mqtt]\n[http]\ntls = true\n".into(), Err("TLS without a certificate")),
        (
            "half of them",
            format!("{mqtt}[http]\ntls = true\nkey = \"gateway.key\"\n"),
            Err("missing key `certificate`"),
        ),
        ("nobody who may come", "[http]\n".into(), Err("[http] without [mqtt]")),
        (
            "a taken port",
            format!("{mqtt}[http]\nlisten = \"127.0.0.1:8883\"\n")
                .replace("[mqtt.tls]", "[mqtt.tls]\nlisten = \"0.0.0.0:8883\""),
            Err("127.0.0.1:8883 is taken"),
        ),
    ] {
        let told = load(&format!("{start}{text}"));
        let files = told.map(|config| config.http.and_then(|http| http.tls).map(|files| files.certificate));
        match expected {
            Ok(name) => {
                let files = files.unwrap_or_else(|faults| panic!("{what}: {faults}"));
                let file = files.as_ref().and_then(|path| path.file_name()).and_then(|name| name.to_str());
                assert_eq!(file, name, "{what}");
            }
            Err(message) => {
                let faults = files.expect_err(what);
                assert!(faults.to_string().contains(message), "{what}: {faults}");
            }
        }
    }
}

#[test]
fn a_form_is_what_a_manual_line_takes() {
    let config = load(&uncommented()).unwrap_or_else(|faults| panic!("{faults}"));
    let [form] = &config.plan.forms[..] else { panic!("one form") };
    let [sheet] = &form.sheets[..] else { panic!("one sheet") };
    assert_eq!(
        (form.line.as_str(), form.second_check, form.purpose.as_str()),
        ("C-010", true, "health.fever")
    );
    assert_eq!((sheet.template.as_str(), sheet.devices[0].as_str()), ("clinic-report", "clinic"));
    let fields: Vec<_> =
        sheet.fields.iter().map(|field| (field.metric.as_str(), field.how, field.range.is_some())).collect();
    assert_eq!(fields, [("fever_cases", "keep", true), ("report_place", "keep", false)]);
    let manual = |point: &&smallbrain::ingest::Point| point.manual;
    let points: Vec<_> = config.plan.points.iter().flatten().filter(manual).collect();
    assert!(points.len() == 2 && points.iter().all(|point| point.device.as_str() == "clinic"));
    let mqtt = config.mqtt.expect("MQTT");
    assert!(
        mqtt.mappings.iter().all(|mapping| !mapping.speakers.contains_key("clinic")),
        "no message speaks for a form"
    );
    assert!(load(&example()).unwrap_or_else(|faults| panic!("{faults}")).plan.forms.is_empty());
}
