//! Bounds, users and their rights, from the text of a file.

use super::*;
use crate::config::source::{Source, Sources};
use crate::config::{Config, Faults};

const HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$c21hbGxicmFpbi1zYWx0$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";

/// Two doors, three lamps and a meter on a bus, below `[mqtt]`, of which the first line is 1.
const REST: &str = "
[gateway]
id = 'gw'
division_code = '310115013007'
compound_code = 'C1'
[store]
dir = 'data'
[[port]]
name = 'bus'
path = 'bus'
[[template]]
name = 'door'
point = [{ metric = 'door_open', kind = 'flag', json = '/open' }]
[[template]]
name = 'lamp'
point = [{ metric = 'on', kind = 'flag', json = '/on' }]
[[template]]
name = 'meter'
point = [{ metric = 'energy', unit = 'kWh', dlt645 = { di = '00010000' } }]
[[device]]
ids = ['door-1', 'door-2']
template = 'door'
[[device]]
id = 'lamp-{1..3}'
template = 'lamp'
[[device]]
id = 'meter-1'
template = 'meter'
port = 'bus'
address = '1'
[[mapping]]
topic = 'compound/{device}/up'
template = 'door'
[[mapping]]
topic = '+/{device}/event'
template = 'door'
[[mapping]]
topic = 'light/{device}'
template = 'lamp'
[[collect]]
id = 'C'
templates = ['door', 'lamp', 'meter']
purpose = 'x'
fields = { door_open = 'keep', on = 'keep', energy = 'keep' }
[[alarm]]
id = 'A'
when = 'on'
severity = 'info'
";

fn load(mqtt: &str) -> Result<Config, Faults> {
    let mqtt = mqtt.replace("HASH", HASH);
    let files = vec![Source { path: "gw.toml".into(), text: format!("{mqtt}{REST}") }];
    Config::of(Sources { files, ..Sources::default() }, Report::default(), 1_795_190_400_000, None)
}

fn access_of(mqtt: &str) -> mqtt::Access {
    let config = load(mqtt).unwrap_or_else(|faults| panic!("{faults}"));
    config.mqtt.expect("[mqtt]").access
}

/// What a user may do, of topics and filters that are asked for.
fn may(user: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let access = access_of(&format!("[mqtt]\n[[mqtt.user]]\nname = 'u'\npassword_hash = 'HASH'\n{user}\n"));
    let rights = &access.users["u"].rights;
    let words = |all: &[&str], may: &dyn Fn(&str) -> bool| -> Vec<String> {
        all.iter().filter(|word| may(word)).map(|word| (*word).to_owned()).collect()
    };
    (
        words(&["door-1", "door-2", "lamp-1", "lamp-2", "meter-1"], &|id| rights.may_speak_for(id)),
        words(
            &["compound/door-1/up", "gate/door-2/event", "light/lamp-1", "light/meter-1", "z2m/a/b"],
            &|name| rights.may_publish(name),
        ),
        words(&["compound/door-1/down/#", "cmd/lamp-2", "compound/+/down/#", "z2m/a/set"], &|filter| {
            rights.may_subscribe(filter)
        }),
    )
}

#[test]
fn rights_are_those_of_the_devices_or_as_written() {
    for (user, devices, publish, subscribe) in [
        ("", &[][..], &[][..], &[][..]),
        ("devices = ['door-1']", &["door-1"], &["compound/door-1/up"], &["compound/door-1/down/#"]),
        (
            "devices = ['door-*', 'lamp-{1..2}']",
            &["door-1", "door-2", "lamp-1", "lamp-2"],
            &["compound/door-1/up", "gate/door-2/event", "light/lamp-1"],
            &["compound/door-1/down/#"],
        ),
        ("devices = ['meter-1']", &["meter-1"], &[], &[]),
        ("devices = ['lamp-1']\npublish = ['z2m/#']", &["lamp-1"], &["z2m/a/b"], &[]),
        (
            "devices = ['*']\npublish = ['light/{device}']\nsubscribe = ['cmd/{device}', 'z2m/+/set']",
            &["door-1", "door-2", "lamp-1", "lamp-2", "meter-1"],
            &["light/lamp-1", "light/meter-1"],
            &["cmd/lamp-2", "z2m/a/set"],
        ),
        (
            "devices = ['door-1']\npublish = []\nsubscribe = ['#']",
            &["door-1"],
            &[],
            &["compound/door-1/down/#", "cmd/lamp-2", "compound/+/down/#", "z2m/a/set"],
        ),
    ] {
        let (speaks, publishes, subscribes) = may(user);
        assert_eq!(
            (&speaks[..], &publishes[..], &subscribes[..]),
            (
                &devices.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..],
                &publish.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..],
                &subscribe.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()[..],
            ),
            "{user}"
        );
    }
}

