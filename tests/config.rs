//! The configuration from outside: the example, a file with every kind of fault, and what a reload keeps.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rust_decimal::Decimal;
use smallbrain::cli::check;
use smallbrain::config::{Config, Fault, Faults};
use smallbrain::model::{Lane, SeriesKey};
use smallbrain::normalise::Outside;
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
    for name in ["pseudonym.key", "gateway.pem", "gateway.key", "city-ca.pem"] {
        let file = dir.path().join(name);
        std::fs::write(&file, "5f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d4865f1c7a90e3b2d486")
            .expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    }
    let path = dir.path().join("smallbrain.toml");
    std::fs::write(&path, text).expect("a file");
    (dir, path)
}

fn load(text: &str) -> Result<Config, Faults> {
    let (_dir, path) = site(text);
    Config::load(&path, NOW_MS, None)
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
    assert!(mqtt.listen.ip().is_loopback() && mqtt.access.anonymous && config.ports.is_empty());
    assert!(matches!(&config.share.listeners[..], [Listener::Loopback { .. }]));
    assert_eq!(config.store.dir, root().join("smallbrain-data"));
    assert_eq!(config.socket, root().join("smallbrain-data/smallbrain.sock"));
    let lanes: Vec<Lane> = config.share.lines.iter().map(|line| line.lane).collect();
    assert_eq!(lanes, [Lane::Alarm, Lane::Aggregate, Lane::Aggregate, Lane::Bulk]);
    let door = mqtt.mappings[0].devices.get("door-2").expect("the second door");
    assert_eq!(door.len(), 5);
    let point = config.plan.points[door[0].index()].as_ref().expect("its first point");
    assert_eq!(
        (point.device.as_str(), point.metric.as_str(), point.class.as_str()),
        ("door-2", "door_open", "door")
    );
    assert_eq!(point.aggregates, [1], "A-15m");
    let frost = config.names.get("thermometer-3", "temperature").expect("a thermometer");
    assert_eq!(config.plan.points[frost.index()].as_ref().map(|point| &point.alarms[..]), Some(&[1, 2][..]));
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
    assert_eq!(volume.deadband, decimal("0.01"));
    let temperature = point("temperature");
    assert_eq!(temperature.rule.outside, Outside::Drop);
    assert_eq!((temperature.plausible.judges(), temperature.deadband), (false, None));
}

#[test]
fn the_example_is_right_with_everything_switched_on() {
    let config = load(&uncommented()).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.share.listeners.len(), 3);
    assert_eq!(config.mqtt.as_ref().map(|mqtt| mqtt.access.users.len()), Some(1));
    let port = &config.ports[0];
    assert_eq!((port.name.as_str(), port.slaves[0].unit, port.slaves[0].points.len()), ("bus-1", 1, 2));
    let (dir, path) = site(&uncommented().replace("/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0", "bus"));
    let config = Config::load(&path, NOW_MS, None).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.ports[0].path, dir.path().join("bus").display().to_string(), "beside the file");
    assert_eq!(port.slaves[0].points[0].absent, [0x7fff]);
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
        let mqtt = config.mqtt.as_ref().map(|mqtt| (mqtt.listen, mqtt.limits));
        let (plan, lines) = (&config.plan, &config.share.lines);
        let spine = (&plan.rate, &plan.block, &plan.points, &plan.alarms, &plan.aggregates);
        format!("{:?} {:?} {mqtt:?} {spine:?} {lines:?} {:?}", config.store, config.queue, config.ports)
            + &format!("{:?} {:?}", config.socket, config.telemetry)
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
        (96, 10, "unknown metric \"temprature\""),
        (104, 9, "clear = 3 with a limit of 5"),
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
    ];
    for ((line, column, message), told) in planted.iter().zip(&told) {
        assert_eq!((*line, *column), (told.0, told.1), "{message} / {}", told.2);
        assert!(told.2.contains(message), "{line}: {message} / {}", told.2);
    }
    assert_eq!(told.len(), planted.len(), "no more and no less");
    assert!(faults.faults.iter().all(|fault| !fault.help.is_empty()));
    let warned = places(&faults.warnings);
    assert!(warned.contains(&(145, 9, "the line has ended")), "{warned:?}");
    assert!(!faults.to_string().contains("hunter2"), "a password is never shown");
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
    assert!(text.contains("broken.toml:3:1\n") && text.trim_end().ends_with("63 faults"), "{text}");
    let (code, text) = run("tests/data/config/broken.toml", true);
    let array: Vec<serde_json::Value> = serde_json::from_str(&text).expect("an array");
    assert_eq!((code, array.iter().filter(|entry| entry["level"] == "error").count()), (78, 63));
    assert_eq!((array[1]["line"].as_u64(), array[1]["column"].as_u64()), (Some(3), Some(1)));
    let (code, text) = run("config.example.toml", false);
    assert_eq!(code, 0);
    for said in ["7 with 24 points", "4 lines in, 4 lines out", "mqtt 127.0.0.1:1883, anybody", "no faults"] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert_eq!(run("config.example.toml", true), (0, "[]\n".to_owned()));
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
        ("scale = \"0.1\"", "scale = \"0,1\"", "is no exact decimal"),
        ("is = true", "above = 1", "a condition for another kind of metric"),
        ("is = true", "", "alarm without a condition"),
        ("max = 85 ", "outside = \"drop\"\nslope_max = 0\nmax = 85 ", "slope_max = 0"),
        ("device_burst = 400", "device_burst = 4", "a message may carry 5 points"),
        ("thermometer-{1..3}", "thermometer-{1..30000}", "device id"),
        ("[share_server]", "[shareserver]", "unknown key `shareserver`"),
        ("conf.d/*.toml", "lost.toml", "lost.toml"),
        ("order = \"CDAB\", ", "order = \"CDAB\", type = \"u16\", ", "duplicate key"),
        ("type = \"i16\", absent", "type = \"bit\", absent", "a type that the table does not hold"),
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
        ("above = \"60\"", "above = \"61\"", &[][..]),
        ("queue = 256", "queue = 257", &["ingest.queue"]),
        ("size_max = \"2 GiB\"", "size_max = \"3 GiB\"", &["store"]),
        ("inflight_max = 64", "inflight_max = 63", &["mqtt limits"]),
        ("127.0.0.1:1883\"   ", "127.0.0.1:1884\"   ", &["mqtt.listen"]),
        ("127.0.0.1:50051", "127.0.0.1:50053", &["share_server"]),
        ("log = \"info\"", "log = \"debug\"", &["telemetry"]),
        ("compound_code = \"C0012\"", "compound_code = \"C0013\"", &["gateway"]),
    ] {
        let mut new = with(from, to).unwrap_or_else(|faults| panic!("{faults}"));
        // Each stands in a directory of its own.
        (new.store.dir, new.socket) = (old.store.dir.clone(), old.socket.clone());
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
