//! What the thread of a stage may be doing, and where it waits.

/// What a stage's thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// The thread has not started.
    Idle,
    /// In the stage's own code.
    Busy,
    /// Blocked on an empty input.
    InputWait,
    /// Blocked on a full output.
    OutputWait,
    /// The thread has ended.
    Done,
}

/// The place of a wait among the waits of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitSlot(usize);

impl WaitSlot {
    /// The place with this index.
    pub(crate) fn new(index: usize) -> Self {
        Self(index)
    }

    /// The place as an index.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}
