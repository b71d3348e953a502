//! The watchdog, which finds out that a run has come to a halt.
//!
//! Laws: time is counted in ticks of the sampler and never read from a clock. A process that was paused, or a machine
//! that slept, has therefore lost no time. A stage moves when a packet passes one of its ports, when it begins or ends
//! a wait, and when it says that it is alive ([`StageMeter::touch`]).
//!
//! [`StageMeter::touch`]: crate::edge::meter::StageMeter::touch

use std::time::Duration;

/// The time for which nothing may move while every stage waits for another. Such a wait never ends by itself, so the time
/// only has to be longer than a thread that was woken waits for a core.
pub(crate) const DEADLOCK: Duration = Duration::from_secs(5);

/// A count of the ticks since anything moved.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// The number of idle ticks that are allowed. With `None`, the watchdog does not watch, or does not watch any more.
    limit: Option<u64>,
    /// The ticks of [`DEADLOCK`].
    deadlock: u64,
    idle: u64,
    last: Vec<u64>,
}

/// The finding of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Something moved since the last tick.
    Moved,
    /// Nothing moved since the last tick, but not yet for as long as is allowed.
    Idle,
    /// Nothing has moved for as long as is allowed. This is found only once.
    Stalled,
}

impl Watchdog {
    /// Makes a watchdog for this timeout. Ticks come every `tick`, or later where the machine is busy.
    pub(crate) fn new(timeout: Option<Duration>, tick: Duration) -> Self {
        let limit = timeout.map(|timeout| ticks(timeout, tick));
        Self { limit, deadlock: ticks(DEADLOCK, tick), idle: 0, last: Vec::new() }
    }

    /// Compares the moves of every stage with those of the last tick. `all_wait` says whether every stage that has not
    /// ended waits for another.
    pub(crate) fn tick(&mut self, moves: impl Iterator<Item = u64>, all_wait: impl FnOnce() -> bool) -> Tick {
        let moves: Vec<u64> = moves.collect();
        if moves != self.last {
            self.last = moves;
            self.idle = 0;
            return Tick::Moved;
        }
        self.idle = self.idle.saturating_add(1);
        match self.limit {
            Some(limit) if self.idle == limit || self.idle >= self.deadlock && all_wait() => {
                self.limit = None;
                Tick::Stalled
            }
            _ => Tick::Idle,
        }
    }

    /// Whether nothing has moved for at least `time`.
    pub(crate) fn is_idle_for(&self, time: Duration, tick: Duration) -> bool {
        self.idle >= ticks(time, tick)
    }

    /// Whether this watchdog would report a halt.
    pub(crate) fn still_watches(&self) -> bool {
        self.limit.is_some()
    }
}

/// The number of ticks in `time`, rounded up.
fn ticks(time: Duration, tick: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(tick.as_nanos().max(1)).max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    fn tick(watch: &mut Watchdog, moves: &[u64]) -> Tick {
        watch.tick(moves.iter().copied(), || false)
    }

    #[test]
    fn a_wait_of_all_for_each_other_is_told_long_before_the_timeout() {
        let mut watch = Watchdog::new(Some(Duration::from_secs(600)), TICK);
        let mut tick = |all_wait: bool| watch.tick([3, 4].into_iter(), || all_wait);
        assert_eq!(tick(true), Tick::Moved);
        assert!((0..99).all(|_| tick(true) == Tick::Idle));
        // A stage that is busy may still move.
        assert!((0..500).all(|_| tick(false) == Tick::Idle));
        assert_eq!(tick(true), Tick::Stalled);
        assert!((0..500).all(|_| tick(true) == Tick::Idle));
    }

    #[test]
    fn a_stall_is_told_after_as_many_idle_ticks_as_the_timeout_holds_and_once() {
        let mut watch = Watchdog::new(Some(Duration::from_millis(151)), TICK);
        assert_eq!(tick(&mut watch, &[0, 0]), Tick::Moved);
        let idle: Vec<_> = (0..6).map(|_| tick(&mut watch, &[0, 0])).collect();
        assert_eq!(idle, [Tick::Idle, Tick::Idle, Tick::Idle, Tick::Stalled, Tick::Idle, Tick::Idle]);
        assert!(!watch.still_watches());
        // The stall is not reported again either when the stages that wake up to end have moved.
        assert_eq!(tick(&mut watch, &[1, 0]), Tick::Moved);
        assert!((0..10).all(|_| tick(&mut watch, &[1, 0]) == Tick::Idle));
    }

    #[test]
    fn any_stage_that_moves_begins_the_count_again() {
        let mut watch = Watchdog::new(Some(2 * TICK), TICK);
        for round in 0..100 {
            assert_eq!(tick(&mut watch, &[round, 7]), Tick::Moved);
            assert_eq!(tick(&mut watch, &[round, 7]), Tick::Idle);
            assert!(watch.still_watches());
        }
        assert_eq!(tick(&mut watch, &[99, 7]), Tick::Stalled);
    }

    #[test]
    fn without_a_timeout_nothing_stalls() {
        let mut watch = Watchdog::new(None, TICK);
        tick(&mut watch, &[0]);
        assert!((0..100_000).all(|_| watch.tick([0].into_iter(), || true) == Tick::Idle));
        assert!(!watch.still_watches());
        let mut endless = Watchdog::new(Some(Duration::MAX), TICK);
        tick(&mut endless, &[0]);
        assert!((0..1000).all(|_| tick(&mut endless, &[0]) == Tick::Idle));
    }
}
