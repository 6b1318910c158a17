//! The shipped rules: all their cases pass, and no number, duration, operator or boundary of them can be moved unnoticed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rust_decimal::Decimal;
use smallbrain::cli::rules::case::{Deed, Doing, File};
use smallbrain::cli::rules::report::Tested;
use smallbrain::cli::rules::{files, load, test, verdicts};
use smallbrain::config::Config;
use smallbrain::config::outage::Outage;
use smallbrain::lists::lint::lint;
use smallbrain::lists::{Decision, Lists};

/// Cases that the shipped rules have at least.
const CASES_MIN: usize = 60;

fn packs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packs")
}

#[test]
fn every_case_of_the_shipped_rules_passes() {
    let found = files(&[packs()]).expect("packs are readable");
    let mut count = 0;
    for path in &found {
        let Tested { outcome, .. } = test(path, None);
        let verdicts = outcome.unwrap_or_else(|faults| panic!("{}\n{faults}", path.display()));
        count += verdicts.len();
        for verdict in verdicts {
            let place = format!("{}:{}", path.display(), verdict.line);
            assert!(verdict.diff.is_empty(), "{place} {}: {:#?}", verdict.name, verdict.diff);
        }
    }
    assert!(count >= CASES_MIN, "{count} cases");
}

/// Whatever a rule waits for, it goes on waiting after a power cut.
#[test]
fn a_restart_before_or_after_any_step_changes_nothing() {
    for path in files(&[packs()]).expect("packs are readable") {
        let (mut file, rules) = load(&path).unwrap_or_else(|faults| panic!("{faults}"));
        for case in &mut file.cases {
            let mut steps = Vec::new();
            for doing in case.steps.drain(..) {
                let restart = Doing { at_ms: doing.at_ms, deed: Deed::Restart };
                steps.extend([restart.clone(), doing, restart]);
            }
            case.steps = steps;
        }
        let verdicts = verdicts(&file, rules, None).unwrap_or_else(|faults| panic!("{faults}"));
        for verdict in verdicts {
            let place = format!("{}:{}", path.display(), verdict.line);
            assert!(verdict.diff.is_empty(), "{place} {}: {:#?}", verdict.name, verdict.diff);
        }
    }
}

/// Rules without cases are hopes; rules without a word why, riddles.
#[test]
fn every_shipped_rule_has_cases_a_purpose_a_seed_and_needs() {
    for entry in fs::read_dir(packs().join("compound")).expect("packs are readable") {
        let path = entry.expect("an entry").path();
        let name = path.display().to_string();
        // The lists have no cases: they are held by the test below.
        if name.ends_with(".test.toml") || name.ends_with("/lists.toml") {
            continue;
        }
        assert!(path.with_extension("test.toml").is_file(), "{name} has no cases");
        let text = fs::read_to_string(&path).expect("a text");
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if *line != "[[alarm]]" && *line != "[[inhibit]]" {
                continue;
            }
            let head: Vec<&&str> =
                lines[..at].iter().rev().take_while(|line| line.starts_with('#')).collect();
            for word in ["# Seed: ", "# Needs: "] {
                assert!(head.iter().any(|line| line.starts_with(word)), "{name}:{}: no {word}", at + 1);
            }
            let stanza: Vec<&&str> = lines[at..].iter().take_while(|line| !line.is_empty()).collect();
            let advised = *line == "[[inhibit]]" || stanza.iter().any(|line| line.starts_with("advice = "));
            assert!(advised, "{name}:{}: no advice", at + 1);
        }
    }
}

/// Devices for all of the shipped rules.
const COMPOUND: &str = include_str!("packs/compound.toml");

/// The shipped lists over all shipped rules.
fn shipped() -> Lists {
    let mut texts = vec![(PathBuf::from("smallbrain.toml"), COMPOUND.to_owned())];
    for entry in fs::read_dir(packs().join("compound")).expect("packs are readable") {
        let path = entry.expect("an entry").path();
        if !path.display().to_string().ends_with(".test.toml") {
            texts.push((path.clone(), fs::read_to_string(&path).expect("a text")));
        }
    }
    let config = Config::of_texts(texts, &[], 1_795_190_400_000).unwrap_or_else(|faults| panic!("{faults}"));
    let short: Vec<String> = Outage::of(&config).complaints().collect();
    assert!(short.is_empty(), "a week without the city: {short:?}");
    Lists::clone(&config.plan.lists)
}

#[test]
fn the_shipped_lists_are_a_closed_loop() {
    let lists = shipped();
    assert_eq!(lint(&lists), vec![]);
    let rows = smallbrain::lists::cycle::rows(&lists);
    let open: Vec<_> = rows.iter().filter(|row| !row.missing.is_empty()).collect();
    assert!(open.is_empty(), "{open:?}");
    let governed: Vec<_> = lists.governance.iter().flat_map(|line| lists.alarms_of(line)).collect();
    for alarm in &lists.alarms {
        assert!(governed.contains(&&alarm.id), "nobody answers for {}", alarm.id);
    }
}

