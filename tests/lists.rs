//! The verbs of the four lists on the real binary.

use std::path::Path;
use std::process::Command;

/// What `smallbrain lists …` prints and its exit code.
fn lists(args: &[&str], config: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smallbrain"));
    let output = command.arg("lists").args(args).arg("--config").arg(config).output().expect("it runs");
    (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
}

#[test]
fn the_example_is_a_closed_loop_and_every_field_is_explained() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml");
    let (code, text) = lists(&["check", "--lang", "en"], &config);
    assert_eq!((code, text.contains("open 0")), (Some(0), true), "{text}");
    let (code, text) = lists(&["show", "--lang", "en"], &config);
    assert_eq!((code, text.contains("S-001") && text.contains("C-002")), (Some(0), true), "{text}");
    for (field, code, says) in
        [("temperature", 0, "S-001"), ("phone", 0, "C-001"), ("face", 0, "refuse"), ("nobody_knows", 1, "")]
    {
        let (got, text) = lists(&["explain", field, "--lang", "en"], &config);
        assert_eq!((got, text.contains(says)), (Some(code), true), "{field}: {text}");
    }
}

#[test]
fn an_open_end_is_an_exit_code_and_a_prediction_says_what_it_is_made_of() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("config.toml");
    let text = "[gateway]\nid = 'gw'\ndivision_code = '310115013007'\ncompound_code = 'C1'\n[store]\ndir = 'data'\n\
        [mqtt]\nanonymous = true\n[[mapping]]\ntopic = 'c/{device}/up'\n\
        [[template]]\nname = 'meter'\n[[template.point]]\nmetric = 'flow'\nclass = 'household'\njson = '/flow'\n\
        [[device]]\nid = 'meter-{1..6}'\ntemplate = 'meter'\nplace = 'B1'\n\
        [[collect]]\nid = 'C-1'\ntemplates = ['meter']\npurpose = 'x'\nfields = { flow = 'keep' }\n\
        [[aggregate]]\nid = 'A-1h'\nmetrics = ['flow']\nsize = '1h'\nby = 'compound'\nstatistics = ['count', 'sum']\n\
        [[share]]\nid = 'S-1'\npurpose = 'x'\nlane = 'aggregate'\nconsumers = ['spiffe://x/a']\nmetrics = ['flow']\n\
        carries = ['A-1h']\napproval = '1'\nprotect = { mode = 'sdc', subjects = 'device' }\n";
    std::fs::write(&config, text).expect("a file");
    let (code, text) = lists(&["check", "--lang", "en"], &config);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("share.undemanded") && text.contains("A-1h no history yet"), "{text}");
    let (_, json) = lists(&["check", "--json"], &config);
    let json: serde_json::Value = serde_json::from_str(json.trim()).expect("JSON");
    assert_eq!(json["predicted"][0]["aggregate"], "A-1h", "{json}");
}
