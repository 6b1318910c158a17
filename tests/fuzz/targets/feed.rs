//! How an input is used, and how a line is fed to a codec: in pieces, into a bounded buffer, as the bus does it.

use std::ops::Range;

use smallbrain::codec::Scan;
use smallbrain::device::serial::bus::BUFFER_BYTES_MAX;

/// Bytes of an input that say how the rest is used: 0 whether checksums are repaired, 1 how the rest is split, the others
/// what is asked.
pub const HEAD_BYTES: usize = 8;

pub type Head = [u8; HEAD_BYTES];

/// A short input has zeros in its head.
pub fn head(input: &[u8]) -> (Head, &[u8]) {
    let (own, rest) = input.split_at(input.len().min(HEAD_BYTES));
    let mut head = [0; HEAD_BYTES];
    head[..own.len()].copy_from_slice(own);
    (head, rest)
}

/// The line that an input means: with `mend`, its frames have the right checksum, whatever else is wrong with them.
pub fn line(input: &[u8], mend: fn(&mut [u8])) -> (Head, Vec<u8>) {
    let (head, rest) = head(input);
    let mut line = rest.to_vec();
    if head[0] & 1 == 1 {
        mend(&mut line);
    }
    (head, line)
}

/// Lets a check see a frame, with its length.
pub fn each<F>(scan: Scan<F>, check: impl FnOnce(usize, F)) -> Scan<()> {
    match scan {
        Scan::Need => Scan::Need,
        Scan::Skip(count) => Scan::Skip(count),
        Scan::Frame { len, frame } => {
            check(len, frame);
            Scan::Frame { len, frame: () }
        }
    }
}

/// Feeds the line to `look` in pieces and as a whole: each step goes on, a frame is within what is there, what waits is
/// shorter than a frame, and the split makes no difference.
pub fn feed(head: Head, line: &[u8], frame_bytes_max: usize, mut look: impl FnMut(&[u8]) -> Scan<()>) {
    let bound = BUFFER_BYTES_MAX.min(frame_bytes_max + PIECE_BYTES_MAX);
    let split = frames(pieces(head[1], line), bound, frame_bytes_max, &mut look);
    let whole = frames([line].into_iter(), line.len(), frame_bytes_max, &mut look);
    assert_eq!(split, whole, "the split makes no difference");
}

const PIECE_BYTES_MAX: usize = 200;

/// Pieces of 1 to `longest` bytes; without it as long as they may be.
pub fn pieces(longest: u8, line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut seed) = (line, u32::from(longest) | 1);
    std::iter::from_fn(move || {
        // An LCG; only its upper bits are of use.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let len = match usize::from(longest) {
            0 => PIECE_BYTES_MAX,
            longest => 1 + (seed >> 16) as usize % longest.min(PIECE_BYTES_MAX),
        };
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Where the frames of a line are.
fn frames<'l>(
    mut pieces: impl Iterator<Item = &'l [u8]>,
    bound: usize,
    frame_bytes_max: usize,
    look: &mut impl FnMut(&[u8]) -> Scan<()>,
) -> Vec<Range<usize>> {
    let (mut buffer, mut passed, mut found) = (Vec::new(), 0, Vec::new());
    loop {
        let piece = pieces.next();
        buffer.extend_from_slice(piece.unwrap_or_default());
        assert!(buffer.len() <= bound, "{} bytes wait, {bound} may", buffer.len());
        let mut at = 0;
        while at < buffer.len() {
            let waits = buffer.len() - at;
            let len = match look(&buffer[at..]) {
                Scan::Need => {
                    assert!(waits < frame_bytes_max, "{waits} bytes are there and more are needed");
                    if piece.is_some() {
                        break;
                    }
                    // Nothing more comes: what is unfinished is garbage.
                    1
                }
                Scan::Skip(count) => count,
                Scan::Frame { len, .. } => {
                    assert!(len <= frame_bytes_max, "a frame of {len} bytes");
                    found.push(passed + at..passed + at + len);
                    len
                }
            };
            assert!((1..=waits).contains(&len), "{len} of {waits} bytes are consumed");
            at += len;
        }
        passed += at;
        buffer.drain(..at);
        if piece.is_none() {
            return found;
        }
    }
}

/// The sum of DL/T 645, CJ/T 188 and M-Bus.
pub fn sum(bytes: &[u8]) -> u8 {
    (bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 256) as u8
}

/// The number that BCD bytes say, lowest digits first; none when a digit is above 9.
pub fn digits(bytes: &[u8]) -> Option<i128> {
    let text: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether each pair of `asked` is a wildcard or the same as that of `found`.
pub fn fits(asked: &[u8], found: &[u8]) -> bool {
    asked.iter().zip(found).all(|(asked, found)| *asked == 0xAA || asked == found)
}

pub fn is_address(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0xAA || digits(&[*byte]).is_some())
}
