//! The payload of tests.

use crate::edge::payload::Payload;

/// A numbered payload that claims a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// The number of the token.
    pub value: u64,
    /// The size that [`Payload::byte_len`] gives.
    pub bytes: usize,
}

impl Token {
    /// Makes a token of no bytes.
    pub fn new(value: u64) -> Self {
        Self { value, bytes: 0 }
    }
}

impl Payload for Token {
    const NAME: &'static str = "tokens";

    fn byte_len(&self) -> usize {
        self.bytes
    }
}
