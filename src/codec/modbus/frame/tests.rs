//! Every function in both directions, and what garbage, pieces and wrong bytes make of it.

use proptest::prelude::*;

use super::super::{Request, Table, sealed};
use super::*;

/// Reads a whole capture in the given pieces, the way a bus does.
fn frames(pieces: &[&[u8]], direction: Direction) -> Vec<(usize, Vec<u8>)> {
    let (mut buffer, mut gone, mut found) = (Vec::new(), 0, Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let used = match scan(&buffer, direction) {
                Scan::Need => break,
                Scan::Skip(count) => count,
                Scan::Frame { len, .. } => {
                    found.push((gone, buffer[..len].to_vec()));
                    len
                }
            };
            assert!((1..=buffer.len()).contains(&used));
            buffer.drain(..used);
            gone += used;
        }
        assert!(buffer.len() < FRAME_BYTES_MAX, "what waits is bounded");
    }
    found
}

#[test]
fn what_no_device_may_say_is_no_frame_even_with_a_good_checksum() {
    use Direction::{Request, Response};
    for (content, direction, fault) in [
        (vec![1, 3, 0, 0, 0, 0], Request, Fault::Content),
        (vec![1, 3, 0, 0, 0, 126], Request, Fault::Content),
        (vec![1, 1, 0, 0, 7, 209], Request, Fault::Content),
        (vec![1, 5, 0, 0, 1, 0], Request, Fault::Content),
        (vec![1, 16, 0, 0, 0, 2, 2, 0, 0], Request, Fault::Content),
        (vec![1, 0x83, 0], Response, Fault::Content),
        (vec![1, 3, 3, 0, 0, 0], Response, Fault::Unknown),
        (vec![1, 3, 0], Response, Fault::Unknown),
        (vec![1, 3, 252, 0], Response, Fault::Unknown),
        (vec![1, 99, 0, 0], Response, Fault::Unknown),
        (vec![1, 3, 4, 0], Response, Fault::Short),
        (vec![1, 15, 0, 0, 0, 9, 1, 0], Request, Fault::Content),
        (vec![1, 23, 0, 0, 0, 126, 0, 0, 0, 1, 2, 0, 0], Request, Fault::Content),
        (vec![1, 23, 0, 0, 0, 1, 0, 0, 0, 2, 2, 0, 0], Request, Fault::Content),
        (vec![1, 0x2B, 13, 0, 0], Request, Fault::Unknown),
        (vec![1, 0x2B, 14, 5, 0], Request, Fault::Unknown),
        (vec![1, 0x2B, 14, 1, 1, 0, 0, 124], Response, Fault::Unknown),
        (vec![1, 0x2B, 14, 1, 1, 0, 0, 2, 0, 243, 0], Response, Fault::Unknown),
    ] {
        let bytes = sealed(content.clone());
        assert_eq!(examine(&bytes, direction), Err(fault), "{content:?}");
    }
}

#[test]
fn a_long_length_in_the_garbage_gives_way_to_the_frame_behind_it() {
    let good = sealed(vec![9, 4, 2, 1, 2]);
    let mut capture = vec![0x07, 0x03, 0x04];
    capture.extend(&good);
    capture.extend([0; 8]);
    assert_eq!(frames(&[&capture], Direction::Response), [(3, good)]);
}

