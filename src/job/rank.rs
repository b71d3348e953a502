//! The number of a process among those of its job.

use std::str::FromStr;

/// The number of a process, and how many there are, as `--rank` gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// The number, from 0.
    pub(crate) rank: usize,
    pub(crate) size: usize,
}

impl FromStr for Rank {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "write R/N, such as 0/4: process R of N, where R counts from 0 and N is at most {}",
                Self::MOST
            )
        };
        let (rank, size) = text.split_once('/').ok_or_else(wrong)?;
        let rank = Self { rank: number(rank).ok_or_else(wrong)?, size: number(size).ok_or_else(wrong)? };
        if rank.is_possible() { Ok(rank) } else { Err(wrong()) }
    }
}

impl Rank {
    /// The most processes of a job.
    pub(crate) const MOST: usize = 1 << 16;

    pub(super) fn is_possible(self) -> bool {
        self.rank < self.size && self.size <= Self::MOST
    }
}

impl std::fmt::Display for Rank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.rank, self.size)
    }
}

/// A number in digits alone.
pub(super) fn number(text: &str) -> Option<usize> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}
