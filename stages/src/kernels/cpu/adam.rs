//! An update of Adam in one pass over its four inputs and three outputs.

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Result;
use rayon::prelude::*;

use super::slices::{FloatStorage, with_three};
use crate::kernels::adam::{Coefficients, New, Old};
use crate::kernels::flat::Flat;
use crate::kernels::float::for_float;

/// The number of elements of one part.
const PART: usize = 1 << 14;

/// Writes the update of one parameter into `new`, which are tensors on the CPU that nobody else reads. Returns whether
/// every number of the new parameter and second moment is finite.
pub(crate) fn update(coefficients: &Coefficients, old: &Old, new: &New) -> Result<bool> {
    for_float!(old.parameter.dtype(), T => {
        let coefficients = Numbers::<T>::of(coefficients);
        update_as(&coefficients, old, new)
    })
}

/// Writes the update of one parameter over the parameter and its moments, which are tensors on the CPU that nobody else
/// reads. The numbers are those of [`update`].
pub(crate) fn update_in_place(coefficients: &Coefficients, old: &Old) -> Result<()> {
    for_float!(old.parameter.dtype(), T => {
        let coefficients = Numbers::<T>::of(coefficients);
        let gradient = old.gradient.contiguous()?;
        let g = Flat::<T>::of(&gradient)?;
        let g = &*g;
        with_three([old.parameter, old.first, old.second], |w: &mut [T], m, v| {
            let parts = w.par_chunks_mut(PART).zip(m.par_chunks_mut(PART)).zip(v.par_chunks_mut(PART));
            parts.zip(g.par_chunks(PART)).for_each(|(((w, m), v), g)| coefficients.update_part_in_place(w, m, v, g));
            Ok(())
        })
    })
}

fn update_as<T: FloatStorage>(coefficients: &Numbers<T>, old: &Old, new: &New) -> Result<bool> {
    let gradient = old.gradient.contiguous()?;
    let values = |tensor| Flat::<T>::of(tensor);
    let (w, m, v, g) = (values(old.parameter)?, values(old.first)?, values(old.second)?, values(&gradient)?);
    let (w, m, v, g) = (&*w, &*m, &*v, &*g);
    let all_are_finite = AtomicBool::new(true);
    with_three([new.parameter, new.first, new.second], |new_w, new_m, new_v| {
        let new = new_w.par_chunks_mut(PART).zip(new_m.par_chunks_mut(PART)).zip(new_v.par_chunks_mut(PART));
        new.enumerate().for_each(|(part, ((new_w, new_m), new_v))| {
            let span = part * PART..part * PART + new_w.len();
            let old = (&w[span.clone()], &m[span.clone()], &v[span.clone()], &g[span]);
            if !coefficients.update_part(old, (new_w, new_m, new_v)) {
                all_are_finite.store(false, Ordering::Relaxed);
            }
        });
        Ok(())
    })?;
    Ok(all_are_finite.into_inner())
}

/// The [`Coefficients`] in the float type of the parameter.
struct Numbers<T> {
    beta1: T,
    rest1: T,
    beta2: T,
    rest2: T,
    rate: T,
    second_factor: T,
    epsilon: T,
    gradient_factor: T,
    parameter_factor: T,
}

impl<T: FloatStorage> Numbers<T> {
    fn of(coefficients: &Coefficients) -> Self {
        let of = T::from_f64;
        Self {
            beta1: of(coefficients.beta1),
            rest1: of(1.0 - coefficients.beta1),
            beta2: of(coefficients.beta2),
            rest2: of(1.0 - coefficients.beta2),
            rate: of(coefficients.rate),
            second_factor: of(coefficients.second_factor),
            epsilon: of(coefficients.epsilon),
            gradient_factor: of(coefficients.gradient_factor),
            parameter_factor: of(coefficients.parameter_factor),
        }
    }

    /// Updates the slices of one part, which all have one length. Returns whether the new parameter and second moment
    /// are finite.
    fn update_part(
        &self,
        (w, m, v, g): (&[T], &[T], &[T], &[T]),
        (new_w, new_m, new_v): (&mut [T], &mut [T], &mut [T]),
    ) -> bool {
        // With lengths that the compiler sees to be equal, the loop checks no index and computes several numbers at a
        // time. That halves the time of an update.
        let count = new_w.len();
        let (w, m, v, g) = (&w[..count], &m[..count], &v[..count], &g[..count]);
        let (new_m, new_v) = (&mut new_m[..count], &mut new_v[..count]);
        let mut all_are_finite = true;
        for i in 0..count {
            let (w, m, v) = self.update_one(w[i], m[i], v[i], g[i]);
            (new_w[i], new_m[i], new_v[i]) = (w, m, v);
            // 0 times a finite number is 0, and 0 times anything else is NaN. So one comparison serves for both.
            all_are_finite &= w * T::zero() + v * T::zero() == T::zero();
        }
        all_are_finite
    }
    /// Updates the slices of one part in place.
    fn update_part_in_place(&self, w: &mut [T], m: &mut [T], v: &mut [T], g: &[T]) {
        let count = w.len();
        let (m, v, g) = (&mut m[..count], &mut v[..count], &g[..count]);
        for i in 0..count {
            (w[i], m[i], v[i]) = self.update_one(w[i], m[i], v[i], g[i]);
        }
    }

    /// The next parameter and moments.
    #[inline(always)]
    fn update_one(&self, w: T, m: T, v: T, g: T) -> (T, T, T) {
        let g = self.gradient_factor * g + self.parameter_factor * w;
        let m = self.beta1 * m + self.rest1 * g;
        let v = self.beta2 * v + self.rest2 * g * g;
        (w - self.rate * m / ((v * self.second_factor).sqrt() + self.epsilon), m, v)
    }
}
