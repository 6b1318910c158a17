//! Who is on a bus: which question comes next, and what the answers say together.
//!
//! How each protocol is searched, one line setting after the other:
//! - DL/T 645: "read address" (13H) to the wildcard AA. When several answer at once, their answers spoil each other; then the
//!   forward energy is read by shortened addresses, the low two digits 00 to 99 with AA above them, and deeper where answers
//!   still collide. What is found is asked for its energy, edition 2007 first, then 1997. Old meters are asked for the energy
//!   by AA and by 999999999999.
//! - CJ/T 188: "read address" (03) and then the reading, to type AA and address AA, in both orders of the identifier. There
//!   are no shortened addresses: several meters at once are told, and have to be asked by the addresses printed on them. An
//!   address counts when a meter answers at it.
//! - Modbus: register 0 by FC 3 of every unit, with a short timeout; a refusal is a slave too. Then what it says of itself:
//!   FC 43/14, and FC 17 where it has none.
//! - M-Bus: a link reset to 1 to 250 and a telegram of who acknowledges; then selection by identification number with F for
//!   any digit, digit by digit where answers collide.
//!
//! Guarantees: it only reads; it ends, after at most [`QUESTIONS_MAX`] questions for each search; a meter is found once. It
//! has no clock and does no I/O: [`Scan::ask`] is what to ask, [`Scan::heard`] takes what came of it.

mod found;
mod probe;

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

pub use found::Found;

use super::exchange::{Content, Exchange};
use super::master::Failed;
use super::protocol::{Protocol, kind_name};
use super::question::{Answer, Refusal, Sense};
use super::{Address, Cjt188, Line};
use crate::codec::cjt188::{IdentifierOrder, UnitPlace, looks_unit_first};
use crate::codec::dlt645::Edition;
use crate::codec::modbus::{Finding, Inquiry};
use crate::codec::{cjt188, dlt645, mbus};
use probe::Probe;

/// Questions of one search; beyond them it is cut off, and says so.
pub const QUESTIONS_MAX: usize = 1500;

/// Damaged bytes that tell two answers at once from a line that is noisy.
const COLLISION_BYTES: usize = 8;

const TWINS_645: &str = "two DL/T 645 meters seem to have the same address: their answers spoil each other";

/// One protocol with one setting of the line.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// The protocol.
    pub protocol: Protocol,
    /// How the line is set.
    pub line: Line,
    /// How long a meter may take; none is what the protocol's standard allows.
    pub response_timeout: Option<Duration>,
    /// Modbus units up to 247, primary addresses of M-Bus up to 250; from 1.
    pub units: RangeInclusive<u8>,
}

/// How far a scan is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The search that is on.
    pub protocol: Protocol,
    /// Its line.
    pub line: Line,
    /// Questions asked in it.
    pub asked: usize,
    /// Questions that are known to come in it.
    pub left: usize,
}

/// A scan of one bus.
pub struct Scan {
    /// The one that is on is the last.
    searches: Vec<Search>,
    /// The next one is the last.
    probes: Vec<Probe>,
    asking: Option<Probe>,
    /// Of this search: questions, answers that came damaged, and how many of these were as long as their question.
    asked: usize,
    damaged: usize,
    echoed: usize,
    /// Bytes of the last question.
    sent: usize,
    /// Counts the questions of CJ/T 188.
    ser: u8,
    seen: HashSet<(Protocol, String)>,
    notes: Vec<String>,
}

impl Scan {
    /// These searches, in this order.
    #[must_use]
    pub fn new(searches: impl IntoIterator<Item = Search>) -> Self {
        let mut searches: Vec<Search> = searches.into_iter().collect();
        searches.reverse();
        let mut scan = Self {
            searches,
            probes: Vec::new(),
            asking: None,
            asked: 0,
            damaged: 0,
            echoed: 0,
            sent: 0,
            ser: 0,
            seen: HashSet::new(),
            notes: Vec::new(),
        };
        scan.begin();
        scan
    }

