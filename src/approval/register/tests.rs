//! The table of what may follow what, and the law: nothing is granted without its quorum.

use proptest::prelude::*;

use super::super::{ApprovalId, Missing, Person, Signer};
use super::*;

const DAY: i64 = 86_400_000;
const CITY: &str = "spiffe://city.example/one";
const ID: ApprovalId = ApprovalId([9; 16]);

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a name")
}

/// name, roles, and the seed of the key.
const PEOPLE: [(&str, &[&str], u8); 6] = [
    ("zhang.manager", &["property.manager"], 1),
    ("wang.secretary", &["committee.secretary"], 2),
    ("chen.officer", &["street.data_officer"], 3),
    ("liu.bureau", &["district.data_bureau"], 4),
    ("zhao.police", &["police.liaison"], 5),
    ("sun.officer", &["street.data_officer"], 6),
];

fn signer(name: &str) -> Signer {
    let seed = PEOPLE.iter().find(|(known, ..)| *known == name).map_or(99, |(.., seed)| *seed);
    Signer::from_seed(&[seed; 32]).expect("a seed")
}

fn tier(name: &str, who: &[&str], quorum: usize, days: i64, must: &[&str]) -> Tier {
    let roles = |roles: &[&str]| roles.iter().map(|role| id(role)).collect();
    Tier { id: id(name), who: roles(who), quorum, max_ms: days * DAY, must_include: roles(must) }
}

fn rules() -> Rules {
    let street = "street.data_officer";
    let three = [street, "district.data_bureau", "police.liaison"];
    Rules {
        tiers: vec![
            tier("T0", &[], 0, 0, &[]),
            tier("T1", &["property.manager"], 1, 365, &[]),
            tier("T2", &["committee.secretary", street], 2, 90, &[]),
            tier("T3", &three, 2, 7, &["district.data_bureau"]),
        ],
        people: PEOPLE
            .iter()
            .map(|(name, roles, _)| Person {
                name: id(name),
                roles: roles.iter().map(|role| id(role)).collect(),
                public_key: signer(name).public_key(),
            })
            .collect(),
        separation: true,
    }
}

fn request(requester: &str) -> Request {
    Request {
        id: ID,
        share: id("S-003"),
        consumer: id(CITY),
        certificate: None,
        requester: requester.into(),
        reason: "研判早高峰".into(),
        not_before_ms: None,
        not_after_ms: 7 * DAY,
        max_uses: None,
        uid: None,
    }
}

/// A register, the rules and the line's tier.
struct Desk {
    register: Register,
    rules: Rules,
    tier: LineId,
}

impl Desk {
    fn new(tier: &str) -> Self {
        Self { register: Register::default(), rules: rules(), tier: id(tier) }
    }

    fn request(&mut self, request: &Request, now_ms: i64) -> Result<Done, Refused> {
        let line = Line { purpose: "traffic.peak", tier: Some(&self.tier), is_theirs: true };
        self.register.request(request, Some(line), &self.rules, now_ms)
    }

    fn ballot(&self, name: &str, yes: bool) -> Ballot {
        let asked = &self.register.get(ID).expect("it is open").asked;
        signer(name).ballot(ID, asked, yes, name, "")
    }

    fn vote(&mut self, name: &str, yes: bool, now_ms: i64) -> &'static str {
        let ballot = self.ballot(name, yes);
        told(&self.register.vote(&ballot, &self.rules, now_ms))
    }
}

/// The last event of an order, or why not, in a word.
fn told(done: &Result<Done, Refused>) -> &'static str {
    let done = match done {
        Err(refused) => return refused.word(),
        Ok(done) => done,
    };
    match done.last() {
        None => "nothing",
        Some((Event::Asked, _)) => "asked",
        Some((Event::Voted(_), _)) => "voted",
        Some((Event::Granted, _)) => "granted",
        Some((Event::Refused, _)) => "refused",
        Some((Event::Revoked, _)) => "revoked",
        Some((Event::Expired, _)) => "expired",
        Some((Event::Used, _)) => "used",
        Some((Event::UsedUp, _)) => "used_up",
    }
}

/// (what, tier, requester, (name, yes) → what comes of it)
type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, bool, &'static str)]);

