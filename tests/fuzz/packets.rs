//! A corpus of MQTT packets: good ones of every type that a client sends, in both versions, and what can be wrong with each:
//! cut anywhere, a byte too long, other flags, another length, every byte of the body something else.

/// A packet of a client: first byte and body.
struct Good {
    level: u8,
    first: u8,
    body: Vec<u8>,
}

/// Bytes that mean something in one place or another: nothing, the end of a length, a wildcard, not UTF-8.
const TELLING: [u8; 6] = [0, 1, 0x7F, b'#', 0x80, 0xFF];

/// Every packet with its level, once behind a CONNECT that is good.
pub(crate) fn all() -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    for good in good() {
        for bytes in variants(&good) {
            if good.first != 0x10 {
                all.push((good.level, bytes.clone()));
            }
            let hello = if good.first == 0x10 { Vec::new() } else { hello(good.level) };
            all.push((0, [hello, bytes].concat()));
        }
    }
    all
}

fn variants(good: &Good) -> Vec<Vec<u8>> {
    let Good { first, body, .. } = good;
    let mut all = vec![framed(*first, body)];
    all.extend((0..body.len()).map(|end| framed(*first, &body[..end])));
    all.push(framed(*first, &[body, &[0][..]].concat()));
    all.extend((0..8).map(|bit| framed(first ^ 1 << bit, body)));
    for length in [&[0][..], &[0x7F], &[0x80, 0], &[0xFF, 0xFF, 0xFF, 0x7F], &[0x80, 0x80, 0x80, 0x80, 1]] {
        all.push([&[*first], length, body].concat());
    }
    for at in 0..body.len() {
        for other in TELLING {
            let mut body = body.clone();
            body[at] = other;
            all.push(framed(*first, &body));
        }
    }
    all
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = if length < 128 {
        vec![first, length as u8]
    } else {
        vec![first, length as u8 | 0x80, (length >> 7) as u8]
    };
    [head, body.to_vec()].concat()
}

fn hello(level: u8) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    framed(0x10, &[&b"\0\x04MQTT"[..], &[level, 2, 0, 60], properties, b"\0\x01x"].concat())
}

fn good() -> Vec<Good> {
    let four: [(u8, &[u8]); 16] = [
        (0x10, b"\0\x04MQTT\x04\x02\0\x3c\0\0"),
        (0x10, b"\0\x04MQTT\x04\xEE\0\x3c\0\x01x\0\x03w/t\0\x02no\0\x01u\0\x01p"),
        (0x30, b"\0\x03a/bpayload"),
        (0x31, b"\0\x01a"),
        (0x32, b"\0\x03a/b\0\x07payload"),
        (0x3D, "\0\u{6}温度\0\u{7}1".as_bytes()),
        (0x40, b"\0\x07"),
        (0x50, b"\0\x07"),
        (0x62, b"\0\x07"),
        (0x70, b"\0\x07"),
        (0x82, b"\0\x07\0\x03a/#\x01\0\x01+\x02"),
        (0x82, b"\0\x07\0\x0a$share/g/a\0"),
        (0xA2, b"\0\x07\0\x03a/#\0\x01+"),
        (0xC0, b""),
        (0xE0, b""),
        (0x20, b"\0\0"),
    ];
    let five: [(u8, &[u8]); 17] = [
        (0x10, b"\0\x04MQTT\x05\x02\0\x3c\0\0\x01x"),
        (0x10, b"\0\x04MQTT\x05\x02\0\x3c\x13\x11\0\0\0\x0a\x21\0\x05\x27\0\0\x10\0\x22\0\x04\x17\0\0\x01x"),
        (0x10, b"\0\x04MQTT\x05\xEE\0\x3c\0\0\x01x\x0a\x18\0\0\0\x09\x02\0\0\0\x01\0\x03w/t\0\x02no\0\x01u\0\x01p"),
        (0x30, b"\0\x03a/b\0payload"),
        (0x30, b"\0\x03a/b\x0a\x02\0\0\0\x09\x23\0\x01\x01\x01{}"),
        (0x30, b"\0\0\x03\x23\0\x01x"),
        (0x3A, b"\0\x03a/b\0\x07\x15\x08\0\x01r\x09\0\x01c\x26\0\x01k\0\x01v\x03\0\x03t/pxyz"),
        (0x40, b"\0\x07"),
        (0x50, b"\0\x07\x10"),
        (0x62, b"\0\x07\x92\x00"),
        (0x70, b"\0\x07\0\x07\x26\0\x01k\0\x01v"),
        (0x82, b"\0\x07\x02\x0b\x05\0\x03a/#\x2E\0\x01+\x02"),
        (0x82, b"\0\x07\0\0\x0a$share/g/a\0"),
        (0xA2, b"\0\x07\0\0\x03a/#"),
        (0xC0, b""),
        (0xE0, b"\x04\x05\x11\0\0\0\x01"),
        (0xF0, b"\x18\0"),
    ];
    let level = |level| move |(first, body): &(u8, &[u8])| Good { level, first: *first, body: body.to_vec() };
    four.iter().map(level(4)).chain(five.iter().map(level(5))).collect()
}
