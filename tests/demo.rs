//! The demo keeps its promises, the story of one alarm among them, on a machine that is busy with other tests.

use std::process::Command;

#[test]
fn the_shortest_demo_holds_what_it_promises() {
    let demo = Command::new(env!("CARGO_BIN_EXE_smallbrain"))
        .args(["demo", "--seconds", "6", "--rate", "500"])
        .output()
        .expect("the binary runs");
    let (told, errors) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{told}\n{errors}");
    // The alarm is closed before the city is cut off, and what happens is told in its order.
    let lines = [
        "finds a fire",
        "raised",
        "property told: 火警 · 告警 · B3/lobby · 建议：",
        "residents told: 火警 · 告警\n",
        "siren-1 on",
        "the city confirms",
        "the duty room comes second",
        "dispatched",
        "handled",
        "cleared",
        "siren-1 off",
        "the city closes it",
        "told with proof",
        "the city is cut off",
        "ok      one alarm, from sensor to closed",
    ];
    let mut rest = &told[..];
    for line in lines {
        let (_, after) = rest.split_once(line).unwrap_or_else(|| panic!("no {line:?} in its place:\n{told}"));
        rest = after;
    }
}