/// Both directions of every function that is known (V1.1b3 §6, examples of the text where there are any).
fn samples() -> Vec<(Direction, Vec<u8>, Body<'static>)> {
    use Direction::{Request, Response};
    let many = |data: &'static [u8], start, count| Body::WriteMany { start, count, data };
    let identification = Body::Identification {
        code: 1,
        conformity: 1,
        next: Some(2),
        objects: Objects(b"\x00\x04ACME\x01\x02X7"),
    };
    let read_write =
        Body::ReadWrite { start: 3, count: 6, write_start: 14, data: &[0, 0xFF, 0, 0xFF, 0, 0xFF] };
    vec![
        (Request, vec![1, 1, 0, 0x13, 0, 0x13], Body::Read { start: 19, count: 19 }),
        (Response, vec![1, 1, 3, 0xCD, 0x6B, 0x05], Body::Bits(&[0xCD, 0x6B, 0x05])),
        (Request, vec![1, 2, 0, 0xC4, 0, 0x16], Body::Read { start: 196, count: 22 }),
        (Response, vec![1, 2, 3, 0xAC, 0xDB, 0x35], Body::Bits(&[0xAC, 0xDB, 0x35])),
        (Request, vec![1, 3, 0, 0x6B, 0, 3], Body::Read { start: 107, count: 3 }),
        (Response, vec![1, 3, 6, 2, 0x2B, 0, 0, 0, 0x64], Body::Registers(&[2, 0x2B, 0, 0, 0, 0x64])),
        (Request, vec![1, 4, 0, 8, 0, 1], Body::Read { start: 8, count: 1 }),
        (Response, vec![1, 4, 2, 0, 10], Body::Registers(&[0, 10])),
        (Request, vec![1, 5, 0, 0xAC, 0xFF, 0], Body::WriteCoil { address: 172, on: true }),
        (Response, vec![1, 5, 0, 0xAC, 0, 0], Body::WriteCoil { address: 172, on: false }),
        (Request, vec![1, 6, 0, 1, 0, 3], Body::WriteRegister { address: 1, value: 3 }),
        (Response, vec![1, 6, 0, 1, 0, 3], Body::WriteRegister { address: 1, value: 3 }),
        (Request, vec![1, 7], Body::Ask),
        (Response, vec![1, 7, 0x6D], Body::Status(0x6D)),
        (Request, vec![1, 8, 0, 0, 0xA5, 0x37], Body::Other(&[0, 0, 0xA5, 0x37])),
        (Response, vec![1, 11, 0xFF, 0xFF, 1, 8], Body::Other(&[0xFF, 0xFF, 1, 8])),
        (Request, vec![1, 15, 0, 0x13, 0, 10, 2, 0xCD, 1], many(&[0xCD, 1], 19, 10)),
        (Response, vec![1, 15, 0, 0x13, 0, 10], many(&[], 19, 10)),
        (Request, vec![1, 16, 0, 1, 0, 2, 4, 0, 10, 1, 2], many(&[0, 10, 1, 2], 1, 2)),
        (Response, vec![1, 16, 0, 1, 0, 2], many(&[], 1, 2)),
        (Request, vec![1, 17], Body::Ask),
        (Response, vec![1, 17, 4, 9, 0xFF, 0x41, 0x42], Body::Server(&[9, 0xFF, 0x41, 0x42])),
        (Request, vec![1, 22, 0, 4, 0, 0xF2, 0, 0x25], Body::MaskWrite { address: 4, and: 0xF2, or: 0x25 }),
        (Response, vec![1, 22, 0, 4, 0, 0xF2, 0, 0x25], Body::MaskWrite { address: 4, and: 0xF2, or: 0x25 }),
        (Request, vec![1, 23, 0, 3, 0, 6, 0, 14, 0, 3, 6, 0, 0xFF, 0, 0xFF, 0, 0xFF], read_write),
        (Response, vec![1, 23, 4, 0, 0xFE, 10, 0xCD], Body::Registers(&[0, 0xFE, 10, 0xCD])),
        (Request, vec![1, 0x2B, 14, 1, 0], Body::ReadIdentification { code: 1, object: 0 }),
        (Response, b"\x01\x2B\x0E\x01\x01\xFF\x02\x02\x00\x04ACME\x01\x02X7".to_vec(), identification),
        (Response, vec![1, 0x83, 2], Body::Exception(Exception(2))),
        (Response, vec![1, 0xAB, 1], Body::Exception(Exception(1))),
    ]
}

#[test]
fn every_function_is_known_byte_by_byte_and_no_part_of_it_is_a_frame() {
    for (direction, content, body) in samples() {
        let function = content[1] & 0x7F;
        let bytes = sealed(content);
        for len in 0..bytes.len() {
            assert_eq!(scan(&bytes[..len], direction), Scan::Need, "{len} of {bytes:02x?}");
        }
        let frame = Frame { unit: 1, function, body };
        let more = [&bytes[..], &[0xFF]].concat();
        for received in [&bytes, &more] {
            let expected = Scan::Frame { len: bytes.len(), frame };
            assert!(scan(received, direction) == expected, "{direction:?} {bytes:02x?}");
        }
    }
}

/// CRC-16 sees every change of one byte as long as the length stays the same. Where a byte that fixes the length is hit,
/// another end is looked at, which passes once in 65,536 times: not for one of these.
#[test]
fn no_single_wrong_byte_makes_another_frame_of_a_sample() {
    for (direction, content, _) in samples() {
        let bytes = sealed(content);
        for at in 0..bytes.len() {
            for flip in 1..=255 {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                // Nothing more comes: what waits for its end is garbage, and what is behind it is looked at.
                for start in 0..damaged.len() {
                    let found = examine(&damaged[start..], direction);
                    assert!(found.is_err(), "{direction:?} {damaged:02x?} at {start}");
                }
            }
        }
    }
}

