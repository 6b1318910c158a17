//! Which profiles are part of a configuration when, and what keeps one out.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::approval::Signer;
use crate::config::watch::Watch;

const FROM: i64 = 1_794_002_400_000;
const UNTIL: i64 = FROM + 86_400_000;

const PROFILE: &str = r#"
[profile]
id = "flood"
title = "High water"
reason = "street order 2026-31"
from = "2026-11-06T22:00:00Z"
until = "2026-11-07T22:00:00Z"

[[template]]
name = "gauge"
[[template.point]]
metric = "flood.level"
json = "/level"

[[device]]
id = "gauge-1"
template = "gauge"

[[collect]]
id = "C-flood"
templates = ["gauge"]
purpose = "safety.flood"
fields = { "flood.level" = "keep" }

[[share]]
id = "S-flood"
purpose = "safety.flood"
lane = "bulk"
consumers = ["spiffe://city.example/test"]
metrics = ["flood.level"]
devices = true
approval = "2026-031"

[[alarm]]
id = "high"
when = "flood.level > 3"
severity = "major"
"#;

fn signer(nth: u8) -> Signer {
    Signer::from_seed(&[nth; 32]).expect("a seed")
}

fn base(quorum: usize) -> String {
    let people = (1..=3_u8).map(|nth| {
        let key: String = signer(nth).public_key().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[person]]\nname = 'p{nth}'\nroles = ['property.manager']\npublic_key = '{key}'\n")
    });
    let people: String = people.collect();
    format!(
        "[gateway]\nid = 'g'\ndivision_code = '310115013007'\ncompound_code = 'C1'\n[store]\ndir = 'data'\n{people}
[emergency]\ndir = 'emergency.d'\nsigners = ['p1', 'p2']\nquorum = {quorum}\nmax = '2d'
[[template]]\nname = 'tank'\n[[template.point]]\nmetric = 'level'\njson = '/level'
[[device]]\nid = 'tank-1'\ntemplate = 'tank'
[[collect]]\nid = 'C-1'\ntemplates = ['tank']\npurpose = 'water'\nfields = {{ level = 'keep' }}
[[share]]\nid = 'S-1'\npurpose = 'water'\nlane = 'bulk'\nconsumers = ['spiffe://city.example/test']
metrics = ['level']\ndevices = true\napproval = '1'\n"
    )
}

struct Site(tempfile::TempDir);

impl Site {
    fn new(quorum: usize) -> Self {
        let site = Self(tempfile::tempdir().expect("a directory"));
        fs::create_dir(site.0.path().join("emergency.d")).expect("a directory");
        fs::write(site.config(), base(quorum)).expect("a file");
        site
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("main.toml")
    }

    fn profile(&self, name: &str) -> PathBuf {
        self.0.path().join("emergency.d").join(name)
    }

    fn put(&self, name: &str, text: &str, signers: &[u8]) {
        let line = |nth: &u8| format!("p{nth} {}\n", STANDARD.encode(signer(*nth).sign(text.as_bytes())));
        fs::write(self.profile(name), text).expect("a file");
        fs::write(signatures_of(&self.profile(name)), signers.iter().map(line).collect::<String>())
            .expect("a file");
    }

    fn load(&self, now_ms: i64) -> Config {
        Config::load(&self.config(), now_ms, None).expect("the rest holds")
    }
}

fn told(config: &Config) -> String {
    config.emergency.faults().map(|fault| format!("{}\n", fault.message)).collect()
}

