//! A meter that was found, and the lines of the configuration that would read it.

use std::fmt::{self, Write as _};

use crate::codec::Item;
use crate::device::serial::{Address, Line, Parity};

/// A meter that was found. Its `Debug` shows no values.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its protocol and address.
    pub address: Address,
    /// How the line was set.
    pub line: Line,
    /// What it says of itself: names and texts.
    pub facts: Vec<(&'static str, String)>,
    /// What it reads now, as far as it was asked.
    pub items: Vec<Item>,
}

impl Found {
    /// One of the facts.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }

    /// `[[device]]` for the configuration, on the port of this name. The template is a proposal out of the shipped ones.
    #[must_use]
    pub fn toml(&self, port: &str) -> String {
        let (kind, template, doubt) = self.model();
        let mut lines = format!("[[device]]\nid = \"{kind}-{}\"\n", self.address);
        if let Some(doubt) = doubt {
            writeln!(lines, "# A guess: {doubt}. All templates: docs/devices.md, part 4.")
                .expect("a string takes everything");
        }
        writeln!(lines, "template = \"{template}\"").expect("a string takes everything");
        match &self.address {
            Address::Modbus(unit) => write!(lines, "port = \"{port}\"\nunit = {unit}\n"),
            address => write!(lines, "port = \"{port}\"\naddress = \"{address}\"\n"),
        }
        .expect("a string takes everything");
        let (own, usual) = (self.line, self.address.protocol().line());
        for (differs, line) in [
            (own.baud != usual.baud, format!("baud = {}", own.baud)),
            (own.parity != usual.parity, format!("parity = \"{}\"", own.parity)),
            (own.stop_bits != usual.stop_bits, format!("stop_bits = {}", own.stop_bits)),
            (
                self.fact("identifier_order") == Some("1f90"),
                "# in its template: identifier_order = \"1f90\"".to_owned(),
            ),
            (self.fact("unit_first").is_some(), "# in its template: unit_first = true".to_owned()),
            (self.fact("any_serial").is_some(), "# in its template: any_serial = true".to_owned()),
        ] {
            if differs {
                lines.push_str(&line);
                lines.push('\n');
            }
        }
        lines
    }

    /// What it is called, a template for it, and why that may be another one.
    fn model(&self) -> (&'static str, &'static str, Option<&'static str>) {
        match &self.address {
            Address::Modbus(_) => {
                ("modbus", "modbus-climate", Some("a Modbus slave does not say what it measures"))
            }
            Address::Dlt645(_) if self.fact("edition") == Some("1997") => {
                ("electricity", "dlt645-1997", None)
            }
            Address::Dlt645(_) => {
                let doubt = "the meter does not say whether it has one phase or three (dlt645-three-phase)";
                ("electricity", "dlt645-single-phase", Some(doubt))
            }
            Address::Cjt188(meter) => match meter.kind >> 4 {
                1 => ("water", "cjt188-water", None),
                2 => ("heat", "cjt188-heat", None),
                3 => ("gas", "cjt188-gas", None),
                _ => ("water", "cjt188-water", Some("the meter's type has no template of its own")),
            },
            Address::Mbus(_) => {
                ("mbus", "mbus-heat", Some("which records a meter has is its vendor's choice"))
            }
        }
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Even => "even",
            Self::Odd => "odd",
        })
    }
}

impl fmt::Display for Line {
    /// `2400 8E1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} 8{parity}{}", self.baud, self.stop_bits)
    }
}