#[test]
fn votes_lead_where_the_tier_says() {
    let cases: &[Case] = &[
        ("one is enough in T1", "T1", "li", &[("zhang.manager", true, "granted")]),
        ("self-approval", "T1", "zhang.manager", &[("zhang.manager", true, "own_request")]),
        ("self-approval, in capitals", "T1", "ZHANG.manager", &[("zhang.manager", true, "own_request")]),
        ("one of two", "T2", "li", &[("wang.secretary", true, "voted")]),
        ("two of two", "T2", "li", &[("wang.secretary", true, "voted"), ("chen.officer", true, "granted")]),
        ("two of one role", "T2", "li", &[("sun.officer", true, "voted"), ("chen.officer", true, "granted")]),
        (
            "twice the same",
            "T2",
            "li",
            &[("chen.officer", true, "voted"), ("chen.officer", true, "voted_already")],
        ),
        (
            "a mind changed",
            "T2",
            "li",
            &[("chen.officer", false, "voted"), ("chen.officer", true, "voted_already")],
        ),
        ("wrong role", "T2", "li", &[("zhang.manager", true, "role"), ("liu.bureau", true, "role")]),
        (
            "no quorum can be",
            "T2",
            "li",
            &[("chen.officer", false, "voted"), ("sun.officer", false, "refused")],
        ),
        (
            "no quorum can be, because who asked does not count",
            "T2",
            "sun.officer",
            &[("chen.officer", false, "refused")],
        ),
        ("a no in T1", "T1", "li", &[("zhang.manager", false, "refused")]),
        (
            "without who must be included",
            "T3",
            "li",
            &[
                ("chen.officer", true, "voted"),
                ("zhao.police", true, "voted"),
                ("sun.officer", true, "voted"),
                ("liu.bureau", true, "granted"),
            ],
        ),
        (
            "the word of who must be included",
            "T3",
            "li",
            &[("chen.officer", true, "voted"), ("liu.bureau", false, "refused")],
        ),
        (
            "who must be included asked",
            "T3",
            "liu.bureau",
            &[("chen.officer", true, "voted"), ("liu.bureau", true, "own_request")],
        ),
    ];
    for (what, tier, requester, votes) in cases {
        let mut desk = Desk::new(tier);
        assert_eq!(told(&desk.request(&request(requester), 0)), "asked", "{what}");
        for (name, yes, expected) in *votes {
            assert_eq!(desk.vote(name, *yes, 1), *expected, "{what}: {name}");
        }
    }
}

#[test]
fn a_request_that_cannot_be_is_refused() {
    let plain = || request("li");
    let cases: [(&str, Request, Option<&str>, bool, &str); 9] = [
        ("no line", plain(), Some("T2"), false, "not_listed"),
        ("no tier", plain(), None, true, "no_tier"),
        ("standing", plain(), Some("T0"), true, "no_tier"),
        ("unknown tier", plain(), Some("T9"), true, "no_tier"),
        ("too long", Request { not_after_ms: 7 * DAY + 1, ..plain() }, Some("T3"), true, "time"),
        ("over at once", Request { not_after_ms: 0, ..plain() }, Some("T3"), true, "time"),
        (
            "ends before it begins",
            Request { not_before_ms: Some(5), not_after_ms: 5, ..plain() },
            Some("T3"),
            true,
            "time",
        ),
        ("no use", Request { max_uses: Some(0), ..plain() }, Some("T3"), true, "uses"),
        ("no reason", Request { reason: "".into(), ..plain() }, Some("T3"), true, "no_reason"),
    ];
    let rules = rules();
    for (what, request, tier, is_theirs, word) in cases {
        let tier = tier.map(id);
        let line = Line { purpose: "p", tier: tier.as_ref(), is_theirs };
        let mut register = Register::default();
        assert_eq!(told(&register.request(&request, Some(line), &rules, 0)), word, "{what}");
        assert!(register.get(ID).is_none() && register.take_grants().is_none(), "{what}: nothing is changed");
    }
    let mut desk = Desk::new("T2");
    assert_eq!(told(&desk.request(&plain(), 0)), "asked");
    assert_eq!(told(&desk.request(&Request { id: ApprovalId([1; 16]), ..plain() }, 0)), "waits");
}

