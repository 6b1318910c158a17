//! Every profile on any bytes with any topic: what comes out is within its bounds, the same for the same input, and two
//! messages in a row (with what is remembered of the sender) are borne.

use smallbrain::codec::json::TEXT_BYTES_MAX;
use smallbrain::codec::profile::{Mapped, Message, NAME_BYTES_MAX, Profile, READINGS_MAX, State};
use smallbrain::model::Value;

use super::feed::head;

pub fn run(input: &[u8]) {
    let (head, rest) = head(input);
    let profile = &Profile::all()[usize::from(head[2]) % Profile::all().len()];
    let (own, payload) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) if head[3] & 0x80 != 0 => (String::from_utf8_lossy(&rest[..end]), &rest[end + 1..]),
        _ => ("x".into(), rest),
    };
    let filled = |filter: &&str| filter.replace('+', &own).replace('#', &format!("{own}/x"));
    let topics: Vec<String> = profile.filters().iter().map(filled).chain([own.to_string()]).collect();
    let topic = match usize::from(head[3] & 0x7F) % (topics.len() + 1) {
        0 => None,
        at => Some(topics[at - 1].as_str()),
    };
    let message = Message { topic, payload, received_ms: 1_763_700_000_000, zone_ms: 28_800_000 };
    let mut state = State::default();
    let first = profile.map(&message, &mut state);
    assert_eq!(first, profile.map(&message, &mut State::default()), "the same message means the same");
    for mapped in [first, profile.map(&message, &mut state)].into_iter().flatten() {
        assert!(payload.len() <= profile.payload_bytes_max());
        bounded(&mapped);
    }
    if let Some(topic) = topic {
        assert!(profile.sender(topic).is_none_or(|sender| sender.len() <= topic.len()));
    }
}

fn bounded(mapped: &Mapped) {
    assert!(mapped.readings.len() <= READINGS_MAX && mapped.device_nanos < 1_000_000);
    for reading in &mapped.readings {
        assert!((1..=NAME_BYTES_MAX).contains(&reading.metric.len()), "a metric of {}", reading.metric.len());
        if let Value::Text(text) = &reading.value {
            assert!(text.len() <= TEXT_BYTES_MAX && !text.contains('\0'), "a text of {}", text.len());
        }
        assert!(reading.unit.is_none() || matches!(reading.value, Value::Number(_)), "a unit of no number");
    }
    let mut refused: Vec<_> = mapped.refused.iter().map(|refused| refused.field).collect();
    refused.sort_unstable();
    assert!(refused.windows(2).all(|two| two[0] != two[1]), "refused once");
    assert!(mapped.raw.as_ref().is_none_or(|raw| raw.0.len() <= 1_024));
}
