//! Questions of the catalogue, answered from cells that were decided when their windows closed.
//!
//! Guarantees: an answer holds nothing that a record of the query's share line would not, measure by measure; the same
//! question is answered the same for as long as its cells are kept, and costs no budget of noise. Only who holds the line now is
//! answered, for the line's purpose, and after the trail has its row. There are no predicates: a query is chosen, and its
//! arguments are chosen from lists. Nothing is compressed.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};
use tokio_stream::Iter;
use tonic::{Request, Response, Status};

use super::Pages;
use super::batch::{Caller, InForce, Wanted};
use super::calls::Shell;
use super::refused::Refused;
use crate::ingest::Stopped;
use crate::ingest::act::{Act, Done};
use crate::ingest::handout::Queried;
use crate::lists::{Lists, Query, Spending};
use crate::model::{Metric, Place};
use crate::privacy::protect::budget::{Budget, Ratio};
use crate::privacy::release::ShareLine;
use crate::store::released::{Places, Sought, WINDOWS_MAX};
use crate::wire::{self, v1};
use v1::query_service_server::QueryService;

/// Bytes of a request's id.
const ID_MAX: usize = 128;
/// About how many bytes of windows one part of an answer has; a window is never cut.
const PART_BYTES: usize = 256 << 10;
/// The most bytes of one window: a message is 4 MiB at most, whatever a line carries.
const WINDOW_BYTES_MAX: usize = 3 << 20;
/// Values that a refusal names.
const NAMED_MAX: usize = 8;

/// Parts of an answer.
type Parts = Vec<v1::QueryResponse>;

/// An argument cannot be; what is right instead.
fn wrong(what: impl Into<String>) -> Refused {
    Refused::Argument(what.into())
}

/// One of the values that may be chosen. What the caller wrote is not repeated.
fn chosen<T: ToString + Clone>(name: &str, said: &str, values: &[T]) -> Result<T, Refused> {
    let found = values.iter().find(|value| value.to_string() == said);
    found.cloned().ok_or_else(|| {
        let some: Vec<String> = values.iter().take(NAMED_MAX).map(ToString::to_string).collect();
        let more = if values.len() > NAMED_MAX { ", …" } else { "" };
        wrong(format!("argument {name} is none of its values: {}{more}", some.join(", ")))
    })
}

/// Milliseconds since 1970 UTC.
fn moment(name: &str, arguments: &BTreeMap<String, String>) -> Result<i64, Refused> {
    let example = "a time of RFC 3339, as 2026-11-22T00:00:00+08:00";
    let said = arguments.get(name).ok_or_else(|| wrong(format!("argument {name} is needed: {example}")))?;
    let read = said.parse::<jiff::Timestamp>().map(|time| time.as_millisecond());
    read.map_err(|_| wrong(format!("argument {name} has to be {example}")))
}

/// A time in words: "31 d", "15 min".
fn shown(ms: i64) -> String {
    match ms {
        _ if ms % 86_400_000 == 0 => format!("{} d", ms / 86_400_000),
        _ if ms % 60_000 == 0 => format!("{} min", ms / 60_000),
        _ => format!("{} s", ms / 1000),
    }
}

/// Which cells the arguments of a query ask for.
fn sought(query: &Query, arguments: &BTreeMap<String, String>) -> Result<Sought, Refused> {
    let optional = [("metric", query.by_metric), ("building", query.by_building)];
    let optional = optional.into_iter().filter(|(_, is_open)| *is_open).map(|(name, _)| name);
    let known: Vec<&str> = ["from", "to"].into_iter().chain(optional).collect();
    if arguments.keys().any(|name| !known.contains(&name.as_str())) {
        return Err(wrong(format!("an argument that it does not have: it has {}", known.join(", "))));
    }
    let (from_ms, to_ms) = (moment("from", arguments)?, moment("to", arguments)?);
    let span_ms = to_ms.saturating_sub(from_ms);
    if span_ms <= 0 {
        return Err(wrong("argument to has to be later than from"));
    }
    let most_ms = query.span_max_ms.min(query.size_ms.saturating_mul(WINDOWS_MAX as i64));
    if span_ms > most_ms {
        return Err(wrong(format!(
            "from and to lie more than {} apart: ask part by part, each at most as long",
            shown(most_ms)
        )));
    }
    let metric: Option<Metric> =
        arguments.get("metric").map(|said| chosen("metric", said, &query.metrics)).transpose()?;
    let place: Option<Place> =
        arguments.get("building").map(|said| chosen("building", said, &query.buildings)).transpose()?;
    Ok(Sought {
        aggregate: query.aggregate.clone(),
        from_ms,
        to_ms,
        metrics: metric.map_or_else(|| query.metrics.clone(), |metric| vec![metric]),
        places: match place {
            Some(place) => Places::One(place),
            None if query.all_buildings => Places::All,
            None => Places::Of(query.buildings.clone()),
        },
    })
}

/// The budget that the noise of a query was paid from; none where there is none.
fn budget(spending: &Spending) -> Option<Budget> {
    let epsilon = Ratio::new(spending.epsilon.0, spending.epsilon.1).ok()?;
    Some(Budget { id: spending.budget.clone(), epsilon, period_ms: spending.period_ms })
}