    /// What to ask now; none when the scan is over.
    #[must_use]
    pub fn ask(&mut self) -> Option<Exchange> {
        loop {
            let search = self.searches.last()?;
            let probe = match self.probes.pop() {
                Some(_) if self.asked >= QUESTIONS_MAX => {
                    self.notes.push(format!(
                        "{} at {} was cut off after {QUESTIONS_MAX} questions: narrow it with --units, or take meters off the line",
                        search.protocol, search.line
                    ));
                    self.probes.clear();
                    continue;
                }
                Some(probe) => probe,
                None => {
                    self.end();
                    continue;
                }
            };
            self.probes.extend(probe.sibling(search));
            // A meter that told its address has been asked for its reading by that.
            let known = self.seen.iter().any(|(protocol, _)| *protocol == Protocol::Cjt188);
            if known && matches!(probe, Probe::Reading188 { address: cjt188::Address::ANY, .. }) {
                continue;
            }
            self.asked += 1;
            self.ser = self.ser.wrapping_add(1);
            let exchange = probe.exchange(search, self.ser);
            self.sent = exchange.question().asked.encode().len();
            self.asking = Some(probe);
            return Some(exchange);
        }
    }

    /// What came of the last [`Scan::ask`], and a meter if one is found by it.
    ///
    /// # Errors
    /// [`Failed::Closed`] or [`Failed::Lost`]: the port is gone, and the scan with it.
    pub fn heard(&mut self, result: Result<Content, Failed>) -> Result<Option<Found>, Failed> {
        let (Some(probe), Some(line)) = (self.asking.take(), self.searches.last().map(|search| search.line))
        else {
            return Ok(None);
        };
        let heard = match result {
            Ok(Content::Answer(answer)) => Heard::Answer(answer),
            Err(gone @ (Failed::Closed(_) | Failed::Lost)) => return Err(gone),
            Err(Failed::Refused(refusal)) => Heard::Refused(refusal),
            Err(Failed::Damaged(bytes)) => Heard::Damaged(bytes),
            Ok(_) | Err(Failed::Timeout | Failed::Unusable(_)) => Heard::Nothing,
        };
        if let Heard::Damaged(bytes @ COLLISION_BYTES..) = heard {
            self.damaged += 1;
            self.echoed += usize::from(bytes == self.sent);
        }
        let found = match &probe {
            Probe::Address645 | Probe::Energy645 { .. } | Probe::Part645 { .. } => {
                self.heard_dlt645(probe, heard)
            }
            Probe::Address188(_) | Probe::Reading188 { .. } => self.heard_cjt188(probe, heard),
            Probe::Unit(_) | Probe::Identity { .. } | Probe::Server { .. } => self.heard_modbus(probe, heard),
            Probe::Primary(_) | Probe::Telegram { .. } | Probe::Selected { .. } | Probe::Deselect => {
                self.heard_mbus(probe, heard)
            }
        };
        let found = found.map(|(address, facts, items)| Found { address, line, facts, items });
        let key = |found: &Found| (found.address.protocol(), found.address.to_string());
        Ok(found.filter(|found| self.seen.insert(key(found))))
    }

