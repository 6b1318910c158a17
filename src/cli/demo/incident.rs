//! What is left of the demo's story: the incident on disk, what the webhooks took, what the city was told.
//!
//! It judges by what is left, after the daemon has stopped, and asks nobody who took part.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::sync::watch;

use super::city::Word;
use super::hook::Letter;
use super::story::{
    ADVICE, ALARM, DETECTOR, PERSON, PLACE, POLICE, PROPERTY, RESIDENTS, SIREN, TITLE, WORDS,
};
use crate::model::{Life, Step};
use crate::rules::command::{Run, Stage};
use crate::rules::notice::{Fate, Notice};
use crate::store::Store;
use crate::store::alarms::Feedback;
use crate::store::alarms::queries::{Incidents, Notices, ROWS_MAX};
use crate::store::reader::Reader;

/// What has to have happened, by whom.
const STEPS: [(Step, &str); 6] = [
    (Step::Raised, "gateway"),
    (Step::Confirmed, "consumer"),
    (Step::Dispatched, "person"),
    (Step::Handled, "person"),
    (Step::Cleared, "gateway"),
    (Step::Closed, "consumer"),
];
/// What a program is told in a notice of the fields that the property management may see.
const MEMBERS: [&str; 6] = ["id", "incident", "alarm", "step", "place", "text"];

/// All that the store says of the incident.
#[derive(Default)]
pub(super) struct Rows {
    /// Where each incident of the alarm is.
    lives: Vec<Life>,
    /// What happened to it, and by what kind of actor.
    steps: Vec<(Step, &'static str)>,
    notices: Vec<Notice>,
    runs: Vec<Run>,
    feedback: Vec<Feedback>,
}

impl Rows {
    /// Of the store in `dir`, which nobody else has open.
    pub(super) async fn read(store: &Store, dir: &Path) -> anyhow::Result<Self> {
        let reader = Reader::open(dir, store.epoch(), watch::channel(store.heads()).1)?;
        let which = Incidents { open: false, alarm: ALARM.into(), ..Incidents::default() };
        let incidents = reader.incidents(which).await?;
        let Some(id) = incidents.first().map(|incident| incident.id) else { return Ok(Self::default()) };
        let which = Notices { incident: Some(id), limit: ROWS_MAX, ..Notices::default() };
        Ok(Self {
            lives: incidents.iter().map(|incident| incident.life).collect(),
            steps: reader.history(id).await?.iter().map(|(_, event)| (event.step, event.by.kind())).collect(),
            notices: reader.notices(which).await?,
            runs: reader.runs_of(id).await?,
            feedback: reader.feedback_of(id).await?.into_iter().map(|(_, said)| said).collect(),
        })
    }

    fn delivered(&self, to: &str) -> impl Iterator<Item = &Notice> {
        let is = |notice: &&Notice| notice.fate == Fate::Delivered && !notice.proof.is_empty();
        self.notices.iter().filter(move |notice| notice.recipient.as_str() == to).filter(is)
    }
}

/// Everything that was left.
pub(super) struct Left<'l> {
    pub(super) rows: &'l Rows,
    pub(super) letters: &'l [Letter],
    /// Of all alarms.
    pub(super) words: &'l [Word],
    /// Signs what the property management is told.
    pub(super) secret: &'l [u8],
    /// Values that only devices should know.
    pub(super) personal: &'l BTreeSet<String>,
}

