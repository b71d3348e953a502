//! `predict`: probabilities from logits, for evaluation and prediction.

use candle_core::Tensor;
use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeySpec, OutputPort, PayloadType, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};

use crate::forward::compute_failure;
use crate::loss::{predictions, video_losses};
use crate::payload::{ForwardPass, Predictions};

/// The stage type.
pub(crate) struct Predict;

struct Predicting;

impl Component for Predict {
    fn type_name(&self) -> &'static str {
        "predict"
    }

    fn doc(&self) -> &'static str {
        "Turns logits into probabilities on the host, with each video's id, labels and loss. Videos without labels get the \
         loss against no labels."
    }

    fn keys(&self) -> Vec<KeySpec> {
        Vec::new()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<ForwardPass>("passes", PayloadType::of::<ForwardPass>())],
            outputs: vec![OutputPort::new::<Predictions>("predictions", PayloadType::of::<Predictions>(), 4)],
        }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        Ok(Predicting.between(wiring.input("passes")?, wiring.output("predictions")?))
    }
}

impl Transform for Predicting {
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
