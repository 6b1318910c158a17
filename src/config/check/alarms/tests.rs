//! Alarms, inhibits, recipients, routes and commands, from the text of a file.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::config::source::{Source, Sources};
use crate::config::{Config, Faults};
use crate::rules::command::Action;
use crate::rules::notice::{Channel, Field};

/// Doors at two places, a pump on a bus that is read every 10 s, a meter of a household, a siren.
const START: &str = "
[gateway]
id = 'gw'
division_code = '310115013007'
compound_code = 'C1'
[store]
dir = 'data'
[mqtt]
anonymous = true
[[port]]
name = 'bus'
path = 'bus'
[[template]]
name = 'door'
point = [{ metric = 'door_open', kind = 'flag', json = '/open' }, { metric = 'tilt', min = -90, max = 90, json = '/tilt' }]
[[template]]
name = 'pump'
point = [
    { metric = 'level', unit = 'm', modbus = { table = 'holding', address = 0, type = 'u16' } },
    { metric = 'valve', kind = 'flag', writable = true, modbus = { table = 'coil', address = 0 } },
    { metric = 'speed', min = 0, max = 50, writable = true, modbus = { table = 'holding', address = 1, type = 'u16' } },
]
[[template]]
name = 'meter'
point = [{ metric = 'flow', class = 'household', json = '/flow' }]
[[template]]
name = 'siren'
point = [{ metric = 'siren', kind = 'flag', json = '/on' }]
[[device]]
ids = ['door-1', 'door-2']
template = 'door'
place = 'B1/lobby'
[[device]]
id = 'gate-1'
template = 'door'
place = 'east'
[[device]]
id = 'pump-1'
template = 'pump'
port = 'bus'
unit = 1
[[device]]
id = 'meter-1'
template = 'meter'
[[device]]
id = 'siren-1'
template = 'siren'
[[mapping]]
topic = 'compound/{device}/up'
[[collect]]
id = 'C'
templates = ['door', 'pump', 'siren']
purpose = 'x'
fields = { door_open = 'keep', tilt = 'keep', level = 'keep', valve = 'keep', speed = 'keep', siren = 'keep' }
[[collect]]
id = 'C-9'
templates = ['meter']
purpose = 'care'
fields = { flow = 'keep' }
[[alarm]]
id = 'door'
when = 'door_open'
severity = 'minor'
";

fn load(more: &str) -> Result<Config, Faults> {
    let text =
        format!("{}{more}", START.replace("topic = 'compound/{device}/up'", "profile = 'zigbee2mqtt'"));
    let files = vec![Source { path: "gw.toml".into(), text }];
    Config::of(Sources { files, ..Sources::default() }, Report::default(), 1_795_190_400_000, None)
}

fn plan(more: &str) -> crate::rules::plan::Plan {
    load(more).unwrap_or_else(|faults| panic!("{more}: {faults}")).plan.rules
}

/// An alarm with these lines.
fn alarm(lines: &str) -> String {
    let severity = if lines.contains("severity") { "" } else { "severity = 'minor'\n" };
    format!("[[alarm]]\nid = 'a'\n{severity}{lines}\n")
}

#[test]
fn an_alarm_watches_what_has_all_that_it_reads() {
    for (lines, devices, metric) in [
        ("when = 'door_open'", &["door-1", "door-2", "gate-1"][..], "door_open"),
        ("when = 'door_open'\ndevices = ['door-*']", &["door-1", "door-2"], "door_open"),
        ("when = '!online'\ndevices = ['pump-1', 'gate-1']", &["gate-1", "pump-1"], "online"),
        ("when = 'devices[\"pump-1\"].level > 2'\ndevices = ['door-1']", &["door-1"], "level"),
        ("absent = '2h'\nmetric = 'level'", &["pump-1"], "level"),
        ("when = 'flow > 0'\nconsent = 'C-9'", &["meter-1"], "flow"),
    ] {
        let plan = plan(&alarm(lines));
        let alarm = plan.alarms.last().expect("an alarm");
        let watched: Vec<&str> = alarm.devices.iter().map(|device| device.as_str()).collect();
        assert_eq!((&watched[..], alarm.metric.as_str()), (devices, metric), "{lines}");
    }
    assert_eq!(plan("").devices["gate-1"].place.as_ref().map(Place::as_str), Some("east"));
}

#[test]
fn who_closes_is_said_or_follows_from_the_severity() {
    for (lines, closes_itself) in [
        ("severity = 'info'", true),
        ("severity = 'minor'", true),
        ("severity = 'major'", false),
        ("severity = 'critical'", false),
        ("severity = 'critical'\nclose = 'self'", true),
    ] {
        let plan = plan(&alarm(&format!("when = 'door_open'\n{lines}")));
        assert_eq!(plan.alarms[1].closes_itself, closes_itself, "{lines}");
    }
}

