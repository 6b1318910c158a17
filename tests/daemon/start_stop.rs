//! How it begins and ends: exit codes, what is said, signals, systemd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

use super::device::Device;
use super::gateway::{PATIENCE, SMALLBRAIN, Site, example, finish, smallbrain};

const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";

#[test]
fn every_wrong_start_has_its_exit_code_and_says_what_is_wrong() {
    let loopback = format!("loopback = {{ listen = \"127.0.0.1:0\", consumer = \"{CITY}\" }}");
    for (from, to, wrong, words) in [
        ("anonymous = true", "anonymous = tru", "tru", "invalid boolean"),
        ("retention = \"7d\"", "retention = \"7 moons\"", "\"7 moons", "\"7 moons\" is no duration"),
        ("queue = 256", "quue = 256", "quue", "did you mean `queue`"),
        (&loopback, &loopback.replace("127.0.0.1", "0.0.0.0"), "\"0.0.0.0", "plain text on 0.0.0.0:0"),
    ] {
        let text = example().replacen(from, to, 1);
        let at = text.find(to).and_then(|at| Some(at + to.find(wrong)?)).expect("the fault");
        let (before, line_start) = (&text[..at], text[..at].rfind('\n').map_or(0, |end| end + 1));
        let (line, column) = (before.matches('\n').count() + 1, at - line_start + 1);
        let place = format!("config.toml:{line}:{column}");
        let site = Site::new(&text);
        for verb in ["check", "run"] {
            let said = finish(site.command(verb));
            let told = if verb == "check" { &said.out } else { &said.err };
            assert_eq!(said.code(), Some(78), "{verb} {to}: {said:?}");
            assert!(told.contains(&place) && told.contains(words), "{verb} {place} {to}: {told}");
        }
        assert!(!site.store().exists(), "nothing was begun");
    }
    let missing = smallbrain(&["run", "--config", "/nowhere/config.toml"]);
    assert_eq!(missing.code(), Some(78));
    assert!(missing.err.contains("/nowhere/config.toml"), "{}", missing.err);

    for args in [&["run"][..], &["rnu"], &["run", "--config"], &["pull", "--gateway", "x", "--lane", "slow"]]
    {
        assert_eq!(smallbrain(args).code(), Some(2), "{args:?}");
    }
}

#[test]
fn the_help_of_every_verb_has_an_example() {
    let verbs = |help: &str| -> Vec<String> {
        let (_, list) = help.split_once("Commands:\n").unwrap_or_default();
        let lines = list.lines().take_while(|line| line.starts_with("  "));
        let words = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        words.filter(|word| !word.is_empty() && *word != "help").map(str::to_owned).collect()
    };
    let mut left: Vec<Vec<String>> =
        verbs(&smallbrain(&["--help"]).out).into_iter().map(|v| vec![v]).collect();
    assert!(left.len() > 5, "{left:?}");
    while let Some(verb) = left.pop() {
        let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        let help = smallbrain(&words).out;
        let examples = help.split_once("\nExample").map_or("", |(_, examples)| examples);
        assert!(examples.contains(&format!(" smallbrain {} ", verb.join(" "))), "{verb:?}: {help}");
        left.extend(verbs(&help).into_iter().map(|below| [&verb[..], &[below]].concat()));
    }
    // The one that needs nothing around it is tried: its checksum was wrong once.
    let help = smallbrain(&["decode", "--help"]).out;
    let (_, example) = help.split_once("Example: smallbrain ").expect("an example");
    let frame = smallbrain(&example.split_whitespace().collect::<Vec<_>>()).json().remove(0);
    assert_eq!(frame["valid"], true, "{frame}");
}

#[test]
fn a_second_daemon_on_the_store_is_refused_and_the_first_one_goes_on() {
    let site = Site::example();
    let gateway = site.start();
    let second = finish(site.command("run"));
    assert_eq!(second.code(), Some(70), "{second:?}");
    assert!(second.err.contains("in use by another smallbrain"), "{}", second.err);
    Device::of(gateway.mqtt, "one").publish("compound/smoke-1/up", r#"{"alarm":true}"#);
    assert_eq!(gateway.status()["lanes"][0]["head"], 1);

    // The same for an address that is taken.
    let taken = format!("\"{}\"", gateway.mqtt);
    let site = Site::new(&example().replacen("\"127.0.0.1:0\"", &taken, 1));
    let second = finish(site.command("run"));
    assert_eq!(second.code(), Some(70), "{second:?}");
    assert!(second.err.contains(&format!("listen {}", gateway.mqtt)), "{}", second.err);
}

#[test]
fn without_permission_the_exit_code_is_77() {
    let site = Site::example();
    let root = rustix::process::geteuid().is_root();
    let mut command = site.command("run");
    if root {
        // Modes do not bind root: nobody runs it, from a place that nobody can reach.
        let program = site.path("smallbrain");
        fs::copy(SMALLBRAIN, &program).expect("a copy");
        command = Command::new(program);
        command.arg("run").arg("--config").arg(site.config()).uid(65_534).gid(65_534);
        fs::set_permissions(site.path("."), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    fs::create_dir(site.store()).expect("a directory");
    fs::set_permissions(site.store(), fs::Permissions::from_mode(if root { 0o700 } else { 0o500 }))
        .expect("a mode");
    let said = finish(command);
    assert_eq!(said.code(), Some(77), "{said:?}");
    assert!(said.err.contains("smallbrain-data/lock: Permission denied"), "{}", said.err);
}

#[test]
fn both_signals_end_it_politely_and_systemd_hears_all_of_it() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::example();
        let heard = site.path("notify");
        let systemd = UnixDatagram::bind(&heard).expect("a socket");
        systemd.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut command = site.command("run");
        command.env("NOTIFY_SOCKET", &heard).env("WATCHDOG_USEC", "6000000").env_remove("WATCHDOG_PID");
        let gateway = site.start_with(command);
        let hears = || {
            let mut bytes = [0; 1024];
            let length = loop {
                match systemd.recv(&mut bytes) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    received => break received.expect("a datagram in time"),
                }
            };
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        };
        assert_eq!(hears(), "READY=1\n");
        // The second one comes because the writer has turned since the first.
        for _ in 0..2 {
            let beat = hears();
            assert!(beat.starts_with("WATCHDOG=1\nSTATUS="), "{beat}");
        }
        Device::of(gateway.mqtt, "one").publish("compound/smoke-1/up", r#"{"alarm":true}"#);
        let log = gateway.log.clone();
        assert_eq!(gateway.stop(signal), Some(0));
        log.wait("stopped, everything is stored", 1);
        let end = std::iter::repeat_with(hears).find(|said| !said.starts_with("WATCHDOG=1")).expect("an end");
        assert_eq!(end, "STOPPING=1\n");
        assert!(!site.store().join("smallbrain.sock").exists(), "the socket goes with it");
    }
}
