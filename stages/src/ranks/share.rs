//! The share of the records that a rank reads.

/// One of equal shares of the records of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The number of the share, from 0.
    pub rank: usize,
    /// The number of shares.
    pub ranks: usize,
}

impl Share {
    /// All records.
    pub const WHOLE: Self = Self { rank: 0, ranks: 1 };

    /// Whether the share has all records.
    pub fn is_whole(self) -> bool {
        self.ranks <= 1
    }
}