#[test]
fn a_profile_is_part_of_the_whole_for_its_time_and_as_if_not_there_otherwise() {
    let site = Site::new(2);
    site.put("flood.toml", PROFILE, &[1, 2]);
    for (now_ms, in_force, due_ms) in [
        (FROM - 1, false, Some(FROM)),
        (FROM, true, Some(UNTIL)),
        (UNTIL - 1, true, Some(UNTIL)),
        (UNTIL, false, None),
    ] {
        let config = site.load(now_ms);
        assert_eq!(told(&config), "", "{now_ms}");
        assert_eq!(config.emergency.in_force().count() == 1, in_force, "{now_ms}");
        assert_eq!(config.emergency.due_ms(), due_ms, "{now_ms}");
        let (points, shares) = (config.plan.points.iter().flatten().count(), config.share.lines.len());
        assert_eq!((points, shares), if in_force { (2, 2) } else { (1, 1) }, "{now_ms}");
        assert_eq!(config.plan.emergency.len(), usize::from(in_force));
    }
    let config = site.load(FROM);
    let profile = &config.plan.emergency[0];
    let point = config.plan.points[profile.series[0].index()].as_ref().expect("a point");
    assert_eq!((profile.series.len(), point.metric.as_str()), (1, "flood.level"));
    let scope = &profile.scope;
    let names = |ids: &[LineId]| ids.iter().map(|id| id.to_string()).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(&scope.collects) + " " + &names(&scope.shares) + " " + &names(&scope.alarms),
        "C-flood S-flood high"
    );
    assert_eq!((scope.devices[0].as_str(), profile.until_ms), ("gauge-1", UNTIL));
}

/// What is done to the profile, and what is said of it.
#[test]
fn a_profile_that_is_not_right_is_left_out_alone_and_says_why() {
    let edits: &[(&str, &str, &str)] = &[
        ("until = \"2026-11-07T22:00:00Z\"", "until = \"2026-11-09T22:00:00Z\"", "too long"),
        ("until = \"2026-11-07T22:00:00Z\"", "until = \"2026-11-06T22:00:00Z\"", "not after from"),
        ("reason = \"street order 2026-31\"", "", "missing key `reason`"),
        ("[profile]", "[gateway]\nid = 'x'\n[profile]", "`gateway` in a profile"),
        ("[profile]", "include = ['x.toml']\n[profile]", "`include` in a profile"),
        ("[profile]", "[[route]]\n[profile]", "`route` in a profile"),
        ("title = ", "titel = ", "unknown key `titel`"),
        ("metric = \"flood.level\"", "metrik = \"flood.level\"", "unknown key `metrik`"),
        ("id = \"gauge-1\"", "id = \"tank-1\"", "tank-1"),
        ("id = \"S-flood\"", "id = \"S-1\"", "S-1"),
        ("id = \"C-flood\"", "id = \"C-1\"", "C-1"),
        ("name = \"gauge\"", "name = \"modbus-lift\"", "one of the library"),
        ("template = \"gauge\"", "template = \"tank\"", "level of gauge-1 would be shared by S-1"),
        ("[profile]", "[profile", ""),
    ];
    for (from, to, why) in edits {
        let site = Site::new(1);
        assert!(PROFILE.contains(from), "{from}");
        site.put("bad.toml", &PROFILE.replace(from, to), &[1]);
        site.put(
            "good.toml",
            &PROFILE.replace("flood", "storm").replace("gauge", "mast").replace("high", "gale"),
            &[2],
        );
        let config = site.load(FROM);
        let said = told(&config);
        assert!(!said.is_empty() && said.contains(why), "{to}: {said:?}");
        assert_eq!(config.emergency.in_force().map(LineId::as_str).collect::<Vec<_>>(), ["storm"], "{to}");
        assert!(config.emergency.faults().all(|fault| !fault.file.ends_with("main.toml")), "{to}: {said}");
    }
}

