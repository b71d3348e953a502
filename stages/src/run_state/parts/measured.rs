//! What a rank has measured, as bytes that can be merged.

use framewise_pipeline::Failure;

use crate::score::{Accumulator, Metrics};

/// What was measured of some of the videos.
#[derive(Default)]
pub(crate) struct Measurement {
    /// The running state. `None` without a video, because the number of classes comes with the first one.
    pub(crate) accumulator: Option<Accumulator>,
    /// The videos without labels.
    pub(crate) unlabelled: u64,
}

impl Measurement {
    /// The measurement as bytes: the number of videos without labels, then the accumulator if there is one.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.unlabelled.to_le_bytes().to_vec();
        if let Some(accumulator) = &self.accumulator {
            bytes.extend_from_slice(&accumulator.to_bytes());
        }
        bytes
    }

    /// Adds what another rank has measured, in the bytes of [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// `Data` for bytes of something else.
    pub(crate) fn merge(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some((unlabelled, rest)) = bytes.split_first_chunk() else {
            return Err(Failure::data("a rank's measurement ends too early"));
        };
        self.unlabelled += u64::from_le_bytes(*unlabelled);
        if rest.is_empty() {
            return Ok(());
        }
        let theirs = Accumulator::from_bytes(rest).map_err(Failure::data)?;
        match &mut self.accumulator {
            Some(ours) => ours.merge(theirs).map_err(Failure::data),
            none => {
                *none = Some(theirs);
                Ok(())
            }
        }
    }

    /// The metrics of all videos.
    ///
    /// # Errors
    /// `Data` where there was no video.
    pub(crate) fn metrics(&self) -> Result<Metrics, Failure> {
        let nothing = || Failure::data("there was no video to measure");
        self.accumulator.as_ref().map(Accumulator::finish).ok_or_else(nothing)
    }
}