    /// How far it is; none when it is over.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let search = self.searches.last()?;
        let left = self.probes.iter().map(|probe| probe.left(search)).sum();
        Some(Progress { protocol: search.protocol, line: search.line, asked: self.asked, left })
    }

    /// What people should know besides what was found.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Of the search that is on.
    fn begin(&mut self) {
        (self.asked, self.damaged, self.echoed) = (0, 0, 0);
        self.probes = self.searches.last().map(Probe::first).unwrap_or_default();
    }

    fn end(&mut self) {
        if let Some(Search { protocol, line, .. }) = self.searches.pop()
            && let Some(why) = self.damage(protocol)
        {
            self.notes.push(format!("{protocol} at {line}: damaged answers: {}; {why}", self.damaged));
        }
        self.begin();
    }

    /// Why answers of the search that is on came damaged; none when there is nothing to explain.
    fn damage(&self, protocol: Protocol) -> Option<&'static str> {
        let known = self.seen.iter().any(|(known, _)| *known == protocol);
        match protocol {
            _ if self.damaged == 0 => None,
            _ if self.damaged == self.echoed => Some(
                "they are the questions: the adapter hears itself; search again with --echo (echo = true at a port of the \
                 configuration)",
            ),
            Protocol::Cjt188 => Some(
                "several CJ/T 188 meters answer at once, and the protocol cannot tell them apart: ask each by the address \
                 printed on it (smallbrain read PORT --cjt188 ADDRESS), or connect one at a time; where only one is \
                 connected, another baud rate or parity",
            ),
            // Where answers collide they are damaged, until the meters are told apart.
            Protocol::Dlt645 | Protocol::Mbus if known => None,
            Protocol::Dlt645 | Protocol::Modbus | Protocol::Mbus => Some(
                "another baud rate or parity (try --baud and --parity), two meters with one address, or a line without \
                 termination",
            ),
        }
    }

    fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }

    fn heard_dlt645(&mut self, probe: Probe, heard: Heard) -> Option<Met> {
        let (edition, only) = (probe.edition(), probe.only_645());
        let items =
            |answer: &dlt645::Answer| dlt645::items(probe::energy(edition), &answer.data).unwrap_or_default();
        match (&probe, heard) {
            (Probe::Address645, Heard::Answer(Answer::Dlt645(answer))) => {
                self.probes.push(Probe::Energy645 { address: answer.address, edition });
                None
            }
            (_, Heard::Answer(Answer::Dlt645(answer))) => {
                Some((Address::Dlt645(answer.address), edition_fact(edition), items(&answer)))
            }
            (_, heard) if only.is_some() => {
                let mut facts = edition_fact(edition);
                match heard {
                    Heard::Nothing if edition == Edition::V2007 => {
                        self.probes.push(Probe::Energy645 { address: only?, edition: Edition::V1997 });
                        return None;
                    }
                    Heard::Nothing => facts.clear(),
                    Heard::Damaged(_) => self.note(TWINS_645),
                    _ => {}
                }
                facts.push(("energy", heard.told()));
                Some((Address::Dlt645(only?), facts, Vec::new()))
            }
            (Probe::Part645 { low, .. }, Heard::Damaged(COLLISION_BYTES..)) => {
                if low.len() < 6 {
                    self.probes.push(Probe::Part645 { edition, low: [&low[..], &[0]].concat() });
                } else {
                    self.note(TWINS_645);
                }
                None
            }
            (Probe::Part645 { .. }, _) => None,
            (_, Heard::Damaged(COLLISION_BYTES..)) => {
                // Both wildcards of 1997 may find the same crowd.
                let again = self.notes.iter().any(|note| *note == crowd(edition));
                if !again {
                    self.notes.push(crowd(edition));
                    self.probes.push(Probe::Part645 { edition, low: vec![0] });
                }
                None
            }
            (Probe::Address645, _) => {
                self.probes.push(Probe::Energy645 { address: dlt645::Address::ANY, edition });
                None
            }
            (_, Heard::Refused(_)) => {
                self.note("a DL/T 645 meter refuses its forward energy to a wildcard: ask it by the address printed on it");
                None
            }
            _ => None,
        }
    }

    fn heard_cjt188(&mut self, probe: Probe, heard: Heard) -> Option<Met> {
        match (probe, heard) {
            (Probe::Address188(order), Heard::Answer(Answer::Cjt188(answer))) => {
                let cjt188::Answer { kind, address, .. } = answer;
                if !self.seen.contains(&(Protocol::Cjt188, address.to_string())) {
                    self.probes.push(Probe::Reading188 { kind, address, order, any_ser: false });
                }
                None
            }
            // Answers that lie over each other may make a frame of an address that nobody has: it is asked alone.
            (Probe::Reading188 { order, address, .. }, Heard::Answer(Answer::Cjt188(answer)))
                if address.is_wildcard() && !answer.address.is_wildcard() =>
            {
                let cjt188::Answer { kind, address, .. } = answer;
                self.probes.push(Probe::Reading188 { kind, address, order, any_ser: false });
                None
            }
            (Probe::Reading188 { order, any_ser, address, .. }, Heard::Answer(Answer::Cjt188(answer))) => {
                let in_front = looks_unit_first(&answer.data);
                let unit = if in_front { UnitPlace::InFront } else { UnitPlace::Behind };
                let items = cjt188::items(answer.kind, cjt188::Identifier::READING, &answer.data, unit);
                let any_ser = any_ser && !address.is_wildcard();
                let meter = Cjt188 {
                    address: answer.address,
                    kind: answer.kind,
                    order: Some(order),
                    unit,
                    any_ser,
                    leader: cjt188::LEADER,
                };
                let mut facts = kind_facts(answer.kind, order);
                facts.extend(in_front.then(|| ("unit_first", "true".to_owned())));
                facts.extend(any_ser.then(|| ("any_serial", "true".to_owned())));
                Some((Address::Cjt188(meter), facts, items.map(|reading| reading.items).unwrap_or_default()))
            }
            (_, Heard::Damaged(COLLISION_BYTES..)) => None,
            (Probe::Reading188 { address, any_ser: true, .. }, Heard::Nothing) if !address.is_wildcard() => {
                self.note(&format!(
                    "a CJ/T 188 meter tells the address {address}, at which nobody answers: several meters at once, or a \
                     slow one; ask it alone (smallbrain read PORT --cjt188 {address} --timeout 5s)"
                ));
                None
            }
            (Probe::Reading188 { kind, address, order, .. }, Heard::Nothing) if !address.is_wildcard() => {
                self.probes.push(Probe::Reading188 { kind, address, order, any_ser: true });
                None
            }
            (Probe::Reading188 { kind, address, order, .. }, heard) if !address.is_wildcard() => {
                let mut facts = kind_facts(kind, order);
                facts.push(("reading", heard.told()));
                let unit = UnitPlace::Behind;
                let meter = Cjt188 {
                    address,
                    kind,
                    order: Some(order),
                    unit,
                    any_ser: false,
                    leader: cjt188::LEADER,
                };
                Some((Address::Cjt188(meter), facts, Vec::new()))
            }
            _ => None,
        }
    }

    fn heard_modbus(&mut self, probe: Probe, heard: Heard) -> Option<Met> {
        match (probe, heard) {
            (Probe::Unit(_), Heard::Refused(Refusal { sense: Sense::Silent, .. })) => None,
            (Probe::Unit(unit), heard @ (Heard::Answer(_) | Heard::Refused(_))) => {
                let facts = vec![("register_0", heard.told())];
                let inquiry = Inquiry::identification(unit).ok()?;
                self.probes.push(Probe::Identity { inquiry, identity: Box::default(), facts });
                None
            }
            (Probe::Identity { inquiry, identity, mut facts }, heard) => {
                let (identity, next) = match heard {
                    Heard::Answer(Answer::ModbusInquiry(Finding::Identity { identity: more, next })) => {
                        (identity.and(more), next)
                    }
                    _ => (*identity, None),
                };
                if let Some(inquiry) = next {
                    self.probes.push(Probe::Identity { inquiry, identity: Box::new(identity), facts });
                    return None;
                }
                let named = [
                    ("vendor", identity.vendor),
                    ("product", identity.product),
                    ("revision", identity.revision),
                ];
                let named: Vec<_> =
                    named.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
                if named.is_empty() {
                    let inquiry = Inquiry::server(inquiry.unit()).ok()?;
                    self.probes.push(Probe::Server { inquiry, facts });
                    return None;
                }
                facts.extend(named);
                Some((Address::Modbus(inquiry.unit()), facts, Vec::new()))
            }
            (Probe::Server { inquiry, mut facts }, heard) => {
                if let Heard::Answer(Answer::ModbusInquiry(Finding::Server(server))) = heard {
                    facts.extend(server.text.map(|text| ("server", text)));
                }
                Some((Address::Modbus(inquiry.unit()), facts, Vec::new()))
            }
            _ => None,
        }
    }

    fn heard_mbus(&mut self, probe: Probe, heard: Heard) -> Option<Met> {
        match (probe, heard) {
            (Probe::Primary(address), heard @ (Heard::Answer(_) | Heard::Damaged(_))) => {
                let acknowledged = matches!(heard, Heard::Answer(_));
                self.probes.push(Probe::Telegram { address, acknowledged });
                None
            }
            (Probe::Telegram { address, .. }, Heard::Answer(Answer::Mbus(answer))) => {
                let (id, facts, items) = telegram(&answer);
                // The selection will meet it again.
                self.seen.extend(id.map(|id| (Protocol::Mbus, mbus::Address::Secondary(id).to_string())));
                Some((Address::Mbus(mbus::Address::Primary(address)), facts, items))
            }
            (Probe::Telegram { address, acknowledged: true }, heard) => {
                let facts = vec![("telegram", heard.told())];
                Some((Address::Mbus(mbus::Address::Primary(address)), facts, Vec::new()))
            }
            (Probe::Selected { .. }, Heard::Answer(Answer::Mbus(answer))) => {
                let (id, facts, items) = telegram(&answer);
                Some((Address::Mbus(mbus::Address::Secondary(id?)), facts, items))
            }
            (Probe::Selected { id, digits }, Heard::Damaged(_)) => {
                match Probe::selected_deeper(id, digits) {
                    Some(probe) => self.probes.push(probe),
                    None => self.note("two M-Bus meters have the same identification number"),
                }
                None
            }
            _ => None,
        }
    }
}

