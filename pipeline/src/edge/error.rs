//! Failures of a stage, each with a kind that decides the exit code.

use std::error::Error;
use std::fmt;

/// The kind of a failure. The program maps each kind to an exit code in the numbering of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Input data are damaged or do not fit (exit code 65).
    Data,
    /// An input file does not exist or cannot be opened (exit code 66).
    NotFound,
    /// A device or service that the graph names is not available (exit code 69).
    Unavailable,
    /// A bug in this program, such as a panic in a stage (exit code 70).
    Internal,
    /// An output cannot be created or written (exit code 73).
    CannotWrite,
    /// Reading failed half-way (exit code 74).
    Io,
    /// Nothing moved for longer than the graph's `stall_timeout` (exit code 75).
    Stalled,
    /// The graph or a configuration is wrong (exit code 78).
    Config,
}

impl ErrorKind {
    /// The process exit code of a run that ends with this kind of error.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Data => 65,
            ErrorKind::NotFound => 66,
            ErrorKind::Unavailable => 69,
            ErrorKind::Internal => 70,
            ErrorKind::CannotWrite => 73,
            ErrorKind::Io => 74,
            ErrorKind::Stalled => 75,
            ErrorKind::Config => 78,
        }
    }
}

/// A failure: its kind and its cause.
#[derive(Debug)]
pub struct Failure {
    /// The kind, which decides the exit code.
    pub kind: ErrorKind,
    /// What happened, written for the person who runs the graph.
    pub cause: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// Makes a failure of `kind` from the error that caused it, or from a message that describes it.
    pub fn new(kind: ErrorKind, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, cause: cause.into() }
    }

    /// Makes a failure of kind [`ErrorKind::Data`].
    pub fn data(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Data, cause)
    }

    /// Makes a failure of kind [`ErrorKind::Config`].
    pub fn config(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Config, cause)
    }

    /// Makes a failure of kind [`ErrorKind::Internal`], for what only a bug can cause.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Internal, cause)
    }

    /// Makes a failure of kind [`ErrorKind::CannotWrite`].
    pub fn cannot_write(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(ErrorKind::CannotWrite, cause)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.cause.to_string();
        f.write_str(&said)?;
        let mut source = self.cause.source();
        while let Some(cause) = source {
            // The text of some errors already ends with the text of their source.
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            source = cause.source();
        }
        Ok(())
    }
}

impl Error for Failure {}

/// Why a stage left its loop before `End`.
#[derive(Debug)]
pub enum StageError {
    /// The run was stopped, because another stage failed or the user interrupted it. This is not an error of this
    /// stage.
    Stopped,
    /// Every consumer of every output of this stage has finished, so there is nobody left to produce for. The engine
    /// counts this as a clean end.
    Closed,
    /// This stage failed.
    Failed(Failure),
}

impl From<Failure> for StageError {
    fn from(failure: Failure) -> Self {
        StageError::Failed(failure)
    }
}

impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StageError::Stopped => f.write_str("stopped"),
            StageError::Closed => f.write_str("all consumers have finished"),
            StageError::Failed(failure) => failure.fmt(f),
        }
    }
}

impl Error for StageError {}
