//! What a stage needs and sends, as far as that is known before a run: memory by part, and the flow of items.
//!
//! A stage type tells this given the settings of a stage and the flows that reach it. A type that tells nothing is one
//! whose needs are not known, which is something else than no needs.

/// What a stage needs and sends.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The memory that the stage holds at its peak, by part. What waits in the edges is not counted here.
    pub memory: Vec<Part>,
    /// What devices take from other devices for each item, such as each step.
    pub taken: Vec<Taken>,
    /// The flow of each output of which something is known, by the name of the port.
    pub flows: Vec<(&'static str, Flow)>,
    /// Other numbers that are known beforehand, such as the number of checkpoints, by name.
    pub counts: Vec<(String, u64)>,
}

/// A part of the memory of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What the memory holds.
    pub name: String,
    /// The bytes. `None` if they are not known.
    pub bytes: Option<u64>,
    /// The device whose memory it is. `None` stands for the memory of the process.
    pub device: Option<String>,
}

/// What a device takes from other devices for each item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What it is.
    pub name: String,
    /// The device that takes it, as people tell it from the others.
    pub device: String,
    /// The bytes.
    pub bytes: u64,
}

/// The items that pass an edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// The items of an epoch. `None` if they are not known.
    pub items: Option<u64>,
    /// Whether `items` was counted. Otherwise it was extrapolated, or records may be rejected on the way.
    pub exact: bool,
    /// The epochs. `None` if they are not known.
    pub epochs: Option<u64>,
    /// The most items of the whole run, where a stage ends the stream early.
    pub most: Option<u64>,
    /// The payload bytes of an item, on average. `None` if they are not known.
    pub bytes: Option<u64>,
    /// Whether the newest item that waits in an edge is one that its stage holds and counts itself.
    pub newest_is_held: bool,
}

/// The flows that reach a stage, by input port. Nothing is known of the flow of a delayed edge.
#[derive(Debug, Clone, Default)]
pub struct Flows {
    by_port: Vec<(&'static str, Flow)>,
}

impl Estimate {
    /// Adds a part of the memory.
    #[must_use]
    pub fn holds(self, name: impl Into<String>, bytes: impl Into<Option<u64>>) -> Self {
        self.holds_on(name, bytes, None)
    }

    /// Adds a part of the memory of a device.
    #[must_use]
    pub fn holds_on(
        mut self,
        name: impl Into<String>,
        bytes: impl Into<Option<u64>>,
        device: Option<&str>,
    ) -> Self {
        let device = device.map(str::to_owned);
        self.memory.push(Part { name: name.into(), bytes: bytes.into(), device });
        self
    }

    /// Adds what a device takes from other devices for each item.
    #[must_use]
    pub fn takes(mut self, name: impl Into<String>, device: impl Into<String>, bytes: u64) -> Self {
        self.taken.push(Taken { name: name.into(), device: device.into(), bytes });
        self
    }

    /// Adds the flow of an output port.
    #[must_use]
    pub fn sends(mut self, port: &'static str, flow: Flow) -> Self {
        self.flows.push((port, flow));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn counts(mut self, name: impl Into<String>, number: u64) -> Self {
        self.counts.push((name.into(), number));
        self
    }
}

impl Flow {
    /// The items of the whole run.
    pub fn total(&self) -> Option<u64> {
        let total = self.items.zip(self.epochs).map(|(items, epochs)| items.saturating_mul(epochs));
        match (total, self.most) {
            (Some(total), Some(most)) => Some(total.min(most)),
            (total, _) => total,
        }
    }

    /// A flow of the same items, each with this number of payload bytes.
    #[must_use]
    pub fn of_bytes(self, bytes: Option<u64>) -> Self {
        Self { bytes, ..self }
    }
}

impl Flows {
    /// The flows of these input ports.
    pub fn new(by_port: Vec<(&'static str, Flow)>) -> Self {
        Self { by_port }
    }

    /// The flow that reaches an input port. Nothing is known of it where no stage before it told anything.
    pub fn of(&self, port: &str) -> Flow {
        let known = self.by_port.iter().find(|(name, _)| *name == port);
        known.map_or_else(Flow::default, |(_, flow)| *flow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_known_when_items_and_epochs_are() {
        let flow = Flow { items: Some(9), epochs: Some(60), ..Flow::default() };
        assert_eq!(flow.total(), Some(540));
        assert_eq!(Flow { most: Some(100), ..flow }.total(), Some(100));
        assert_eq!(Flow { epochs: None, most: Some(100), ..flow }.total(), None);
    }
}
