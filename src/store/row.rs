//! A reading as a row of the log, with a checksum over all of it.

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{CachedStatement, Row};
use rust_decimal::Decimal;

use super::SeriesId;
use super::error::StoreError;
use crate::model::{Quality, Reading, SeriesKey, Value};
use crate::privacy::{self, Cleared};

pub(super) const INSERT: &str = "INSERT INTO reading (id, series, received, time_offset, value, scale, quality, crc) VALUES (?,?,?,?,?,?,?,?)";
pub(super) const SELECT: &str = "SELECT id, series, received, time_offset, value, scale, quality, crc FROM reading WHERE id > ? ORDER BY id LIMIT ?";

const SCALE_LONG: i64 = -1;
const SCALE_FLAG: i64 = -2;
const SCALE_TEXT: i64 = -3;
/// In the column of the quality: the reading told of the past, and its quality is another one.
const PAST: u8 = 0x80;

/// Inserts one reading; `past` says that it tells nothing of now.
pub(super) fn insert(
    statement: &mut CachedStatement<'_>,
    id: i64,
    series: SeriesId,
    reading: &Reading,
    past: bool,
) -> Result<(), StoreError> {
    let long;
    let (value, scale) = match &reading.value {
        Value::Number(number) => match i64::try_from(number.mantissa()) {
            Ok(mantissa) => (ToSqlOutput::Owned(SqlValue::Integer(mantissa)), i64::from(number.scale())),
            Err(_) => {
                long = number.to_string();
                (ToSqlOutput::Borrowed(ValueRef::Text(long.as_bytes())), SCALE_LONG)
            }
        },
        Value::Flag(flag) => (ToSqlOutput::Owned(SqlValue::Integer(i64::from(*flag))), SCALE_FLAG),
        Value::Text(text) => (ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())), SCALE_TEXT),
    };
    let offset = reading.device_time.then(|| reading.time_ms - reading.received_ms);
    let told = if past && reading.quality != Quality::Retained { PAST } else { 0 };
    let quality = reading.quality as u8 | told;
    let crc = match &value {
        ToSqlOutput::Owned(SqlValue::Integer(number)) => {
            checksum(series, reading.received_ms, offset, &number.to_le_bytes(), scale, quality)
        }
        ToSqlOutput::Borrowed(ValueRef::Text(text)) => {
            checksum(series, reading.received_ms, offset, text, scale, quality)
        }
        _ => 0,
    };
    statement.execute((id, series.0, reading.received_ms, offset, value, scale, quality, crc))?;
    Ok(())
}

/// A row of the log; `None` when its checksum does not hold or it makes no sense.
pub(super) fn decode(
    row: &Row<'_>,
    key: impl Fn(SeriesId) -> Option<SeriesKey>,
) -> Result<Stored, StoreError> {
    let id: i64 = row.get(0)?;
    let series = SeriesId(row.get(1)?);
    let received_ms: i64 = row.get(2)?;
    let offset: Option<i64> = row.get(3)?;
    let scale: i64 = row.get(5)?;
    let quality: u8 = row.get(6)?;
    let crc: u32 = row.get(7)?;
    let (value, found) = match row.get_ref(4)? {
        ValueRef::Integer(number) => {
            let value = match scale {
                SCALE_FLAG => Some(Value::Flag(number != 0)),
                0..=28 => Decimal::try_from_i128_with_scale(i128::from(number), scale as u32)
                    .ok()
                    .map(Value::Number),
                _ => None,
            };
            (value, checksum(series, received_ms, offset, &number.to_le_bytes(), scale, quality))
        }
        ValueRef::Text(bytes) => {
            let text = std::str::from_utf8(bytes).ok();
            let value = match scale {
                SCALE_TEXT => text.map(|text| Value::Text(text.into())),
                SCALE_LONG => text.and_then(|text| text.parse().ok()).map(Value::Number),
                _ => None,
            };
            (value, checksum(series, received_ms, offset, bytes, scale, quality))
        }
        _ => (None, crc.wrapping_add(1)),
    };
    let reading = match value {
        Some(value) if found == crc => key(series).map(|series| {
            privacy::intake::restored(Reading {
                series,
                value,
                time_ms: received_ms + offset.unwrap_or(0),
                received_ms,
                device_time: offset.is_some(),
                quality: Quality::from_code(quality & !PAST),
            })
        }),
        _ => return Ok(Stored { id, reading: None, past: false, intact: false }),
    };
    let past = quality & PAST != 0 || Quality::from_code(quality) == Quality::Retained;
    Ok(Stored { id, reading, past, intact: true })
}

/// A row of the log as it was found.
pub struct Stored {
    /// Its position.
    pub id: i64,
    /// The reading; none when its series is no point any more, or when the row is not intact.
    pub reading: Option<Cleared<Reading>>,
    /// Whether it told nothing of now when it came.
    pub past: bool,
    /// Whether its checksum holds.
    pub intact: bool,
}

fn checksum(
    series: SeriesId,
    received_ms: i64,
    offset: Option<i64>,
    value: &[u8],
    scale: i64,
    quality: u8,
) -> u32 {
    let mut head = [0_u8; 34];
    head[..8].copy_from_slice(&series.0.to_le_bytes());
    head[8..16].copy_from_slice(&received_ms.to_le_bytes());
    head[16..24].copy_from_slice(&offset.unwrap_or(i64::MIN).to_le_bytes());
    head[24..32].copy_from_slice(&scale.to_le_bytes());
    head[32] = quality;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(value);
    hasher.finalize()
}
