//! Commands of the city: who may order what is looked at here, everything else on the one way through.
//!
//! Guarantees: only a consumer that a line of lane result gives the command now is heard, under an approval where the line has
//! a tier, and no more often than feedback; what is answered with a number is on disk; the same request twice changes nothing
//! and is answered the same. A consumer sees its own orders and no others.

use prost::Message;
use sha2::{Digest, Sha256};

use super::Pages;
use super::batch::{Caller, InForce, Wanted};
use super::calls::Shell;
use super::refused::Refused;
use crate::approval::{ApprovalId, Missing};
use crate::ingest::Stopped;
use crate::ingest::act::{self, Act, Done};
use crate::ingest::order::{self, Submission, Taken};
use crate::model::{Lane, LineId, OrderEnd};
use crate::privacy::release::{ShareLine, order_end};
use crate::rules::command::{Asked, NotTaken, Order, Run};
use crate::wire::{self, v1};

/// Bytes of a request's id.
const ID_MAX: usize = 128;
/// Arguments of an order; commands have fewer.
const ARGUMENTS_MAX: usize = 16;
/// Bytes of an argument, and of an expected state.
const TEXT_MAX: usize = 1000;
/// How far off the end of an order may be, milliseconds.
const LASTS_MAX_MS: i64 = 7 * 86_400_000;

/// What is wrong with a request by itself.
fn malformed(asked: &v1::SubmitCommandRequest) -> Option<&'static str> {
    let long = |text: &String| text.len() > TEXT_MAX;
    let wrong = [
        (!(1..=ID_MAX).contains(&asked.request_id.len()), "request_id has to have 1 to 128 bytes"),
        (asked.not_after.is_none(), "not_after is needed: when it is not to be sent any more"),
        (asked.arguments.len() > ARGUMENTS_MAX, "more than 16 arguments"),
        (
            asked.arguments.iter().any(|(name, value)| long(name) || long(value)),
            "an argument of more than 1000 bytes",
        ),
        (long(&asked.expect_state), "expect_state is longer than 1000 bytes"),
    ];
    wrong.into_iter().find_map(|(is_wrong, what)| is_wrong.then_some(what))
}

/// SHA-256 of a request without its id; the name of the call keeps it apart from other calls with the same fields.
fn digest(asked: &v1::SubmitCommandRequest) -> [u8; 32] {
    let content = v1::SubmitCommandRequest { request_id: String::new(), ..asked.clone() };
    Sha256::new().chain_update("SubmitCommand\0").chain_update(content.encode_to_vec()).finalize().into()
}

/// The line that gives the caller the command now, and the approval that it stands under, where the line has a tier.
fn line_of<'f>(
    wanted: &'f Wanted,
    force: &'f InForce,
    command: &LineId,
    named: Option<ApprovalId>,
    now_ms: i64,
) -> Result<(&'f ShareLine, Option<ApprovalId>), Refused> {
    let Caller { consumer, certificate } = &wanted.caller;
    let lines = || force.lines.iter().filter(|line| line.carries_command(command, consumer, now_ms));
    let mut missing = None;
    for line in lines() {
        let Some(tier) = &line.tier else { return Ok((line, None)) };
        match force.grants.find_named(&line.id, tier, consumer, certificate.as_ref(), named, now_ms) {
            Ok(held) => return Ok((line, Some(held.id))),
            // That something ended tells more than that there is nothing.
            Err(why) if missing.as_ref().is_none_or(|(_, known)| *known == Missing::None) => {
                missing = Some((line.id.clone(), why));
            }
            Err(_) => {}
        }
    }
    if let Some((line, missing)) = missing {
        return Err(Refused::Approval { consumer: consumer.clone(), line, missing });
    }
    let is_shared = |line: &ShareLine| line.lane == Lane::Result && line.carries.contains(command);
    match force.lines.iter().any(is_shared) {
        true => Err(Refused::NotListed(consumer.clone())),
        // What nobody may order is, for the city, not there.
        false => Err(order::Refused::from(NotTaken::Unknown(command.clone())).into()),
    }
}

