//! Pooling over the frames of each video, V = aᵀh − (Σ a)·C, and its gradient. Videos are independent and run in
//! parallel. Sums over videos are taken in the order of the videos.

use candle_core::{Error, Result, Tensor};
use rayon::prelude::*;

use crate::kernels::cpu::columns::{Columns, column_sums};
use crate::kernels::cpu::matmul::matmul;
use crate::kernels::flat::Flat;
use crate::kernels::float::Real;
use crate::kernels::precision::Precision;

/// The assignments and features of a batch, packed so that all frames of a video stand together.
pub(super) struct Packed<'a> {
    /// a [N, G·K].
    pub(super) a: &'a Tensor,
    /// h [N, G·D].
    pub(super) h: &'a Tensor,
    /// C [K, D].
    pub(super) centers: &'a Tensor,
    pub(super) lengths: &'a [usize],
    pub(super) groups: usize,
    pub(super) precision: Precision,
}

/// The gradients of a [`Packed::forward`].
pub(super) struct Gradient<T> {
    /// The gradient of a, [N, G·K].
    pub(super) a: Vec<T>,
    /// The gradient of h, [N, G·D].
    pub(super) h: Vec<T>,
    /// The gradient of C, [K, D].
    pub(super) centers: Vec<f64>,
}

impl Packed<'_> {
    /// The first frame and the number of frames of each video.
    fn spans(&self) -> Vec<(usize, usize)> {
        let starts = self.lengths.iter().scan(0, |next, length| {
            let start = *next;
            *next += length;
            Some(start)
        });
        starts.zip(self.lengths.iter().copied()).collect()
    }

    /// The rows of a video in `matrix` [N, G·C], as [n·G, C].
    fn video(&self, matrix: &Tensor, (start, length): (usize, usize)) -> Result<Tensor> {
        let rows = matrix.narrow(0, start, length)?;
        rows.reshape((length * self.groups, matrix.dim(1)? / self.groups))
    }

    /// The sum of a over the frames and groups of a video, [K].
    fn mass<T: Real>(&self, a: &Tensor) -> Result<Vec<f64>> {
        let clusters = a.dim(1)?;
        Ok(column_sums(Columns { values: &Flat::<T>::of(a)?, stride: clusters, width: clusters }))
    }

    /// V [B, K, D].
    pub(super) fn forward<T: Real>(&self) -> Result<Vec<T>> {
        let (clusters, width) = self.centers.dims2()?;
        let centers = Flat::<T>::of(self.centers)?;
        let centers = &*centers;
        let mut v = vec![T::zero(); self.lengths.len() * clusters * width];
        v.par_chunks_mut(clusters * width).zip(self.spans()).try_for_each(|(v, span)| {
            let a = self.video(self.a, span)?;
            let product = matmul(&a.t()?, &self.video(self.h, span)?, self.precision)?;
            let mass = self.mass::<T>(&a)?;
            let product = Flat::<T>::of(&product)?;
            let rows = v.chunks_mut(width).zip(product.chunks(width)).zip(centers.chunks(width)).zip(mass);
            for (((v, product), center), mass) in rows {
                let mass = T::from_f64(mass);
                for ((v, product), center) in v.iter_mut().zip(product).zip(center) {
                    *v = *product - mass * *center;
                }
            }
            Ok::<_, Error>(())
        })?;
        Ok(v)
    }

    /// The gradients that follow from that of the residuals, `dv` [B, K, D].
    pub(super) fn backward<T: Real>(&self, dv: &Tensor) -> Result<Gradient<T>> {
        let (clusters, width) = self.centers.dims2()?;
        let mut a = vec![T::zero(); self.a.elem_count()];
        let mut h = vec![T::zero(); self.h.elem_count()];
        let mut parts = Vec::with_capacity(self.lengths.len());
        let (mut a_rest, mut h_rest) = (a.as_mut_slice(), h.as_mut_slice());
        for (video, (start, length)) in self.spans().into_iter().enumerate() {
            let (a_part, a_next) = a_rest.split_at_mut(length * self.groups * clusters);
            let (h_part, h_next) = h_rest.split_at_mut(length * self.groups * width);
            (a_rest, h_rest) = (a_next, h_next);
            parts.push((video, (start, length), a_part, h_part));
        }
        let centers = Flat::<T>::of(self.centers)?;
        let centers = &*centers;
        let masses = parts
            .into_par_iter()
            .map(|(video, span, da, dh)| {
                let dv = dv.get(video)?;
                let a = self.video(self.a, span)?;
                let product = matmul(&a, &dv, self.precision)?;
                dh.copy_from_slice(&Flat::<T>::of(&product)?);
                let product = matmul(&self.video(self.h, span)?, &dv.t()?, self.precision)?;
                // Through the mass Σa, every row gets the same gradient: d(Σa)_k = −Σ_d C_kd·dV_kd.
                let values = Flat::<T>::of(&dv)?;
                let through = values.chunks(width).zip(centers.chunks(width)).map(|(dv, center)| {
                    dv.iter().zip(center).fold(T::zero(), |sum, (dv, center)| sum - *dv * *center)
                });
                let through: Vec<T> = through.collect();
                let product = Flat::<T>::of(&product)?;
                for (da, product) in da.chunks_mut(clusters).zip(product.chunks(clusters)) {
                    for ((da, product), through) in da.iter_mut().zip(product).zip(&through) {
                        *da = *product + *through;
                    }
                }
                self.mass::<T>(&a)
            })
            .collect::<Result<Vec<Vec<f64>>>>()?;
        let dv = Flat::<T>::of(dv)?;
        let mut dcenters = vec![0.0; clusters * width];
        for (dv, mass) in dv.chunks(clusters * width).zip(&masses) {
            for ((sums, dv), mass) in dcenters.chunks_mut(width).zip(dv.chunks(width)).zip(mass) {
                for (sum, dv) in sums.iter_mut().zip(dv) {
                    *sum -= mass * dv.to_f64();
                }
            }
        }
        Ok(Gradient { a, h, centers: dcenters })
    }
}
