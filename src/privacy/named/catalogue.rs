//! Which operators there are, and which parameters they take.
//!
//! Guarantees: one entry for each name; what is not here is refused. It applies nothing.

/// An operator or a validator.
#[derive(Debug)]
pub struct Operator {
    /// Its name.
    pub name: &'static str,
    /// What comes out, for people.
    pub about: &'static str,
    /// What it takes.
    pub parameters: &'static [Parameter],
}

/// Something that an operator takes.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it is, for people; a default where there is one.
    pub about: &'static str,
    /// Whether there is nothing without it.
    pub required: bool,
}

const fn need(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, required: true }
}

const fn may(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, required: false }
}

const fn bare(name: &'static str, about: &'static str) -> Operator {
    Operator { name, about, parameters: &[] }
}

const PSEUDONYM: &[Parameter] = &[
    need("master_key_hex", "at least 32 bytes in hex"),
    need("type", "mobile, landline, id18, id15, uscc18, plate, bank_card, email, name or code"),
    need("purpose", "what the data is for"),
    need("subscriber", "who it is for"),
    need("epoch", "until when, as 2026-11"),
    may("normalised", "ignored: what the value comes to"),
    may("layout", "ignored: how the token is made"),
];

const KEY: &[Parameter] =
    &[may("key_hex", "the key in hex"), may("key", "or as a text"), may("key_utf8", "the same")];

const THRESHOLD: &[Parameter] =
    &[may("k", "subjects at least; default 5"), may("zero", "\"public\" or \"hidden\"; default \"hidden\"")];

/// All of them, in the order of the help.
pub const OPERATORS: &[Operator] = &[
    bare("mask_name_cn", "a Chinese name, the family name left"),
    bare("mask_id_card", "a resident id of 18 or 15 characters"),
    bare("mask_mobile", "a mobile number"),
    bare("mask_landline", "a landline number"),
    bare("mask_plate", "a vehicle plate of 7 or 8 characters"),
    bare("mask_bank_card", "a bank card number"),
    bare("mask_address", "an address, its region left"),
    bare("mask_email", "an e-mail address"),
    Operator { name: "pseudonym_hmac_sha256", about: "a keyed token", parameters: PSEUDONYM },
    Operator { name: "pseudonym_hmac_sm3", about: "a keyed token, with SM3", parameters: PSEUDONYM },
    bare("sm3", "the hash of GB/T 32905 in hex"),
    Operator { name: "hmac_sha256", about: "the keyed hash of RFC 2104 in hex", parameters: KEY },
    Operator { name: "hmac_sm3", about: "the same with SM3", parameters: KEY },
    Operator {
        name: "generalise_number",
        about: "a half-open band of numbers",
        parameters: &[need("bands", "ascending bounds: 0,18,60")],
    },
    Operator {
        name: "generalise_time",
        about: "the bin of a time of RFC 3339",
        parameters: &[
            need("unit", "minute, 5min, hour, 2h, day, week, month or year"),
            may("tz", "Asia/Shanghai, UTC or +08:00; default Asia/Shanghai"),
        ],
    },
    Operator {
        name: "generalise_age",
        about: "the band of an age",
        parameters: &[need("bands", "both ends inclusive: 0-6,7-17,18-59,60+")],
    },
    Operator {
        name: "generalise_place",
        about: "a larger place of division|compound|building|unit|room",
        parameters: &[need("level", "building, compound, committee, street or county")],
    },
    Operator {
        name: "round_base",
        about: "the nearest multiple; no protection",
        parameters: &[need("base", "above zero")],
    },
    Operator {
        name: "truncate",
        about: "the first characters of a text without numbers of people",
        parameters: &[need("keep", "1 to 64 characters")],
    },
    Operator {
        name: "seal",
        about: "the value sealed to an age recipient",
        parameters: &[need("to", "age1..., as age-keygen prints it")],
    },
    Operator {
        name: "k_threshold",
        about: "a count of different subjects: a number, or count_distinct_subjects of an object",
        parameters: THRESHOLD,
    },
    Operator {
        name: "complementary_1d",
        about: "cells and their total, {\"B1\": 12, \"B2\": 3, \"total\": 15}; what is hidden is null",
        parameters: THRESHOLD,
    },
    Operator {
        name: "dominance",
        about: "the sum of [900, 60, 40], or the total of {\"total\": 1000, \"largest\": 900}",
        parameters: &[
            may("p", "what the largest may have: 50%, 50 or 0.5"),
            may("n", "how many of the largest count together; default 1"),
            may("k", "what they may have, instead of p"),
            may("dominance", "the same as p"),
        ],
    },
    bare("detect_and_label", "where a text has numbers of people, and the text with labels instead"),
    Operator {
        name: "fail_closed_digits",
        about: "the text with its long runs of digits masked",
        parameters: &[may("min_run", "digits in a row; default 7")],
    },
    bare("id18", "whether it is a resident id of 18 characters"),
    bare("id15", "whether it is one of 15"),
    bare("uscc18", "whether it is a unified social credit code"),
    bare("plate", "whether it is a vehicle plate"),
    bare("mobile_cn", "whether it is a mobile number"),
    bare("landline_cn", "whether it is a landline number"),
    bare("luhn", "whether it is a bank card number by its check digit"),
];

/// The entry of a name.
pub(super) fn of_name(name: &str) -> Option<&'static Operator> {
    OPERATORS.iter().find(|operator| operator.name == name)
}

/// All names, with commas.
pub(super) fn operator_names() -> String {
    OPERATORS.iter().map(|operator| operator.name).collect::<Vec<_>>().join(", ")
}
