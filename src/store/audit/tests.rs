//! The trail on a real database.