#[test]
fn a_ballot_that_is_not_theirs_counts_for_nothing() {
    let mut desk = Desk::new("T1");
    assert_eq!(told(&desk.request(&request("li"), 0)), "asked");
    let good = desk.ballot("zhang.manager", true);
    let asked = desk.register.get(ID).expect("open").asked.clone();
    let cases = [
        ("nobody", Ballot { name: "nobody".into(), ..good.clone() }, "unknown_person"),
        ("another's name", Ballot { name: "chen.officer".into(), ..good.clone() }, "signature"),
        ("another's key", signer("chen.officer").ballot(ID, &asked, true, "zhang.manager", ""), "signature"),
        ("another word", Ballot { yes: false, ..good.clone() }, "signature"),
        ("another approval", Ballot { approval: ApprovalId([1; 16]), ..good.clone() }, "unknown"),
        ("no signature", Ballot { signature: vec![], ..good.clone() }, "signature"),
        ("theirs", good, "granted"),
    ];
    for (what, ballot, word) in cases {
        assert_eq!(told(&desk.register.vote(&ballot, &desk.rules, 1)), word, "{what}");
    }
}

fn granted(max_uses: Option<u32>, certificate: Option<[u8; 32]>) -> Desk {
    let mut desk = Desk::new("T1");
    let request = Request { max_uses, certificate, not_before_ms: Some(1000), ..request("li") };
    assert_eq!(told(&desk.request(&request, 0)), "asked");
    assert_eq!(desk.vote("zhang.manager", true, 1), "granted");
    desk
}

/// What the city holds: the use goes on, could begin, or why not.
fn held(grants: &Grants, certificate: Option<&[u8; 32]>, now_ms: i64) -> Result<bool, Missing> {
    let found = grants.find(&id("S-003"), &id("T1"), &id(CITY), certificate, now_ms);
    found.map(|held| held.in_use)
}

#[test]
fn a_grant_holds_for_its_line_its_tier_its_consumer_its_certificate_and_its_time() {
    let mut desk = granted(None, Some([7; 32]));
    let grants = desk.register.take_grants().expect("it has changed");
    assert!(desk.register.take_grants().is_none(), "once after each change");
    let end = 7 * DAY;
    for (what, certificate, now_ms, expected) in [
        ("too early", Some([7; 32]), 999, Err(Missing::None)),
        ("from its beginning", Some([7; 32]), 1000, Ok(false)),
        ("another certificate", Some([8; 32]), 1000, Err(Missing::None)),
        ("no certificate", None, 1000, Err(Missing::None)),
        ("to its end", Some([7; 32]), end - 1, Ok(false)),
        ("not longer, whatever is published", Some([7; 32]), end, Err(Missing::Expired)),
    ] {
        assert_eq!(held(&grants, certificate.as_ref(), now_ms), expected, "{what}");
    }
    let find = |share: &str, tier: &str, consumer: &str| {
        grants.find(&id(share), &id(tier), &id(consumer), Some(&[7; 32]), 2000).is_ok()
    };
    assert!(find("S-003", "T1", CITY));
    assert!(!find("S-004", "T1", CITY) && !find("S-003", "T2", CITY) && !find("S-003", "T1", "other"));
    assert_eq!(desk.register.granted(&id("S-003"), 2000), [ID]);
    assert!(desk.register.granted(&id("S-003"), 999).is_empty());
}

#[test]
fn it_ends_by_time_by_word_and_by_use_and_stays_ended() {
    let mut desk = granted(None, None);
    assert_eq!(desk.register.due_ms(), Some(7 * DAY));
    assert!(desk.register.tick(7 * DAY - 1).is_empty());
    assert_eq!(told(&Ok(desk.register.tick(7 * DAY))), "expired");
    assert_eq!(held(&desk.register.take_grants().expect("changed"), None, 7 * DAY), Err(Missing::Expired));
    assert!(desk.register.tick(i64::MAX).is_empty());

    let mut desk = granted(None, None);
    let words = |reason: &str| Words { by: "operator".into(), reason: reason.into() };
    let revoke = |desk: &mut Desk, reason: &str, now_ms| {
        let revocation = Revocation { approval: ID, words: words(reason), uid: Some(0) };
        told(&desk.register.revoke(&revocation, now_ms))
    };
    assert_eq!(revoke(&mut desk, "", 5), "no_reason");
    assert_eq!(revoke(&mut desk, "投诉", 7 * DAY), "over");
    assert_eq!(revoke(&mut desk, "投诉", 5), "revoked");
    assert_eq!(revoke(&mut desk, "投诉", 6), "unknown");
    assert_eq!(held(&desk.register.take_grants().expect("changed"), None, 2000), Err(Missing::Revoked));

    // A pending one ends too.
    let mut desk = Desk::new("T2");
    desk.request(&request("li"), 0).expect("asked");
    assert_eq!(desk.vote("chen.officer", true, 7 * DAY), "over");
    assert_eq!(told(&Ok(desk.register.tick(7 * DAY))), "expired");
}