#[test]
fn a_user_with_the_name_of_a_device_is_that_device() {
    let user = "[[mqtt.user]]\nname = 'lamp-2'\npassword_hash = 'HASH'\n";
    let access = access_of(&format!("[mqtt]\ncommands = ['cmd/{{device}}', 'to/{{device}}/#']\n{user}"));
    let rights = &access.users["lamp-2"].rights;
    assert!(rights.may_speak_for("lamp-2") && rights.may_publish("light/lamp-2"));
    assert!(rights.may_subscribe("cmd/lamp-2") && rights.may_subscribe("to/lamp-2/on"));
    assert!(!rights.may_speak_for("lamp-1") && !rights.may_publish("light/lamp-1"));
    assert!(!rights.may_subscribe("cmd/lamp-1") && !rights.may_subscribe("compound/lamp-2/down/#"));
}

/// A mapping without a template, which hears every device that it can read, gave none of them the right to its topic; and a
/// device with a name had the right to a topic with its id, where nobody listens.
#[test]
fn a_device_may_publish_wherever_it_is_heard() {
    let user = "[[mqtt.user]]\nname = 'lamp-9'\npassword_hash = 'HASH'\n".replace("HASH", HASH);
    let lamp = "[[device]]\nid = 'lamp-9'\nname = '9'\ntemplate = 'lamp'\n";
    let rest = REST.replace("topic = 'light/{device}'\ntemplate = 'lamp'", "topic = 'light/{device}'");
    let files = vec![Source { path: "gw.toml".into(), text: format!("[mqtt]\n{user}{rest}{lamp}") }];
    let config =
        Config::of(Sources { files, ..Sources::default() }, Report::default(), 1_795_190_400_000, None)
            .unwrap_or_else(|faults| panic!("{faults}"));
    let rights = &config.mqtt.expect("[mqtt]").access.users["lamp-9"].rights;
    assert!(rights.may_publish("light/9"));
    assert!(!rights.may_publish("light/lamp-9") && !rights.may_publish("compound/9/up"));
}

#[test]
fn certificates_are_bound_to_users() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, "PEM").expect("a file");
        path.display().to_string()
    };
    let (pem, key, ca) = (path("a.pem"), path("a.key"), path("ca.pem"));
    let tls = format!("[mqtt.tls]\ncertificate = '{pem}'\nkey = '{key}'\nclient_ca = '{ca}'\n");
    let user = "[[mqtt.user]]\nname = 'door-1'\ncertificate = 'd1.example'\n";
    let config = load(&format!("{tls}{user}")).unwrap_or_else(|faults| panic!("{faults}"));
    let mqtt = config.mqtt.expect("[mqtt]");
    assert_eq!(mqtt.access.certificates["d1.example"], "door-1");
    assert_eq!(mqtt.access.users["door-1"].password_hash, None);
    assert_eq!(mqtt.listen, None, "TLS alone");
    let tls = mqtt.tls.expect("[mqtt.tls]");
    assert_eq!((tls.listen.port(), tls.files.client_ca.is_some()), (8883, true));
    assert_eq!(config.warnings, []);
}

