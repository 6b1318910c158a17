use super::*;

fn shown(lang: Lang) -> Shown {
    Shown { lang, json: false, zone_ms: 8 * 3_600_000 }
}

fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("written");
    String::from_utf8(out).expect("text")
}

#[test]
fn times_are_of_the_gateways_zone() {
    for (zone_ms, at, iso) in [
        (8 * 3_600_000, "1970-01-01 08:00:01", "1970-01-01T08:00:01.500+08:00"),
        (0, "1970-01-01 00:00:01", "1970-01-01T00:00:01.500+00:00"),
        (-90 * 60_000, "1969-12-31 22:30:01", "1969-12-31T22:30:01.500-01:30"),
        (i64::MAX, "1970-01-01 00:00:01", "1970-01-01T00:00:01.500+00:00"),
    ] {
        let shown = Shown { zone_ms, ..shown(Lang::Zh) };
        assert_eq!((shown.at(1_500), shown.iso(1_500)), (at.to_owned(), iso.to_owned()));
    }
    assert_eq!(shown(Lang::Zh).at(i64::MAX), "-", "a time that no calendar has");
}

#[test]
fn every_word_of_the_contract_has_a_chinese_one() {
    use crate::model::{Life, Severity, Step};
    use crate::rules::command::Stage;
    use crate::rules::notice::Fate;
    for (words, names) in [
        (LIVES, Life::ALL.map(Life::as_str).to_vec()),
        (STEPS, Step::ALL.map(Step::as_str).to_vec()),
        (SEVERITIES, Severity::ALL.map(Severity::as_str).to_vec()),
        (FATES, Fate::ALL.map(Fate::as_str).to_vec()),
        (STAGES, Stage::ALL.map(Stage::as_str).to_vec()),
    ] {
        assert_eq!(words.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    }
    assert_eq!(shown(Lang::Zh).word(LIVES, "of_a_later\nbuild"), "of-a-later?build");
    assert_eq!(shown(Lang::En).word(LIVES, "pre_alarm"), "pre-alarm");
}

#[test]
fn what_came_back_and_what_is_cleared_is_said_and_no_text_moves_the_cursor() {
    let incident = wire::Incident {
        id: 12,
        alarm: "door-held".into(),
        title: "门长开\u{1b}[2J".into(),
        device: "door-1".into(),
        severity: "critical".into(),
        life: "dispatched".into(),
        returns: 2,
        escalated: 1,
        ..Default::default()
    };
    let chinese = text(|out| shown(Lang::Zh).incidents(out, std::slice::from_ref(&incident), &[]));
    let line = "#12  [紧急] 已派人  1970-01-01 08:00:00  门长开?[2J  door-1  已恢复  复发 2  升级 1\n";
    assert_eq!(chinese, line);
    let closed = wire::Incident { life: "closed".into(), ..incident };
    let english = text(|out| shown(Lang::En).incidents(out, &[closed], &[]));
    assert!(english.ends_with("door-1  returned 2\n"), "{english}");
    assert_eq!(text(|out| shown(Lang::En).incidents(out, &[], &[])), "no alarms\n");
}

#[test]
fn who_did_it_and_why_stands_in_the_history() {
    let event = wire::IncidentEvent {
        step: "handled".into(),
        metric: "level".into(),
        value: Some("2.50".into()),
        unit: "m".into(),
        by_kind: "person".into(),
        by: "老李".into(),
        reason: "已抽水".into(),
        ..Default::default()
    };
    let line = text(|out| shown(Lang::Zh).change(out, &event));
    assert_eq!(line, "  1970-01-01 08:00:00  处置  level=2.50m  老李  已抽水\n");
    let json = shown(Lang::Zh).event_json(&event);
    assert_eq!((json["by"].as_str(), json["device"].is_null()), (Some("老李"), true));
}
