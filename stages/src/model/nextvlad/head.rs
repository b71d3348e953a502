//! From the joined descriptors to logits: hidden layer, context gate, classifier.
//!
//! ```text
//! y = BN_hidden(z W_hiddenᵀ)                              [B, H]
//! g = sigmoid(relu(BN_gate(y W_gate1ᵀ)) W_gate2ᵀ)         [B, H]
//! l = (y·g) W_clsᵀ + b_cls                                [B, classes]
//! ```

use candle_core::{Result, Tensor};

use super::layout::{Fetch, HeadLayout, Parameter};
use crate::kernels::backend::Backend;
use crate::kernels::cpu::batch_norm::Norm;
use crate::kernels::cpu::linear as kernel;
use crate::kernels::cpu::matmul::matmul_by_rows;
use crate::kernels::cuda;
use crate::kernels::moments::NormMoments;
use crate::kernels::precision::Precision;
use crate::model::norm;

/// The parameters of the head, with their tape in training and without it in evaluation.
pub(super) struct Head {
    pub(super) hidden: Tensor,
    pub(super) hidden_norm: (Tensor, Tensor),
    pub(super) gate1: Tensor,
    pub(super) gate1_norm: (Tensor, Tensor),
    pub(super) gate2: Tensor,
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) epsilon: f64,
    pub(super) precision: Precision,
}

/// The running mean and variance of the two norms, for evaluation.
pub(super) struct Running<'a> {
    pub(super) hidden: (&'a Tensor, &'a Tensor),
    pub(super) gate1: (&'a Tensor, &'a Tensor),
}

/// The intermediate values, which are compared with golden ones.
pub(super) type Trace<'a> = &'a mut dyn FnMut(&str, &Tensor);

impl<'a> Running<'a> {
    /// The running statistics of the two norms.
    pub(super) fn of(places: &HeadLayout, tensors: &'a Fetch) -> Self {
        let (hidden, gate1) = (&places.hidden_norm, &places.gate1_norm);
        Self {
            hidden: (&tensors[hidden.mean], &tensors[hidden.variance]),
            gate1: (&tensors[gate1.mean], &tensors[gate1.variance]),
        }
    }
}

impl Head {
    /// The parameters of the head.
    pub(super) fn of(places: &HeadLayout, tensors: &Fetch, epsilon: f64, precision: Precision) -> Self {
        let at = |place: Parameter| tensors[place].clone();
        Self {
            hidden: at(places.hidden),
            hidden_norm: (at(places.hidden_norm.weight), at(places.hidden_norm.bias)),
            gate1: at(places.gate1),
            gate1_norm: (at(places.gate1_norm.weight), at(places.gate1_norm.bias)),
            gate2: at(places.gate2),
            weight: at(places.classifier_weight),
            bias: at(places.classifier_bias),
            epsilon,
            precision,
        }
    }

    /// Computes the logits [B, classes] of `z` [B, ΣDK], and in training the moments of the two norms.
    pub(super) fn forward(
        &self,
        z: &Tensor,
        running: Option<&Running>,
        backend: Backend,
        trace: Trace,
    ) -> Result<(Tensor, Vec<NormMoments>)> {
        let mut moments = Vec::new();
        let mut normalize =
            |x: &Tensor, (weight, bias): &(Tensor, Tensor), running: Option<(&Tensor, &Tensor)>| {
                let norm = Norm { weight, bias, epsilon: self.epsilon };
                match running {
                    Some((mean, variance)) => norm::eval(x, &norm, mean, variance),
                    None => {
                        let (y, own) = norm::train(x, &norm, backend)?;
                        moments.push(own);
                        Ok(y)
                    }
                }
            };
        let linear = |x: &Tensor, weight: &Tensor| linear(x, weight, backend, self.precision);
        let y = linear(z, &self.hidden)?;
        let y = normalize(&y, &self.hidden_norm, running.map(|running| running.hidden))?;
        trace("hidden_norm", &y);
        let gate = linear(&y, &self.gate1)?;
        let gate = normalize(&gate, &self.gate1_norm, running.map(|running| running.gate1))?.relu()?;
        let gate = candle_nn::ops::sigmoid(&linear(&gate, &self.gate2)?)?;
        trace("gates", &gate);
        let gated = y.mul(&gate)?;
        trace("gated", &gated);
        Ok((linear(&gated, &self.weight)?.broadcast_add(&self.bias)?, moments))
    }
}

/// `x Wᵀ` [B, out] for `x` [B, in] and `weight` [out, in].
fn linear(x: &Tensor, weight: &Tensor, backend: Backend, precision: Precision) -> Result<Tensor> {
    match backend {
        Backend::FusedCpu if weight.is_variable() => kernel::linear(x, weight, precision),
        Backend::FusedCpu => matmul_by_rows(x, &weight.t()?, precision),
        Backend::FusedCuda => cuda::linear::linear(x, weight, precision),
        Backend::Plain => x.matmul(&weight.t()?),
    }
}
