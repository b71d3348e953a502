//! The ranks of a job as rank 0 sees them: how far each is, and how long it has waited for the others of late.
//!
//! Law: the ranks make every step together, so the slowest is the one that waits least for the others. None is called the
//! slowest where all wait about equally long.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::text::percent;

/// The seconds over which waiting is told.
const SPAN: f64 = 10.0;

/// The least difference, as a share of the time, between the longest and the shortest waiting that makes a rank the slowest.
const DIFFERENCE: f64 = 0.05;

/// The seconds without a sign of life after which a rank counts as silent.
const SILENT: f64 = 2.5;

/// What a rank says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sign {
    /// The number of steps that it has done.
    pub(crate) step: u64,
    /// The seconds for which its stages have waited for other ranks.
    pub(crate) waited: f64,
    /// The stage that limits it, where it tells.
    pub(crate) limiting: Option<String>,
}

/// The signs of all ranks.
pub(crate) struct Board {
    hosts: Vec<String>,
    /// For each rank, its signs of the last seconds with the seconds since `begun`.
    heard: Mutex<Vec<VecDeque<(f64, Sign)>>>,
    begun: Instant,
}

/// A rank, as data for programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RankView {
    pub(crate) rank: usize,
    pub(crate) host: String,
    /// The steps that it has done.
    pub(crate) steps: u64,
    /// The seconds for which its stages have waited for other ranks since the run began.
    pub(crate) waited_seconds: f64,
    /// The share of the last seconds in which they waited, 0 to 1. `None` before there are two signs of it.
    pub(crate) waited: Option<f64>,
    /// The seconds since it was heard of. `None` if it never was.
    pub(crate) heard_seconds: Option<f64>,
    /// The stage that limits it, where it tells.
    pub(crate) limiting: Option<String>,
    /// Whether the others wait for it.
    pub(crate) slowest: bool,
}

impl Board {
    /// The board of ranks on these hosts.
    pub(crate) fn new(hosts: Vec<String>) -> Self {
        let heard = Mutex::new(vec![VecDeque::new(); hosts.len()]);
        Self { hosts, heard, begun: Instant::now() }
    }

    fn heard(&self) -> MutexGuard<'_, Vec<VecDeque<(f64, Sign)>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a sign of a rank.
    pub(crate) fn note(&self, rank: usize, sign: Sign) {
        self.note_at(self.begun.elapsed().as_secs_f64(), rank, sign);
    }

    fn note_at(&self, now: f64, rank: usize, sign: Sign) {
        let mut heard = self.heard();
        let Some(signs) = heard.get_mut(rank) else { return };
        signs.push_back((now, sign));
        // One sign that is older than the span stays, so that the span is covered.
        while signs.len() > 2 && now - signs[1].0 >= SPAN {
            signs.pop_front();
        }
    }

    /// The last sign of a rank.
    pub(crate) fn last(&self, rank: usize) -> Option<Sign> {
        Some(self.heard().get(rank)?.back()?.1.clone())
    }

    /// All ranks, in order.
    pub(crate) fn view(&self) -> Vec<RankView> {
        self.view_at(self.begun.elapsed().as_secs_f64())
    }

    /// The [`sentence`] about all ranks.
    pub(crate) fn sentence(&self) -> Option<String> {
        sentence(&self.view())
    }

    fn view_at(&self, now: f64) -> Vec<RankView> {
        let heard = self.heard();
        let mut ranks: Vec<RankView> = heard
            .iter()
            .zip(&self.hosts)
            .enumerate()
            .map(|(rank, (signs, host))| {
                let (first, last) = (signs.front(), signs.back());
                let sign = last.map_or(Sign::default(), |(_, sign)| sign.clone());
                let span = first.zip(last).filter(|(first, last)| last.0 > first.0);
                RankView {
                    rank,
                    host: host.clone(),
                    steps: sign.step,
                    waited_seconds: sign.waited,
                    // Several stages may wait at the same time.
                    waited: span.map(|(first, last)| {
                        ((last.1.waited - first.1.waited) / (last.0 - first.0)).clamp(0.0, 1.0)
                    }),
                    heard_seconds: last.map(|(at, _)| now - at),
                    limiting: sign.limiting,
                    slowest: false,
                }
            })
            .collect();
        if let Some((least, most)) = extremes(&ranks)
            && most - least >= DIFFERENCE
        {
            let slowest = ranks.iter_mut().find(|rank| rank.waited == Some(least));
            slowest.into_iter().for_each(|rank| rank.slowest = true);
        }
        ranks
    }
}

