//! Every cluster's residual brought to length one, and the transposition to [B, D·K].

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::flat::Flat;
use crate::kernels::float::{Real, for_float};
use crate::kernels::forms::{L2_EPSILON, L2Norm};
use crate::kernels::tape::attach;

/// The descriptor U [B, D·K] of `v` [B, K, D], with its tape and with the value of (d, k) at element d·K + k.
pub(crate) fn normalize(v: &Tensor, form: L2Norm) -> Result<Tensor> {
    for_float!(v.dtype(), T => normalize_as::<T>(v, form))
}

/// 1 / length of a cluster, and whether the length depends on the values. It does not where the maximum is the
/// constant.
fn inverse_length<T: Real>(values: &[T], form: L2Norm) -> (T, bool) {
    let square: f64 = values.iter().map(|value| value.to_f64() * value.to_f64()).sum();
    let (length, depends) = match form {
        L2Norm::SqrtSumPlusEpsilon => ((square + L2_EPSILON).sqrt(), true),
        L2Norm::SqrtMaxEpsilon => (square.max(L2_EPSILON).sqrt(), square >= L2_EPSILON),
    };
    (T::from_f64(1.0 / length), depends)
}

/// Writes the descriptor `u` [D·K] of the residuals `v` [K, D] of one video.
pub(super) fn normalize_video<T: Real>(
    v: &[T],
    u: &mut [T],
    (clusters, width): (usize, usize),
    form: L2Norm,
) {
    let inverse: Vec<T> = v.chunks(width).map(|row| inverse_length(row, form).0).collect();
    for (d, u) in u.chunks_mut(clusters).enumerate() {
        for (k, u) in u.iter_mut().enumerate() {
            *u = v[k * width + d] * inverse[k];
        }
    }
}

fn normalize_as<T: Real>(v: &Tensor, form: L2Norm) -> Result<Tensor> {
    let (videos, clusters, width) = v.dims3()?;
    let input = v.detach().contiguous()?;
    let mut u = vec![T::zero(); videos * clusters * width];
    {
        let values = Flat::<T>::of(&input)?;
        u.par_chunks_mut(clusters * width).zip(values.par_chunks(clusters * width)).for_each(|(u, v)| {
            normalize_video(v, u, (clusters, width), form);
        });
    }
    let u = Tensor::from_vec(u, (videos, width * clusters), &Device::Cpu)?;
    let backward = move |_: &Tensor, gradient: &Tensor| {
        // With i = 1/length: dV = i·(dU − V·i²·Σ_d dU·V).
        let (values, gradient) = (Flat::<T>::of(&input)?, Flat::<T>::of(gradient)?);
        let mut dv = vec![T::zero(); values.len()];
        dv.par_chunks_mut(clusters * width)
            .zip(values.par_chunks(clusters * width))
            .zip(gradient.par_chunks(clusters * width))
            .for_each(|((dv, v), du)| {
                for (k, (dv, v)) in dv.chunks_mut(width).zip(v.chunks(width)).enumerate() {
                    let (inverse, depends) = inverse_length(v, form);
                    for (d, dv) in dv.iter_mut().enumerate() {
                        *dv = du[d * clusters + k] * inverse;
                    }
                    if depends {
                        let along: T = dv.iter().zip(v).fold(T::zero(), |sum, (dv, v)| sum + *dv * *v);
                        let along = along * inverse * inverse;
                        for (dv, v) in dv.iter_mut().zip(v) {
                            *dv -= *v * along;
                        }
                    }
                }
            });
        Ok(vec![Some(Tensor::from_vec(dv, (videos, clusters, width), &Device::Cpu)?)])
    };
    attach("normalize", u, &[v], Box::new(backward))
}
