//! MQTT packets, 3.1.1 and 5.0: the split makes no difference, a packet is as long as its header says, none is longer than the
//! bound, and what is taken has topics and ids that the standard allows.

use smallbrain::device::mqtt::probe::{self, Heard};

use super::feed::{head, pieces};

pub fn run(input: &[u8]) {
    let (head, stream) = head(input);
    let level = [None, Some(4), Some(5)][usize::from(head[3] % 3)];
    let bytes_max = if head[4] & 1 == 0 { 64 << 10 } else { 64 };
    let whole = probe::hear([stream], level, bytes_max);
    let split = probe::hear(pieces(head[1], stream), level, bytes_max);
    assert_eq!(whole, split, "the split makes no difference");
    let frames = frames(stream, bytes_max);
    assert!(whole.said.len() <= frames.len(), "packets that are not there");
    assert_eq!(whole.bytes, frames.iter().take(whole.said.len()).sum::<usize>());
    if whole.fault.is_none() {
        assert_eq!(whole.said.len(), frames.len(), "a packet is neither taken nor refused");
    }
    fair(&whole, level.is_none());
}

fn fair(heard: &Heard, greeted: bool) {
    for (at, said) in heard.said.iter().enumerate() {
        assert_eq!(said.starts_with("connect"), greeted && at == 0, "CONNECT comes first and once: {said}");
        let mut words = said.split(' ');
        let (kind, second) = (words.next(), words.next().unwrap_or_default());
        match kind {
            Some("publish") => {
                assert!(["0", "1", "2"].contains(&second), "{said}");
                let pkid = words.nth(2).unwrap_or_default();
                assert_eq!(second == "0", pkid == "0", "{said}");
            }
            Some("puback" | "pubrec" | "pubrel" | "pubcomp" | "subscribe" | "unsubscribe") => {
                assert_ne!(second, "0", "{said}");
            }
            _ => {}
        }
    }
}

/// Lengths of the packets that are all there, by the fixed header alone (MQTT 3.1.1 §2.2.3), up to the first whose length is
/// none or above the bound.
fn frames(mut stream: &[u8], bytes_max: usize) -> Vec<usize> {
    let mut frames = Vec::new();
    loop {
        let Some(last) = stream.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0) else {
            return frames;
        };
        let digits = stream[1..=last + 1].iter().rev();
        let body = digits.fold(0, |length, byte| length << 7 | usize::from(byte & 0x7F));
        let len = last + 2 + body;
        if len > bytes_max || len > stream.len() {
            return frames;
        }
        frames.push(len);
        stream = &stream[len..];
    }
}
