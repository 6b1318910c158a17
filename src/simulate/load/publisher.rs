//! One MQTT 3.1.1 connection that publishes QoS 1 within a window: its packets, what is unacknowledged, what was acked.
//!
//! It has its own wire code for CONNECT, CONNACK, PUBLISH and PUBACK (OASIS MQTT 3.1.1, §3.1 to §3.4), so that it does
//! not share a mistake with the server under test. The PUBLISH is encoded once; time, sequence and values are patched
//! into fixed-width fields. Guarantees: never more than the window unacknowledged; a resent publish carries the bytes
//! of the first time, plus DUP. No I/O, no clock. It does not subscribe and does not ping (keep-alive is
//! off).

use std::collections::VecDeque;

/// A polite end (§3.14).
pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0];
/// Packet ids are 1 to 65535.
const IDS: u32 = 65_535;
const N_WIDTH: usize = 10;

/// A moment of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moment {
    /// Microseconds since the run began.
    pub(super) us: u64,
    /// Milliseconds since 1970 UTC.
    pub(super) wall_ms: u64,
}

/// What a run of PUBACKs was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Acks {
    /// Of unacknowledged publishes.
    pub(super) acked: u64,
    /// Of these, how many came before the ack of an earlier publish (§4.6 forbids it).
    pub(super) out_of_order: u64,
    /// Of ids that nothing is unacknowledged under.
    pub(super) unknown: u64,
    /// Something that is not a PUBACK came; the stream cannot be read any further.
    pub(super) garbled: bool,
}

/// A publish on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// The device's sequence.
    pub(super) n: u64,
    /// When it was first sent, microseconds of the run.
    pub(super) at_us: u64,
    ts_ms: u64,
    id: u16,
    acked: bool,
}

/// The connection's state, whatever socket it is on.
#[derive(Debug)]
pub(super) struct Publisher {
    template: Template,
    inflight: VecDeque<Sent>,
    window: usize,
    next_id: u16,
    next_n: u64,
    left: u64,
    carry: Vec<u8>,
}

impl Publisher {
    /// Publishes `count` times on `topic`, with sequences from `first_n`.
    pub(super) fn new(topic: &str, size: usize, window: u16, first_n: u64, count: u64) -> Self {
        Self {
            template: Template::new(topic, size),
            inflight: VecDeque::with_capacity(usize::from(window)),
            window: usize::from(window),
            next_id: 1,
            next_n: first_n,
            left: count,
            carry: Vec::with_capacity(4),
        }
    }

    /// How many publishes may go out now.
    pub(super) fn room(&self) -> u64 {
        self.left.min((self.window - self.inflight.len()) as u64)
    }

    /// Whether everything it was to send is sent.
    pub(super) fn spent(&self) -> bool {
        self.left == 0
    }

    /// Whether nothing is unacknowledged.
    pub(super) fn idle(&self) -> bool {
        self.inflight.is_empty()
    }

    /// Appends up to `allowance` publishes to `out`, as far as the window goes; returns how many.
    pub(super) fn refill(&mut self, now: Moment, allowance: u64, out: &mut Vec<u8>) -> u64 {
        let count = self.room().min(allowance);
        for _ in 0..count {
            let sent =
                Sent { n: self.next_n, at_us: now.us, ts_ms: now.wall_ms, id: self.next_id, acked: false };
            self.template.write(&sent, false, out);
            self.inflight.push_back(sent);
            self.next_id = self.next_id % (IDS as u16) + 1;
            self.next_n += 1;
        }
        self.left -= count;
        count
    }

    /// A new socket: appends everything unacknowledged to `out`, in order, with DUP; returns how many.
    pub(super) fn resend(&mut self, out: &mut Vec<u8>) -> u64 {
        self.carry.clear();
        let unacked = self.inflight.iter().filter(|sent| !sent.acked);
        unacked.map(|sent| self.template.write(sent, true, out)).count() as u64
    }

    /// Takes bytes from the server, in any split; `acked` sees each publish that is acknowledged for the first time.
    pub(super) fn receive(&mut self, mut bytes: &[u8], mut acked: impl FnMut(&Sent)) -> Acks {
        let mut acks = Acks::default();
        if !self.carry.is_empty() {
            let missing = bytes.len().min(4 - self.carry.len());
            self.carry.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if let Ok(packet) = <[u8; 4]>::try_from(self.carry.as_slice()) {
                self.carry.clear();
                self.take(packet, &mut acks, &mut acked);
            }
        }
        let (packets, rest) = bytes.as_chunks::<4>();
        for packet in packets {
            self.take(*packet, &mut acks, &mut acked);
        }
        self.carry.extend_from_slice(rest);
        acks
    }

