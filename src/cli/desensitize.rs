//! `smallbrain desensitize NAME`: an operator or a validator by its name, over one JSON value a line.
//!
//! Guarantees: what is wrong with the name or the parameters is told before the first line, all at once; there is one line
//! out for each line in, in order, null where a line is no JSON; no complaint shows a value. Memory is bounded by the
//! longest line. It reads no configuration and no key files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};

use serde_json::Value as Json;

use crate::privacy::named::{Named, NamedError, OPERATORS};

/// Bytes of one line; a longer one is answered with null.
pub const LINE_BYTES_MAX: usize = 1 << 20;

const EXAMPLES: &str = "\
Examples:
  echo '\"13800138000\"' | smallbrain desensitize mask_mobile
  echo 17 | smallbrain desensitize generalise_age --param bands=0-6,7-17,18-59,60+
  smallbrain desensitize pseudonym_hmac_sha256 --param type=plate --param purpose=traffic-flow \\
      --param subscriber=city-brain --param epoch=2026-11 --param master_key_hex=$(openssl rand -hex 32) < plates.jsonl

Keys given as parameters are for trying out only: everybody on this machine can see them. The daemon has its keys in files.
A pseudonym is personal information as long as somebody has its key.

Exit code 0, 1 when a line was no JSON (its number is on stderr), 2 when the operator or its parameters are wrong.
";

/// The examples, and every operator with what it takes.
#[must_use]
pub fn help() -> String {
    let mut help = String::from(EXAMPLES);
    help.push_str("\nOperators and validators, with their parameters (* required):\n");
    for operator in OPERATORS {
        // Writing to a text does not fail.
        let _ = writeln!(help, "  {:<22} {}", operator.name, operator.about);
        for parameter in operator.parameters {
            let star = if parameter.required { "*" } else { " " };
            let _ = writeln!(help, "      {star} {:<16} {}", parameter.name, parameter.about);
        }
    }
    help
}

/// Arguments of `desensitize`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The operator or validator, as listed below
    name: String,
    /// One of its parameters; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    // What stands there may be a key.
    let (name, value) = pair.ok_or("write it like unit=day")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum DesensitizeError {
    /// The operator or its parameters.
    #[error(transparent)]
    Named(#[from] NamedError),
    /// A parameter twice.
    #[error("parameter {0} is given twice")]
    Twice(String),
    /// Input or output.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The verb; `true` when every line was JSON. Numbers of the other lines go to `complaints`.
///
/// # Errors
/// [`DesensitizeError`].
pub fn main(
    args: &Args,
    mut input: impl BufRead,
    mut output: impl Write,
    complaints: impl Write,
) -> Result<bool, DesensitizeError> {
    let mut parameters = BTreeMap::new();
    for (name, value) in &args.parameters {
        if parameters.insert(name.clone(), value.clone()).is_some() {
            return Err(DesensitizeError::Twice(name.clone()));
        }
    }
    let mut lines = Lines { named: Named::new(&args.name, &parameters)?, number: 0, bad: false, complaints };
    let mut line = Vec::new();
    loop {
        let chunk = input.fill_buf()?;
        let taken = chunk.len();
        if taken == 0 {
            break;
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            // One byte over the bound is enough to know.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                lines.line(&line, &mut output)?;
                line.clear();
            }
        }
        input.consume(taken);
        output.flush()?;
    }
    if !line.is_empty() {
        lines.line(&line, &mut output)?;
    }
    output.flush()?;
    Ok(!lines.bad)
}

struct Lines<W> {
    named: Named,
    number: u64,
    bad: bool,
    complaints: W,
}

impl<W: Write> Lines<W> {
    fn line(&mut self, line: &[u8], output: &mut impl Write) -> io::Result<()> {
        self.number += 1;
        let read = if line.len() > LINE_BYTES_MAX {
            Err(format!("more than {LINE_BYTES_MAX} bytes"))
        } else {
            // Tells the place, not what stands there.
            serde_json::from_slice::<Json>(line)
                .map_err(|error| format!("no JSON at column {}", error.column()))
        };
        let json = match read {
            Ok(json) => self.named.apply(&json),
            Err(why) => {
                self.bad = true;
                writeln!(self.complaints, "smallbrain desensitize: line {}: {why}", self.number)?;
                Json::Null
            }
        };
        writeln!(output, "{json}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, parameters: &[&str], input: &str) -> (Result<bool, DesensitizeError>, String, String) {
        let parameters = parameters.iter().map(|text| pair(text).expect("NAME=VALUE")).collect();
        let (mut output, mut complaints) = (Vec::new(), Vec::new());
        let args = Args { name: name.into(), parameters };
        let result = main(&args, input.as_bytes(), &mut output, &mut complaints);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (result, text(output), text(complaints))
    }

    #[test]
    fn a_line_for_a_line() {
        let (result, output, complaints) =
            run("generalise_age", &["bands=0-17,18+"], "7\n18\r\n{\"a\": secret}\n\nnull\n200");
        assert!(!result.expect("read"));
        assert_eq!(output, "\"0-17\"\n\"18+\"\nnull\nnull\nnull\nnull\n");
        assert_eq!(complaints.lines().count(), 2);
        assert!(complaints.contains("line 3: no JSON at column 7") && complaints.contains("line 4: "));
        assert!(!complaints.contains("secret"));
        let (result, output, complaints) = run("sm3", &[], "");
        assert!(result.expect("read") && output.is_empty() && complaints.is_empty());
    }

    #[test]
    fn a_line_that_is_too_long() {
        let input = format!("\"{}\"\n\"abc\"\n", "x".repeat(LINE_BYTES_MAX));
        let (result, output, complaints) = run("sm3", &[], &input);
        assert!(!result.expect("read") && output.starts_with("null\n\"66c7f0f4"), "{output}");
        assert!(complaints.contains("line 1: more than 1048576 bytes"), "{complaints}");
    }

    #[test]
    fn nothing_runs_with_wrong_parameters() {
        for (name, parameters, message) in [
            ("mask", &[][..], "operator \"mask\" is not known"),
            ("sm3", &["x=1"], "unknown parameter \"x\""),
            ("round_base", &["base=5", "base=6"], "parameter base is given twice"),
        ] {
            let (result, output, _) = run(name, parameters, "1\n");
            let error = result.expect_err(name).to_string();
            assert!(error.contains(message) && output.is_empty(), "{error}");
        }
        assert!(pair("base").is_err() && pair("=5").is_err());
        assert_eq!(pair("layout=a=b"), Ok(("layout".into(), "a=b".into())));
    }

    #[test]
    fn the_help_has_every_operator() {
        let help = help();
        for operator in OPERATORS {
            assert!(help.contains(&format!("  {:<22} ", operator.name)), "{}", operator.name);
            assert!(operator.parameters.iter().all(|parameter| help.contains(parameter.name)));
        }
    }
}