/// One wrong passage is one fault, told at its line from the end of [`START`] on, and its column.
#[test]
fn one_wrong_passage_is_one_fault() {
    for (more, line, column, message) in [
        (alarm("when = 'door_opn'"), 4, 9, "no metric `door_opn`"),
        (alarm("when = 'tilt > 5 || lvel > 2'"), 4, 21, "no metric `lvel`"),
        (alarm("when = 'devices[\"door-9\"].door_open'\ndevices = ['door-1']"), 4, 17, "no device"),
        (alarm(""), 1, 1, "alarm without a condition"),
        (alarm("when = 'door_open'\nabsent = '2h'\nmetric = 'tilt'"), 5, 10, "both when and absent"),
        (alarm("when = 'door_open'\nmetric = 'tilt'"), 5, 10, "metric without absent"),
        (alarm("absent = '2h'\nmetric = 'tillt'"), 5, 10, "unknown metric \"tillt\""),
        (alarm("absent = '5s'\nmetric = 'level'"), 4, 10, "absent = \"5s\", but it is read every \"10s\""),
        (alarm("when = 'door_open'\ndevices = ['dor-*']"), 5, 12, "no device \"dor-*\""),
        (alarm("when = 'door_open'\ndevices = ['door-1', 'pump-1']"), 5, 11, "pump-1 has no door_open"),
        (alarm("when = 'devices[\"pump-1\"].level > 2'"), 4, 8, "reads nothing of a device of its own"),
        (alarm("when = 'true'\ndevices = ['door-1']"), 4, 8, "`when` is always true"),
        (alarm("when = 'tilt > 90'"), 4, 8, "`when` can never hold"),
        (alarm("when = 'tilt >= -90'"), 4, 8, "`when` always holds"),
        (alarm("when = 'tilt > 5'\nclear = 'tilt < -90'"), 5, 9, "`clear` can never hold"),
        (alarm("when = 'lowest(level, \"5s\") > 1'"), 4, 16, "\"5s\" of level, which is read every \"10s\""),
        (alarm("when = 'door_open'\ntimes = 3"), 5, 9, "times without within"),
        (alarm("when = 'door_open'\nwithin = '3m'"), 5, 10, "within without times or then"),
        (alarm("when = 'level > 2'\ntimes = 3\nwithin = '15s'"), 5, 9, "3 times within \"15s\""),
        (alarm("when = 'level > 2'\ntimes = 3\nwithin = '9s'"), 6, 10, "within = \"9s\", but"),
        (
            alarm("when = 'door_open'\nhold = '2h'\nschedule = ['22:00-23:00']"),
            5,
            8,
            "hold = \"2h\" in stretches",
        ),
        (
            alarm("when = 'door_open'\nat = '10:00'\nschedule = ['22:00-06:00']"),
            5,
            6,
            "outside of its schedule",
        ),
        (alarm("when = 'door_open'\nat = '10:00'\nhold = '1m'"), 2, 6, "hold does not go with"),
        (alarm("when = 'door_open'\nschedule = ['Sat', 'Sonntag']"), 5, 20, "Sonntag"),
        (
            alarm("when = 'door_open'\nconfirm = { devices = 3, within = '30s' }"),
            5,
            23,
            "no place has more than 2 (B1/lobby)",
        ),
        (alarm("when = 'flow > 0'"), 4, 9, "flow tells how people live"),
        (alarm("when = 'flow > 0'\nconsent = 'C-8'"), 5, 11, "unknown collect line \"C-8\""),
        (alarm("when = 'flow > 0'\nconsent = 'C'"), 5, 11, "C does not take flow"),
        (alarm("when = 'door_open'\ncommands = ['x']"), 5, 13, "unknown command \"x\""),
        ("[[inhibit]]\nid = 'i'\n".into(), 1, 1, "it would inhibit for good"),
        (
            "[[inhibit]]\nid = 'i'\nalarms = ['dor']\nschedule = ['Sat']\n".into(),
            3,
            11,
            "unknown alarm \"dor\"",
        ),
        ("[[inhibit]]\nid = 'i'\nschedule = ['Sat']\nlasts = '5m'\n".into(), 4, 9, "lasts without when"),
        ("[[inhibit]]\nid = 'i'\nbetween = ['2026-10-01']\n".into(), 3, 11, "between 1 times"),
        ("[[inhibit]]\nid = 'i'\nwhen = 'online'\n".into(), 3, 9, "online of no device"),
        ("[[recipient]]\nid = 'r'\nrole = 'street'\n".into(), 1, 1, "cannot be reached"),
        (
            "[[recipient]]\nid = 'r'\nrole = 'street'\nconsumer = 'city'\n".into(),
            4,
            12,
            "no alarm share line serves",
        ),
        (
            "[[recipient]]\nid = 'r'\nrole = 'street'\nwebhook = { url = 'https://a:b@c/' }\n".into(),
            4,
            19,
            "a url with a user or password",
        ),
        ("[[route]]\nto = ['nobody']\n".into(), 2, 7, "unknown recipient \"nobody\""),
        ("[[route]]\nto = []\n".into(), 2, 6, "nothing in to"),
        (
            "[[command]]\nid = 'c'\ndevice = 'siren-1'\nwrite = { metric = 'siren', value = true }\n".into(),
            4,
            20,
            "siren of siren-1 is not writable",
        ),
        (
            "[[command]]\nid = 'c'\ndevice = 'pump-1'\nwrite = { metric = 'speed', value = 51 }\n".into(),
            4,
            37,
            "51 is out of the range of speed",
        ),
        (
            "[[command]]\nid = 'c'\ndevice = 'pump-1'\nwrite = { metric = 'valve', value = 1 }\n".into(),
            4,
            37,
            "\"1\" for valve",
        ),
        (
            "[[command]]\nid = 'c'\ndevice = 'siren-1'\npublish = { topic = 'a/#', payload = 'ON' }\n".into(),
            4,
            21,
            "topic \"a/#\"",
        ),
        ("[[command]]\nid = 'c'\ndevice = 'siren-1'\n".into(), 1, 1, "command that does nothing"),
        (loop_of("route = [{ to = ['r'] }]"), 11, 11, "on sets what alarm a reads"),
    ] {
        let faults = load(&more).expect_err(&more);
        let first = START.lines().count();
        let told: Vec<_> = faults
            .faults
            .iter()
            .map(|fault| (fault.line - first, fault.column, fault.message.as_str()))
            .collect();
        assert_eq!(told.len(), 1, "{more}{faults}");
        assert_eq!((told[0].0, told[0].1), (line, column), "{more}{faults}");
        assert!(told[0].2.contains(message), "{more}{faults}");
    }
}

