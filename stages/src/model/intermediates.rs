//! What NeXtVLAD's training forward pass computes on the way, in order.

use candle_core::{Result, Tensor};

use super::nextvlad::Side;
use super::{DeviceBatch, Dropout, NextVlad, NormMoments, Weights};

impl NextVlad {
    /// See [`super::Model::intermediates`]: for each modality the features [N, F], the statistics and the output of
    /// each step, then those of the hidden layer and the gate, and the logits.
    pub(super) fn intermediates_in_order(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut traced = Vec::new();
        let mut trace = |name: &str, value: &Tensor| traced.push((name.to_owned(), value.detach()));
        let forward = self.trace_train(weights, batch, dropout, &mut trace)?;
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
        Ok(ordered)
    }
}
