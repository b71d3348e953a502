//! From the joined descriptors to logits: hidden layer, context gate, classifier.
//!
//! ```text
//! y = BN_hidden(z W_hiddenᵀ)                              [B, H]
//! g = sigmoid(relu(BN_gate(y W_gate1ᵀ)) W_gate2ᵀ)         [B, H]
//! l = (y·g) W_clsᵀ + b_cls                                [B, classes]
//! ```

use candle_core::{Result, Tensor};

use super::NormMoments;
use super::gradients::deposit;
use super::node::attach;
use super::norm::{self, Norm};

/// Its parameters, with their tape in training and without in evaluation.
pub(super) struct Classifier {
    pub(super) hidden: Tensor,
    pub(super) hidden_norm: (Tensor, Tensor),
    pub(super) gate1: Tensor,
    pub(super) gate1_norm: (Tensor, Tensor),
    pub(super) gate2: Tensor,
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
    pub(super) epsilon: f64,
}

/// Running mean and variance of the two norms, for evaluation.
pub(super) struct Running<'a> {
    pub(super) hidden: (&'a Tensor, &'a Tensor),
    pub(super) gate1: (&'a Tensor, &'a Tensor),
}

/// Intermediate values, to be compared with golden ones.
pub(super) type Trace<'a> = &'a mut dyn FnMut(&str, &Tensor);

impl Classifier {
    /// Logits [B, classes] of `z` [B, ΣDK], and in training the moments of the two norms.
    pub(super) fn forward(
        &self,
        z: &Tensor,
        running: Option<&Running>,
        fused: bool,
        trace: Trace,
    ) -> Result<(Tensor, Vec<NormMoments>)> {
        let mut moments = Vec::new();
        let mut normalize =
            |x: &Tensor, (weight, bias): &(Tensor, Tensor), running: Option<(&Tensor, &Tensor)>| {
                let norm = Norm { weight, bias, epsilon: self.epsilon };
                match running {
                    Some((mean, variance)) => norm::eval(x, &norm, mean, variance),
                    None => {
                        let (y, own) = norm::train(x, &norm, fused)?;
                        moments.push(own);
                        Ok(y)
                    }
                }
            };
        let y = linear(z, &self.hidden, fused)?;
        let y = normalize(&y, &self.hidden_norm, running.map(|running| running.hidden))?;
        trace("hidden_norm", &y);
        let gate = linear(&y, &self.gate1, fused)?;
        let gate = normalize(&gate, &self.gate1_norm, running.map(|running| running.gate1))?.relu()?;
        let gate = candle_nn::ops::sigmoid(&linear(&gate, &self.gate2, fused)?)?;
        trace("gates", &gate);
        let gated = y.mul(&gate)?;
        trace("gated", &gated);
        Ok((linear(&gated, &self.weight, fused)?.broadcast_add(&self.bias)?, moments))
    }
}

/// `x Wᵀ` for `x` [B, in] and `weight` [out, in].
///
/// Fused, the weight's gradient is deposited: for the hidden layer's 300 MB that saves candle's zeros and sum.
fn linear(x: &Tensor, weight: &Tensor, fused: bool) -> Result<Tensor> {
    if !fused || !weight.is_variable() {
        return x.matmul(&weight.t()?);
    }
    let (input, matrix, target) = (x.detach(), weight.detach(), weight.clone());
    let y = input.matmul(&matrix.t()?)?;
    let backward = move |_: &Tensor, dy: &Tensor| {
        deposit(&target, dy.t()?.matmul(&input)?)?;
        Ok(vec![Some(dy.matmul(&matrix)?), None])
    };
    attach("linear", y, &[x, weight], Box::new(backward))
}
