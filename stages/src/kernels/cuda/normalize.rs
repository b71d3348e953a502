//! Every cluster's residual brought to length one, and the transposition to [B, D·K], on the GPU.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Grid, Kernel, fresh, launch};
use super::only_f32;
use crate::kernels::forms::L2Norm;
use crate::kernels::tape::attach;

use Argument::{Read, Size, Word, Write};

/// The descriptor U [B, D·K] of `v` [B, K, D], with its tape and with the value of (d, k) at element d·K + k.
pub(crate) fn normalize(v: &Tensor, form: L2Norm) -> Result<Tensor> {
    only_f32(v)?;
    let (videos, clusters, width) = v.dims3()?;
    let input = v.detach().contiguous()?;
    let device = input.device().clone();
    let largest = u32::from(form == L2Norm::SqrtMaxEpsilon);
    let u = fresh(&[videos, width * clusters], DType::F32, &device)?;
    let grid = Grid::segments(videos * clusters)?;
    let sizes = [Word(largest), Size(videos), Size(clusters), Size(width)];
    let mut arguments = vec![Read(&input)];
    arguments.extend(sizes);
    arguments.push(Write(&u));
    launch(&device, Kernel { source: "pool", name: "unit_rows" }, grid, &arguments)?;
    let backward = move |_: &Tensor, gradient: &Tensor| {
        let dv = fresh(&[videos, clusters, width], DType::F32, &device)?;
        let mut arguments = vec![Read(&input), Read(gradient)];
        arguments.extend(sizes);
        arguments.push(Write(&dv));
        launch(&device, Kernel { source: "pool", name: "unit_rows_gradient" }, grid, &arguments)?;
        Ok(vec![Some(dv)])
    };
    attach("normalize", u, &[v], Box::new(backward))
}
