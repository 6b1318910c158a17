//! The listing in both languages, and the way from the daemon's socket to a file.

use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::*;
use crate::device::mqtt::onboard::offer::{Offer, Why};
use crate::device::mqtt::onboard::{Onboard, Quarantine};
use crate::local::onboard::Onboarding;
use crate::model::Stamp;
use crate::wire::bus::PendingField;
use crate::wire::bus::onboard_service_server::OnboardServiceServer;
use crate::wire::timestamp;

fn answer() -> ListPendingResponse {
    let field = |path: &str, kind: &str, unit: &str| PendingField {
        path: path.into(),
        r#type: kind.into(),
        unit: unit.into(),
        seen: true,
        ..PendingField::default()
    };
    let device = |user: &str| PendingDevice {
        name: "hall's \u{1b}[31mdoor".into(),
        user: user.into(),
        profile: "zigbee2mqtt".into(),
        topics: vec!["zigbee2mqtt/hall".into()],
        first_heard: Some(timestamp(0)),
        last_heard: Some(timestamp(1_000)),
        messages: 3,
        online: Some(true),
        fields: vec![field("contact", "flag", ""), field("battery", "number", "%"), field("", "mixed", "")],
        refused: vec!["idCard".into()],
        unread_bytes: Some(70_000),
        ..PendingDevice::default()
    };
    ListPendingResponse { devices: vec![device("a"), device("b")], forgotten: 2, unexamined: 9, taken: None }
}

#[test]
fn the_list_speaks_both_languages() {
    for (lang, words) in [
        (
            Lang::Zh,
            [
                "待接入设备: 2",
                "在线",
                "用户: a",
                "contact  开关",
                "battery  数值  %",
                "(整个报文)  不固定",
                "入口拒收: idCard",
                "已忘记的设备: 2",
            ],
        ),
        (
            Lang::En,
            [
                "pending devices: 2",
                "online",
                "user: a",
                "contact  flag",
                "battery  number  %",
                "(the payload)  mixed",
                "refused at the door: idCard",
                "make room: 2",
            ],
        ),
    ] {
        let mut out = Vec::new();
        write_list(&mut out, &answer(), lang).expect("written");
        let text = String::from_utf8(out).expect("text");
        for word in words {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert!(!text.contains('\u{1b}'), "a name does not move the cursor");
        assert!(text.contains("--from-pending 'hall'\\''s ?[31mdoor'"), "{text}");
    }
    let told = listing(&answer());
    assert_eq!(told["pending"][0]["fields"][1]["unit"], "%");
    assert_eq!(told["pending"][0]["last_heard"], "1970-01-01T00:00:01Z");
    assert_eq!((&told["forgotten"], &told["unexamined"]), (&json!(2), &json!(9)));
}

#[test]
fn a_name_is_chosen_with_its_user() {
    let answer = answer();
    let name = answer.devices[0].name.as_str();
    assert!(matches!(chosen(&answer, "x", None), Err(OnboardError::Unknown(_))));
    assert!(
        matches!(chosen(&answer, name, None), Err(OnboardError::Several { users, .. }) if users == "\"a\", \"b\"")
    );
    assert_eq!(chosen(&answer, name, Some("b")).expect("one").user, "b");
}

#[test]
fn a_device_is_named_or_pending() {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: crate::cli::device::Args,
    }
    for (words, expected) in [
        (&["add", "d1"][..], Some(None)),
        (&["add", "--from-pending", "hall/door"], Some(Some("hall/door"))),
        (&["add", "--from-pending", "x", "--id", "d", "--user", "u", "--write", "f"], Some(Some("x"))),
        (&["add"], None),
        (&["add", "d1", "--from-pending", "x"], None),
        (&["add", "d1", "--id", "d"], None),
        (&["add", "--from-pending", "x", "--id", "a/b"], None),
    ] {
        let line = <Line as clap::Parser>::try_parse_from(["device"].iter().chain(words)).ok();
        let told = line.as_ref().map(|line| line.args.from_pending().map(|(_, name, _)| name));
        assert_eq!(told, expected, "{words:?}");
    }
}

/// Over a socket, as people use it.
#[tokio::test]
async fn a_pending_device_becomes_a_file() {
    let onboard = Onboard::from(heard());
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("s.sock");
    let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
    let (stop, service) = (CancellationToken::new(), Onboarding::new(onboard));
    let stopped = stop.clone().cancelled_owned();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let serving = tokio::spawn(
        Server::builder()
            .add_service(OnboardServiceServer::new(service))
            .serve_with_incoming_shutdown(incoming, stopped),
    );
    let file = dir.path().join("door.toml");
    let args =
        FromPending { from_pending: Some("door-9".into()), id: None, user: None, socket: socket.clone() };
    let mut out = Vec::new();
    written(&args, "door-9", Some(&file), &mut out).await.expect("a file");
    let text = std::fs::read_to_string(&file).expect("the file");
    assert!(text.contains("topic = \"compound/{device}/up\"") && text.contains("json = \"/open\""), "{text}");
    assert!(!text.contains("CANARY"));
    let again = written(&args, "door-9", Some(&file), &mut out).await;
    assert!(matches!(again, Err(OnboardError::File(..))), "what is there stays");
    let mut out = Vec::new();
    assert_eq!(pending(&socket, true, Lang::En, &mut out).await, ExitCode::SUCCESS);
    let told: Value = serde_json::from_slice(&out).expect("json");
    assert_eq!(told["pending"][0]["name"], "door-9");
    assert!(!told.to_string().contains("CANARY"));
    stop.cancel();
    serving.await.expect("no panic").expect("a clean end");
    assert!(matches!(ask(&socket).await, Err(OnboardError::NoDaemon { .. })));
}

fn heard() -> Quarantine {
    let mut quarantine = Quarantine::default();
    let payload = br#"{"open":true,"who":"CANARY","phone":"CANARY"}"#;
    let offer = Offer::new(Why::UnknownDevice, "", "door-9", "compound/door-9/up", payload);
    quarantine.receive(&offer, Stamp { wall_ms: 0, mono_ms: 0 });
    quarantine
}