/// An alarm about a siren, a command that sets it, and a recipient that is the command.
fn loop_of(route: &str) -> String {
    let route = route.replace("route = [{ to = ['r'] }]", "[[route]]\nto = ['r']\n");
    format!(
        "[[alarm]]\nid = 'a'\nwhen = 'siren'\nseverity = 'minor'\n[[command]]\nid = 'on'\ndevice = 'siren-1'\n\
         publish = {{ topic = 's/on', payload = '1' }}\nexpect = 'siren'\n[[recipient]]\ncommand = 'on'\nid = 'r'\n\
         role = 'resident'\n{route}"
    )
}

#[test]
fn a_whole_plan() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = dir.path().join("s");
    std::fs::write(&secret, " hush \n").expect("a file");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("permissions");
    let more = format!(
        "[[command]]\nid = 'off'\ndevice = 'pump-1'\nwrite = {{ metric = 'valve', value = 'false' }}\nexpect = '!valve'\n\
         [[recipient]]\nid = 'p'\nrole = 'property'\ndigest = '10m'\n\
         webhook = {{ url = 'https://x.example/?key=t0ken', form = 'dingtalk', secret = '{}' }}\n\
         [[recipient]]\nid = 'o'\nrole = 'police'\ncommand = 'off'\n\
         [[route]]\nto = ['p']\nalarms = ['do*']\nescalate = [{{ after = '5m', to = ['o'] }}]\n\
         [[inhibit]]\nid = 'i'\nalarms = ['door']\nbetween = ['2030-10-01', '2030-10-08']\n",
        secret.display()
    );
    let config = load(&more).unwrap_or_else(|faults| panic!("{faults}"));
    let plan = &config.plan.rules;
    assert!(matches!(
        &plan.commands[0].action,
        Action::Write { value: crate::model::Value::Flag(false), .. }
    ));
    assert_eq!(plan.recipients[0].fields.last(), Some(&Field::Advice));
    assert!(plan.recipients[1].fields.contains(&Field::Value) && plan.recipients[0].digest_ms == 600_000);
    assert_eq!(plan.recipients[1].channel, Channel::Command(0));
    let route = &plan.routes[0];
    assert_eq!((&route.to[..], &route.alarms), (&[0][..], &Some(vec![0])));
    assert_eq!(route.escalate, [(300_000, vec![1])]);
    let day_ms = 86_400_000;
    let (from, to) = plan.inhibits[0].between_ms.expect("a time");
    assert_eq!((to - from, (from + plan.zone_ms) % day_ms), (7 * day_ms, 0), "whole days of the zone");
    let webhook = &config.notify.webhooks[0];
    assert_eq!(webhook.secret, crate::notify::Secret::new(b"hush"));
    let shown = format!("{config:?}");
    assert!(!shown.contains("hush") && !shown.contains("t0ken"), "neither secrets nor addresses are shown");
}