    fn take(&mut self, packet: [u8; 4], acks: &mut Acks, acked: &mut impl FnMut(&Sent)) {
        let [first, length, high, low] = packet;
        acks.garbled |= (first, length) != (0x40, 2);
        if acks.garbled {
            return;
        }
        let id = u16::from_be_bytes([high, low]);
        let oldest = self.inflight.front().map_or(0, |sent| sent.id);
        let place = (u32::from(id) + IDS - u32::from(oldest)) % IDS;
        match self.inflight.get_mut(place as usize) {
            Some(sent) if sent.id == id && !sent.acked => {
                sent.acked = true;
                acks.acked += 1;
                acks.out_of_order += u64::from(place > 0);
                acked(sent);
            }
            _ => acks.unknown += 1,
        }
        while self.inflight.front().is_some_and(|sent| sent.acked) {
            self.inflight.pop_front();
        }
    }
}

/// A PUBLISH with holes for what changes.
#[derive(Debug)]
struct Template {
    packet: Vec<u8>,
    id: usize,
    ts: usize,
    n: usize,
    temperature: usize,
    humidity: usize,
}

impl Template {
    /// `size`: bytes of payload; smaller than the fields are is not possible.
    fn new(topic: &str, size: usize) -> Self {
        let mut payload =
            br#"{"ts":0000000000000,"n":         0,"temperature":00.00,"humidity":00.0,"battery":98,"status":"ok"}"#
                .to_vec();
        let hole =
            |key: &[u8]| payload.windows(key.len()).position(|at| at == key).map_or(0, |at| at + key.len());
        let [ts, n, temperature, humidity] =
            [hole(br#""ts":"#), hole(br#""n":"#), hole(br#""temperature":"#), hole(br#""humidity":"#)];
        let pad = br#","pad":""}"#;
        if let Some(filler) = size.checked_sub(payload.len() - 1 + pad.len()) {
            payload.pop();
            payload.extend_from_slice(&pad[..8]);
            payload.resize(payload.len() + filler, b'.');
            payload.extend_from_slice(&pad[8..]);
        }

        let mut packet = vec![0x32];
        put_length(&mut packet, 2 + topic.len() + 2 + payload.len());
        put_text(&mut packet, topic);
        let id = packet.len();
        let body = id + 2;
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(&payload);
        Self {
            packet,
            id,
            ts: body + ts,
            n: body + n,
            temperature: body + temperature,
            humidity: body + humidity,
        }
    }

    /// The values follow from the sequence: no two of 3000 neighbours are equal.
    fn write(&mut self, sent: &Sent, dup: bool, out: &mut Vec<u8>) {
        let packet = self.packet.as_mut_slice();
        packet[0] = if dup { 0x3A } else { 0x32 };
        packet[self.id..self.id + 2].copy_from_slice(&sent.id.to_be_bytes());
        digits(&mut packet[self.ts..self.ts + 13], sent.ts_ms, b'0');
        digits(&mut packet[self.n..self.n + N_WIDTH], sent.n, b' ');
        let cents = 1_000 + sent.n % 3_000;
        digits(&mut packet[self.temperature..self.temperature + 2], cents / 100, b'0');
        digits(&mut packet[self.temperature + 3..self.temperature + 5], cents % 100, b'0');
        let tenths = 300 + sent.n % 400;
        digits(&mut packet[self.humidity..self.humidity + 2], tenths / 10, b'0');
        digits(&mut packet[self.humidity + 3..self.humidity + 4], tenths % 10, b'0');
        out.extend_from_slice(packet);
    }
}

/// Right-aligned decimal; what does not fit is cut on the left.
fn digits(field: &mut [u8], mut number: u64, fill: u8) {
    let mut first = true;
    for place in field.iter_mut().rev() {
        *place = if number > 0 || first { b'0' + (number % 10) as u8 } else { fill };
        number /= 10;
        first = false;
    }
}

/// A CONNECT (§3.1) without keep-alive. `clean` is false when the session is to outlive its socket.
pub(super) fn connect(client_id: &str, user: Option<(&str, Option<&str>)>, clean: bool) -> Vec<u8> {
    let mut flags = if clean { 0x02 } else { 0x00 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0];
    put_text(&mut body, client_id);
    if let Some((name, password)) = user {
        flags |= 0x80;
        put_text(&mut body, name);
        if let Some(password) = password {
            flags |= 0x40;
            put_text(&mut body, password);
        }
    }
    body[7] = flags;
    let mut packet = vec![0x10];
    put_length(&mut packet, body.len());
    packet.extend_from_slice(&body);
    packet
}

/// A SUBSCRIBE (§3.8) at QoS 1, with the packet id 1.
pub(super) fn subscribe(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 1];
    put_text(&mut body, filter);
    body.push(1);
    let mut packet = vec![0x82];
    put_length(&mut packet, body.len());
    packet.extend_from_slice(&body);
    packet
}

/// A CONNACK (§3.2): its return code; `None` when it is something else.
pub(super) fn connack(packet: [u8; 4]) -> Option<u8> {
    (packet[..2] == [0x20, 2]).then_some(packet[3])
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = text.len().min(usize::from(u16::MAX));
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..length]);
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length > 127 {
        out.push((length % 128) as u8 | 0x80);
        length /= 128;
    }
    out.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;
    use rumqttc::mqttbytes::{QoS, v4};

    const NOW: Moment = Moment { us: 7, wall_ms: 1_763_700_000_000 };

    fn decoded(bytes: &[u8]) -> Vec<v4::Publish> {
        let mut bytes = BytesMut::from(bytes);
        let mut publishes = Vec::new();
        while !bytes.is_empty() {
            match v4::Packet::read(&mut bytes, 1 << 20).expect("a whole packet") {
                v4::Packet::Publish(publish) => publishes.push(publish),
                other => panic!("{other:?}"),
            }
        }
        publishes
    }

    fn puback(id: u16) -> [u8; 4] {
        let [high, low] = id.to_be_bytes();
        [0x40, 2, high, low]
    }

    #[test]
    fn another_codec_reads_the_publishes() {
        for size in [0, 98, 99, 107, 108, 150, 1_000, 20_000] {
            let mut publisher = Publisher::new("compound/load-1/up", size, 3, 9_999, 10);
            let mut out = Vec::new();
            assert_eq!(publisher.refill(NOW, u64::MAX, &mut out), 3);
            for (index, publish) in decoded(&out).into_iter().enumerate() {
                assert_eq!((publish.topic.as_str(), publish.qos), ("compound/load-1/up", QoS::AtLeastOnce));
                assert_eq!((usize::from(publish.pkid), publish.dup), (index + 1, false));
                let json: serde_json::Value = serde_json::from_slice(&publish.payload).expect("JSON");
                assert_eq!(json["ts"], 1_763_700_000_000_u64);
                assert_eq!(json["n"], 9_999 + index);
                assert!((10.0..40.0).contains(&json["temperature"].as_f64().expect("a number")));
                assert!((30.0..70.0).contains(&json["humidity"].as_f64().expect("a number")));
                let length = publish.payload.len();
                assert!(length == size || length == 98 && size < 108, "{length} for {size}");
            }
        }
    }

    #[test]
    fn another_codec_reads_the_connect() {
        for (user, clean) in [(None, true), (Some(("u", None)), false), (Some(("u", Some("密码"))), true)] {
            let mut bytes = BytesMut::from(connect("load-1", user, clean).as_slice());
            let v4::Packet::Connect(packet) = v4::Packet::read(&mut bytes, 1 << 20).expect("a whole packet")
            else {
                panic!("not a CONNECT");
            };
            assert_eq!(
                (packet.client_id.as_str(), packet.clean_session, packet.keep_alive),
                ("load-1", clean, 0)
            );
            let login = packet.login.map(|login| (login.username, login.password));
            assert_eq!(login, user.map(|(name, word)| (name.to_owned(), word.unwrap_or("").to_owned())));
        }
        assert_eq!(connack([0x20, 2, 0, 5]), Some(5));
        assert_eq!(connack([0x40, 2, 0, 5]), None);
    }

    #[test]
    fn another_codec_reads_the_subscribe() {
        let mut bytes = BytesMut::from(subscribe("compound/deaf-1/down").as_slice());
        let Ok(v4::Packet::Subscribe(packet)) = v4::Packet::read(&mut bytes, 1 << 20) else {
            panic!("not a SUBSCRIBE");
        };
        let wish = &packet.filters[0];
        assert_eq!(
            (packet.pkid, wish.path.as_str(), wish.qos),
            (1, "compound/deaf-1/down", QoS::AtLeastOnce)
        );
    }

    fn counts(acked: u64, out_of_order: u64, unknown: u64) -> Acks {
        Acks { acked, out_of_order, unknown, garbled: false }
    }

    #[test]
    fn acks_are_checked() {
        // (ids acked, expected)
        let cases: [(&[u16], Acks); 5] = [
            (&[1, 2, 3, 4], counts(4, 0, 0)),
            (&[2, 1, 3, 4], counts(4, 1, 0)),
            (&[1, 1, 2], counts(2, 0, 1)),
            (&[3, 3, 5, 0], counts(1, 1, 3)),
            (&[65_535], counts(0, 0, 1)),
        ];
        for (ids, expected) in cases {
            let mut publisher = Publisher::new("t", 0, 4, 1, 100);
            publisher.refill(NOW, u64::MAX, &mut Vec::new());
            let bytes: Vec<u8> = ids.iter().flat_map(|id| puback(*id)).collect();
            assert_eq!(publisher.receive(&bytes, |_| ()), expected, "{ids:?}");
        }
        let mut publisher = Publisher::new("t", 0, 4, 1, 100);
        publisher.refill(NOW, u64::MAX, &mut Vec::new());
        let bytes = [puback(1), [0xD0, 0, 0x40, 2], puback(2)].concat();
        assert_eq!(publisher.receive(&bytes, |_| ()), Acks { garbled: true, ..counts(1, 0, 0) });
    }

    #[test]
    fn what_is_unacknowledged_is_sent_again_as_it_was() {
        let mut publisher = Publisher::new("t", 120, 4, 1, 100);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        publisher.refill(NOW, u64::MAX, &mut first);
        assert_eq!(publisher.receive(&puback(3), |_| ()).acked, 1);
        assert_eq!(publisher.receive(&puback(1)[..3], |_| ()).acked, 0);
        assert_eq!(publisher.resend(&mut second), 3);
        let again: Vec<_> = decoded(&second).into_iter().map(|p| (p.pkid, p.dup, p.payload)).collect();
        let expected: Vec<_> =
            decoded(&first).into_iter().filter(|p| p.pkid != 3).map(|p| (p.pkid, true, p.payload)).collect();
        assert_eq!(again, expected);
        let rest: Vec<u8> = [1, 2, 4].into_iter().flat_map(puback).collect();
        assert_eq!(publisher.receive(&rest, |_| ()), counts(3, 0, 0));
        assert!(publisher.idle());
    }

    proptest! {
        #[test]
        fn acks_come_in_any_split(cuts in prop::collection::vec(1..9_usize, 0..40), window in 1..50_u16) {
            let mut publisher = Publisher::new("t", 0, window, 5, u64::MAX);
            publisher.refill(NOW, u64::MAX, &mut Vec::new());
            let bytes: Vec<u8> = (1..=window).flat_map(puback).collect();
            let (mut rest, mut seen) = (bytes.as_slice(), Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                let acks = publisher.receive(head, |sent| seen.push(sent.n));
                prop_assert_eq!(acks, counts(acks.acked, 0, 0));
                rest = tail;
            }
            prop_assert_eq!(seen, (5..5 + u64::from(window)).collect::<Vec<_>>());
        }

        #[test]
        fn ids_go_round_and_the_window_holds(window in 1..2_000_u16, rounds in 1..100_u32) {
            let mut publisher = Publisher::new("t", 0, window, 1, u64::MAX);
            let mut acked = 0;
            for _ in 0..rounds {
                let mut out = Vec::new();
                publisher.refill(NOW, u64::MAX, &mut out);
                prop_assert!(publisher.inflight.len() <= usize::from(window));
                let bytes: Vec<u8> = publisher.inflight.iter().flat_map(|sent| puback(sent.id)).collect();
                prop_assert!(!bytes.chunks(4).any(|packet| packet[2..] == [0, 0]));
                let acks = publisher.receive(&bytes, |_| ());
                prop_assert_eq!(acks, counts(acks.acked, 0, 0));
                acked += acks.acked;
            }
            prop_assert_eq!(acked, u64::from(window) * u64::from(rounds));
        }
    }
}
