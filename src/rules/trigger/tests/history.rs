//! Triggers against a history of all that was fed, also interrupted anywhere.

use proptest::prelude::*;

use super::*;

/// What was fed: when, the condition, what follows, whether it was heard.
type Fed = (u64, Option<bool>, bool, bool);

/// What somebody would say who looks at everything since it began or ended last.
struct Historian<'a> {
    rule: &'a Rule,
    /// Those before it ended last too, for what became true.
    fed: Vec<Fed>,
    since: usize,
    began_ms: u64,
}

impl Historian<'_> {
    fn became_true(&self, index: usize) -> bool {
        let before = self.fed[..index].iter().rev().find_map(|fed| fed.1);
        self.fed[index].1 == Some(true) && before != Some(true)
    }

    /// When it went on, if it has by now; `fed`: something was fed just now.
    fn on(&self, mono_ms: u64, fed: bool) -> Option<u64> {
        let own = || (self.since..self.fed.len()).map(|index| (index, self.fed[index]));
        if let Some(absent_ms) = self.rule.absent_ms {
            let heard = self.fed.iter().rev().find(|fed| fed.3).map_or(self.began_ms, |fed| fed.0);
            return (mono_ms >= heard + absent_ms).then_some(heard + absent_ms);
        }
        if let Some((enough, within)) = self.rule.times {
            let counts =
                own().filter(|(index, fed)| fed.1 == Some(true) && (fed.3 || self.became_true(*index)));
            let counts = counts.filter(|(_, fed)| mono_ms - fed.0 <= within).count();
            return (fed && counts >= enough as usize).then_some(mono_ms);
        }
        if let Some(within) = self.rule.then_ms {
            let last = self.fed.last().filter(|last| fed && last.2)?;
            let earlier = own().take_while(|(index, _)| index + 1 < self.fed.len());
            let (_, first) = earlier.filter(|(index, _)| self.became_true(*index)).last()?;
            return (first.0 < last.0 && last.0 - first.0 <= within).then_some(mono_ms);
        }
        let known = own().filter(|(_, fed)| fed.1.is_some()).collect::<Vec<_>>();
        let run = known.iter().rev().take_while(|(_, fed)| fed.1 == Some(true)).last()?;
        (mono_ms >= run.1.0 + self.rule.hold_ms).then_some(run.1.0 + self.rule.hold_ms)
    }
}

fn any_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        prop::sample::select(vec![0_u64, 1, 30, 60]).prop_map(|hold_ms| Rule { hold_ms, ..plain() }),
        (2_u32..5, 1_u64..200).prop_map(|times| Rule { times: Some(times), ..plain() }),
        (1_u64..150).prop_map(|within| Rule { then_ms: Some(within), ..plain() }),
        (1_u64..150).prop_map(|absent| Rule { absent_ms: Some(absent), ..plain() }),
    ]
}

proptest! {
    /// The machine against the history, whole and interrupted anywhere.
    #[test]
    fn agrees_with_its_history(
        rule in any_rule(),
        has_clear in any::<bool>(),
        steps in prop::collection::vec(
            (0_u64..40, prop::option::weighted(0.8, 0_u8..4), any::<bool>(), prop::bool::weighted(0.7), any::<bool>()),
            0..150,
        ),
    ) {
        let (mut whole, mut cut) = (Kept::new(), Kept::new());
        let mut seen = Historian { rule: &rule, fed: Vec::new(), since: 0, began_ms: 0 };
        let (mut is_on, mut mono_ms) = (false, 0);
        let told = |change| match change { Some(Told(signal)) => Some(signal), _ => None };
        whole.step(&rule, Tick(when(Unknown)), 0);
        cut.step(&rule, Tick(when(Unknown)), 0);
        for (later_ms, level, follows, heard, interrupted) in steps {
            mono_ms += later_ms;
            let begins = |seen: &Historian<'_>, fed| seen.on(mono_ms, fed).map(|ms| On(at(ms).wall_ms));
            if interrupted {
                cut.cut(&rule, mono_ms);
            }
            let expected = begins(&seen, false).filter(|_| !is_on);
            is_on |= expected.is_some();
            prop_assert_eq!(told(whole.step(&rule, Tick(when(Unknown)), mono_ms)), expected);
            prop_assert_eq!(told(cut.step(&rule, Tick(when(Unknown)), mono_ms)), expected);
            // Unknown, clears, fails without clearing, holds.
            let Some(level) = level else { continue };
            let says = |is: bool| if is { Holds } else { Fails };
            let truth = Truth {
                when: if level == 0 { Unknown } else { says(level == 3) },
                clear: has_clear.then(|| if level == 0 { Unknown } else { says(level == 1) }),
                early: None,
                then: Some(says(follows)),
            };
            seen.fed.push((mono_ms, (level > 0).then_some(level == 3), follows, heard));
            let ends = if rule.absent_ms.is_some() {
                heard
            } else {
                level == 1 || level == 2 && !has_clear
            };
            let expected = if is_on {
                ends.then_some(Off(at(mono_ms).wall_ms))
            } else {
                // What is unknown holds nothing; but what is missed and what follows are told by others.
                begins(&seen, true).filter(|_| level > 0 || rule.absent_ms.is_some() || rule.then_ms.is_some())
            };
            match expected {
                Some(Off(_)) => (is_on, seen.since) = (false, seen.fed.len()),
                Some(_) => is_on = true,
                None => {}
            }
            let what = if heard { Feed(truth) } else { Look(truth) };
            if interrupted {
                cut.cut(&rule, mono_ms);
            }
            prop_assert_eq!(told(whole.step(&rule, what, mono_ms)), expected);
            prop_assert_eq!(told(cut.step(&rule, what, mono_ms)), expected);
            prop_assert_eq!(whole.state.is_on(), is_on);
        }
    }
}