/// Who was met: address, what it says of itself, its items.
type Met = (Address, Vec<(&'static str, String)>, Vec<crate::codec::Item>);

/// What came of a question, as a search sees it.
enum Heard {
    Answer(Answer),
    Refused(Refusal),
    Damaged(usize),
    Nothing,
}

impl Heard {
    fn told(&self) -> String {
        match self {
            Self::Answer(_) => "answers".into(),
            Self::Refused(refusal) => {
                // Behind the colon is what to do about it; here nothing is to be done.
                let cause = refusal.text.split(": ").next().unwrap_or_default();
                format!("refused with code {}: {cause}", refusal.code)
            }
            Self::Damaged(_) => "damaged".into(),
            Self::Nothing => "no answer".into(),
        }
    }
}

fn crowd(edition: Edition) -> String {
    let year = if edition == Edition::V1997 { "1997" } else { "2007" };
    format!("several DL/T 645-{year} meters answer at once: searched by shortened addresses")
}

fn edition_fact(edition: Edition) -> Vec<(&'static str, String)> {
    vec![("edition", if edition == Edition::V1997 { "1997" } else { "2007" }.to_owned())]
}

fn kind_facts(kind: u8, order: IdentifierOrder) -> Vec<(&'static str, String)> {
    let order = if order == IdentifierOrder::HighFirst { "901f" } else { "1f90" };
    vec![("meter_type", kind_name(kind)), ("identifier_order", order.to_owned())]
}

/// Identification number, facts and items.
fn telegram(answer: &mbus::Answer) -> (Option<u32>, Vec<(&'static str, String)>, Vec<crate::codec::Item>) {
    let telegram = match answer.telegram() {
        Ok(telegram) => telegram,
        Err(error) => return (None, vec![("telegram", error.to_string())], Vec::new()),
    };
    let mut facts = Vec::new();
    let id = telegram.header.as_ref().map(|header| header.id);
    if let Some(header) = telegram.header {
        facts.push(("identification", format!("{:08x}", header.id)));
        facts.push(("medium", header.medium.into_owned()));
        if let Some(maker) = header.maker {
            facts.push(("manufacturer", maker.letters));
            facts.push(("version", maker.version.to_string()));
        }
    }
    facts.extend(telegram.more.then(|| ("telegram", "more than one".to_owned())));
    (id, facts, mbus::items(&telegram.records))
}

#[cfg(test)]
mod tests;
