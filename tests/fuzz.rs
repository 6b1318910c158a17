//! Any bytes in any split: the samples, what fuzzing found, and mutations of both go through the fuzz targets.
//!
//! `FUZZ_ROUNDS=1000000 cargo test --test fuzz` mutates longer, `FUZZ_SEED=17` otherwise; the input that failed is printed.
//! `FUZZ_SEEDS=tests/fuzz/corpus` writes the samples for libFuzzer, see docs/CONTRIBUTING.md.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

#[path = "fuzz/packets.rs"]
mod packets;
#[path = "fuzz/targets/mod.rs"]
#[allow(unreachable_pub, reason = "it is also the library of the libFuzzer targets")]
mod targets;

use targets::feed::HEAD_BYTES;

/// Mutations of each target; seconds of all of them together in a build without optimisation.
const ROUNDS: u64 = 4_000;

/// As libFuzzer has it by default.
const INPUT_BYTES_MAX: usize = 4096;

/// Heads of inputs: as it is and in one piece, byte by byte, repaired, asked for something else.
const HEADS: [[u8; HEAD_BYTES]; 5] = [
    [0; HEAD_BYTES],
    [0, 1, 0, 0, 0, 0, 0, 0],
    [1, 7, 0, 1, 0, 0, 0, 0],
    [1, 40, 3, 2, 1, 1, 0, 1],
    [0, 3, 0x18, 3, 2, 0x10, 5, 0],
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The bytes of the samples of a protocol.
fn samples(protocol: &str) -> Vec<Vec<u8>> {
    let text =
        fs::read_to_string(root().join(format!("data/{protocol}.jsonl"))).expect("the samples are there");
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        pair.expect("hex digits")
    };
    text.lines()
        .map(|line| {
            let sample: Json = serde_json::from_str(line).expect("a sample is JSON");
            let hex = sample["hex"].as_str().expect("a sample has bytes");
            hex.as_bytes().chunks(2).map(byte).collect()
        })
        .collect()
}

const PAYLOADS: [&str; 9] = [
    r#"{"battery":100,"last_seen":"2024-01-10T18:42:48+00:00","linkquality":73,"state":null,"water_leak":true}"#,
    r#"{"Time":"2024-01-11T02:42:48","ENERGY":{"Total":12.340,"Power":[0,-1.5e-3,{"x":1}],"Voltage":230}}"#,
    r#"[{"u":"kWh","v":123456789012345678901234.5678,"t":-60},{"vb":false,"vs":"on"},{"v":1E400}]"#,
    r#"{"params":{"light":{"brightness":[1,2,3]}},"params":{"light":{"brightness":21.50}},"data":{"value":"1"}}"#,
    r#"{"a/b":1,"~":{"":2},"\u0061":"\ud83d\ude00\u0000","/":[[[[[]]]]]}"#,
    r#"{"last_seen":1704912168999,"t":-0,"e":0e999999999999,"x":9223372036854775808,"y":-9223372036854775808}"#,
    r#"{"last_seen":"20240110T184248,5-0530","temperature":"\"\\\b\f\n\r\t"}"#,
    r#"{"t":0.1234567890123,"e":-12345.67890123456789,"v":1.000000000000000000000000000001,"x":1e-28}"#,
    " \t\r\n null ",
];

/// Names and filters, one a line.
const TOPICS: [&str; 6] = [
    "a/b\na/+\n#\na\na/#\n+/b\n/\n+",
    "$SYS/a\n#\n+/a\n$SYS/#\n$SYS/+\n$share/g/#\n$share/g\n$share//a",
    "温度/1\n温度/+\n+/+\n+/#\n/温度\n//\n+/+/+\n/+/",
    "a/#/b\na+\n#a\n++\n\0\na/\n\na//b",
    "compound/meter-1/up\ncompound/+/up\ncompound/#\ncompound/meter-1/up/#\n+/+/up\n+/meter-1/#",
    "$share/g/a/b\n$share/组/+/#\n$share/+/a\n$share/g/\n$shared/a\n$share\n+/share",
];

/// An input of each profile: its samples at its topics.
fn messages() -> Vec<Vec<u8>> {
    let text = fs::read_to_string(root().join("data/mqtt_payloads.jsonl")).expect("the samples are there");
    let samples: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let payload = |sample: &Json| match &sample["payload"] {
        Json::String(payload) => payload.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    let count = smallbrain::codec::profile::Profile::all().len() as u8;
    let heads = (0..count).flat_map(|profile| (0..5).map(move |topic| [0, 0, profile, topic, 0, 0, 0, 0]));
    heads.flat_map(|head| samples.iter().map(move |sample| [&head[..], &payload(sample)].concat())).collect()
}

/// Steps of the exchange, five bytes each: everybody comes and subscribes, then anything happens.
fn steps() -> Vec<Vec<u8>> {
    let mut random = Random(7);
    let scripts = (0..40).map(|_| {
        let comes = (0..4).map(|client| [0, client, 8 + client, 5, 0]);
        let subscribes = (0..8).map(|number| [2, number % 4, number, 2 - number % 3, 0]);
        let first: Vec<u8> = comes.chain(subscribes).flatten().collect();
        let then = (0..random.below(1000)).map(|_| random.next() as u8);
        [first, then.collect()].concat()
    });
    scripts.collect()
}

/// Inputs of a target, whole: with a head of their own, or each under all heads.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let named = |all: Vec<Vec<u8>>| {
        all.into_iter().enumerate().map(|(number, input)| (format!("sample-{number}"), input)).collect()
    };
    let bodies: Vec<Vec<u8>> = match target {
        "json" => PAYLOADS.map(Vec::from).to_vec(),
        "bus" => scripts(),
        "decode" => {
            ["cjt188", "dlt645", "mbus", "modbus"].iter().flat_map(|protocol| samples(protocol)).collect()
        }
        "profile" => return named(messages()),
        "packet" => {
            let head = |level: u8| [0, 3, 0, level.saturating_sub(3), 0, 0, 0, 0];
            let inputs = packets::all().into_iter().map(|(level, bytes)| [&head(level)[..], &bytes].concat());
            return named(inputs.collect());
        }
        "topic" => TOPICS.map(Vec::from).to_vec(),
        "exchange" => steps(),
        protocol => samples(protocol),
    };
    let headed = |(number, body): (usize, &Vec<u8>)| {
        let each = HEADS.iter().enumerate();
        each.map(|(variant, head)| (format!("sample-{number}-{variant}"), [&head[..], body].concat()))
            .collect::<Vec<_>>()
    };
    bodies.iter().enumerate().flat_map(headed).collect()
}

