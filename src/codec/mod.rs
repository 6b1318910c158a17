//! Decoders that take bytes and give values: no I/O, no clock, no panic on any input.
//!
//! A decoder of a line protocol is one function from the received bytes to a [`Scan`]: it looks at the front only, and
//! the caller consumes what it is told to. So garbage costs one byte at a time, and no decoder keeps a buffer.

pub mod json;
pub mod modbus;

/// What the front of the received bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan<F> {
    /// Perhaps the beginning of a frame: more bytes tell.
    Need,
    /// So many bytes, at least one, that belong to no frame.
    Skip(usize),
    /// A frame.
    Frame {
        /** Bytes it takes, at least one. */
        len: usize,
        /** What it says. */
        frame: F,
    },
}