#[test]
fn a_use_lasts_a_minute_and_the_last_one_is_finished() {
    let mut desk = granted(Some(2), None);
    let mut make_use = |now_ms| {
        let done = told(&desk.register.make_use(ID, now_ms));
        (done, desk.register.take_grants().map(|grants| held(&grants, None, now_ms)))
    };
    assert_eq!(make_use(999), ("not_held", Some(Err(Missing::None))), "too early");
    assert_eq!(make_use(2000), ("used", Some(Ok(true))));
    assert_eq!(make_use(61_999), ("nothing", None), "the same use");
    assert_eq!(make_use(62_000), ("used", Some(Ok(true))), "the last one holds to its end");
    assert_eq!(make_use(122_000), ("not_held", None));
    assert_eq!(desk.register.due_ms(), Some(122_000));
    assert!(desk.register.tick(121_999).is_empty());
    assert_eq!(told(&Ok(desk.register.tick(122_000))), "used_up");
    assert_eq!(held(&desk.register.take_grants().expect("changed"), None, 122_000), Err(Missing::UsedUp));
}

#[test]
fn a_vote_goes_with_the_role_it_was_given_in() {
    let mut desk = Desk::new("T2");
    desk.request(&request("li"), 0).expect("asked");
    assert_eq!(desk.vote("chen.officer", true, 1), "voted");
    desk.rules.people.retain(|person| person.name.as_str() != "chen.officer");
    assert_eq!(desk.vote("wang.secretary", true, 2), "voted", "one of two is left");
    assert_eq!(desk.vote("sun.officer", true, 3), "granted");
}

proptest! {
    /// Whoever votes in whatever order, also with another's key: granted only with the quorum of different people who
    /// hold a role of the tier and did not ask, and with every role that must be among them.
    #[test]
    fn nothing_is_granted_without_its_quorum(
        tier in 1..4_usize,
        requester in 0..6_usize,
        votes in prop::collection::vec((0..6_usize, 0..6_usize, any::<bool>()), 0..12),
    ) {
        let mut desk = Desk::new(["T0", "T1", "T2", "T3"][tier]);
        desk.request(&request(PEOPLE[requester].0), 0).expect("asked");
        let asked = desk.register.get(ID).expect("open").asked.clone();
        for (name, key, yes) in votes {
            let ballot = signer(PEOPLE[key].0).ballot(ID, &asked, yes, PEOPLE[name].0, "");
            let Ok(done) = desk.register.vote(&ballot, &desk.rules, 1) else { continue };
            let Some((Event::Granted, approval)) = done.last() else { continue };
            let tier = desk.rules.tier(&asked.tier).expect("a tier");
            let mut yes: Vec<&LineId> =
                approval.votes.iter().filter(|vote| vote.yes).map(|vote| &vote.approver).collect();
            yes.sort();
            yes.dedup();
            prop_assert!(yes.len() >= tier.quorum);
            let roles: Vec<&[LineId]> =
                yes.iter().map(|name| &desk.rules.person(name.as_str()).expect("known").roles[..]).collect();
            prop_assert!(roles.iter().all(|roles| roles.iter().any(|role| tier.who.contains(role))));
            prop_assert!(tier.must_include.iter().all(|role| roles.iter().any(|roles| roles.contains(role))));
            prop_assert!(yes.iter().all(|name| name.as_str() != PEOPLE[requester].0));
        }
    }
}
