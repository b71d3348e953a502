//! The pace that ranks keep together: what the next step is, and when there is none.
//!
//! Law: all ranks make the same steps. When one of them has no further step, because its data or its time is over, none
//! begins another.

use std::sync::Arc;

use framewise_pipeline::{ErrorKind, Failure, StageContext};

use crate::failure::link_failure;
use crate::payload::Step;
use crate::ranks::{Channel, Ranks};
use crate::run_state::spread;
use crate::words::count;

/// What a rank has next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A step, with its index and a number that tells its videos.
    Step { index: u64, videos: u32 },
    /// The end of this epoch.
    EpochEnd(u64),
    /// Nothing.
    End,
}

/// One rank's end of the pace.
pub(super) struct Pace {
    channel: Channel,
    ranks: Arc<Ranks>,
}

impl Next {
    pub(super) fn of(step: &Step) -> Self {
        Self::Step { index: step.index, videos: step.part.map_or(0, |part| part.videos_crc) }
    }

    fn to_bytes(self) -> Vec<u8> {
        let (kind, number, videos) = match self {
            Self::End => (0u64, 0, 0),
            Self::Step { index, videos } => (1, index, u64::from(videos)),
            Self::EpochEnd(epoch) => (2, epoch, 0),
        };
        [kind, number, videos].map(u64::to_le_bytes).concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let words: Vec<u64> = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        match *words.as_slice() {
            [0, ..] => Some(Self::End),
            [1, index, videos] => Some(Self::Step { index, videos: videos as u32 }),
            [2, epoch, _] => Some(Self::EpochEnd(epoch)),
            _ => None,
        }
    }
}

impl Pace {
    /// The pace of the stage of `context`, where several ranks make each step.
    pub(super) fn of(context: &StageContext) -> Result<Option<Self>, Failure> {
        let (Some(channel), Some(ranks)) = (spread::channel(context)?, spread::shards(context)) else {
            return Ok(None);
        };
        Ok(Some(Self { channel, ranks }))
    }

    /// Tells the other ranks what this one has next, and returns whether all go on with it.
    ///
    /// # Errors
    /// `Config` (exit code 78) if another rank has something else next, which is named. A rank that is missed.
    pub(super) fn keep(&self, own: Next) -> Result<bool, Failure> {
        let all = self.channel.all_gather(&own.to_bytes()).map_err(|e| link_failure("keeping pace", &e))?;
        let all: Vec<_> = all.iter().map(|bytes| Next::from_bytes(bytes)).collect();
        if own == Next::End || all.contains(&Some(Next::End)) {
            return Ok(false);
        }
        let Some((rank, theirs)) = all.iter().enumerate().find(|(_, next)| **next != Some(own)) else {
            return Ok(true);
        };
        let (rank, theirs) = (self.ranks.named(rank), *theirs);
        Err(Failure::new(ErrorKind::Config, difference(&rank, own, theirs)))
    }
}

fn difference(rank: &str, own: Next, theirs: Option<Next>) -> String {
    match (own, theirs) {
        (Next::Step { index, .. }, Some(Next::Step { index: other, .. })) if index == other => format!(
            "step {} of {rank} has other videos than that of this rank: its files differ, or their order",
            count(index + 1)
        ),
        _ => format!(
            "{rank} has {} next where this rank has {}: the ranks do not read the same files",
            told(theirs),
            told(Some(own))
        ),
    }
}

fn told(next: Option<Next>) -> String {
    match next {
        Some(Next::Step { index, .. }) => format!("step {}", count(index + 1)),
        Some(Next::EpochEnd(epoch)) => format!("the end of epoch {}", count(epoch + 1)),
        Some(Next::End) => "nothing".to_owned(),
        None => "something unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_next_survives_the_way() {
        for next in [Next::End, Next::Step { index: 1 << 40, videos: u32::MAX }, Next::EpochEnd(7)] {
            assert_eq!(Next::from_bytes(&next.to_bytes()), Some(next));
        }
        assert_eq!(Next::from_bytes(&[1; 3]), None);
    }

    #[test]
    fn differences_are_told() {
        let step = |index, videos| Next::Step { index, videos };
        let text = difference("rank 1 (a)", step(4, 1), Some(step(4, 2)));
        assert!(text.contains("step 5 of rank 1 (a) has other videos"), "{text}");
        let text = difference("rank 1 (a)", step(4, 1), Some(Next::EpochEnd(0)));
        assert!(text.contains("the end of epoch 1 next where this rank has step 5"), "{text}");
    }
}
