//! Display forms of what names a person: enough to recognise a line on an operator's screen, never a key and never to join
//! by.
//!
//! | operator | in | out |
//! |---|---|---|
//! | [`name_cn`] | 段正淳 | `段**` |
//! | [`id_card`] | 11010519491231002X | `1***************2X` |
//! | [`mobile`] | +86 138 0013 8000 | `138****8000` |
//! | [`landline`] | 021-68880000 | `021-******00` |
//! | [`plate`] | 沪A·D12345 | `沪AD****5` |
//! | [`bank_card`] | 4111111111111111 | `4111 **** **** 1111` |
//! | [`address`] | 上海市浦东新区张江镇科苑路88号 | `上海市浦东新区张********` |
//! | [`email`] | zhangsan@example.com | `z*******@example.com` |
//!
//! Guarantees: what is not of the operator's kind, as a whole, becomes [`HIDDEN`], whose length tells nothing (an empty text
//! too); of digits at most 7 stay of a mobile number, 6 of a fixed line, 3 of an id or a plate, 8 of a card, none of a name
//! or an address. Text is read in its normal form ([`normal`](super::identify::normal)). What it does not do: make data
//! anonymous (138****8000 is one of 10,000 numbers, and with a building often one person; the stars of a name and of an
//! e-mail address are as many as its characters); check dates and check digits, because a slip in an id must not show more
//! of it or less. Pure.

use super::identify::detect::{domain, is_local};
use super::identify::normal::trimmed;
use super::identify::scan::is_separator;
use super::identify::{phone, plate as plates};

/// What stands for a value that is not of the operator's kind.
pub const HIDDEN: &str = "******";

/// Characters of a name of a person.
const NAME_CHARS: std::ops::RangeInclusive<usize> = 2..=20;
/// Digits of a card or an account.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 12..=20;
/// Characters of an e-mail address before the `@` (RFC 5321, 4.5.3.1.1).
const LOCAL_CHARS: std::ops::RangeInclusive<usize> = 1..=64;
/// Characters that an address loses at its end, at least; and its stars.
const ADDRESS_TAIL: usize = 8;

/// The surname's first character: 欧阳娜娜 gives `欧***`. Only Chinese characters, with · between the parts of a name.
#[must_use]
pub fn name_cn(text: &str) -> String {
    let name: Vec<char> = trimmed(text).into_iter().filter(|c| *c != ' ').collect();
    let sound = NAME_CHARS.contains(&name.len())
        && name
            .iter()
            .enumerate()
            .all(|(place, c)| is_han(*c) || (place > 0 && matches!(c, '·' | '•' | '・')));
    if sound { ends(&name, 1, 0) } else { HIDDEN.into() }
}

/// First character and last two of an id of 18 or 15 characters.
#[must_use]
pub fn id_card(text: &str) -> String {
    let id = plain(text);
    let (body, sound) = match id.split_last() {
        Some((last, body)) if body.len() == 17 => (body, last.is_ascii_digit() || matches!(last, 'X' | 'x')),
        _ => (&id[..], id.len() == 15),
    };
    if sound && is_digits(body) { ends(&id, 1, 2) } else { HIDDEN.into() }
}

/// First three and last four digits of a mobile number, without country code and separators.
#[must_use]
pub fn mobile(text: &str) -> String {
    let Some(found) = phone::whole_mobile(text) else { return HIDDEN.into() };
    ends(&found.digits.chars().collect::<Vec<_>>(), 3, 4)
}

/// First four characters and last two digits of a fixed line with its area; the extension is left out.
#[must_use]
pub fn landline(text: &str) -> String {
    let Some(found) = phone::whole_landline(text) else { return HIDDEN.into() };
    let joint = if found.is_parted { "-" } else { "" };
    let line = format!("{}{joint}{}", found.area, found.local);
    ends(&line.chars().collect::<Vec<_>>(), 4, 2)
}

/// First three characters and the last of a plate of 7 or 8.
#[must_use]
pub fn plate(text: &str) -> String {
    let Some(found) = plates::whole(text) else { return HIDDEN.into() };
    ends(&found.text.chars().collect::<Vec<_>>(), 3, 1)
}

/// First and last four digits of 12 to 20, in groups of four.
#[must_use]
pub fn bank_card(text: &str) -> String {
    let card = plain(text);
    if !CARD_DIGITS.contains(&card.len()) || !is_digits(&card) {
        return HIDDEN.into();
    }
    let (first, rest) = card.split_at(4);
    let (hidden, last) = rest.split_at(rest.len() - 4);
    let mut masked: String = first.iter().collect();
    for group in hidden.chunks(4) {
        masked.push(' ');
        masked.extend(group.iter().map(|_| '*'));
    }
    masked.push(' ');
    masked.extend(last);
    masked
}

