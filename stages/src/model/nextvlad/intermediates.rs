//! The intermediate values of NeXtVLAD's forward pass in training, in order.

use candle_core::Tensor;

use super::layout::Side;
use crate::kernels::moments::NormMoments;
use crate::model::definition::TrainForward;

/// The intermediate values that [`crate::model::Model::intermediates`] promises, from what a training forward pass
/// traced and what it returned: for each modality the features [N, F], the statistics and the output of each step, then
/// those of the hidden layer and the gate, and the logits.
pub(super) fn in_order(traced: Vec<(String, Tensor)>, forward: TrainForward) -> Vec<(String, Tensor)> {
    let mut traced = traced.into_iter();
    let mut layers = forward.moments.layers.into_iter();
    let mut ordered = Vec::new();
    let statistics = |ordered: &mut Vec<_>, name: &str, layer: Option<NormMoments>| {
        if let Some(NormMoments { mean, variance, .. }) = layer {
            ordered.push((format!("{name}.batch_mean"), mean));
            ordered.push((format!("{name}.batch_variance"), variance));
        }
    };
    for side in Side::BOTH {
        let name = side.name();
        // The dequantised features.
        ordered.extend(traced.next());
        statistics(&mut ordered, &format!("{name}.assign_norm"), layers.next());
        // The descriptor with each cluster at length one.
        ordered.extend(traced.next());
        statistics(&mut ordered, &format!("{name}.vlad_norm"), layers.next());
        ordered.extend(traced.next());
    }
    statistics(&mut ordered, "hidden_norm", layers.next());
    ordered.extend(traced.next());
    statistics(&mut ordered, "gate1_norm", layers.next());
    ordered.extend(traced);
    ordered.push(("logits".to_owned(), forward.logits.detach()));
    ordered
}
