//! The cities that the gateway dials: `[[uplink]]`.
//!
//! Guarantees: plain text goes to this machine only; what is dialled with TLS has its files; one uplink for a consumer.
//! Dials nothing.

use std::collections::HashMap;

use super::Places;
use super::listen::file;
use crate::config::fault::Report;
use crate::config::raw::{self, Root};
use crate::share::dial::{Address, City, Files, Uplink};

/// Uplinks of one gateway.
const UPLINKS_MAX: usize = 8;

/// Checks all of them.
pub(super) fn uplinks(root: &Root, places: &Places, report: &mut Report) -> Vec<Uplink> {
    let mut seen = HashMap::new();
    let mut uplinks = Vec::new();
    for (index, raw) in root.uplink.list().iter().enumerate() {
        if index == UPLINKS_MAX {
            report.fault(raw.at, format!("more than {UPLINKS_MAX} uplinks"), "at most 8 of them");
        }
        let example = "\"spiffe://brain.example/city/310115/brain/traffic\"";
        let consumer = report.need(&raw.consumer, raw.at, "consumer", example);
        if let Some(consumer) = consumer {
            report.once(&mut seen, consumer.value.clone(), consumer.span, "uplink of");
        }
        let city = city(raw, places, report);
        uplinks.extend(
            city.zip(consumer).map(|(city, consumer)| Uplink { city, consumer: consumer.value.clone() }),
        );
    }
    uplinks
}

fn city(raw: &raw::Uplink, places: &Places, report: &mut Report) -> Option<City> {
    let at = report.need(&raw.city, raw.at, "city", "\"https://brain.example:50061\"")?;
    let address = match at.value.parse::<Address>() {
        Ok(address) => address,
        Err(why) => {
            let help = "\"https://brain.example:50061\"; plain text: \"http://127.0.0.1:50061\" or \"unix:city.sock\"";
            report.fault(at.span, format!("city {:?}: {why}", at.value), help);
            return None;
        }
    };
    if let Address::Tls(host, port) = address {
        let mut file = |key, name| file(key, raw.at, name, places, report);
        let files = [file(&raw.ca, "ca"), file(&raw.certificate, "certificate"), file(&raw.key, "key")];
        let [Some(ca), Some(certificate), Some(key)] = files else { return None };
        return Some(City::Tls { host, port, files: Files { ca, certificate, key } });
    }
    for unused in [&raw.ca, &raw.certificate, &raw.key].into_iter().filter_map(|key| key.get()) {
        report.fault(unused.span, "a file of TLS for a city in plain text", "city = \"https://…\"");
    }
    match address {
        Address::Loopback(authority) => Some(City::Loopback(authority)),
        Address::Unix(path) => Some(City::Unix(places.path(&path))),
        Address::Tls(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::{Config, Faults};

    const CITY: &str = "spiffe://brain.example/city/310115/brain/yiwangtongguan";

    fn with(uplink: &str) -> Result<Config, Faults> {
        let text = format!("{}\n{uplink}\n", include_str!("../../../config.example.toml"));
        Config::of_texts(vec![(PathBuf::from("smallbrain.toml"), text)], &[], 1_795_190_400_000)
    }

    #[test]
    fn an_uplink_is_whole_or_told() {
        let of = |keys: &str| with(&format!("[[uplink]]\nconsumer = \"{CITY}\"\n{keys}"));
        for keys in ["city = \"http://127.0.0.1:50061\"", "city = \"unix:/run/city.sock\""] {
            let config = of(keys).unwrap_or_else(|faults| panic!("{keys}: {faults}"));
            assert_eq!(config.uplinks.len(), 1, "{keys}");
        }
        let there = "city = \"http://127.0.0.1:50061\"";
        for (keys, fault) in [
            ("", "city"),
            ("city = \"http://192.0.2.1:50061\"", "plain text is for loopback addresses"),
            ("city = \"brain.example\"", "neither https://"),
            ("city = \"https://brain.example:1\"", "ca"),
            ("city = \"unix:x\"\nca = \"ca.pem\"", "a file of TLS for a city in plain text"),
            (&format!("{there}\n[[uplink]]\nconsumer = \"{CITY}\"\n{there}"), "stands twice"),
        ] {
            let faults = of(keys).expect_err(keys).to_string();
            assert!(faults.contains(fault), "{keys}: {faults}");
        }
    }
}
