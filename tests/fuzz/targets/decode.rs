//! `decode`: one object for each line of hex digits, whatever it holds and however it comes.

use std::io::BufReader;

use serde_json::Value as Json;
use smallbrain::cli::decode::{DecodeError, run as decode};
use smallbrain::codec::modbus::Direction;
use smallbrain::codec::{Scan, cjt188, dlt645, mbus, modbus};

use super::feed;

const PROTOCOLS: [&str; 4] = ["cjt188", "dlt645", "mbus", "modbus"];

pub fn run(input: &[u8]) {
    let (head, rest) = feed::head(input);
    for protocol in PROTOCOLS {
        // The input as it is: lines of anything.
        let whole = objects(protocol, rest, usize::MAX);
        assert_eq!(whole, objects(protocol, rest, head[1].into()), "the split makes no difference");
        let lines = rest.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        assert_eq!(whole.len(), lines.count(), "one object a line");
        // The input as the bytes of one frame.
        let hex: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        let objects = objects(protocol, hex.as_bytes(), usize::MAX);
        assert_eq!(objects.len(), usize::from(!rest.is_empty()));
        for object in &objects {
            let valid = object.get("link_frame_valid").or(object.get("valid"));
            let valid = valid.and_then(Json::as_bool).expect("an object says whether it is valid");
            assert!(valid || object["reason"].is_string(), "why it is not");
            assert_eq!(valid, holds(protocol, rest), "{protocol}: {object}");
        }
    }
    assert!(matches!(decode("dlms", &[], rest, std::io::sink()), Err(DecodeError::Protocol(_))));
}

fn objects(protocol: &str, text: &[u8], chunk: usize) -> Vec<Json> {
    let mut output = Vec::new();
    let input = BufReader::with_capacity(chunk.clamp(1, 1 << 16), text);
    decode(protocol, &[], input, &mut output).expect("memory does not break");
    let lines = output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("an object")).collect()
}

/// Whether there is a frame in the bytes.
fn holds(protocol: &str, bytes: &[u8]) -> bool {
    let mut fronts = (0..bytes.len()).map(|at| &bytes[at..]);
    match protocol {
        "cjt188" => fronts.any(|front| matches!(cjt188::scan(front), Scan::Frame { .. })),
        "dlt645" => fronts.any(|front| matches!(dlt645::scan(front), Scan::Frame { .. })),
        // An acknowledgement is one byte, which garbage has, too.
        "mbus" => {
            let told = |front| mbus::examine(front).is_ok_and(|(_, frame)| frame != mbus::Frame::Ack);
            bytes[0] == 0xE5 || fronts.any(told)
        }
        _ => fronts.any(|front| {
            [Direction::Request, Direction::Response].iter().any(|way| modbus::examine(front, *way).is_ok())
        }),
    }
}