impl<P: Pages> Shell<P> {
    /// Takes an order; answers when it is on disk.
    pub(super) async fn submit(
        &self,
        caller: Caller,
        asked: v1::SubmitCommandRequest,
    ) -> Result<v1::SubmitCommandResponse, Refused> {
        let (force, now_ms) = (self.force(), self.city.clock.now().wall_ms);
        let wanted = Wanted::everything(caller);
        let theirs =
            |line: &ShareLine| line.lane == Lane::Result && line.consumers.contains(&wanted.caller.consumer);
        if !force.lines.iter().any(theirs) {
            return Err(Refused::NotListed(wanted.caller.consumer.clone()));
        }
        self.within_rate(&wanted.caller.consumer)?;
        let (submission, missing) = submission(&wanted, &force, asked, now_ms)?;
        let (consumer, command) = (wanted.caller.consumer.clone(), submission.order.command.clone());
        match self.city.intake.act(Act::Submit(Box::new(submission))).await? {
            Ok(Done::Order(Taken::Valid)) => Ok(v1::SubmitCommandResponse {
                command_id: String::new(),
                status: "valid".into(),
                duplicate: false,
            }),
            Ok(Done::Order(Taken::Run { id, stage, duplicate })) => {
                tracing::info!(%consumer, %command, id, %stage, duplicate, "the city orders a command");
                Ok(v1::SubmitCommandResponse {
                    command_id: id.to_string(),
                    status: stage.as_str().into(),
                    duplicate,
                })
            }
            Err(act::Refused::Order(refused)) => Err(match *refused {
                order::Refused::NotGiven => missing.unwrap_or(Refused::NotListed(consumer)),
                refused => refused.into(),
            }),
            Err(act::Refused::Approval(refused)) => Err(refused.into()),
            // An order is answered in no other way: one that is could not be told apart from nothing stored.
            Ok(_) | Err(_) => Err(Stopped.into()),
        }
    }

    /// Where one of the caller's own orders is.
    pub(super) async fn command(
        &self,
        caller: Caller,
        asked: v1::GetCommandRequest,
    ) -> Result<v1::GetCommandResponse, Refused> {
        if !self.lines().iter().any(|line| line.consumers.contains(&caller.consumer)) {
            return Err(Refused::NotListed(caller.consumer));
        }
        let id = asked.command_id.parse::<u64>().ok().filter(|id| i64::try_from(*id).is_ok());
        let run = match id {
            Some(id) => self.city.pages.run(id).await?,
            None => None,
        };
        let is_theirs = |run: &Run| run.asked.as_ref().is_some_and(|by| by.consumer == caller.consumer);
        let run = run.filter(is_theirs).ok_or(Refused::Run)?;
        Ok(v1::GetCommandResponse {
            command_id: run.id.to_string(),
            status: run.stage.as_str().into(),
            result: ended(&run).map(|end| wire::command_result(&order_end(end))),
        })
    }
}

/// An order, and the refusal of one for which only an approval is missing: it is answered all the same when it came before.
fn submission(
    wanted: &Wanted,
    force: &InForce,
    asked: v1::SubmitCommandRequest,
    now_ms: i64,
) -> Result<(Submission, Option<Refused>), Refused> {
    if let Some(what) = malformed(&asked) {
        return Err(Refused::Malformed(what));
    }
    let digest = digest(&asked);
    let command = asked.command.parse::<LineId>();
    let command = command.map_err(|_| Refused::Malformed("command has to be the id of a command"))?;
    let named = Some(asked.approval_id.as_str()).filter(|id| !id.is_empty()).map(str::parse).transpose();
    let named = named.map_err(|_| Refused::Malformed("approval_id has to have 32 hex digits"))?;
    let not_after_ms = wire::millis(&asked.not_after.unwrap_or_default());
    if not_after_ms > now_ms.saturating_add(LASTS_MAX_MS) {
        return Err(Refused::Malformed("not_after is more than 7 days off"));
    }
    let (share, under, missing) = match line_of(wanted, force, &command, named, now_ms) {
        Ok((line, under)) => (line.id.clone(), under, None),
        Err(Refused::Approval { consumer, line, missing }) => {
            (line.clone(), None, Some(Refused::Approval { consumer, line, missing }))
        }
        Err(refused) => return Err(refused),
    };
    let expect_state = Some(asked.expect_state).filter(|state| !state.is_empty()).map(Box::from);
    let by = Asked {
        consumer: wanted.caller.consumer.clone(),
        request: asked.request_id,
        share,
        arguments: asked.arguments,
    };
    let order = Order { command, asked: by, not_after_ms, expect_state };
    Ok((Submission { order, digest, under, validate_only: asked.validate_only }, missing))
}