#[test]
fn a_profile_is_signed_by_the_quorum_or_left_out() {
    for (quorum, signers, why) in [
        (1, &[1_u8][..], None),
        (2, &[1, 2], None),
        (2, &[1], Some("signed by 1 of 2")),
        (2, &[1, 1], Some("a second one of the same person")),
        (1, &[3], Some("nobody who may sign")),
        (1, &[], Some("signed by 0 of 1")),
    ] {
        let site = Site::new(quorum);
        site.put("flood.toml", PROFILE, signers);
        let said = told(&site.load(FROM));
        assert_eq!(said.is_empty(), why.is_none(), "{signers:?}: {said}");
        assert!(said.contains(why.unwrap_or_default()), "{said}");
    }
    let site = Site::new(1);
    site.put("flood.toml", PROFILE, &[1]);
    // Another byte, and the signature is none of it.
    fs::write(site.profile("flood.toml"), PROFILE.to_owned() + "\n").expect("a file");
    assert!(told(&site.load(FROM)).contains("not of this file"));
    fs::remove_file(signatures_of(&site.profile("flood.toml"))).expect("removed");
    assert!(told(&site.load(FROM)).contains("not signed"));
    // Two files of one id: the first holds.
    site.put("flood.toml", PROFILE, &[1]);
    site.put("other.toml", PROFILE, &[1]);
    let config = site.load(FROM);
    assert!(told(&config).contains("flood.toml again") && config.emergency.in_force().count() == 1);
}

#[test]
fn a_file_can_be_examined_before_its_time() {
    let site = Site::new(1);
    let file = site.0.path().join("later.toml");
    fs::write(&file, PROFILE).expect("a file");
    let line = format!("p1 {}\n", STANDARD.encode(signer(1).sign(PROFILE.as_bytes())));
    fs::write(signatures_of(&file), line).expect("a file");
    let profile = examine(&site.config(), &file, FROM - 1).expect("the configuration is good");
    let Standing::InForce(added) = &profile.standing else { panic!("{:?}", profile.standing) };
    assert_eq!((added.series.len(), added.scope.devices.len()), (1, 1));
    assert!(matches!(examine(&site.config(), &file, UNTIL).expect("good").standing, Standing::Over));
}

#[test]
fn the_section_names_people_who_are_there() {
    let site = Site::new(3);
    let faults = Config::load(&site.config(), FROM, None).expect_err("two cannot be three");
    assert!(faults.summary().contains("a quorum of 3 among 2"), "{}", faults.summary());
    fs::write(site.config(), base(1).replace("['p1', 'p2']", "['p1', 'p9']")).expect("a file");
    let faults = Config::load(&site.config(), FROM, None).expect_err("nobody is p9");
    assert!(faults.summary().contains("unknown person \"p9\""), "{}", faults.summary());
}

/// A profile may not go on because somebody broke another file meanwhile.
#[test]
fn a_profile_ends_though_the_files_are_bad_just_then() {
    let site = Site::new(1);
    site.put("flood.toml", PROFILE, &[1]);
    let mut watch = Watch::of(&site.config(), &site.load(FROM));
    assert!(watch.look(FROM + 1, false).1.is_empty(), "nothing is new");
    fs::write(site.config(), "gateway = 1").expect("a file");
    let found = watch.look(FROM + 2, false).1;
    assert!(matches!(found.as_slice(), [Err(_)]));
    assert!(watch.look(UNTIL - 1, false).1.is_empty(), "told once");
    let found = watch.look(UNTIL, false).1;
    let [Ok(config), Err(_)] = found.as_slice() else { panic!("{}", found.len()) };
    assert!(config.plan.emergency.is_empty() && config.plan.points.iter().flatten().count() == 1);
    assert!(watch.look(UNTIL + 1, false).1.is_empty());
    // A profile that lies there anew is noticed as well.
    fs::write(site.config(), base(1)).expect("a file");
    assert!(matches!(watch.look(UNTIL + 2, false).1.as_slice(), [Ok(_)]));
    let later =
        PROFILE.replace("2026-11-06", "2026-11-07").replace("until = \"2026-11-07", "until = \"2026-11-08");
    site.put("later.toml", &later.replace("\"flood\"", "\"flood-2\""), &[2]);
    let found = watch.look(UNTIL + 3, false).1;
    let [Ok(config)] = found.as_slice() else { panic!("{}", found.len()) };
    assert_eq!(
        config.emergency.in_force().map(LineId::as_str).collect::<Vec<_>>(),
        ["flood-2"],
        "{}",
        told(config)
    );
}
