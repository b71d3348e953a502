//! The bytes that the devices of a stage take from each other, as a run shows them.

use framewise_pipeline::StageContext;
use framewise_pipeline::stage::context::Level;

use crate::collective::Team;
use crate::words::{count, plural};

/// What the members of a team have taken from each other since this was made.
pub(crate) struct Traffic {
    context: StageContext,
    /// The bytes when this was made, and those at the last step.
    before: u64,
    last: u64,
    steps: u64,
}

impl Traffic {
    /// Begins to count for the stage of `context`. What the members took before is left out.
    pub(crate) fn new(team: &Team, context: &StageContext) -> Self {
        let before = team.received();
        Self { context: context.clone(), before, last: before, steps: 0 }
    }

    /// Counts a step.
    pub(crate) fn step(&mut self, team: &Team) {
        let received = team.received();
        if team.members().len() > 1 {
            ::metrics::counter!("framewise_device_taken_bytes_total", "stage" => self.context.stage.to_string())
                .increment(received - self.last);
        }
        self.last = received;
        self.steps += 1;
    }

    /// Tells how much it was, at the end, if anything.
    pub(crate) fn tell(&self) {
        let bytes = self.last - self.before;
        if bytes > 0 {
            let (bytes, steps) = (count(bytes), plural(self.steps, "step"));
            let text = format!("the devices took {bytes} bytes from each other in {steps}");
            self.context.message(Level::Debug, text);
        }
    }
}
