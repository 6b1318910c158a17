//! What becomes of messages.