/// What is refused on purpose is written down, with its reason, and nothing that it names is shared.
#[test]
fn refusals_are_lines_of_the_shipped_lists() {
    let lists = shipped();
    for (demand, line, metric) in [
        ("D-persons", "X-persons", "political_status"),
        ("D-watch", "X-watch", "watchlist"),
        ("D-party", "X-party", "party_branch"),
        ("D-tracks", "X-tracks", "trajectory"),
    ] {
        let demand = lists.demands.iter().find(|own| own.id.as_str() == demand).expect("the demand");
        assert_eq!(demand.decision, Decision::Refused);
        assert!(!demand.reason.is_empty() && demand.wants.iter().any(|id| id.as_str() == line));
        let metric = metric.parse().expect("a metric");
        let told = smallbrain::lists::explain::explain(&lists, &metric, 0);
        assert_eq!(told.denied.map(|rule| rule.as_str()), Some("share.forbidden"), "{metric}");
        assert!(told.forbidden.iter().any(|own| own.id.as_str() == line && !own.reason.is_empty()));
        assert!(told.ways.is_empty() && told.points.is_empty());
    }
}

/// The manual's case runs on the manual's rule, and its table has every shipped one.
#[test]
fn the_manual_is_true() {
    for page in [include_str!("../docs/rules.md"), include_str!("../docs/rules.zh-CN.md")] {
        let blocks: Vec<&str> =
            page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("a block")).collect();
        let cases = blocks.iter().find(|block| block.contains("[[case]]")).expect("cases");
        let file = File::read(Path::new("doors.test.toml"), (*cases).to_owned()).expect("cases are read");
        let rules = vec![(PathBuf::from("doors.toml"), blocks[0].to_owned())];
        let verdicts = verdicts(&file, rules, None).unwrap_or_else(|faults| panic!("{faults}"));
        assert!(verdicts.len() == 1 && verdicts[0].diff.is_empty(), "{verdicts:#?}");
        for path in files(&[packs()]).expect("packs are readable") {
            let (_, rules) = load(&path).unwrap_or_else(|faults| panic!("{faults}"));
            for (rule, text) in &rules {
                let name = rule.file_name().expect("a name").to_string_lossy();
                assert!(page.contains(&format!("`{name}`")), "{name}");
                let ids = text.split("[[alarm]]\nid = \"").skip(1).filter_map(|rest| rest.split('"').next());
                for id in ids {
                    assert!(page.contains(&format!("`{id}`")), "{name}: {id}");
                }
            }
        }
    }
}

/// One change of a file: what stands where, and what stands there instead.
struct Mutant {
    at: Range<usize>,
    becomes: String,
}

#[test]
fn a_shipped_rule_that_is_moved_fails_a_case() {
    let cases: Vec<(File, Vec<(PathBuf, String)>)> = files(&[packs()])
        .expect("packs are readable")
        .iter()
        .map(|path| load(path).unwrap_or_else(|faults| panic!("{faults}")))
        .collect();
    let texts: BTreeMap<&PathBuf, &String> =
        cases.iter().flat_map(|(_, rules)| rules.iter().map(|(path, text)| (path, text))).collect();
    let (mut count, mut survivors) = (0, Vec::new());
    for (path, text) in texts {
        for mutant in mutants(text) {
            count += 1;
            let mut moved = text.clone();
            moved.replace_range(mutant.at.clone(), &mutant.becomes);
            if !cases.iter().any(|(file, rules)| fails(file, rules, path, &moved)) {
                let line = text[..mutant.at.start].matches('\n').count() + 1;
                let was = &text[mutant.at];
                survivors.push(format!("{}:{line}: {was} → {}", path.display(), mutant.becomes));
            }
        }
    }
    assert!(count > 200, "{count} mutants");
    assert!(survivors.is_empty(), "{} of {count} live:\n{}", survivors.len(), survivors.join("\n"));
}

/// Whether a case fails, or the rules are refused, when one file says something else.
fn fails(file: &File, rules: &[(PathBuf, String)], path: &Path, moved: &str) -> bool {
    if rules.iter().all(|(other, _)| other != path) {
        return false;
    }
    let of = |(other, text): &(PathBuf, String)| match other == path {
        true => (other.clone(), moved.to_owned()),
        false => (other.clone(), text.clone()),
    };
    match verdicts(file, rules.iter().map(of).collect(), None) {
        Ok(verdicts) => verdicts.iter().any(|verdict| !verdict.diff.is_empty()),
        Err(_) => true,
    }
}