#[test]
fn faults_are_told_at_their_places() {
    let user = "[mqtt]\n[[mqtt.user]]\nname = 'door-1'\npassword_hash = 'HASH'\n";
    for (text, line, column, message) in [
        ("[mqtt]\nanonymous = true\nlisten = '0.0.0.0:1883'\n", 2, 13, "anybody may connect to 0.0.0.0:1883"),
        ("[mqtt]\nuser_connections_max = 0\n", 2, 24, "user_connections_max = 0 is out of range"),
        ("[mqtt]\nconnect_rate = 100001\n", 2, 16, "connect_rate = 100001 is out of range"),
        ("[mqtt]\npublish_burst = 0\n", 2, 17, "publish_burst = 0 is out of range"),
        ("[mqtt]\nbytes_rate = '1 B'\n", 2, 14, "bytes_rate = \"1 B\" is out of range"),
        ("[mqtt]\ntopic_max = 512\n", 2, 13, "an integer stands here"),
        ("[mqtt]\ntopic_levels_max = 129\n", 2, 20, "topic_levels_max = 129 is out of range"),
        ("[mqtt]\nidle_max = '1s'\n", 2, 12, "idle_max = \"1s\" is out of range"),
        ("[mqtt]\nsession_max = '31d'\n", 2, 15, "session_max = \"31d\" is out of range"),
        ("[mqtt]\nkept_max = '1 GiB'\n", 2, 12, "kept_max = \"1 GiB\" is out of range"),
        ("[mqtt]\ncommands = ['to/#']\n", 2, 13, "a topic of commands without {device}"),
        ("[mqtt]\ncommands = ['to/{divice}']\n", 2, 13, "topic filter \"to/{divice}\""),
        ("[mqtt]\ntls = { listen = '0.0.0.0:1', key = 'Cargo.toml' }\n", 2, 7, "missing key `certificate`"),
        ("[mqtt]\ntls = { certificate = 'Cargo.toml', key = 'none.key' }\n", 2, 43, "none.key: no such file"),
        (
            "[mqtt]\nanonymous = true\ntls = { certificate = 'Cargo.toml', key = 'Cargo.toml' }\n",
            2,
            13,
            "nobody is anonymous on the listener with TLS",
        ),
        (
            "[mqtt]\nlisten = '127.0.0.1:8'\ntls = { listen = '0.0.0.0:8', certificate = 'Cargo.toml', key = 'Cargo.toml' }\n",
            3,
            18,
            "0.0.0.0:8 is taken",
        ),
        ("[[mqtt.user]]\nname = 'door-1'\n", 1, 1, "user door-1: missing key `password_hash`"),
        (
            "[[mqtt.user]]\nname = 'door-1'\npassword_hash = 'x'\n",
            3,
            17,
            "user door-1: no argon2id password hash",
        ),
        (
            "[[mqtt.user]]\nname = 'door-1'\ncertificate = 'd1'\n",
            3,
            15,
            "user door-1: nobody is asked for a certificate",
        ),
        ("USER[[mqtt.user]]\nname = 'door-1'\npassword_hash = 'HASH'\n", 6, 8, "user door-1 stands twice"),
        ("USERpassword = 'x'\n", 5, 1, "user door-1: unknown key `password`"),
        ("USERdevices = ['door-3']\n", 5, 12, "user door-1: unknown device \"door-3\""),
        ("USERdevices = ['door-1', 'gate-*']\n", 5, 22, "user door-1: no device \"gate-*\""),
        ("USERdevices = ['lamp-{3..9}']\n", 5, 12, "user door-1: unknown device \"lamp-4\""),
        ("USERpublish = ['a/#/b']\n", 5, 12, "user door-1: topic filter \"a/#/b\""),
        ("USERpublish = ['$SYS/#']\n", 5, 12, "user door-1: topic filter \"$SYS/#\""),
        ("USERsubscribe = ['a/x{device}']\n", 5, 14, "user door-1: topic filter \"a/x{device}\""),
        (
            "USERdevices = []\npublish = ['a/{device}']\n",
            6,
            12,
            "user door-1: {device}, but there is no device",
        ),
    ] {
        let text = text.replace("USER", user);
        let faults = load(&text).err().unwrap_or_default();
        let told: Vec<_> =
            faults.faults.iter().map(|fault| (fault.line, fault.column, &*fault.message)).collect();
        assert_eq!(told.len(), 1, "{text}: {told:?}");
        assert_eq!((told[0].0, told[0].1), (line, column), "{told:?}");
        assert!(told[0].2.contains(message) && !faults.faults[0].help.is_empty(), "{message}: {told:?}");
    }
    let two =
        "[[mqtt.user]]\nname = 'a'\ncertificate = 'd1'\n[[mqtt.user]]\nname = 'b'\ncertificate = 'd1'\n";
    let faults = load(two).expect_err("one certificate for two");
    let twice =
        faults.faults.iter().find(|fault| fault.message.starts_with("user b: certificate d1 stands twice"));
    assert_eq!(twice.map(|fault| (fault.line, fault.column)), Some((6, 15)), "{faults}");
}

#[test]
fn what_may_not_be_meant_is_warned_of() {
    let user = "[[mqtt.user]]\nname = 'NAME'\npassword_hash = 'HASH'\n";
    for (text, name, warning) in [
        ("[mqtt]\n", "door-1", None),
        ("[mqtt]\n", "stranger", Some((2, 1, "user stranger: it can do nothing"))),
        (
            "[mqtt]\nlisten = '192.0.2.1:1883'\n",
            "door-1",
            Some((2, 10, "passwords in clear text on 192.0.2.1:1883")),
        ),
    ] {
        let config = load(&format!("{text}{}", user.replace("NAME", name)))
            .unwrap_or_else(|faults| panic!("{faults}"));
        let told: Vec<_> =
            config.warnings.iter().map(|told| (told.line, told.column, &*told.message)).collect();
        assert_eq!(told, warning.into_iter().collect::<Vec<_>>());
    }
}
