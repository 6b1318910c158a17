//! What in a text names a person: validators for single codes, a detector for free text, and the mask that trusts
//! neither.
//!
//! Guarantees: text is compared in one normal form ([`normal`]): full-width and other compatibility forms, invisible
//! characters and the usual separators do not hide a number; everything that is found is checked (province, date, check
//! digit, grammar) and is told in characters of the text as it was written; neither errors nor `Debug` show a text.
//! What it does not do: find names of persons, addresses, numbers spelled in words, 15-digit ids in free text (they have
//! no check digit, so almost any 15 digits would be one); decide what happens to what is found (the caller). Pure.

pub mod detect;
pub mod digits;
pub mod normal;
pub mod number;
pub mod phone;
pub mod plate;
pub(crate) mod scan;

pub use detect::{Detected, Span, detect};
pub use digits::fail_closed_digits;
pub use normal::{Normal, normal};
pub use number::{id15, id18, luhn, uscc18};
pub use phone::{landline_cn, mobile_cn};
pub use plate::plate;
