//! `predict`: probabilities from logits, for evaluation and prediction.

use candle_core::Tensor;
use framewise_pipeline::prelude::*;

use crate::failure::compute_failure;
use crate::model_kit::estimates;
use crate::model_kit::predictions::{predictions, video_losses};
use crate::payload::{ForwardPass, Predictions};

/// The stage type `predict`.
pub(crate) struct Predict;

impl TransformType for Predict {
    const NAME: &'static str = "predict";
    const DOC: &'static str = "Turns logits into probabilities on the host, with each video's id, labels and loss. Videos \
                               without labels get the loss against no labels.";
    type Config = ();

    fn ports(_config: &()) -> (InputPort, OutputPort) {
        (InputPort::of::<ForwardPass>("passes"), OutputPort::of::<Predictions>("predictions", 4))
    }

    fn estimate(_config: &(), site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let scores = estimates::score_bytes(site.upstream);
        let estimate =
            Estimate::default().holds("labels and predictions", scores.map(|bytes| bytes.saturating_mul(4)));
        Some(estimate.sends("predictions", estimates::one_for_one(flows, "passes", scores)))
    }

    fn divides(_config: &(), _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn new(_config: (), _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self)
    }
}

impl Transform for Predict {
    type In = ForwardPass;
    type Out = Predictions;

    fn process(&mut self, pass: ForwardPass, out: &mut Emitter<'_, Predictions>) -> Result<(), StageError> {
        let compute = || {
            let losses =
                pass.shards.iter().map(video_losses).collect::<candle_core::Result<Vec<Tensor>>>()?;
            predictions(&pass, &losses)
        };
        out.emit(compute().map_err(|e| compute_failure(&format!("predictions of batch {}", pass.step), &e))?)
    }
}
