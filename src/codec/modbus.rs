//! Modbus RTU frames and register types.

/// The four tables of a slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// FC 1.
    Coil,
    /// FC 2.
    Discrete,
    /// FC 3.
    Holding,
    /// FC 4.
    Input,
}

/// Order of the bytes of a value of more than one register, by the letters of field manuals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// ABCD: most significant first.
    Abcd,
    /// CDAB: registers swapped.
    Cdab,
    /// BADC: bytes swapped.
    Badc,
    /// DCBA: both.
    Dcba,
}

/// How registers make a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterKind {
    /// A coil or discrete input.
    Bit,
    /// One bit of a register, 0 is the least significant.
    BitOf(u8),
    /// Unsigned 16 bit.
    U16,
    /// Signed 16 bit.
    I16,
    /// Unsigned 32 bit.
    U32(Order),
    /// Signed 32 bit.
    I32(Order),
    /// IEEE 754 single.
    F32(Order),
    /// Unsigned 64 bit.
    U64(Order),
    /// Signed 64 bit.
    I64(Order),
    /// IEEE 754 double.
    F64(Order),
}
