//! What devices and the city do wrong is counted or refused, and costs nobody else.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;
use smallbrain::model::Lane;
use smallbrain::share::client::Target;
use smallbrain::wire::{self, v1};

use super::device::{self, Device};
use super::gateway::{PATIENCE, Site, example, smallbrain, until};
use super::wait_for_readings;

#[test]
fn bad_input_is_counted_and_costs_nobody_else() {
    let site = Site::example();
    let gateway = site.start();
    let mut neighbour = Device::of(gateway.mqtt, "thermometer-2");
    let mut published = 0;

    let lost = |reason: &str| format!("smallbrain_ingest_lost_total{{reason=\"{reason}\"}}");
    let knocks = "smallbrain_mqtt_refused_total{reason=\"protocol\"}".to_owned();
    let broken = "smallbrain_mqtt_protocol_errors_total".to_owned();
    let long = vec![b' '; 70_000];
    let mut counted = |counter: &str, what: &str, send: &dyn Fn()| {
        let before = gateway.metric(counter);
        send();
        until(what, || (gateway.metric(counter) == before + 1).then_some(()));
        published += 1;
        neighbour.publish("compound/thermometer-2/up", format!(r#"{{"temperature":{}}}"#, published % 40));
        neighbour.ping();
    };

    for (what, bytes) in [
        ("another protocol", &b"GET / HTTP/1.1\r\nHost: door\r\n\r\n"[..]),
        ("no CONNECT first", &[0xC0, 0]),
        ("a length without end", &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("a CONNECT of 256 MB", &[0x10, 0xFF, 0xFF, 0xFF, 0x7F]),
        ("a protocol level that is none", b"\x10\x0f\x00\x04MQTT\x09\x02\x00\x3c\x00\x03abc"),
    ] {
        counted(&knocks, what, &|| {
            let mut device = Device::dial(gateway.mqtt);
            device.send(bytes);
            device.sees_the_end();
        });
    }
    for (what, bytes) in [
        ("a reserved type", vec![0xF0, 0]),
        ("QoS 3", vec![0x36, 5, 0, 1, b'a', 0, 1]),
        ("a wildcard in a topic", vec![0x30, 5, 0, 3, b'a', b'/', b'+']),
        ("a topic longer than its packet", vec![0x30, 3, 0, 9, b'a']),
        ("a packet longer than packet_max", device::publish(1, "compound/door-1/up", &long)),
    ] {
        counted(&broken, what, &|| {
            let mut device = Device::of(gateway.mqtt, "bad");
            device.send(&bytes);
            device.sees_the_end();
        });
    }
    let up = "compound/thermometer-1/up";
    for (reason, topic, payload) in [
        ("malformed", up, &b"{\"temperature\":"[..]),
        ("malformed", up, b""),
        ("malformed", up, b"21.5 degrees"),
        ("malformed", up, b"\xFF\xFE\x00"),
        ("malformed", up, b"{\"temperature\":NaN}"),
        ("unknown_device", "compound/nobody/up", br#"{"temperature":1}"#),
        ("unlisted", up, br#"{"temprature":1}"#),
        ("unlisted", up, b"[]"),
        ("invalid", up, br#"{"temperature":"hot"}"#),
        ("invalid", up, br#"{"temperature":{"value":1}}"#),
        ("invalid", up, br#"{"temperature":1e999}"#),
        ("out_of_range", up, br#"{"temperature":-273.16}"#),
        ("out_of_range", up, br#"{"humidity":100.0001}"#),
        ("policy", "compound/door-1/up", br#"{"card":"42"}"#),
        ("refused", "compound/door-1/up", br#"{"face":"QUJD"}"#),
    ] {
        counted(&lost(reason), &String::from_utf8_lossy(payload), &|| {
            Device::of(gateway.mqtt, "bad").publish(topic, payload);
        });
    }
    counted("smallbrain_mqtt_fanout_total", "a topic of no mapping", &|| {
        Device::of(gateway.mqtt, "bad").publish("compund/thermometer-1/up", r#"{"temperature":1}"#);
    });

    let told = gateway.metrics();
    let all_lost: u64 =
        told.iter().filter(|(name, _)| name.contains("ingest_lost_total")).map(|(_, n)| n).sum();
    let stored = told["smallbrain_ingest_stored_total"];
    assert_eq!(stored, published, "the neighbour's, all of them, and nothing else");
    assert_eq!(told["smallbrain_ingest_received_total"], stored + all_lost);
    assert_eq!(wait_for_readings(&gateway, "thermometer-2", published as usize).len(), published as usize);
}

#[test]
fn only_who_has_the_password_is_let_in() {
    let site = Site::example();
    let said = smallbrain(&["device", "add", "door-1"]);
    assert_eq!(said.code(), Some(0), "{said:?}");
    let password =
        said.out.split_once(": ").and_then(|(_, rest)| rest.split(' ').next()).expect("a password");
    fs::create_dir(site.path("conf.d")).expect("a directory");
    fs::write(site.path("conf.d/devices.toml"), &said.out).expect("a file");
    site.swap(&example().replacen("anonymous = true", "anonymous = false", 1));
    let gateway = site.start();

    let mut door = Device::dial(gateway.mqtt);
    assert_eq!(door.connect("door-1", Some(("door-1", password))), 0);
    for (login, code, reason) in [
        (Some(("door-1", "guessed")), 4, "password"),
        (Some(("door-2", password)), 4, "password"),
        (None, 5, "not_authorised"),
    ] {
        let counter = format!("smallbrain_mqtt_refused_total{{reason=\"{reason}\"}}");
        let before = gateway.metric(&counter);
        let mut stranger = Device::dial(gateway.mqtt);
        assert_eq!(stranger.connect("door-1", login), code, "{reason}");
        stranger.sees_the_end();
        assert_eq!(gateway.metric(&counter), before + 1);
        door.publish("compound/door-1/up", r#"{"open":true}"#);
    }
    assert!(!gateway.log.text().contains(password));

    // A credential that is taken out ends the connection that was let in by it.
    fs::remove_file(site.path("conf.d/devices.toml")).expect("removed");
    gateway.log.wait("new configuration in force", 1);
    door.sees_the_end();
}

#[tokio::test]
async fn what_the_city_asks_for_wrongly_is_refused_with_a_reason() {
    let site = Site::example();
    let gateway = site.start();
    Device::of(gateway.mqtt, "one").publish("compound/smoke-1/up", r#"{"alarm":true}"#);

    let target = Target { gateway: gateway.url(), ..Target::default() };
    let channel = target.connect().await.expect("the gateway listens");
    let mut city = v1::record_service_client::RecordServiceClient::new(channel);
    let cursor = |seq, epoch: &[u8]| v1::Cursor {
        stream_epoch: epoch.to_vec(),
        lane: wire::lane_number(Lane::Alarm),
        seq,
    };
    let ack = |upto| v1::AckRequest {
        acks: vec![v1::CumulativeAck { upto: Some(upto), ..Default::default() }],
        ..Default::default()
    };
    for (seq, epoch, code, reason, words) in [
        (1_000_000, &[][..], tonic::Code::OutOfRange, "ahead_of_head", "ahead of the head 1"),
        (1, &[7; 16][..], tonic::Code::FailedPrecondition, "epoch_changed", "pull again from position 0"),
        (1, &[7; 3][..], tonic::Code::InvalidArgument, "malformed", "16 bytes"),
    ] {
        let refused = city.ack(ack(cursor(seq, epoch))).await.expect_err("refused");
        assert_eq!(refused.code(), code, "{refused:?}");
        assert_eq!(refused.metadata().get("smallbrain-reason").expect("a reason"), reason);
        assert!(refused.message().contains(words), "{}", refused.message());
        assert_eq!(gateway.metric(&format!("smallbrain_share_refused_total{{reason=\"{reason}\"}}")), 1);
    }
    let stored = city.ack(ack(cursor(1, &[]))).await.expect("a good one").into_inner();
    assert_eq!(stored.confirmations[0].upto.as_ref().map(|upto| upto.seq), Some(1));

    // A pull that is told to begin behind the head was done at once, as if everything had come.
    let ahead = smallbrain(&["pull", "--gateway", &gateway.url(), "--lane", "alarm", "--after", "99"]);
    assert_eq!(ahead.code(), Some(1));
    assert!(ahead.err.contains("cursor 99 is ahead of the head 1"), "{}", ahead.err);

    // Other protocols at the doors of the city, of the metrics and of the command line.
    let noise = [0x16, 3, 1, 0, 0xFF, 0, 0, 0, b'\r', b'\n', b'\r', b'\n'];
    for address in [gateway.share, gateway.metrics] {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(&noise).expect("sent");
        closes(stream);
    }
    let mut stream = UnixStream::connect(&gateway.socket).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(&noise).expect("sent");
    closes(stream);
    assert_eq!(gateway.status()["lanes"][0]["acked"], 1, "the good ack, and none of the bad ones");
    assert_eq!(gateway.stop(Signal::TERM), Some(0));
}

/// Reads until the other side closes.
fn closes(mut stream: impl Read) {
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "closed");
    }
}