/// Everything in a file that could stand a little beside where it belongs.
fn mutants(text: &str) -> Vec<Mutant> {
    let (mut all, mut begin) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once(" = ") {
            let at = begin + key.len() + 3;
            let value = value.trim_end();
            match key {
                "when" | "clear" | "early" | "then" | "interlock" => condition(value, at, &mut all),
                "hold" | "within" | "absent" | "cooldown" | "lasts" | "expires" => {
                    durations(value, at, &mut all)
                }
                "at" | "schedule" => clocks(value, at, &mut all),
                "times" => counts(value, at, &mut all),
                "confirm" => {
                    counts(value, at, &mut all);
                    durations(value, at, &mut all);
                }
                _ => {}
            }
        }
        begin += line.len();
    }
    all
}

/// Runs of characters of one sort, with where they begin.
fn runs(text: &str, sort: impl Fn(char) -> bool) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut from = None;
    for (at, c) in text.char_indices().chain([(text.len(), '\n')]) {
        match (sort(c), from) {
            (true, None) => from = Some(at),
            (false, Some(start)) => {
                found.push((start, &text[start..at]));
                from = None;
            }
            _ => {}
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

fn counts(value: &str, at: usize, all: &mut Vec<Mutant>) {
    for (start, word) in runs(value, is_word) {
        let Ok(count) = word.parse::<u32>() else { continue };
        for becomes in [count - 1, count + 1] {
            all.push(Mutant { at: at + start..at + start + word.len(), becomes: becomes.to_string() });
        }
    }
}

fn millis(word: &str) -> Option<u64> {
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let size = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let (_, size) = size.iter().find(|(name, _)| *name == unit)?;
    Some(word[..word.len() - unit.len()].parse::<u64>().ok()? * size)
}

fn durations(value: &str, at: usize, all: &mut Vec<Mutant>) {
    for (start, word) in runs(value, is_word) {
        let Some(ms) = millis(word) else { continue };
        let second = 1_000.min(ms / 10);
        for moved in [ms - ms / 10, ms + ms / 10, ms - second, ms + second] {
            let becomes = format!("{moved}ms");
            all.push(Mutant { at: at + start..at + start + word.len(), becomes });
        }
    }
}

/// Times of the day, a minute earlier and later.
fn clocks(value: &str, at: usize, all: &mut Vec<Mutant>) {
    for (start, word) in runs(value, |c| c.is_ascii_digit() || c == ':') {
        let Some((hours, minutes)) = word.split_once(':') else { continue };
        let minute = hours.parse::<u32>().expect("hours") * 60 + minutes.parse::<u32>().expect("minutes");
        for moved in [minute + 1439, minute + 1] {
            let becomes = format!("{:02}:{:02}", moved % 1440 / 60, moved % 60);
            all.push(Mutant { at: at + start..at + start + word.len(), becomes });
        }
    }
}

/// Numbers by a hundredth or their last digit, lookbacks by a tenth, operators for their neighbours.
fn condition(value: &str, at: usize, all: &mut Vec<Mutant>) {
    let quote = value.chars().next().expect("a text");
    let mut push = |start: usize, was: &str, becomes: String| {
        all.push(Mutant { at: at + start..at + start + was.len(), becomes });
    };
    for (start, word) in runs(value, is_word) {
        let in_text = value[..start].ends_with('"') && quote != '"';
        if let (true, Some(ms)) = (in_text, millis(word)) {
            for moved in [ms - ms / 10, ms + ms / 10] {
                push(start, word, format!("{moved}ms"));
            }
        } else if let (false, Ok(number)) = (in_text, word.parse::<Decimal>()) {
            let step = Decimal::new(1, number.scale()).max(number * Decimal::new(1, 2));
            for moved in [number - step, number + step] {
                let moved = moved.normalize();
                let becomes = if moved.is_sign_negative() { format!("({moved})") } else { moved.to_string() };
                push(start, word, becomes);
            }
        }
    }
    for (start, operator) in runs(value, |c| "<>=!&|".contains(c)) {
        let becomes = match operator {
            ">" => ">=",
            ">=" => ">",
            "<" => "<=",
            "<=" => "<",
            "==" => "!=",
            "!=" => "==",
            "&&" => "||",
            "||" => "&&",
            "!" => "",
            other => panic!("unknown operator {other}"),
        };
        push(start, operator, becomes.to_owned());
    }
}

#[test]
fn mutants_are_neighbours() {
    let text = "hold = \"30s\"\nat = \"10:00\"\ntimes = 4\nwhen = 'rate(pump_1, \"10m\") >= 0.8 && !x'\n";
    let moved: Vec<String> = mutants(text)
        .iter()
        .map(|mutant| format!("{}→{}", &text[mutant.at.clone()], mutant.becomes))
        .collect();
    let expected = [
        "30s→27000ms",
        "30s→33000ms",
        "30s→29000ms",
        "30s→31000ms",
        "10:00→09:59",
        "10:00→10:01",
        "4→3",
        "4→5",
        "10m→540000ms",
        "10m→660000ms",
        "0.8→0.7",
        "0.8→0.9",
        ">=→>",
        "&&→||",
        "!→",
    ];
    assert_eq!(moved, expected);
}
