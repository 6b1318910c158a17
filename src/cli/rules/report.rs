//! What became of cases: as a test runner prints it, or as JSON.
//!
//! Guarantees: a difference shows what was expected and what came, in order, and nothing that is the same on both sides
//! beyond three lines around it.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::case::Happening;
use crate::cli::bus::Lang;
use crate::config::Faults;

/// Cells of a comparison; what needs more is shown side by side.
const CELLS_MAX: usize = 4_000_000;
/// Lines that are shown around a difference.
const AROUND: usize = 3;

/// A file of cases.
#[derive(Debug)]
pub struct Tested {
    /// As it was named.
    pub path: PathBuf,
    /// Its cases, or why there are none.
    pub outcome: Result<Vec<Verdict>, Faults>,
}

/// A case.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What it shows.
    pub name: String,
    /// Its line, from 1.
    pub line: usize,
    /// What differs; nothing when it passed.
    pub diff: Vec<Line>,
}

/// One line of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", content = "what", rename_all = "lowercase")]
pub enum Line {
    /// On both sides.
    Same(String),
    /// Expected, and did not come.
    Missing(String),
    /// Came, and was not expected.
    Extra(String),
}

/// What differs between what was expected and what came; nothing when they are equal.
#[must_use]
pub fn diff(expected: &[Happening], got: &[Happening]) -> Vec<Line> {
    if expected == got {
        return Vec::new();
    }
    let head = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    let tail =
        expected[head..].iter().rev().zip(got[head..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (want, have) = (&expected[head..expected.len() - tail], &got[head..got.len() - tail]);
    let mut lines: Vec<Line> = expected[head.saturating_sub(AROUND)..head].iter().map(same).collect();
    lines.extend(differing(want, have));
    lines.extend(expected[expected.len() - tail..].iter().take(AROUND).map(same));
    lines
}

fn same(happening: &Happening) -> Line {
    Line::Same(happening.to_string())
}

/// Along the longest common subsequence.
fn differing(want: &[Happening], have: &[Happening]) -> Vec<Line> {
    let missing = |happening: &Happening| Line::Missing(happening.to_string());
    let extra = |happening: &Happening| Line::Extra(happening.to_string());
    let width = have.len() + 1;
    if (want.len() + 1).saturating_mul(width) > CELLS_MAX {
        return want.iter().map(missing).chain(have.iter().map(extra)).collect();
    }
    let mut common = vec![0_u32; (want.len() + 1) * width];
    for (i, wanted) in want.iter().enumerate().rev() {
        for (j, had) in have.iter().enumerate().rev() {
            common[i * width + j] = match wanted == had {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    loop {
        match (want.get(i), have.get(j)) {
            (Some(wanted), Some(had)) if wanted == had => {
                lines.push(same(wanted));
                (i, j) = (i + 1, j + 1);
            }
            (Some(wanted), had)
                if had.is_none() || common[(i + 1) * width + j] >= common[i * width + j + 1] =>
            {
                lines.push(missing(wanted));
                i += 1;
            }
            (_, Some(had)) => {
                lines.push(extra(had));
                j += 1;
            }
            (_, None) => return lines,
        }
    }
}

/// Counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Cases that ran.
    pub cases: usize,
    /// Those that failed.
    pub failed: usize,
    /// Files that do not load.
    pub unreadable: usize,
}

impl Counts {
    /// Of all files.
    #[must_use]
    pub fn of(tested: &[Tested]) -> Self {
        let mut counts = Self::default();
        for file in tested {
            match &file.outcome {
                Ok(verdicts) => {
                    counts.cases += verdicts.len();
                    counts.failed += verdicts.iter().filter(|verdict| !verdict.diff.is_empty()).count();
                }
                Err(_) => counts.unreadable += 1,
            }
        }
        counts
    }
}

/// Tells it to people: a line for each file, what failed, the sum.
///
/// # Errors
/// The output's.
pub fn tell(tested: &[Tested], lang: Lang, out: &mut dyn Write) -> io::Result<()> {
    for file in tested {
        let path = file.path.display();
        let verdicts = match &file.outcome {
            Ok(verdicts) => verdicts,
            Err(faults) => {
                writeln!(out, "{}  {path}\n{faults}", lang.say("无法加载", "faulty"))?;
                continue;
            }
        };
        let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.diff.is_empty()).collect();
        let (ok, bad) = (lang.say("通过  ", "ok    "), lang.say("失败  ", "FAILED"));
        let sum = sum(verdicts.len(), failed.len(), lang);
        writeln!(out, "{}  {path}  {sum}", if failed.is_empty() { ok } else { bad })?;
        for verdict in failed {
            writeln!(out, "\n  {path}:{}  {}", verdict.line, verdict.name)?;
            for line in &verdict.diff {
                let (sign, what) = match line {
                    Line::Same(what) => (' ', what),
                    Line::Missing(what) => ('-', what),
                    Line::Extra(what) => ('+', what),
                };
                writeln!(out, "    {sign} {what}")?;
            }
            writeln!(out)?;
        }
    }
    let Counts { cases, failed, unreadable } = Counts::of(tested);
    writeln!(out, "{}", sum(cases, failed, lang))?;
    match (unreadable, lang) {
        (0, _) => Ok(()),
        (_, Lang::Zh) => writeln!(out, "{unreadable} 个文件无法加载"),
        (_, Lang::En) => writeln!(out, "{unreadable} files do not load"),
    }
}

fn sum(cases: usize, failed: usize, lang: Lang) -> String {
    let passed = cases - failed;
    match (lang, failed) {
        (Lang::Zh, 0) => format!("{cases} 个用例, {passed} 个通过"),
        (Lang::Zh, _) => format!("{cases} 个用例, {passed} 个通过, {failed} 个失败 (- 期望, + 实际)"),
        (Lang::En, 0) => format!("{cases} cases, {passed} passed"),
        (Lang::En, _) => format!("{cases} cases, {passed} passed, {failed} failed (- expected, + got)"),
    }
}

/// Tells it to machines: one JSON object.
///
/// # Errors
/// The output's.
pub fn tell_json(tested: &[Tested], out: &mut dyn Write) -> io::Result<()> {
    let files: Vec<_> = tested
        .iter()
        .map(|file| match &file.outcome {
            Ok(verdicts) => serde_json::json!({ "file": file.path, "cases": verdicts }),
            Err(faults) => serde_json::json!({ "file": file.path, "faults": faults.faults }),
        })
        .collect();
    let counts = Counts::of(tested);
    writeln!(out, "{}", serde_json::json!({ "files": files, "counts": counts }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::case::What;
    use super::*;
    use crate::model::Step;

    fn happening(at_ms: i64) -> Happening {
        let (alarm, device) = ("a".parse().expect("an id"), "d-1".parse().expect("an id"));
        Happening { at_ms, what: What::Step { alarm, device, step: Step::Raised } }
    }

    fn shown(expected: &[i64], got: &[i64]) -> String {
        let of = |all: &[i64]| all.iter().map(|at| happening(*at)).collect::<Vec<_>>();
        let number =
            |text: &String| text.split_once("ms").map_or_else(|| text.clone(), |(ms, _)| ms.to_owned());
        let lines = diff(&of(expected), &of(got));
        let signed = |line: &Line| match line {
            Line::Same(what) => format!(" {}", number(what)),
            Line::Missing(what) => format!("-{}", number(what)),
            Line::Extra(what) => format!("+{}", number(what)),
        };
        lines.iter().map(signed).collect::<Vec<_>>().join("")
    }

    #[test]
    fn differences_are_few_lines() {
        for (expected, got, lines) in [
            (vec![1, 2], vec![1, 2], ""),
            (vec![], vec![1], "+1"),
            (vec![1], vec![], "-1"),
            (vec![1, 2, 3], vec![1, 4, 3], " 1-2+4 3"),
            (vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 6], " 2 3 4-5 6"),
            (vec![1, 2, 3], vec![2, 1, 3], "-1 2+1 3"),
        ] {
            assert_eq!(shown(&expected, &got), lines, "{expected:?} {got:?}");
        }
    }

    proptest! {
        /// What is the same or missing is what was expected, and what is the same or extra is what came; both in order.
        #[test]
        fn a_difference_tells_both_sides(
            expected in prop::collection::vec(0_i64..5, 0..12),
            got in prop::collection::vec(0_i64..5, 0..12),
        ) {
            let of = |all: &[i64]| all.iter().map(|at| happening(*at)).collect::<Vec<_>>();
            let (want, have) = (of(&expected), of(&got));
            let lines = differing(&want, &have);
            let side = |other: bool| lines.iter().filter_map(move |line| match line {
                Line::Same(what) => Some(what.clone()),
                Line::Missing(what) => (!other).then(|| what.clone()),
                Line::Extra(what) => other.then(|| what.clone()),
            }).collect::<Vec<_>>();
            let texts = |all: &[Happening]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
            prop_assert_eq!(side(false), texts(&want));
            prop_assert_eq!(side(true), texts(&have));
            prop_assert_eq!(diff(&want, &have).is_empty(), expected == got);
        }
    }
}
