//! Devices that post: what was answered with 200 survives, nobody speaks for another one, and bad input costs nobody else.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use super::gateway::{Gateway, PATIENCE, Site, example, smallbrain, until};
use super::wait_for_readings;

/// The example, which also takes posts, with one passage replaced.
fn site(from: &str, to: &str) -> Site {
    let text = example();
    assert!(text.contains(from), "{from}");
    let http = "[http]\nlisten = \"127.0.0.1:0\"\nbody_timeout = \"2s\"\n";
    Site::new(&format!("{}\n{http}", text.replacen(from, to, 1)))
}

fn address(gateway: &Gateway) -> SocketAddr {
    let ready = gateway.log.wait("ready", 1);
    let (_, rest) = ready.split_once("http ").unwrap_or_else(|| panic!("http: {ready}"));
    rest.split(',').next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("http: {ready}"))
}

fn dial(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(address(gateway)).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn request(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Status and body of the answer on a connection that ends with it.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.trim_end().to_owned())
}

fn post(gateway: &Gateway, path: &str, fields: &str, body: impl AsRef<[u8]>) -> (u16, String) {
    let mut stream = dial(gateway);
    stream.write_all(&request(path, fields, body.as_ref())).expect("the gateway reads");
    answer(stream)
}

const JSON: &str = "Content-Type: application/json\r\n";