impl Left<'_> {
    /// What is not as it has to be; empty when the promise holds.
    pub(super) fn faults(&self) -> Vec<&'static str> {
        let Rows { lives, steps, notices, runs, feedback } = self.rows;
        let raised = self.words().find(|word| word.get("step") == Step::Raised.as_str());
        let is_linked = |(said, step): (&Feedback, Step)| {
            let record = raised.map(|word| word.record.as_str());
            said.step == step && said.outcome == "taken" && Some(said.record.as_str()) == record
        };
        let done = |(run, command): (&Run, &str)| run.command.as_str() == command && run.stage == Stage::Done;
        [
            ("not one incident, closed", lives[..] == [Life::Closed]),
            ("not its steps in their order", steps[..] == STEPS),
            (
                "somebody not told, or without proof",
                [POLICE, PROPERTY, RESIDENTS].iter().all(|to| self.rows.delivered(to).next().is_some())
                    && notices
                        .iter()
                        .all(|notice| notice.fate == Fate::Delivered && !notice.proof.is_empty()),
            ),
            (
                "the siren was not switched on and off",
                runs.len() == 2 && runs.iter().zip(["siren-on", "siren-off"]).all(done),
            ),
            (
                "feedback not linked",
                feedback.len() == 2 && feedback.iter().zip([Step::Confirmed, Step::Closed]).all(is_linked),
            ),
            (
                "the police were not told everything",
                raised.is_some_and(is_whole) && self.words().count() == STEPS.len(),
            ),
            ("the property management was told something else", self.property_is_right()),
            ("the residents were told something else", self.residents_are_right()),
            ("something personal got out", self.is_nameless()),
        ]
        .into_iter()
        .filter_map(|(what, holds)| (!holds).then_some(what))
        .collect()
    }

    /// The promise in words.
    pub(super) fn evidence(&self) -> String {
        let steps: Vec<_> = self.rows.steps.iter().map(|(step, _)| step.as_str()).collect();
        let told = [POLICE, PROPERTY, RESIDENTS].map(|to| self.rows.delivered(to).count());
        let done = self.rows.runs.iter().filter(|run| run.stage == Stage::Done).count();
        format!(
            "{}; {} of 3 told, {} notices with proof; {done} runs done; {} feedback linked",
            steps.join("→"),
            told.iter().filter(|count| **count > 0).count(),
            told.iter().sum::<usize>(),
            self.rows.feedback.iter().filter(|said| said.incident.is_some()).count(),
        )
    }

    fn words(&self) -> impl Iterator<Item = &Word> {
        self.words.iter().filter(|word| word.alarm == ALARM)
    }

    fn letters<'s>(&'s self, to: &'s str) -> impl Iterator<Item = &'s Letter> {
        self.letters.iter().filter(move |letter| letter.to == to)
    }

    /// Signed, with its fields and no others, and nothing of the ledger missing.
    fn property_is_right(&self) -> bool {
        let is_right = |letter: &Letter| {
            let body: serde_json::Value = serde_json::from_slice(&letter.body).unwrap_or_default();
            let items = body["notices"].as_array().map_or(&[][..], Vec::as_slice);
            letter.is_signed(self.secret)
                && !items.is_empty()
                && items.iter().filter_map(serde_json::Value::as_object).all(|item| {
                    item.len() == MEMBERS.len() && MEMBERS.iter().all(|member| item.contains_key(*member))
                })
                && letter.texts().iter().all(|text| {
                    let parts: Vec<_> = text.split(" · ").collect();
                    matches!(parts[..], [TITLE, _, PLACE, advice] if advice == format!("建议：{ADVICE}"))
                })
                && lacks(&letter.body, &[DETECTOR, SIREN, "value", "severity"])
        };
        self.letters(PROPERTY).all(is_right) && self.is_complete(PROPERTY)
    }

    /// That it is there and what becomes of it, and no more.
    fn residents_are_right(&self) -> bool {
        let is_right = |letter: &Letter| {
            let texts = letter.texts();
            let two = |text: &String| matches!(text.split(" · ").collect::<Vec<_>>()[..], [TITLE, _]);
            !texts.is_empty()
                && texts.iter().all(two)
                && lacks(&letter.body, &[DETECTOR, SIREN, PLACE, ADVICE])
        };
        self.letters(RESIDENTS).all(is_right) && self.is_complete(RESIDENTS)
    }

    /// Whether what the ledger calls delivered is what came.
    fn is_complete(&self, to: &str) -> bool {
        let came: BTreeSet<String> = self.letters(to).flat_map(Letter::texts).collect();
        let told: BTreeSet<String> = self.rows.delivered(to).map(|notice| notice.text.clone()).collect();
        came == told && !came.is_empty()
    }

    /// Whether no letter and no record holds a person, or a person's words.
    fn is_nameless(&self) -> bool {
        let bodies = self.letters.iter().map(|letter| &letter.body[..]);
        let bodies = bodies.chain(self.words.iter().map(|word| &word.body[..]));
        let personal: Vec<&str> =
            self.personal.iter().map(String::as_str).chain([PERSON]).chain(WORDS).collect();
        bodies.into_iter().all(|body| lacks(body, &personal))
    }
}

/// Whether a record tells all that the police may see.
fn is_whole(word: &Word) -> bool {
    let expected = [("device", DETECTOR), ("place", PLACE), ("metric", ALARM), ("value", "true")];
    expected.into_iter().all(|(attribute, value)| word.get(attribute) == value)
}