/// The administrative part of an address (province, city, district, street or town), without the last eight characters of
/// the address, then eight stars. Without such a part: [`HIDDEN`].
#[must_use]
pub fn address(text: &str) -> String {
    let address = trimmed(text);
    let kept = administrative(&address).min(address.len().saturating_sub(ADDRESS_TAIL));
    if kept == 0 {
        return HIDDEN.into();
    }
    address[..kept].iter().copied().chain(std::iter::repeat_n('*', ADDRESS_TAIL)).collect()
}

/// First character before the `@`, and the domain; of a single character nothing.
#[must_use]
pub fn email(text: &str) -> String {
    let mail = trimmed(text);
    let Some(at) = mail.iter().position(|c| *c == '@') else { return HIDDEN.into() };
    let (local, host) = mail.split_at(at);
    let sound = LOCAL_CHARS.contains(&local.len())
        && local.iter().all(|c| is_local(*c))
        && domain(host, 1) == Some(host.len());
    if !sound {
        return HIDDEN.into();
    }
    ends(local, usize::from(local.len() > 1), 0) + &host.iter().collect::<String>()
}

/// The first `first` and last `last` characters, stars between.
fn ends(chars: &[char], first: usize, last: usize) -> String {
    let shown = |place: usize| place < first || place >= chars.len() - last;
    chars.iter().enumerate().map(|(place, c)| if shown(place) { *c } else { '*' }).collect()
}

/// The normal form without separators.
fn plain(text: &str) -> Vec<char> {
    trimmed(text).into_iter().filter(|c| !is_separator(*c)).collect()
}

fn is_digits(chars: &[char]) -> bool {
    chars.iter().all(char::is_ascii_digit)
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Endings of administrative names, by rank; a longer one before one that it ends with.
const RANKS: &[(&str, u8)] = &[
    ("特别行政区", 0),
    ("自治区", 0),
    ("省", 0),
    ("自治州", 1),
    ("地区", 1),
    ("盟", 1),
    ("市", 1),
    ("区", 2),
    ("县", 2),
    ("旗", 2),
    ("街道", 3),
    ("苏木", 3),
    ("镇", 3),
    ("乡", 3),
];
/// Rank of a city within a city.
const LOWER_CITY: u8 = 2;
/// Longest administrative name, characters.
const ADMINISTRATIVE_MAX: usize = 16;
/// Before 区 they make a place where people live or work, not a district.
const NO_DISTRICT: &str = "小社园校厂库院景片住";
/// Where they stand, the administrative part is over.
const BELOW_STREET: &str = "号弄巷栋幢室座组";

/// Length of the administrative part that an address begins with.
fn administrative(address: &[char]) -> usize {
    let (mut end, mut rank) = (0, 0);
    while let Some((next, found)) = segment(&address[end..], rank) {
        end += next;
        rank = found + 1;
    }
    end
}

/// Length and rank of the first administrative name of at least this rank.
fn segment(rest: &[char], rank: u8) -> Option<(usize, u8)> {
    let name = rest
        .iter()
        .take(ADMINISTRATIVE_MAX)
        .take_while(|c| is_han(**c) && !BELOW_STREET.contains(**c))
        .count();
    (2..=name).find_map(|end| {
        let (ending, found) = RANKS.iter().find(|(ending, _)| ends_with(&rest[..end], ending))?;
        let found = if *ending == "市" && rank > 1 { LOWER_CITY } else { *found };
        (found >= rank && is_name(&rest[..end], ending, rest.get(end))).then_some((end, found))
    })
}

/// Whether an ending makes a name of what stands before it: 新乡市 is no 乡, 红旗区 no 旗, 沙市区 no 市, 幸福小区 no 区.
fn is_name(segment: &[char], ending: &str, next: Option<&char>) -> bool {
    let stem = &segment[..segment.len() - ending.chars().count()];
    let Some(before) = stem.last() else { return false };
    match ending {
        "市" => stem.len() >= 2 && !next.is_some_and(|next| "场区镇".contains(*next)),
        "区" => !is_quarter(stem, *before) && next != Some(&'县'),
        "镇" | "乡" | "县" | "旗" => !next.is_some_and(|next| "市区县镇".contains(*next)),
        _ => true,
    }
}

/// Whether 区 behind this makes a quarter of houses or works; 苏州工业园区 is as good as a district.
fn is_quarter(stem: &[char], before: char) -> bool {
    NO_DISTRICT.contains(before) && !ends_with(stem, "工业园")
}

fn ends_with(chars: &[char], ending: &str) -> bool {
    let size = ending.chars().count();
    size <= chars.len() && chars[chars.len() - size..].iter().copied().eq(ending.chars())
}

#[cfg(test)]
mod tests;