#[test]
fn objects_end_where_they_are_cut() {
    let objects = |bytes: &'static [u8]| Objects(bytes).iter().collect::<Vec<_>>();
    assert_eq!(objects(b"\x00\x02AB\x80\x00"), [(0, &b"AB"[..]), (0x80, b"")]);
    assert_eq!(objects(b"\x00\x03AB"), []);
    assert_eq!(objects(b"\x00"), []);
}

fn responses() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (1..248u8, 1..5u8, proptest::collection::vec(any::<u8>(), 1..60)).prop_map(
            |(unit, function, mut data)| {
                if function > 2 && data.len() % 2 == 1 {
                    data.push(0);
                }
                let mut content = vec![unit, function, data.len() as u8];
                content.extend(data);
                sealed(content)
            }
        ),
        (1..248u8, 1..5u8, 1..12u8).prop_map(|(unit, function, code)| sealed(vec![
            unit,
            function | 0x80,
            code
        ])),
    ]
}

proptest! {
    #[test]
    fn any_bytes_in_any_split_end_and_the_split_does_not_matter(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        at in 0..600usize,
        asked in any::<bool>(),
    ) {
        let direction = if asked { Direction::Request } else { Direction::Response };
        let (head, tail) = bytes.split_at(at.min(bytes.len()));
        prop_assert_eq!(frames(&[&bytes], direction), frames(&[head, tail], direction));
    }

    #[test]
    fn a_frame_is_found_whole_wherever_it_is_split(frame in responses(), at in 0..70usize) {
        let (head, tail) = frame.split_at(at.min(frame.len()));
        prop_assert_eq!(frames(&[head, tail], Direction::Response), vec![(0, frame.clone())]);
    }

    /// Unless the garbage holds a frame itself that takes some of its bytes, once in 65,536 times.
    #[test]
    fn a_frame_in_garbage_is_found(
        before in proptest::collection::vec(any::<u8>(), 0..40),
        after in proptest::collection::vec(any::<u8>(), 0..40),
        which in any::<proptest::sample::Index>(),
    ) {
        let (direction, content, _) = which.get(&samples()).clone();
        let good = sealed(content);
        let capture = [&before[..], &good, &after].concat();
        let (mut at, mut found) = (0, Vec::new());
        while at < capture.len() {
            // Nothing more comes: what waits for its end is garbage.
            let len = examine(&capture[at..], direction).map_or(1, |(len, _)| {
                found.push(at..at + len);
                len
            });
            at += len;
        }
        let own = before.len()..before.len() + good.len();
        prop_assert!(found.iter().any(|taken| taken.start < own.end && own.start < taken.end));
    }

    /// What can be told at its length alone waits no longer than for the longest frame.
    #[test]
    fn nothing_waits_for_more_than_the_longest_frame(
        head in proptest::sample::select(vec![vec![1u8, 3], vec![1, 23], vec![1, 0x2B, 14, 1], vec![1, 17], vec![]]),
        rest in proptest::collection::vec(any::<u8>(), 256..300),
        asked in any::<bool>(),
    ) {
        let direction = if asked { Direction::Request } else { Direction::Response };
        prop_assert!(scan(&[head, rest].concat(), direction) != Scan::Need);
    }

    /// The length being the same, CRC-16 sees every change within 16 bits.
    #[test]
    fn one_wrong_byte_never_makes_another_answer(
        frame in responses(),
        at in any::<proptest::sample::Index>(),
        flip in 1..=255u8,
    ) {
        let Ok((_, whole)) = examine(&frame, Direction::Response) else { panic!("a frame") };
        let count = match whole.body {
            Body::Bits(data) => data.len() * 8,
            Body::Registers(data) => data.len() / 2,
            _ => 1,
        };
        let table = [Table::Coil, Table::Discrete, Table::Holding, Table::Input][usize::from(whole.function) - 1];
        let question = Request::new(whole.unit, table, 0, count as u16).expect("a possible question");
        let mut damaged = frame.clone();
        damaged[at.index(frame.len())] ^= flip;
        for (_, bytes) in frames(&[&damaged], Direction::Response) {
            let Ok((_, other)) = examine(&bytes, Direction::Response) else { panic!("a frame") };
            prop_assert!(!matches!(question.answer(&other), Some(Ok(_))));
        }
    }
}
