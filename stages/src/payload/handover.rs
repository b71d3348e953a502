//! Handing a state over before a failure is reported, so that the failure does not lose the state.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use framewise_pipeline::StopToken;

/// The time between two looks at the stop token.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A request that travels with a state: the stage that sends the state has failed and waits with its failure until the
/// state is written.
#[derive(Debug, Clone)]
pub struct Handover {
    written: Sender<()>,
}

/// The end of a request at which the stage that failed waits.
pub(crate) struct Answer {
    written: Receiver<()>,
}

impl Handover {
    /// Makes a request, and the end at which its answer arrives.
    pub(crate) fn new() -> (Self, Answer) {
        let (sender, receiver) = channel();
        (Self { written: sender }, Answer { written: receiver })
    }

    /// Answers that the state is written.
    pub(crate) fn answer(&self) {
        // If the stage does not wait any more, it was stopped.
        let _ = self.written.send(());
    }
}

impl Answer {
    /// Waits until the state is written. The wait also ends when no stage has the state any more, so that nothing will
    /// write it, and when the run is stopped.
    pub(crate) fn wait(self, stop: &StopToken) {
        while self.written.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) && !stop.is_tripped() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_ends_with_an_answer_with_the_last_copy_and_with_the_run() {
        let (handover, answer) = Handover::new();
        handover.answer();
        answer.wait(&StopToken::new());

        let (handover, answer) = Handover::new();
        let copy = handover.clone();
        drop((handover, copy));
        answer.wait(&StopToken::new());

        let (_handover, answer) = Handover::new();
        let stop = StopToken::new();
        stop.trip();
        answer.wait(&stop);
    }
}