fn basic(user: &str, password: &str) -> String {
    format!("{JSON}Authorization: Basic {}\r\n", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn what_was_answered_with_200_survives_kill_9() {
    let site = site("", "");
    let gateway = site.start();
    let up = "/compound/thermometer-1/up";
    let stored = |count: u64, lost: u64| (200, format!("{{\"stored\":{count},\"lost\":{lost}}}"));
    assert_eq!(post(&gateway, up, JSON, r#"{"temperature":21.50,"humidity":40}"#), stored(2, 0));
    // The writer knows what the intake cannot: this one is out of the point's range.
    assert_eq!(post(&gateway, up, JSON, r#"{"temperature":-273.16,"humidity":41}"#), stored(1, 1));
    assert_eq!(gateway.stop(Signal::KILL), None, "no time for anything");

    let gateway = site.start();
    let mut found = wait_for_readings(&gateway, "thermometer-1", 3);
    found.sort();
    let row = |metric: &str, value: &str| (metric.to_owned(), value.to_owned());
    assert_eq!(found, [row("humidity", "40"), row("humidity", "41"), row("temperature", "21.50")]);
}

#[test]
fn a_commit_that_stalls_is_answered_when_it_is_over() {
    // A commit waits for company as long as the configuration says: a second, which a 200 must not come before.
    let site = site("group_window = \"2ms\"", "group_window = \"1s\"");
    let gateway = site.start();
    let mut waits = dial(&gateway);
    let up = "/compound/thermometer-1/up";
    let began = std::time::Instant::now();
    waits.write_all(&request(up, JSON, br#"{"temperature":1}"#)).expect("the gateway reads");
    assert_eq!(post(&gateway, "/no/mapping", JSON, "{}").0, 404, "what needs no commit is answered");
    assert_eq!(answer(waits).0, 200);
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "after the commit, {:?}", began.elapsed());
    assert_eq!(gateway.metric("smallbrain_ingest_stored_total"), 1);
}

#[test]
fn nobody_posts_for_another_one() {
    let said = smallbrain(&["device", "add", "door-1"]);
    let password =
        said.out.split_once(": ").and_then(|(_, rest)| rest.split(' ').next()).expect("a password");
    let site = site("anonymous = true", "anonymous = false");
    fs::create_dir(site.path("conf.d")).expect("a directory");
    fs::write(site.path("conf.d/devices.toml"), &said.out).expect("a file");
    let gateway = site.start();

    let own = basic("door-1", password);
    let open = r#"{"open":true}"#;
    for (what, path, fields, status) in [
        ("its own", "/compound/door-1/up", own.clone(), 200),
        ("another one", "/compound/door-2/up", own.clone(), 403),
        ("a topic of nobody", "/anything", own, 403),
        ("a wrong password", "/compound/door-1/up", basic("door-1", "guessed"), 401),
        ("another user", "/compound/door-1/up", basic("door-2", password), 401),
        ("nobody", "/compound/door-1/up", JSON.to_owned(), 401),
        ("digest", "/compound/door-1/up", "Authorization: Digest username=\"door-1\"\r\n".into(), 401),
    ] {
        let (answered, body) = post(&gateway, path, &fields, open);
        assert_eq!(answered, status, "{what}: {body}");
    }
    assert_eq!(gateway.metric("smallbrain_http_requests_total{status=\"403\"}"), 2);
    assert_eq!(gateway.metric("smallbrain_http_requests_total{status=\"401\"}"), 4);
    assert_eq!(gateway.metric("smallbrain_ingest_stored_total"), 1);
    assert!(!gateway.log.text().contains(password));

    // A credential that is taken out opens nothing any more.
    fs::remove_file(site.path("conf.d/devices.toml")).expect("removed");
    gateway.log.wait("new configuration in force", 1);
    assert_eq!(post(&gateway, "/compound/door-1/up", &basic("door-1", password), open).0, 401);
}

#[test]
fn bad_input_is_answered_and_costs_nobody_else() {
    // Nobody has a name here, so the neighbour shares its rate with the others.
    let site = site("bytes_rate = \"1 MiB\"", "bytes_rate = \"64 MiB\"");
    let gateway = site.start();
    let up = "/compound/thermometer-1/up";
    let canary = "13800138000";
    let mut slow = dial(&gateway);
    slow.write_all(b"POST /compound/thermometer-1/up HTTP/1.1\r\nHost: g\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{")
        .expect("the gateway reads");
    let mut good = 0;
    let deep = format!("{{\"temperature\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let fits = format!("{{\"temperature\":20,\"name\":\"{}\"}}", "x".repeat((1 << 20) - 30));
    let long = vec![b' '; (1 << 20) + 1];
    for (what, path, fields, body, statuses) in [
        ("1 MB", up, JSON, fits.as_bytes(), &[200][..]),
        ("more than 1 MB", up, JSON, &long, &[413]),
        ("deep json", up, JSON, deep.as_bytes(), &[200, 400]),
        ("invalid utf-8", up, JSON, b"{\"temperature\":\"\xFF\"}", &[400]),
        ("NaN", up, JSON, b"{\"temperature\":NaN}", &[400]),
        ("no json", up, JSON, canary.as_bytes(), &[200, 400]),
        ("half of it", up, JSON, format!("{{\"name\":\"{canary}").as_bytes(), &[400]),
        ("xml", up, "Content-Type: application/xml\r\n", b"<t/>", &[415]),
        ("an unknown device", "/compound/nobody/up", JSON, b"{}", &[404]),
        ("a topic of nobody", "/compund/thermometer-1/up", JSON, b"{\"temperature\":1}", &[404]),
    ] {
        let (status, told) = post(&gateway, path, fields, body);
        assert!(statuses.contains(&status) && !told.contains(canary), "{what}: {status} {told}");
        good += 1;
        let (status, _) =
            post(&gateway, "/compound/thermometer-2/up", JSON, format!("{{\"temperature\":{good}}}"));
        assert_eq!(status, 200, "the neighbour, after {what}");
    }
    assert_eq!(answer(slow).0, 408);
    assert_eq!(gateway.metric("smallbrain_http_requests_total{status=\"408\"}"), 1);
    assert_eq!(wait_for_readings(&gateway, "thermometer-2", good).len(), good);
    until("an offer to on-boarding", || {
        let socket = gateway.socket.display().to_string();
        let pending = smallbrain(&["devices", "pending", "--socket", &socket]);
        pending.out.contains("nobody").then_some(())
    });

    let told = gateway.metrics();
    let lost: u64 = told.iter().filter(|(name, _)| name.contains("ingest_lost_total")).map(|(_, n)| n).sum();
    assert_eq!(told["smallbrain_ingest_received_total"], told["smallbrain_ingest_stored_total"] + lost);
    let log = gateway.log.clone();
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
    assert!(!log.text().contains(canary));
}
