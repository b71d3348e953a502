//! What a diagnosis finds.

use std::fmt;

/// What limits a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// The limiting stage. Of a cycle, it is the busiest stage. `None` where the readings do not tell.
    pub stage: Option<String>,
    /// The kind of limit.
    pub reason: Reason,
    /// What was observed.
    pub why: String,
    /// What to change, or what would have to change where no key of the graph helps.
    pub advice: String,
    /// The change of the graph in the advice, where there is one.
    pub edit: Option<Edit>,
    /// How many times as fast the run is at most after the change, at least 1. `None` where the readings do not tell.
    pub at_most: Option<f64>,
}

/// The kind of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The limiting unit works on a core nearly all the time.
    Computes,
    /// The limiting unit is a source that waits for what it reads.
    Reads,
    /// The limiting unit is a sink that waits for what it writes.
    Writes,
    /// The limiting unit waits inside its own code, for a file, a device or another program.
    WaitsOutside,
    /// No unit works all the time. The busiest one waits for its input, which comes unevenly.
    Starved,
    /// No unit works all the time. The busiest one waits for room, which comes unevenly.
    HeldUp,
    /// The units together want more cores than there are.
    TooFewCores,
    /// The run was too short to tell.
    TooShort,
    /// The parts of the run have different limits.
    TooUneven,
}

/// A change of one key of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The stage's name.
    pub stage: String,
    /// The key, which the stage has.
    pub key: &'static str,
    /// The new value.
    pub value: u64,
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stages.{}.{} = {}", self.stage, self.key, self.value)
    }
}

impl Reason {
    /// The word for this reason in results and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Computes => "computes",
            Reason::Reads => "reads",
            Reason::Writes => "writes",
            Reason::WaitsOutside => "waits_outside",
            Reason::Starved => "starved",
            Reason::HeldUp => "held_up",
            Reason::TooFewCores => "too_few_cores",
            Reason::TooShort => "too_short",
            Reason::TooUneven => "too_uneven",
        }
    }
}

/// A change of the graph, and how many times as fast the run is with it at most.
pub(super) struct Change {
    pub(super) edit: Edit,
    pub(super) at_most: f64,
}