/// The windows in parts; one without any where there is none.
fn parts(windows: Vec<v1::QueryWindow>, audit_row: u64, budget_left: &str) -> Parts {
    let part = |windows| v1::QueryResponse { windows, audit_row, budget_left: budget_left.to_owned() };
    let (mut parts, mut own, mut bytes) = (Vec::new(), Vec::new(), 0);
    for window in windows {
        let length = window.encoded_len();
        if bytes + length > PART_BYTES && !own.is_empty() {
            parts.push(part(std::mem::take(&mut own)));
            bytes = 0;
        }
        bytes += length;
        own.push(window);
    }
    if !own.is_empty() || parts.is_empty() {
        parts.push(part(own));
    }
    parts
}

/// The query of a name, and whether it is this caller's: one whose share line names it.
fn find<'l>(lists: &'l Lists, force: &InForce, caller: &Caller, id: &str) -> Option<(&'l Query, bool)> {
    let query = lists.queries.iter().find(|query| query.id.as_str() == id)?;
    let names = |line: &ShareLine| line.id == query.share && line.consumers.contains(&caller.consumer);
    Some((query, force.lines.iter().any(names)))
}

impl<P: Pages> Shell<P> {
    /// Answers a question; its parts leave in this order.
    pub(super) async fn query(&self, caller: Caller, asked: v1::QueryRequest) -> Result<Parts, Refused> {
        self.within_rate(&caller.consumer)?;
        if !(1..=ID_MAX).contains(&asked.request_id.len()) {
            return Err(Refused::Malformed("request_id has to have 1 to 128 bytes"));
        }
        let lists: Arc<Lists> = self.city.lists.borrow().clone();
        let unknown = || Refused::QueryUnknown(caller.consumer.clone());
        let (query, is_theirs) = find(&lists, &self.force(), &caller, &asked.query).ok_or_else(unknown)?;
        let of_query = |refused| Refused::Query(query.id.clone(), Box::new(refused));
        if !is_theirs {
            return Err(of_query(unknown()));
        }
        self.answered(query, caller.clone(), &asked).await.map_err(of_query)
    }

    async fn answered(
        &self,
        query: &Query,
        caller: Caller,
        asked: &v1::QueryRequest,
    ) -> Result<Parts, Refused> {
        let share_items = vec![query.share.to_string()];
        let wanted = Wanted { caller, share_items, schemas: Vec::new() };
        let sought = {
            let force = self.force();
            let rights = wanted.rights(&force, self.city.clock.now().wall_ms);
            let (line, _) = rights.line(&query.share).ok_or_else(|| rights.refusal())?;
            if asked.purpose != line.purpose {
                return Err(Refused::Purpose(wanted.caller.consumer.clone()));
            }
            sought(query, &asked.arguments)?
        };
        let (from_ms, to_ms) = (sought.from_ms, sought.to_ms);
        let most = "the answer is too long: ask for less time, one metric or one building";
        let found = self.city.pages.released(sought).await?.ok_or_else(|| wrong(most))?;
        let now_ms = self.city.clock.now().wall_ms;
        let budget_left = match query.spending.as_ref().and_then(|own| Some((budget(own)?, own.zone_ms))) {
            Some((budget, zone_ms)) => {
                let period_ms = budget.period_of(now_ms, zone_ms);
                budget.left(&self.city.pages.spent(budget.id.clone(), period_ms).await?)
            }
            None => String::new(),
        };
        // What was permitted when it was read may have ended since: what is answered is what the line lets out now.
        let (line, approval) = self.begun(&wanted, query).await?;
        let cleared = found.iter().filter_map(|released| line.released(released, now_ms));
        let (mut windows, mut cells) = (Vec::new(), 0);
        for window in cleared {
            cells += window.get().cells.len() as u64;
            windows.push(wire::query_window(&line, &window));
        }
        if windows.iter().any(|window| window.encoded_len() > WINDOW_BYTES_MAX) {
            return Err(wrong(most));
        }
        let queried = Queried {
            consumer: wanted.caller.consumer,
            query: query.id.clone(),
            line: line.id.clone(),
            purpose: line.purpose.clone(),
            approval,
            from_ms,
            to_ms,
            windows: windows.len() as u64,
            cells,
            request: Sha256::digest(&asked.request_id).into(),
        };
        match self.city.intake.act(Act::Queried(queried)).await? {
            Ok(Done::Row(row)) => Ok(parts(windows, row, &budget_left)),
            // Without its row nothing leaves.
            Ok(_) | Err(_) => Err(Stopped.into()),
        }
    }

    /// The line as it holds now, and what it is handed out under; a use of its approval goes on.
    async fn begun(&self, wanted: &Wanted, query: &Query) -> Result<(ShareLine, String), Refused> {
        loop {
            let id = {
                let force = self.force();
                let rights = wanted.rights(&force, self.city.clock.now().wall_ms);
                let (line, held) = rights.line(&query.share).ok_or_else(|| rights.refusal())?;
                match held {
                    Some(held) if !held.in_use => held.id,
                    held => {
                        let approval = held.map_or_else(|| line.approval.clone(), |held| held.id.to_string());
                        return Ok((line.clone(), approval));
                    }
                }
            };
            self.begin_use(id).await??;
        }
    }
}

#[tonic::async_trait]
impl<P: Pages> QueryService for Shell<P> {
    type QueryStream = Iter<std::vec::IntoIter<Result<v1::QueryResponse, Status>>>;

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let answer = async {
            let caller = self.known(&request)?;
            self.query(caller, request.into_inner()).await
        };
        let parts = answer.await.map_err(|refused| self.refuse(refused))?;
        let parts: Vec<_> = parts.into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(parts)))
    }
}

#[cfg(test)]
pub(in crate::share) mod tests;
