//! Digits, checksums and noise, by the simulator's own hand.
//!
//! Nothing here is shared with the codecs, so that a mistake of theirs is not repeated here.

use jiff::civil::DateTime;

/// Sum of all bytes modulo 256.
pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// CRC of Modbus as it is sent: poly A001 reflected, from FFFF, low byte first.
pub(super) fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
        }
    }
    crc.to_le_bytes()
}

/// Two decimal digits a byte, low byte first; digits that do not fit are cut off.
pub(super) fn bcd(mut number: u64, bytes: usize) -> Vec<u8> {
    let mut digit = || {
        let digit = (number % 10) as u8;
        number /= 10;
        digit
    };
    (0..bytes).map(|_| digit() | digit() << 4).collect()
}

/// The same as an array: an address.
pub(super) fn address<const N: usize>(number: u64) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&bcd(number, N));
    bytes
}

/// Whether the address of a question is `own`, or `own` below a wildcard: AA from the highest byte down.
pub(super) fn addressed(asked: &[u8], own: &[u8]) -> bool {
    let given = asked.len() - asked.iter().rev().take_while(|byte| **byte == 0xAA).count();
    asked[..given] == own[..given]
}

/// Seconds, minutes and hours, two digits each.
pub(super) fn time(at: DateTime) -> [u8; 3] {
    address([at.hour(), at.minute(), at.second()].iter().fold(0, |all, part| all * 100 + *part as u64))
}

/// Day, month and the year's last two digits.
pub(super) fn date(at: DateTime) -> [u8; 3] {
    address(at.year().unsigned_abs() as u64 % 100 * 10_000 + at.month() as u64 * 100 + at.day() as u64)
}

/// What turn-round and noise leave: zeros, ones, anything.
pub(super) fn garbage(seed: u64, count: u8) -> Vec<u8> {
    (0..count)
        .map(|index| match mix(seed ^ u64::from(index)) {
            any if any % 4 == 0 => 0x00,
            any if any % 4 == 1 => 0xFF,
            any => (any >> 16) as u8,
        })
        .collect()
}

/// splitmix64.
pub(super) fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

/// From 0 up to 600 and down again in 20 minutes; each seed is elsewhere on the way.
pub(super) fn wave(seed: u64, seconds: u64) -> i64 {
    let phase = (seconds + seed % 1200) % 1200;
    phase.min(1200 - phase) as i64
}

/// What a meter of fixed values says for an item of this code, below 100: four digits, the first at most 7, that are of no
/// other item of it, and of no other meter whose seed leaves another remainder at 79.
pub(super) fn signature(seed: u64, code: u64) -> i64 {
    (seed % 79 * 100 + code % 100) as i64
}

/// Bytes of a sample frame.
#[cfg(test)]
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_addresses_and_checks() {
        assert_eq!(bcd(12_345_678, 4), [0x78, 0x56, 0x34, 0x12]);
        assert_eq!(bcd(12_345_678, 2), [0x78, 0x56]);
        assert_eq!(address(201_000_000_012), [0x12, 0, 0, 0, 0x10, 0x20]);
        assert_eq!(crc(&hex("010400000002")), [0x71, 0xCB]);
        assert_eq!(sum(&[0xFF, 2]), 1);
        let at = jiff::civil::date(2015, 10, 9).at(23, 5, 4, 0);
        assert_eq!((time(at), date(at)), ([0x04, 0x05, 0x23], [0x09, 0x10, 0x15]));
    }

    #[test]
    fn a_wildcard_covers_the_high_bytes_only() {
        let own = [1, 2, 3];
        for (asked, is_own) in [
            ([1, 2, 3], true),
            ([1, 2, 0xAA], true),
            ([1, 0xAA, 0xAA], true),
            ([0xAA; 3], true),
            ([2, 0xAA, 0xAA], false),
            ([0xAA, 2, 3], false),
        ] {
            assert_eq!(addressed(&asked, &own), is_own, "{asked:?}");
        }
    }
}
