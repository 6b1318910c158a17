//! One spelling for all the ways to write a name.
//!
//! ```text
//! normal = NFKC, nothing invisible, no separators, upper case; a phone number without +86 or 0086
//! ```
//!
//! Guarantees: what people write as the same name gives the same text, and never two kinds of names the same token. It does
//! not check that a name is one of its kind.

use unicode_normalization::UnicodeNormalization;

/// What kind of name it is; decides how it is normalised first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Mobile number.
    Mobile,
    /// Landline number, with its area code.
    Landline,
    /// 18-digit resident id.
    Id18,
    /// 15-digit resident id.
    Id15,
    /// Unified social credit code of an organisation.
    Uscc18,
    /// Vehicle plate.
    Plate,
    /// Bank card number.
    BankCard,
    /// E-mail address.
    Email,
    /// What a person is called.
    Name,
    /// Anything else: a card number, an employee number.
    Code,
}

impl Subject {
    /// All of them.
    pub const ALL: [Subject; 10] = [
        Subject::Mobile,
        Subject::Landline,
        Subject::Id18,
        Subject::Id15,
        Subject::Uscc18,
        Subject::Plate,
        Subject::BankCard,
        Subject::Email,
        Subject::Name,
        Subject::Code,
    ];

    /// The name in the token's input.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Subject::Mobile => "mobile",
            Subject::Landline => "landline",
            Subject::Id18 => "id18",
            Subject::Id15 => "id15",
            Subject::Uscc18 => "uscc18",
            Subject::Plate => "plate",
            Subject::BankCard => "bank_card",
            Subject::Email => "email",
            Subject::Name => "name",
            Subject::Code => "code",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|subject| subject.as_str() == name)
    }

    /// The normal form; empty when nothing of the text belongs to a name.
    pub(super) fn normalise(self, text: &str) -> String {
        let name: String = text.nfkc().filter(|&c| self.keeps(c)).flat_map(char::to_uppercase).collect();
        match self {
            Subject::Mobile => national(&name),
            Subject::Landline => trunk(&name),
            _ => name,
        }
    }

    fn keeps(self, c: char) -> bool {
        match self {
            // Made of letters and digits only: everything else separates.
            Subject::Id18
            | Subject::Id15
            | Subject::Uscc18
            | Subject::Plate
            | Subject::BankCard
            | Subject::Name => c.is_alphanumeric(),
            Subject::Mobile | Subject::Landline => c.is_alphanumeric() || c == '+',
            // A dash tells two mailboxes apart.
            Subject::Email => !c.is_whitespace() && !is_invisible(c),
            Subject::Code => !c.is_whitespace() && !is_invisible(c) && !is_dash(c),
        }
    }
}

/// Zero-width, bidirectional and control characters.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}')
}

/// Without +86, 0086, or a bare 86 before the eleven digits of a mobile number.
fn national(number: &str) -> String {
    let is_mobile = |rest: &&str| rest.len() == 11 && rest.starts_with('1');
    let national = number
        .strip_prefix("+86")
        .or_else(|| number.strip_prefix("0086"))
        .or_else(|| number.strip_prefix("86").filter(is_mobile))
        .unwrap_or(number);
    national.replace('+', "")
}

/// Without +86 or 0086, and with the 0 of the area code that those replace.
fn trunk(number: &str) -> String {
    match number.strip_prefix("+86").or_else(|| number.strip_prefix("0086")) {
        Some(rest) if !rest.is_empty() && !rest.starts_with('0') => format!("0{rest}").replace('+', ""),
        Some(rest) => rest.replace('+', ""),
        None => number.replace('+', ""),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_has_one_name() {
        for subject in Subject::ALL {
            assert_eq!(Subject::of(subject.as_str()), Some(subject));
        }
        assert_eq!(Subject::of("Mobile"), None);
    }

    #[test]
    fn one_spelling() {
        for (subject, normal, spellings) in [
            (
                Subject::Landline,
                "02168880000",
                &["021-68880000", "(021) 6888 0000", "+86 21 6888 0000", "0086-021-68880000"][..],
            ),
            (
                Subject::Mobile,
                "13800138000",
                &["+86 138 0013 8000", "１３８００１３８０００", "86-138-0013-8000"],
            ),
            (Subject::Plate, "沪AD12345", &["沪a·d12345", "沪Ａ D-12345", "沪A•D12345"]),
            (Subject::Id18, "11010519491231002X", &["11010519491231002x", "110105 19491231 002Ｘ"]),
            (Subject::Id15, "110105491231002", &["110105 491231 002"]),
            (Subject::Uscc18, "91310110666007217T", &["91310110-66600721-7t"]),
            (Subject::BankCard, "4111111111111111", &["4111 1111 1111 1111", "4111-1111-1111-1111"]),
            (Subject::Email, "ZHANG-SAN@EXAMPLE.COM", &["Zhang-San@example.com", " zhang-san＠example.com"]),
            (Subject::Name, "欧阳娜娜", &["欧阳 娜娜", "欧阳·娜娜", "欧\u{200b}阳娜娜"]),
            // NFKC: a digit in a circle and a roman numeral are a digit and letters.
            (Subject::Code, "A7III", &["a-⑦Ⅲ", "Ａ7 iii"]),
        ] {
            for spelling in spellings {
                assert_eq!(subject.normalise(spelling), normal, "{spelling}");
            }
        }
    }

    proptest! {
        /// A normal form is its own normal form, so a stored one gives the same token.
        #[test]
        fn normal_is_normal(text in "[0-9A-Za-z+\\- ·]{0,12}") {
            for subject in Subject::ALL {
                let once = subject.normalise(&text);
                // What stands before the number may be taken for a country's code again.
                if !once.starts_with("86") && !once.starts_with("0086") {
                    prop_assert_eq!(subject.normalise(&once), once, "{:?}", subject);
                }
            }
        }
    }
}