/// How a run ended; none before.
fn ended(run: &Run) -> Option<OrderEnd> {
    let asked = run.asked.as_ref().filter(|_| run.stage.is_final())?;
    Some(OrderEnd {
        run: run.id,
        command: run.command.clone(),
        request: asked.request.clone(),
        status: run.stage.as_str(),
        detail: run.told(),
        at_ms: run.changed_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::fake::line;

    const CITY: &str = "spiffe://city.example/a";

    fn wanted(consumer: &str) -> Wanted {
        Wanted::everything(consumer.parse::<crate::model::Consumer>().expect("consumer").into())
    }

    fn force() -> InForce {
        let carrying = |id: &str, lane, consumers: &[&str], command: &str| ShareLine {
            carries: vec![command.parse().expect("an id")],
            ..line(id, lane, consumers)
        };
        let tier = Some("T2".parse().expect("an id"));
        InForce::of(vec![
            carrying("S-1", Lane::Result, &[CITY], "shut"),
            carrying("S-2", Lane::Result, &["spiffe://city.example/b"], "open"),
            carrying("S-3", Lane::Alarm, &[CITY], "smoke"),
            ShareLine { tier, ..carrying("S-4", Lane::Result, &[CITY], "dim") },
            ShareLine { until_ms: Some(500), ..carrying("S-5", Lane::Result, &[CITY], "over") },
        ])
    }

    fn request(command: &str) -> v1::SubmitCommandRequest {
        v1::SubmitCommandRequest {
            request_id: "r-1".into(),
            command: command.into(),
            not_after: Some(wire::timestamp(60_000)),
            ..v1::SubmitCommandRequest::default()
        }
    }

    #[test]
    fn an_order_is_heard_only_under_a_line_that_gives_its_command() {
        let cases = [
            (CITY, "shut", Ok("S-1")),
            (CITY, "open", Err("not_listed")),
            (CITY, "smoke", Err("command_unknown")),
            (CITY, "nothing", Err("command_unknown")),
            (CITY, "dim", Err("approval_missing")),
            (CITY, "over", Err("not_listed")),
            ("spiffe://city.example/b", "shut", Err("not_listed")),
        ];
        for (consumer, command, expected) in cases {
            let taken = submission(&wanted(consumer), &force(), request(command), 1_000);
            let told = match &taken {
                Ok((taken, None)) => Ok(taken.order.asked.share.as_str()),
                Ok((_, Some(refused))) | Err(refused) => Err(refused.reason()),
            };
            assert_eq!(told, expected, "{consumer} {command}");
        }
    }

    /// What is wrong with a request.
    type Change<'a> = &'a dyn Fn(&mut v1::SubmitCommandRequest);

    #[test]
    fn what_is_malformed_says_what() {
        let changed = |change: &dyn Fn(&mut v1::SubmitCommandRequest)| {
            let mut asked = request("shut");
            change(&mut asked);
            match submission(&wanted(CITY), &force(), asked, 1_000) {
                Err(Refused::Malformed(what)) => what,
                other => panic!("{other:?}"),
            }
        };
        let late = wire::timestamp(1_001 + LASTS_MAX_MS);
        let cases: [(Change<'_>, &str); 6] = [
            (&|asked| asked.request_id.clear(), "request_id"),
            (&|asked| asked.request_id = "x".repeat(129), "request_id"),
            (&|asked| asked.not_after = None, "not_after is needed"),
            (&|asked| asked.not_after = Some(late), "7 days"),
            (&|asked| asked.approval_id = "AP-1".into(), "32 hex"),
            (&|asked| asked.expect_state = "x".repeat(1001), "expect_state"),
        ];
        for (change, expected) in cases {
            let what = changed(change);
            assert!(what.contains(expected), "{expected}: {what}");
        }
    }

    #[test]
    fn only_the_content_makes_the_digest() {
        let one = request("shut");
        let other_id = v1::SubmitCommandRequest { request_id: "r-2".into(), ..one.clone() };
        let other = v1::SubmitCommandRequest { validate_only: true, ..one.clone() };
        assert_eq!(digest(&one), digest(&other_id));
        assert_ne!(digest(&one), digest(&other));
    }
}