/// The shortest and the longest waiting. `None` until every rank has told it.
fn extremes(ranks: &[RankView]) -> Option<(f64, f64)> {
    let waited: Vec<f64> = ranks.iter().map(|rank| rank.waited).collect::<Option<_>>()?;
    let least = waited.iter().copied().reduce(f64::min)?;
    Some((least, waited.iter().copied().fold(least, f64::max)))
}

/// A sentence about several ranks, such as `4 ranks wait 0% to 22% of the time for each other: rank 1 (host-b) is the slowest,
/// limited by its stage decode`. `None` for one process, and before every rank was heard of.
pub(crate) fn sentence(ranks: &[RankView]) -> Option<String> {
    if ranks.len() < 2 {
        return None;
    }
    let count = ranks.len();
    let silent = ranks.iter().filter_map(|rank| Some((rank, rank.heard_seconds?)));
    if let Some((rank, seconds)) = silent.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, s)| *s > SILENT) {
        let RankView { rank, host, steps, .. } = rank;
        return Some(format!(
            "{count} ranks: rank {rank} ({host}) has not been heard of for {seconds:.0} s, since step {steps}"
        ));
    }
    let (least, most) = extremes(ranks)?;
    let wait =
        format!("{count} ranks wait {} to {} of the time for each other", percent(least), percent(most));
    let Some(slowest) = ranks.iter().find(|rank| rank.slowest) else { return Some(wait) };
    let limited =
        slowest.limiting.as_ref().map_or(String::new(), |stage| format!(", limited by its stage {stage}"));
    Some(format!("{wait}: rank {} ({}) is the slowest{limited}", slowest.rank, slowest.host))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A board of three ranks that have told their waiting in each of `seconds` seconds, by these shares.
    fn board(seconds: u32, shares: [f64; 3]) -> Board {
        let board = Board::new(["a", "b", "c"].map(str::to_owned).to_vec());
        for second in 0..=seconds {
            for (rank, share) in shares.iter().enumerate() {
                let limiting = (rank == 1).then(|| "decode".to_owned());
                let sign = Sign { step: 10, waited: share * f64::from(second), limiting };
                board.note_at(second.into(), rank, sign);
            }
        }
        board
    }

    #[test]
    fn the_rank_that_waits_least_is_the_slowest() {
        let board = board(30, [0.2, 0.0, 0.25]);
        let ranks = board.view_at(30.0);
        assert_eq!(ranks.iter().map(|rank| rank.slowest).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(
            sentence(&ranks).unwrap(),
            "3 ranks wait 0% to 25% of the time for each other: rank 1 (b) is the slowest, limited by its stage decode"
        );
        assert_eq!(board.last(2).unwrap().step, 10);
    }

    #[test]
    fn only_the_last_seconds_count() {
        let board = board(20, [0.5, 0.5, 0.0]);
        for second in 21..=40 {
            for (rank, waited) in [(0, 10.0), (1, 10.0), (2, 0.9 * f64::from(second - 20))] {
                board.note_at(second.into(), rank, Sign { waited, ..Sign::default() });
            }
        }
        let ranks = board.view_at(40.0);
        assert_eq!(ranks[0].waited, Some(0.0));
        assert!((ranks[2].waited.unwrap() - 0.9).abs() < 1e-9);
        assert!(ranks[0].slowest && !ranks[2].slowest);
    }

    #[test]
    fn ranks_that_wait_alike_have_no_slowest() {
        let text = sentence(&board(5, [0.02, 0.03, 0.05]).view_at(5.0)).unwrap();
        assert_eq!(text, "3 ranks wait 2% to 5% of the time for each other");
    }

    #[test]
    fn a_silent_rank_is_named() {
        let board = board(5, [0.0; 3]);
        for rank in [0, 2] {
            board.note_at(8.4, rank, Sign::default());
        }
        let text = sentence(&board.view_at(9.0)).unwrap();
        assert_eq!(text, "3 ranks: rank 1 (b) has not been heard of for 4 s, since step 10");
    }

    #[test]
    fn nothing_is_said_of_one_process_or_before_all_were_heard_of() {
        assert_eq!(sentence(&[]), None);
        assert_eq!(sentence(&Board::new(vec!["a".into(), "b".into()]).view_at(1.0)), None);
        assert_eq!(sentence(&board(0, [0.0; 3]).view_at(0.5)), None);
    }
}
