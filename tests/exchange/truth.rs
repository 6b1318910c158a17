//! What is true: what was sealed in the present life of the store, what may leave, and what became of it. The reference
//! that the gateway and the city are held against; it shares no code with the store.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use smallbrain::model::{Alteration, Epoch, Lane, List, ListChange};
use smallbrain::privacy::release::ShareLine;
use smallbrain::share::batch::InForce;
use smallbrain::wire::{self, Gateway, Sealed};

use super::{CITY, id};

pub(crate) const LANES: usize = Lane::ALL.len();
/// The city's for good, the city's until revoked, somebody else's, the city's until purged: for each lane one line.
pub(crate) const KINDS: usize = 4;
pub(crate) const REVOCABLE: usize = 1;
pub(crate) const OTHERS: usize = 2;
pub(crate) const PURGEABLE: usize = 3;

/// One position of a lane, as it was sealed.
#[derive(Clone)]
pub(crate) struct Truth {
    pub(crate) kind: usize,
    pub(crate) body: Bytes,
}

/// One life of the store's positions.
#[derive(Clone)]
pub(crate) struct Era {
    pub(crate) epoch: Epoch,
    /// By lane, by seq - 1.
    pub(crate) sealed: [Vec<Truth>; LANES],
    pub(crate) purged: [HashSet<u64>; LANES],
    /// Stored acks.
    pub(crate) acked: [u64; LANES],
}

impl Era {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, sealed: Default::default(), purged: Default::default(), acked: [0; LANES] }
    }

    pub(crate) fn head(&self, lane: Lane) -> u64 {
        self.sealed[lane.index()].len() as u64
    }

    pub(crate) fn at(&self, lane: Lane, seq: u64) -> &Truth {
        &self.sealed[lane.index()][seq as usize - 1]
    }
}

/// Which lines let records out to the city, by lane and kind.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Permits(pub(crate) [[bool; KINDS]; LANES]);

impl Permits {
    pub(crate) fn all() -> Self {
        Self([[true, true, false, true]; LANES])
    }

    pub(crate) fn is_permitted(&self, lane: Lane, kind: usize) -> bool {
        self.0[lane.index()][kind]
    }

    /// Whether the lane flows at all: what happens to a line itself is for all who hold any.
    pub(crate) fn lane(&self, lane: Lane) -> bool {
        let any = |kinds: &[bool; KINDS]| kinds.contains(&true);
        if lane == Lane::Event { self.0.iter().any(any) } else { any(&self.0[lane.index()]) }
    }

    pub(crate) fn force(&self, lines: &[ShareLine]) -> InForce {
        let is_there = |(at, _): &(usize, &ShareLine)| at % KINDS == OTHERS || self.0[at / KINDS][at % KINDS];
        let lines: Vec<ShareLine> =
            lines.iter().enumerate().filter(is_there).map(|(_, line)| line.clone()).collect();
        InForce { lines: Arc::from(lines), ..InForce::default() }
    }
}

/// All lines there can be, lane by lane.
pub(crate) fn lines() -> Vec<ShareLine> {
    let line = |lane: Lane, kind: usize| ShareLine {
        id: id(&format!("S-{lane}-{kind}")),
        purpose: "simulation".into(),
        lane,
        consumers: vec![id(if kind == OTHERS { "spiffe://city.example/other" } else { CITY })],
        metrics: vec![],
        devices: true,
        places: true,
        carries: vec![],
        protect: None,
        approval: "AP-1".into(),
        until_ms: None,
        tier: None,
        granted: vec![],
    };
    Lane::ALL.into_iter().flat_map(|lane| (0..KINDS).map(move |kind| line(lane, kind))).collect()
}

/// A record that no other is like, about `length` bytes long.
pub(crate) fn record(line: &ShareLine, number: u64, length: usize, now_ms: i64) -> Sealed {
    let change = ListChange::Line {
        list: List::Share,
        item: line.id.clone(),
        version: number as u32,
        change: Alteration::Changed,
        approval: "x".repeat(length),
    };
    let cleared = line.list_change(&change, now_ms).expect("a line that holds");
    wire::list_change(&Gateway::default(), line, 1, &cleared, now_ms)
}
