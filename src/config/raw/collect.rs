//! What comes in: lines of the collection list, the treatments of their fields, the key of pseudonyms.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use toml::de::DeValue;

use crate::config::fault::Report;
use crate::config::raw::{Origin, Retention, Sensitivity};
use crate::config::read::{At, Node, Read, section, words};
use crate::model::{LineId, Metric};
use crate::privacy::generalise::Level;
use crate::privacy::intake::Form;
use crate::privacy::pseudonym::{Hash, Length, Subject};

section! {
    /// A line of the collection list.
    Collect, "[[collect]]", {
        id: LineId,
        title: String,
        templates: Vec<At<LineId>>,
        purpose: String,
        source: Origin,
        second_check: bool,
        fields: BTreeMap<Metric, At<Option<Field>>>,
        public: bool,
        sensitivity: Sensitivity,
        serves: Vec<At<LineId>>,
        retention: Retention,
        basis: String,
    }
}

/// What a line of the collection list says about a field.
#[derive(Debug)]
pub(crate) enum Field {
    /// A word that needs nothing else.
    Word(Do),
    /// A table.
    Table(Box<Operator>),
}

section! {
    /// What is done to a field, with its parameters.
    Operator, "the field's treatment", {
        what as "do": Do,
        subject: Subject,
        form as "as": Form,
        to: String,
        bands: Vec<At<Decimal>>,
        time: String,
        age: String,
        place: Level,
        base: Decimal,
        keep: u64,
        unchecked: bool,
    }
}

/// What is done to a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Do {
    /// As it is.
    Keep,
    /// Up a hierarchy.
    Generalise,
    /// To a multiple.
    Round,
    /// Its beginning.
    Truncate,
    /// With stars.
    Mask,
    /// A keyed token.
    Pseudonym,
    /// To a public key.
    Seal,
    /// Free text without numbers of people.
    Redact,
    /// Left out.
    Drop,
    /// Never taken.
    Refuse,
}

words!(
    Do,
    "keep" => Do::Keep,
    "generalise" => Do::Generalise,
    "round" => Do::Round,
    "truncate" => Do::Truncate,
    "mask" => Do::Mask,
    "pseudonym" => Do::Pseudonym,
    "seal" => Do::Seal,
    "redact" => Do::Redact,
    "drop" => Do::Drop,
    "refuse" => Do::Refuse,
);
words!(
    Subject,
    "code" => Subject::Code,
    "mobile" => Subject::Mobile,
    "landline" => Subject::Landline,
    "id18" => Subject::Id18,
    "id15" => Subject::Id15,
    "uscc18" => Subject::Uscc18,
    "plate" => Subject::Plate,
    "bank_card" => Subject::BankCard,
    "email" => Subject::Email,
    "name" => Subject::Name,
);
words!(
    Form,
    "name" => Form::Name,
    "id_card" => Form::IdCard,
    "mobile" => Form::Mobile,
    "landline" => Form::Landline,
    "plate" => Form::Plate,
    "bank_card" => Form::BankCard,
    "address" => Form::Address,
    "email" => Form::Email,
);
words!(
    Level,
    "building" => Level::Building,
    "compound" => Level::Compound,
    "committee" => Level::Committee,
    "street" => Level::Street,
    "county" => Level::County,
);

impl Field {
    /// What is done.
    pub(crate) fn what(&self) -> Option<Do> {
        match self {
            Field::Word(word) => Some(*word),
            Field::Table(table) => table.what.value().copied(),
        }
    }
}

impl Read for Field {
    fn read(node: &Node<'_>, report: &mut Report) -> Option<Self> {
        match node.value {
            DeValue::Table(_) => Operator::read(node, report).map(|table| Field::Table(Box::new(table))),
            _ => Do::read(node, report).map(Field::Word),
        }
    }

    #[cfg(test)]
    fn keys(path: &str, all: &mut Vec<String>) {
        <Operator as crate::config::read::Section>::paths(path, all);
    }
}

section! {
    /// The key of pseudonyms.
    Pseudonym, "[pseudonym]", {
        key: String,
        hash: Hash,
        epoch: Length,
        destroy_after_epochs: u64,
    }
}

words!(Hash, "sha256" => Hash::Sha256, "sm3" => Hash::Sm3);
words!(
    Length,
    "day" => Length::Day,
    "week" => Length::Week,
    "month" => Length::Month,
    "none" => Length::Endless,
);
