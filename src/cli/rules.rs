//! `smallbrain rules test`: the cases of rules, with a clock of their own and no daemon.
//!
//! Guarantees: nothing is listened to, sent or written; the same files give the same result on every machine. What a rule does
//! here it does in the daemon: both feed the same engine.

pub mod case;
pub mod report;
pub mod run;
mod table;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use self::case::File;
use self::report::{Counts, Tested, Verdict};
use super::bus::Lang;
use crate::config::{Config, Fault, Faults};
use crate::privacy::pseudonym::Secret;

/// Shown below `rules test --help`.
pub const HELP: &str = "\
Examples:
  smallbrain rules test packs/ --lang en
      every *.test.toml below a directory
  smallbrain rules test packs/compound/doors.test.toml --filter night
      the cases of one file whose name has a word
  smallbrain rules test packs/ --json
      one JSON object: {files: [{file, cases: [{name, line, diff}]}], counts}

Exit code 0 when all cases pass, 1 when some fail, 2 when there are none, 78 when a file does not load.";

/// Exit code of files that do not load (`EX_CONFIG` of sysexits.h).
const FAULTY: u8 = 78;
/// Exit code of a wrong question.
const USAGE: u8 = 2;
/// Directories within directories that are looked into.
const DEPTH_MAX: usize = 16;
/// Bytes of a file of rules or cases.
const FILE_MAX: u64 = 1024 * 1024;
/// Files of one run.
const FILES_MAX: usize = 10_000;

/// Arguments of `rules`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum What {
    /// Run the cases of rules, with a simulated clock
    #[command(after_help = HELP)]
    Test(Test),
}

/// Arguments of `rules test`.
#[derive(clap::Args, Clone, Debug)]
struct Test {
    /// Files of cases (NAME.test.toml), files of rules that have them beside, or directories
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Only cases whose name has this text
    #[arg(long)]
    filter: Option<String>,
    /// One JSON object instead of lines
    #[arg(long)]
    json: bool,
    /// Language of what is printed
    #[arg(long, value_enum, default_value_t = Lang::Zh)]
    lang: Lang,
}

/// Runs the verb; gives the exit code.
pub fn run(args: &Args, out: &mut dyn Write) -> u8 {
    let What::Test(Test { paths, filter, json, lang }) = &args.what;
    let files = match files(paths) {
        Ok(files) => files,
        Err(error) => return refused(&error.to_string()),
    };
    let tested: Vec<Tested> = files.iter().map(|path| test(path, filter.as_deref())).collect();
    let counts = Counts::of(&tested);
    if counts.cases == 0 && counts.unreadable == 0 {
        return refused("no cases: name files NAME.test.toml, or a word that a case has");
    }
    let told = match json {
        true => report::tell_json(&tested, out),
        false => report::tell(&tested, *lang, out),
    };
    match (told, counts) {
        (Err(_), _) => 1,
        (Ok(()), Counts { unreadable: 1.., .. }) => FAULTY,
        (Ok(()), Counts { failed: 1.., .. }) => 1,
        (Ok(()), _) => 0,
    }
}

fn refused(why: &str) -> u8 {
    // Nobody left to tell.
    let _ = writeln!(io::stderr(), "smallbrain rules test: {why}");
    USAGE
}

/// Every file of cases that the paths name, in order and once.
///
/// # Errors
/// What cannot be read, or when there are more than 10,000.
pub fn files(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if fs::metadata(path).map_err(about)?.is_dir() {
            below(path, DEPTH_MAX, &mut found).map_err(about)?;
        } else if is_cases(path) {
            found.push(path.clone());
        } else {
            found.push(path.with_extension("test.toml"));
        }
    }
    found.sort();
    found.dedup();
    match found.len() > FILES_MAX {
        true => Err(io::Error::other(format!("more than {FILES_MAX} files of cases"))),
        false => Ok(found),
    }
}

