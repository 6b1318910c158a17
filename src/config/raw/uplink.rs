//! The cities that the gateway dials, as written.

use crate::config::read::section;
use crate::model::Consumer;

section! {
    /// A city that is dialled.
    Uplink, "[[uplink]]", {
        city: String,
        consumer: Consumer,
        ca: String,
        certificate: String,
        key: String,
    }
}
