//! Pages and their tokens, and whether a line is granted.

use super::*;
use crate::model::List;
use crate::share::fake::line;

fn entries(count: usize) -> Vec<Entry> {
    let lists = Lists {
        demands: (0..count)
            .map(|number| crate::lists::Demand {
                id: format!("D-{number:04}").parse().expect("an id"),
                title: String::new(),
                requester: Some("spiffe://x/a".parse().expect("a consumer")),
                purpose: "p".into(),
                basis: String::new(),
                wants: Vec::new(),
                decision: crate::lists::Decision::Open,
                reason: String::new(),
                until_ms: None,
            })
            .collect(),
        ..Lists::default()
    };
    catalog(&lists, &"spiffe://x/a".parse().expect("a consumer"), &|_| "granted")
}

fn versions(lists: u32) -> Versions {
    let lines = [((List::Demand, "D-0000".parse().expect("an id")), 3)].into();
    Versions { lists, lines }
}

fn ask(size: i32, token: &str) -> v1::ListCatalogRequest {
    v1::ListCatalogRequest { list: String::new(), page_size: size, page_token: token.into() }
}

#[test]
fn pages_have_everything_once_in_order() {
    for (count, size, expected) in
        [(0, 0, 1), (100, 0, 1), (101, 0, 2), (7, 3, 3), (6, 3, 2), (1001, 5000, 2)]
    {
        let (mut token, mut seen, mut pages) = (String::new(), Vec::new(), 0);
        loop {
            let told = page(entries(count), &ask(size, &token), &versions(7)).expect("a page");
            assert_eq!(told.catalog_version, 7);
            seen.extend(told.items.iter().map(|item| item.id.clone()));
            pages += 1;
            token = told.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let all: Vec<String> = (0..count).map(|number| format!("D-{number:04}")).collect();
        assert_eq!((seen == all, pages), (true, expected), "{count} by {size}");
    }
    let told = page(entries(2), &ask(0, ""), &versions(7)).expect("a page");
    let told: Vec<(u32, &str)> = told.items.iter().map(|item| (item.version, item.status.as_str())).collect();
    assert_eq!(told, [(3, "open"), (0, "open")]);
}

#[test]
fn a_token_is_good_for_its_version_of_the_lists_and_nothing_else_is_one() {
    let token = page(entries(7), &ask(3, ""), &versions(7)).expect("a page").next_page_token;
    assert!(page(entries(7), &ask(3, &token), &versions(7)).is_ok());
    let long = "A".repeat(TOKEN_MAX + 4);
    let unknown = URL_SAFE_NO_PAD.encode("other\nD-1\n7");
    for (asked, version, word) in [
        (ask(3, &token), 8, "older version"),
        (ask(3, &token[1..]), 7, "page_token is none"),
        (ask(3, "?"), 7, "page_token is none"),
        (ask(3, &long), 7, "page_token is none"),
        (ask(3, &unknown), 7, "page_token is none"),
        (ask(-1, ""), 7, "page_size"),
        (v1::ListCatalogRequest { list: "persons".into(), ..ask(0, "") }, 7, "list has to be"),
    ] {
        let refused = page(entries(7), &asked, &versions(version)).expect_err(word);
        assert!(refused.to_string().contains(word), "{refused}");
        assert_eq!(refused.reason(), "malformed");
    }
    let shared = v1::ListCatalogRequest { list: "shared_list".into(), ..ask(0, "") };
    assert!(page(entries(7), &shared, &versions(7)).expect("a page").items.is_empty());
}

#[test]
fn a_line_is_granted_until_it_ends_and_with_a_tier_only_by_an_approval() {
    let caller = Caller::from("spiffe://x/a".parse::<crate::model::Consumer>().expect("a consumer"));
    let plain = line("S-1", Lane::Bulk, &["spiffe://x/a"]);
    let ended = crate::privacy::release::ShareLine { until_ms: Some(1_000), ..plain.clone() };
    let tiered = crate::privacy::release::ShareLine { tier: "T2".parse().ok(), ..plain.clone() };
    let shares = crate::lists::tests::closed();
    let share = &shares.shares[0];
    for (lines, expected) in
        [(vec![plain], "granted"), (vec![ended], "expired"), (vec![tiered], "missing"), (vec![], "missing")]
    {
        assert_eq!(standing(share, &caller, &InForce::of(lines), 1_000), expected);
    }
}