#[test]
fn secrets_are_of_their_owner_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    for (content, mode, message) in
        [("x", 0o644, "others may use it"), (" \n", 0o600, "it is empty"), ("", 0, "No such file")]
    {
        let file = dir.path().join(format!("s{mode}"));
        if mode != 0 {
            std::fs::write(&file, content).expect("a file");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("permissions");
        }
        let more = format!(
            "[[recipient]]\nid = 'p'\nrole = 'property'\nwebhook = {{ url = 'https://x/?key=t0ken', secret = '{}' }}\n",
            file.display()
        );
        let faults = load(&more).expect_err(message);
        assert_eq!(faults.count(), 1, "{faults}");
        assert!(faults.faults[0].message.contains(message), "{faults}");
        assert!(!faults.to_string().contains("t0ken"), "{faults}");
    }
}

#[test]
fn what_may_not_be_meant_is_warned_of() {
    for (more, message) in [
        (alarm("when = 'level > 2'\nhold = '5s'"), "hold = \"5s\", but it is read every \"10s\""),
        (alarm("when = 'door_open'\nclose = 'person'"), "somebody has to close a, and no route tells anybody"),
        ("[[inhibit]]\nid = 'i'\nbetween = ['2020-10-01', '2020-10-08']\n".to_owned(), "the time is over"),
        (
            "[[recipient]]\nid = 'r'\nrole = 'street'\nwebhook = { url = 'http://192.0.2.1/' }\n[[route]]\nto = ['r']\n"
                .to_owned(),
            "messages in clear text",
        ),
        (
            "[[recipient]]\nid = 'r'\nrole = 'street'\nwebhook = { url = 'http://127.0.0.1/' }\n".to_owned(),
            "no route leads to r",
        ),
    ] {
        let config = load(&more).unwrap_or_else(|faults| panic!("{more}{faults}"));
        let first = START.lines().count();
        let told = config.warnings.iter().filter(|warning| warning.line > first);
        let told: Vec<&str> = told.map(|warning| warning.message.as_str()).collect();
        assert_eq!(told.len(), 1, "{more}{told:?}");
        assert!(told[0].contains(message), "{more}{told:?}");
    }
}

#[test]
fn a_line_of_lane_bulk_may_take_less() {
    let line = |lane: &str, more: &str| {
        format!(
            "[[share]]\nid = 'S'\npurpose = 'x'\nlane = '{lane}'\nconsumers = ['city']\nmetrics = ['tilt']\ndevices = true\n\
             approval = 'a'\n{more}\n"
        )
    };
    let bulk = |more: &str| plan(&line("bulk", more)).bulk.remove("S");
    assert!(bulk("").is_none());
    let thinned = bulk("when = 'tilt > 5'\nsample = '1m'\nchange_only = true").expect("a line that thins");
    let crate::rules::thinning::Rule { band, change_only, sample_ms } = thinned.thinning;
    assert_eq!((sample_ms, change_only, band), (Some(60_000), true, None));
    assert_eq!(thinned.when.as_ref().map(Condition::text), Some("tilt > 5"));
    for (text, message) in [
        (line("bulk", "when = 'level > 5'"), "no metric `level`"),
        (line("bulk", "when = 'devices[\"door-1\"].tilt > 5'"), "no device"),
        (line("bulk", "deadband = 0"), "deadband = 0"),
        (line("bulk", "places = true"), "places on another lane than alarm"),
        (line("alarm", "carries = ['door']\nsample = '1m'"), "sample on another lane than bulk"),
    ] {
        let faults = load(&text).expect_err(message);
        assert!(faults.faults.iter().any(|fault| fault.message.contains(message)), "{text}{faults}");
    }
}

#[test]
fn alarms_are_bounded() {
    let many: String = (0..ALARMS_MAX)
        .map(|n| format!("[[alarm]]\nid = 'a{n}'\nwhen = 'door_open'\nseverity = 'info'\n"))
        .collect();
    let faults = load(&many).expect_err("one too many");
    assert_eq!(faults.count(), 1, "{}", faults.summary());
    assert!(faults.summary().contains("too many alarms"), "{}", faults.summary());
}