fn lacks(bytes: &[u8], needles: &[&str]) -> bool {
    !needles.iter().any(|needle| super::proof::contains(bytes, needle.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{IncidentId, Severity};

    const SECRET: &[u8] = b"secret";

    fn notice(to: &str, text: &str) -> Notice {
        Notice {
            id: 1,
            incident: IncidentId(1),
            step: Step::Raised,
            alarm: ALARM.parse().expect("an id"),
            severity: Severity::Critical,
            place: None,
            recipient: to.parse().expect("an id"),
            made_ms: 0,
            due_ms: 0,
            seq: None,
            run: None,
            text: text.into(),
            fate: Fate::Delivered,
            tries: 1,
            done_ms: Some(0),
            proof: "200".into(),
        }
    }

    fn run(command: &str) -> Run {
        Run {
            id: 1,
            command: command.parse().expect("an id"),
            incident: Some(IncidentId(1)),
            stage: Stage::Done,
            ordered_ms: 0,
            expires_ms: 0,
            changed_ms: 0,
            approved: Vec::new(),
            detail: String::new(),
            asked: None,
        }
    }

    fn said(step: Step) -> Feedback {
        Feedback {
            consumer: "spiffe://brain.example/demo".parse().expect("a consumer"),
            request: "r".into(),
            record: "record-raised".into(),
            step,
            text: "".into(),
            at_ms: 0,
            incident: Some(IncidentId(1)),
            outcome: "taken".into(),
        }
    }

    fn word(step: Step) -> Word {
        let attributes = [("step", step.as_str()), ("device", DETECTOR), ("place", PLACE), ("metric", ALARM)];
        let attributes = attributes.into_iter().chain([("value", "true")]);
        let attributes: BTreeMap<_, _> =
            attributes.map(|(name, value)| (name.into(), value.into())).collect();
        Word { record: format!("record-{step}"), alarm: ALARM.into(), attributes, body: b"body".to_vec() }
    }

    fn letter(to: &str, body: &str) -> Letter {
        Letter::signed(to, body, SECRET)
    }

    fn property(text: &str, more: &str) -> Letter {
        let item = format!(
            r#""id":1,"incident":1,"alarm":"fire","step":"raised","place":"{PLACE}","text":"{text}""#
        );
        letter(PROPERTY, &format!(r#"{{"notices":[{{{item}{more}}}]}}"#))
    }

    fn residents(text: &str) -> Letter {
        letter(RESIDENTS, &format!(r#"{{"text":{{"content":"{text}"}}}}"#))
    }

    /// What a good story leaves.
    struct Good {
        rows: Rows,
        letters: Vec<Letter>,
        words: Vec<Word>,
    }

    impl Good {
        fn new() -> Self {
            let to_property = format!("{TITLE} · 告警 · {PLACE} · 建议：{ADVICE}");
            let to_residents = format!("{TITLE} · 告警");
            let rows = Rows {
                lives: vec![Life::Closed],
                steps: STEPS.to_vec(),
                notices: vec![
                    notice(POLICE, "all"),
                    notice(PROPERTY, &to_property),
                    notice(RESIDENTS, &to_residents),
                ],
                runs: vec![run("siren-on"), run("siren-off")],
                feedback: vec![said(Step::Confirmed), said(Step::Closed)],
            };
            let letters = vec![property(&to_property, ""), residents(&to_residents)];
            Self { rows, letters, words: STEPS.iter().map(|(step, _)| word(*step)).collect() }
        }

        fn faults(&self) -> Vec<&'static str> {
            let personal = BTreeSet::from(["13800138000".to_owned()]);
            let Self { rows, letters, words } = self;
            Left { rows, letters, words, secret: SECRET, personal: &personal }.faults()
        }
    }

    #[test]
    fn whatever_is_not_right_is_named() {
        assert_eq!(Good::new().faults(), Vec::<&str>::new());
        type Spoil = fn(&mut Good);
        let spoils: [(&str, Spoil); 16] = [
            ("not one incident", |good| good.rows.lives.push(Life::Closed)),
            ("not one incident", |good| good.rows.lives[0] = Life::Handled),
            ("not its steps", |good| good.rows.steps.swap(1, 2)),
            ("not its steps", |good| good.rows.steps[1].1 = "person"),
            ("somebody not told", |good| good.rows.notices[0].fate = Fate::Waiting),
            ("somebody not told", |good| good.rows.notices[0].proof.clear()),
            ("the siren", |good| good.rows.runs[1].stage = Stage::Expired),
            ("feedback", |good| good.rows.feedback[1].outcome = "late".into()),
            ("feedback", |good| good.rows.feedback[0].record = "another".into()),
            ("the police", |good| drop(good.words[0].attributes.remove("place"))),
            ("the property", |good| good.letters[0].signature.clear()),
            ("the property", |good| {
                let text = good.letters[0].texts().remove(0);
                good.letters[0] = property(&text, r#","device":"door-9""#);
            }),
            ("the property", |good| drop(good.letters.remove(0))),
            ("the residents", |good| good.letters[1] = residents("火警 · 告警 · B3/lobby")),
            ("something personal", |good| good.words[3].body = format!("x{PERSON}").into_bytes()),
            ("something personal", |good| good.letters.push(letter("nobody", "13800138000"))),
        ];
        for (fault, spoil) in spoils {
            let mut good = Good::new();
            spoil(&mut good);
            let faults = good.faults();
            assert!(matches!(faults[..], [one] if one.starts_with(fault)), "{fault}: {faults:?}");
        }
    }
}