/// Inputs of a target that are kept, by name: its samples, and what fuzzing found.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = inputs(target);
    // Of a target that has found nothing yet there is no directory.
    for file in fs::read_dir(root().join("fuzz/corpus").join(target)).into_iter().flatten() {
        let path = file.expect("a directory can be read").path();
        if path.extension().is_some_and(|extension| extension == "bin") {
            found.push((path.display().to_string(), fs::read(&path).expect("a kept input can be read")));
        }
    }
    found
}

/// Each question of the bus, asked, and then each sample of its protocol on the line: in time, too late, or when another
/// port is opened.
fn scripts() -> Vec<Vec<u8>> {
    let all: Vec<_> =
        ["modbus", "dlt645", "cjt188", "mbus"].iter().flat_map(|protocol| samples(protocol)).collect();
    let mut scripts = Vec::new();
    for (which, _) in (0_u8..).zip(targets::bus::questions()) {
        for (number, sample) in all.iter().enumerate().filter(|(number, _)| number % 11 == usize::from(which))
        {
            let wait = if number % 3 == 0 { 255 } else { 60 };
            let (early, late) = sample.split_at(sample.len() / 2);
            let mut script = vec![5, which, 3, wait];
            for piece in [early, late] {
                script.extend([0, piece.len().min(255) as u8]);
                script.extend(&piece[..piece.len().min(255)]);
                script.extend([3, 30]);
            }
            script.extend([5, which.wrapping_add(1), 7, 0, 7, 0, 6, which]);
            scripts.push(script);
        }
    }
    // Half of the answer just before the bus gives up listening for a late one, the rest behind the next question.
    scripts.extend(samples("modbus").iter().filter(|sample| sample.len() < 100).map(|sample| {
        let (early, late) = sample.split_at(sample.len() / 2);
        let (first, then) =
            ([5, 0, 3, 255, 3, 150, 0, early.len() as u8], [3, 40, 5, 0, 3, 25, 0, late.len() as u8]);
        [&first[..], early, &then, late, &[3, 60]].concat()
    }));
    scripts
}

/// A panic names the input, and the file to keep it in.
fn must_hold(target: &str, run: fn(&[u8]), input: &[u8], name: &str) {
    if catch_unwind(AssertUnwindSafe(|| run(input))).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{target}, {name}: fails on {hex}; keep it as tests/fuzz/corpus/{target}/….bin");
    }
}

/// splitmix64
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`; 0 when that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// A few changes: bits, bytes that codecs look for, pieces that go, come twice, or come from another input.
fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    const TELLING: [u8; 14] = [0, 1, 0x10, 0x16, 0x33, 0x68, 0x72, 0x80, 0x91, 0xAA, 0xE5, 0xFE, 0xFF, b'"'];
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        let count = 1 + random.below(16);
        match random.below(7) {
            0 | 1 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            2 if !input.is_empty() => input[at] = TELLING[random.below(TELLING.len())],
            3 => input.insert(at, random.next() as u8),
            4 => drop(input.drain(at..(at + count).min(input.len()))),
            5 => {
                let piece = input[at..(at + count).min(input.len())].to_vec();
                input.splice(at..at, piece);
            }
            _ => {
                let from = random.below(other.len());
                input.truncate(at.max(HEAD_BYTES));
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

#[test]
fn samples_and_what_fuzzing_found_keep_every_promise() {
    let written = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from);
    for (target, run) in targets::TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() > HEADS.len(), "{target} has samples");
        for (name, input) in &corpus {
            must_hold(target, run, input, name);
            if let Some(directory) = written.as_ref().filter(|_| name.starts_with("sample-")) {
                let directory = directory.join(target);
                fs::create_dir_all(&directory).expect("a directory for the samples");
                fs::write(directory.join(name), input).expect("a sample can be written");
            }
        }
    }
}

#[test]
fn mutations_keep_every_promise() {
    let (rounds, seed) = (from_env("FUZZ_ROUNDS", ROUNDS), from_env("FUZZ_SEED", 1));
    for (target, run) in targets::TARGETS {
        let corpus = corpus(target);
        let mut random = Random(seed);
        for round in 0..rounds {
            let mut input = corpus[random.below(corpus.len())].1.clone();
            let other = &corpus[random.below(corpus.len())].1;
            mutate(&mut random, &mut input, other);
            must_hold(target, run, &input, &format!("seed {seed}, round {round}"));
        }
    }
}