fn is_cases(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".test.toml"))
}

fn below(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let (entry, path) = entry.map(|entry| (entry.file_type(), entry.path()))?;
        if entry?.is_dir() {
            if depth > 0 {
                below(&path, depth - 1, found)?;
            }
        } else if is_cases(&path) && found.len() <= FILES_MAX {
            found.push(path);
        }
    }
    Ok(())
}

/// Runs the cases of one file whose names have `filter`.
#[must_use]
pub fn test(path: &Path, filter: Option<&str>) -> Tested {
    let outcome = load(path).and_then(|(file, rules)| verdicts(&file, rules, filter));
    Tested { path: path.to_owned(), outcome }
}

/// The cases of one file against rules as texts: those of its files, or others in their place.
///
/// # Errors
/// Everything that is wrong with the rules and the configuration beside the cases.
pub fn verdicts(
    file: &File,
    rules: Vec<(PathBuf, String)>,
    filter: Option<&str>,
) -> Result<Vec<Verdict>, Faults> {
    let config = configured(file, rules)?;
    let wanted = |name: &str| filter.is_none_or(|text| name.contains(text));
    Ok(file.cases.iter().filter(|case| wanted(&case.name)).map(|case| run::verdict(case, &config)).collect())
}

/// Reads a file of cases, and the rules that it is about.
///
/// # Errors
/// What cannot be read, and everything that is wrong with the cases.
pub fn load(path: &Path) -> Result<(File, Vec<(PathBuf, String)>), Faults> {
    let text = text_of(path).map_err(|why| unreadable(path, &why))?;
    let of = |faults| Faults { faults, ..Faults::default() };
    let file = File::read(path, text).map_err(of)?;
    let rule = |path: &PathBuf| match text_of(path) {
        Ok(text) => Ok((path.clone(), text)),
        Err(why) => Err(unreadable(path, &why)),
    };
    let rules = file.rules.iter().map(rule).collect::<Result<_, _>>()?;
    Ok((file, rules))
}

