//! What the ranks of a run that divide its records do with their parts of the results.
//!
//! Laws: results that are put together in the order of the ranks are those of one process. Only one rank writes them. Ranks
//! that exchange nothing leave their parts in their run directories, from which [`merge`] makes the results afterwards.
//!
//! A stage S of such a rank leaves `parts/S.json`, a [`Note`], and what belongs to it in `parts/S.part`.

mod measured;
mod merge;
mod wait;

use std::path::PathBuf;

use framewise_pipeline::{Failure, StageContext};
use serde::{Deserialize, Serialize};

pub(crate) use measured::Measurement;
pub use merge::{Merged, merge};
pub(crate) use wait::while_waiting;

use crate::failure::link_failure;
use crate::io;
use crate::ranks::{Channel, Ranks, Share, Split};

/// The folder of a rank's run directory that holds its parts.
pub(super) const PARTS: &str = "parts";

/// What a stage says about its part.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Note {
    /// The files that a source reads, with their bytes. They must be the same on every rank.
    Files { files: Vec<(PathBuf, u64)> },
    /// The bytes and the CRC-32C of a file of weights. They must be the same on every rank.
    Weights { file: PathBuf, bytes: u64, crc32c: u32 },
    /// The part is a [`Measurement`] of weights that were written after this step of this epoch.
    Measurement { step: u64, epoch: u64 },
    /// The part is a piece of the output at `path`.
    Output(OutputNote),
}

/// What a writer says about its part.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OutputNote {
    /// The output as the graph names it. A relative path lies in the run directory.
    pub(crate) path: PathBuf,
    /// The videos in the part.
    pub(crate) videos: u64,
    /// The bytes of the part.
    pub(crate) bytes: u64,
    /// For predictions, the step and the epoch after which their weights were written.
    pub(crate) predicted: Option<(u64, u64)>,
}

/// What a stage with results does with them.
pub(crate) enum Role {
    /// The process has all records, so the results are whole.
    Alone,
    /// The stage leaves its part for a merge.
    Apart(Part),
    /// The results go to rank 0.
    Linked(Channel),
}

/// The place for a stage's part of the results.
pub(crate) struct Part {
    folder: PathBuf,
    stage: String,
}

/// The name of the file with the part of a stage.
fn file_name(stage: &str) -> String {
    format!("{stage}.part")
}

/// The share of the records that this process reads.
pub(crate) fn share(context: &StageContext) -> Share {
    context.resources.get::<Ranks>().map_or(Share::WHOLE, |ranks| ranks.share())
}

impl Role {
    /// The role of this stage in its run.
    ///
    /// # Errors
    /// The ranks can neither exchange anything nor leave their parts, or the stage cannot have a channel.
    pub(crate) fn of(context: &StageContext) -> Result<Self, Failure> {
        if let Some(part) = Part::of(context)? {
            return Ok(Self::Apart(part));
        }
        let ranks = context.resources.get::<Ranks>().filter(|ranks| ranks.split() == Split::Records);
        let channel = ranks.map(|ranks| ranks.channel(&context.stage)).transpose();
        let channel = channel.map_err(|e| link_failure("the ranks' results", &e))?.flatten();
        Ok(channel.map_or(Self::Alone, Self::Linked))
    }
}

impl Part {
    /// The place for this stage's part, if its process is one of several that divide the records and exchange nothing.
    ///
    /// # Errors
    /// `Config` where the run has no directory.
    pub(crate) fn of(context: &StageContext) -> Result<Option<Self>, Failure> {
        let Some(ranks) = context.resources.get::<Ranks>() else { return Ok(None) };
        if ranks.share().is_whole() || ranks.are_linked() {
            return Ok(None);
        }
        let Some(run_dir) = &context.run_dir else {
            return Err(Failure::config("ranks that exchange nothing need a run directory for their parts"));
        };
        Ok(Some(Self { folder: run_dir.join(PARTS), stage: context.stage.to_string() }))
    }

    /// Makes the folder of the part, and returns the path of the part.
    ///
    /// # Errors
    /// `CannotWrite`, which names the folder.
    pub(crate) fn make(&self) -> Result<PathBuf, Failure> {
        let shown = self.folder.display();
        io::create_directories(&self.folder).map_err(|e| Failure::cannot_write(format!("{shown}: {e}")))?;
        Ok(self.folder.join(file_name(&self.stage)))
    }

    /// Writes what the stage says about its part.
    ///
    /// # Errors
    /// `CannotWrite`, which names the file.
    pub(crate) fn note(&self, note: &Note) -> Result<(), Failure> {
        let text = serde_json::to_string(note).map_err(|e| Failure::internal(e.to_string()))?;
        Ok(io::write_file(&self.make()?.with_file_name(format!("{}.json", self.stage)), text.as_bytes())?)
    }

    /// Writes a part that is short.
    ///
    /// # Errors
    /// `CannotWrite`, which names the file.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(io::write_file(&self.make()?, bytes)?)
    }
}
