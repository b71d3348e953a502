//! Pooling over the frames of each video, V = aᵀh − (Σ a)·C, and its gradient, on the GPU.
//!
//! Each video has a product of its own, because videos differ in length: cuBLAS multiplies batches of matrices of one
//! size only, and padding would double what the products read and write.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Grid, Kernel, fresh, launch};
use super::product::{operand, product_into};
use crate::kernels::precision::Precision;

use Argument::{Read, Size, Write};

/// The lanes that add up one column: `MASS_LANES` of source/pool.cu.
const MASS_LANES: u32 = 16;

const fn kernel(name: &'static str) -> Kernel {
    Kernel { source: "pool", name }
}

/// What the forward pass of pooling keeps. All frames of a video stand together.
pub(super) struct Pooled {
    /// a [N, G·K] as operand of products.
    a: Tensor,
    /// h [N, G·D] as operand of products.
    h: Tensor,
    /// C [K, D].
    centers: Tensor,
    /// Σ a of each video, f64 [B, K].
    mass: Tensor,
    /// The first frame of each video, and the number of frames: i64 [B + 1].
    starts: Tensor,
    lengths: Vec<usize>,
    groups: usize,
    precision: Precision,
}

/// The gradients of [`Pooled::forward`].
pub(super) struct Gradient {
    /// [N, G·K].
    pub(super) a: Tensor,
    /// [N, G·D].
    pub(super) h: Tensor,
    /// [K, D].
    pub(super) centers: Tensor,
}

impl Pooled {
    /// V [B, K, D] of `a` [N, G·K] and the operand `h` [N, G·D], and what the gradient needs.
    pub(super) fn forward(
        a: &Tensor,
        h: Tensor,
        centers: &Tensor,
        (lengths, groups, precision): (&[usize], usize, Precision),
    ) -> Result<(Tensor, Self)> {
        let (device, videos) = (a.device(), lengths.len());
        let (clusters, width) = centers.dims2()?;
        let mut starts = vec![0];
        for length in lengths {
            starts.push(starts[starts.len() - 1] + *length as i64);
        }
        let starts = Tensor::from_vec(starts, videos + 1, device)?;
        let mass = fresh(&[videos, clusters], DType::F64, device)?;
        let arguments = [Read(a), Read(&starts), Size(groups), Size(clusters), Write(&mass)];
        launch(device, kernel("masses"), Grid::lanes(clusters, videos, MASS_LANES)?, &arguments)?;
        let pooled = Self {
            a: operand(a, precision)?,
            h,
            centers: centers.contiguous()?,
            mass,
            starts,
            lengths: lengths.to_vec(),
            groups,
            precision,
        };
        let v = fresh(&[videos, clusters, width], DType::F32, device)?;
        for (video, span) in pooled.spans().enumerate() {
            let (a, h) = (pooled.video(&pooled.a, span)?, pooled.video(&pooled.h, span)?);
            product_into(&a.t()?, &h, &v.get(video)?)?;
        }
        let elements = videos * clusters * width;
        let arguments = [
            Read(&pooled.mass),
            Read(&pooled.centers),
            Size(elements),
            Size(clusters),
            Size(width),
            Write(&v),
        ];
        launch(device, kernel("centers_subtracted"), Grid::elements(elements)?, &arguments)?;
        Ok((v, pooled))
    }

    /// h as operand of products, [N, G·D].
    pub(super) fn h(&self) -> &Tensor {
        &self.h
    }

    /// The first frame and the number of frames of each video.
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        self.lengths.iter().scan(0, |next, length| {
            let start = *next;
            *next += length;
            Some((start, *length))
        })
    }

    /// The rows of a video in `matrix` [N, G·C], as [n·G, C].
    fn video(&self, matrix: &Tensor, (start, length): (usize, usize)) -> Result<Tensor> {
        let rows = matrix.narrow(0, start, length)?;
        rows.reshape((length * self.groups, matrix.dim(1)? / self.groups))
    }

    /// The gradients that follow from that of the residuals, `dv` [B, K, D], which is contiguous.
    pub(super) fn backward(&self, dv: &Tensor) -> Result<Gradient> {
        let (videos, clusters, width) = dv.dims3()?;
        let device = dv.device();
        let frames = self.a.dim(0)?;
        let da = fresh(&[frames, self.groups * clusters], DType::F32, device)?;
        let dh = fresh(&[frames, self.groups * width], DType::F32, device)?;
        let narrow = operand(dv, self.precision)?;
        for (video, span) in self.spans().enumerate() {
            let own = narrow.get(video)?;
            product_into(&self.video(&self.a, span)?, &own, &self.video(&dh, span)?)?;
            product_into(&self.video(&self.h, span)?, &own.t()?, &self.video(&da, span)?)?;
        }
        let through = fresh(&[videos, clusters], DType::F32, device)?;
        let arguments =
            [Read(dv), Read(&self.centers), Size(videos), Size(clusters), Size(width), Write(&through)];
        launch(device, kernel("through_masses"), Grid::segments(videos * clusters)?, &arguments)?;
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let grid = Grid::columns(longest * self.groups * clusters, videos)?;
        let arguments = [Read(&through), Read(&self.starts), Size(self.groups), Size(clusters), Write(&da)];
        launch(device, kernel("through_masses_added"), grid, &arguments)?;
        let dcenters = fresh(&[clusters, width], DType::F32, device)?;
        let arguments =
            [Read(dv), Read(&self.mass), Size(videos), Size(clusters), Size(width), Write(&dcenters)];
        launch(device, kernel("centers_gradient"), Grid::elements(clusters * width)?, &arguments)?;
        Ok(Gradient { a: da, h: dh, centers: dcenters })
    }
}