fn text_of(path: &Path) -> Result<String, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_MAX {
        return Err(format!("{size} bytes, and at most {FILE_MAX} are read"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

fn unreadable(path: &Path, why: &str) -> Faults {
    let fault = Fault {
        file: path.to_owned(),
        line: 1,
        column: 1,
        message: why.to_owned(),
        help: "cases lie in NAME.test.toml, and their rules in NAME.toml beside or where `rules` says".into(),
        text: String::new(),
        width: 1,
    };
    Faults { faults: vec![fault], ..Faults::default() }
}

/// The configuration that the cases run on: the rules, what stands beside the cases, and a gateway where neither has one.
fn configured(file: &File, rules: Vec<(PathBuf, String)>) -> Result<Config, Faults> {
    let has = |header: &str| {
        let texts = rules.iter().map(|(_, text)| text).chain([&file.text]);
        texts.flat_map(|text| text.lines()).any(|line| line.trim() == header)
    };
    let mut base = String::new();
    if !has("[gateway]") {
        base += "[gateway]\nid = \"gw-test\"\ndivision_code = \"310115013007\"\ncompound_code = \"C0001\"\n";
    }
    if !has("[store]") {
        base += "[store]\ndir = \"data\"\n";
    }
    // Points without a place of their own come from somewhere.
    if !has("[mqtt]") && !has("[[mapping]]") {
        base += "[mqtt]\nanonymous = true\n[[mapping]]\nprofile = \"zigbee2mqtt\"\n";
    }
    let mut texts = vec![(file.path.with_file_name("smallbrain.toml"), base)];
    texts.extend(rules);
    texts.push((file.path.clone(), file.text.clone()));
    let now_ms = file.cases.first().map_or(0, |case| case.start_ms);
    let mut config = Config::of_texts(texts, &case::KEYS, now_ms)?;
    // No rule looks at a token, but one that is not made would look like a loss.
    config.plan.mix(&Secret::new([0; 32]));
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "[[alarm]]\nid = \"held\"\nwhen = \"open\"\nhold = \"2m\"\nseverity = \"minor\"\n";
    const CASES: &str = r#"
[[template]]
name = "door"
[[template.point]]
metric = "open"
kind = "flag"
[[device]]
id = "door-1"
template = "door"
[[collect]]
id = "C-1"
templates = ["door"]
purpose = "safety.door"
fields = { open = "keep" }
[[case]]
name = "by day"
steps = [{ at = "0s", device = "door-1", open = true }]
until = "3m"
expect = [{ at = "2m", alarm = "held", device = "door-1", step = "raised" }]
[[case]]
name = "by night"
steps = [{ at = "0s", device = "door-1", open = true }]
until = "1m"
"#;

    /// Names and texts.
    type Files<'t> = Vec<(&'t str, &'t str)>;

    /// Exit code and what was printed.
    fn tested(files: &[(&str, &str)], filter: Option<&str>, json: bool) -> (u8, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let inner = dir.path().join("sub");
        fs::create_dir(&inner).expect("a directory");
        for (name, text) in files {
            fs::write(inner.join(name), text).expect("a file");
        }
        let (paths, filter) = (vec![dir.path().to_owned()], filter.map(str::to_owned));
        let args = Args { what: What::Test(Test { paths, filter, json, lang: Lang::En }) };
        let mut out = Vec::new();
        let code = run(&args, &mut out);
        let out = String::from_utf8(out).expect("a text");
        (code, out.replace(&format!("{}/", inner.display()), ""))
    }

    #[test]
    fn exit_codes_tell_how_it_went() {
        let wrong = CASES.replace("at = \"2m\"", "at = \"90s\"");
        let cases: Vec<(&str, Files<'_>, Option<&str>, u8, &str)> = vec![
            (
                "all pass",
                vec![("a.toml", RULES), ("a.test.toml", CASES)],
                None,
                0,
                "ok      a.test.toml  2 cases, 2 passed\n2 cases, 2 passed\n",
            ),
            (
                "one is chosen",
                vec![("a.toml", RULES), ("a.test.toml", CASES)],
                Some("night"),
                0,
                "1 cases, 1 passed\n",
            ),
            ("none is", vec![("a.toml", RULES), ("a.test.toml", CASES)], Some("noon"), 2, ""),
            ("there are none", vec![("a.toml", RULES)], None, 2, ""),
            (
                "one fails",
                vec![("a.toml", RULES), ("a.test.toml", &wrong)],
                None,
                1,
                "\n  a.test.toml:15  by day\n    - 1m 30s   held  door-1  raised\n    + 2m       held  door-1  raised\n",
            ),
            ("no rules", vec![("a.test.toml", CASES)], None, 78, "cases lie in NAME.test.toml"),
            (
                "rules that are none",
                vec![("a.toml", "[[alarm]]\nid = \"x\"\n"), ("a.test.toml", CASES)],
                None,
                78,
                "a.toml:1:1",
            ),
        ];
        for (name, files, filter, code, part) in cases {
            let (exit, out) = tested(&files, filter, false);
            assert_eq!(exit, code, "{name}: {out}");
            assert!(out.contains(part), "{name}: {out}");
        }
    }

    #[test]
    fn machines_get_one_object() {
        let wrong = CASES.replace("at = \"2m\"", "at = \"90s\"");
        let (code, out) = tested(&[("a.toml", RULES), ("a.test.toml", &wrong)], None, true);
        let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(code, 1);
        assert_eq!(told["counts"], serde_json::json!({ "cases": 2, "failed": 1, "unreadable": 0 }));
        let first = &told["files"][0]["cases"][0];
        assert_eq!((&first["name"], &first["line"]), (&"by day".into(), &15.into()));
        assert_eq!(first["diff"][0]["is"], "missing");
    }
}
