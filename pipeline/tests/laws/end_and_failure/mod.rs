//! Laws: the end of a stream and a failure differ. The first failure or panic is the run's result and ends every
//! thread, and no stage behind it sees `End`. A disconnect is taken neither for an end nor for a consumer that has had
//! enough.

mod branches;
mod chain;
mod no_end;

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use framewise_pipeline::engine::{Outcome, Status};
use framewise_pipeline::testing::{Collected, GraphBuilder, Token};
use framewise_pipeline::{ErrorKind, Failure, Input, Output, Packet, StageError};

const LIMIT: Duration = Duration::from_secs(30);

/// How a stage fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Error,
    Panic,
}

impl How {
    pub(super) fn fail(self) -> Result<(), StageError> {
        match self {
            How::Error => Err(Failure::data("bad record").into()),
            // `panic!` would call the hook, which would print hundreds of lines.
            How::Panic => std::panic::resume_unwind(Box::new("out of luck")),
        }
    }

    pub(super) fn assert_reported(self, outcome: &Outcome, stage: &str) {
        let Status::Failed(error) = &outcome.status else { panic!("{:?}", outcome.status) };
        assert_eq!(error.stage, stage);
        let (kind, text) = match self {
            How::Error => (ErrorKind::Data, "bad record"),
            How::Panic => (ErrorKind::Internal, "panicked: out of luck"),
        };
        assert_eq!((error.failure.kind, error.failure.to_string().as_str()), (kind, text));
    }
}

/// What the stages that did not fail themselves were told, by stage.
#[derive(Clone)]
struct Witness {
    told: Arc<Mutex<Vec<(String, &'static str)>>>,
    stages: usize,
    /// A barrier for all stages: a stage that fails at once must not stop the others before they have begun.
    begin: Arc<Barrier>,
}

impl Witness {
    /// Makes the record of a run of that many stages, one of which fails.
    pub(super) fn new(stages: usize) -> Self {
        Self { told: Arc::default(), stages, begin: Arc::new(Barrier::new(stages)) }
    }

    pub(super) fn begin(&self) {
        self.begin.wait();
    }

    pub(super) fn note(&self, stage: &str, result: &Result<(), StageError>) {
        let text = match result {
            Ok(()) => "ok",
            Err(StageError::Stopped) => "stopped",
            Err(StageError::Closed) => "closed",
            Err(StageError::Failed(_)) => return,
        };
        self.told.lock().unwrap().push((stage.to_owned(), text));
    }

    pub(super) fn assert_others_stopped(&self) {
        let told = self.told.lock().unwrap();
        assert_eq!(told.len(), self.stages - 1, "{told:?}");
        assert!(told.iter().all(|(_, told)| *told == "stopped"), "{told:?}");
    }
}

/// A source of tokens. It fails after `fail_after` tokens if that is given, and otherwise never ends.
fn source(graph: &mut GraphBuilder, fail_after: Option<u64>, how: How, witness: &Witness) {
    let witness = witness.clone();
    graph.source("source", move |mut output: Output<Token>| {
        witness.begin();
        let result = count_up(&mut output, fail_after, how);
        witness.note("source", &result);
        result
    });
}

fn count_up(output: &mut Output<Token>, fail_after: Option<u64>, how: How) -> Result<(), StageError> {
    for value in 0.. {
        if Some(value) == fail_after {
            return how.fail();
        }
        output.send(Token::new(value))?;
    }
    Ok(())
}

fn relay(
    input: &mut Input<Token>,
    output: &mut Output<Token>,
    fail_after: Option<u64>,
    how: How,
) -> Result<(), StageError> {
    loop {
        match input.recv()? {
            Packet::Item(token) if Some(token.value) == fail_after => return how.fail(),
            Packet::Item(token) => output.send(token)?,
            Packet::Mark(mark) => output.mark(mark)?,
            Packet::End => return Ok(()),
        }
    }
}

fn middle(
    graph: &mut GraphBuilder,
    name: &'static str,
    fail_after: Option<u64>,
    how: How,
    witness: &Witness,
) {
    let witness = witness.clone();
    graph.middle(name, move |mut input: Input<Token>, mut output: Output<Token>| {
        witness.begin();
        let result = relay(&mut input, &mut output, fail_after, how);
        witness.note(name, &result);
        result
    });
}

fn sink(
    graph: &mut GraphBuilder,
    name: &'static str,
    fail_after: Option<u64>,
    how: How,
    witness: &Witness,
) -> Collected {
    let collected = Collected::default();
    let (packets, witness) = (collected.clone(), witness.clone());
    graph.sink(name, move |mut input: Input<Token>| {
        witness.begin();
        let result = loop {
            match input.recv() {
                Ok(Packet::Item(token)) if Some(token.value) == fail_after => return how.fail(),
                Ok(packet) => {
                    let ended = packet == Packet::End;
                    packets.push(packet);
                    if ended {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        witness.note(name, &result);
        result
    });
    collected
}
