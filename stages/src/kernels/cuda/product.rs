//! Products of matrices on the GPU, with f32 or bf16 operands, f32 sums and f32 results.
//!
//! candle's own product of bf16 matrices rounds its result to bf16. This one calls the same function of cuBLAS and asks
//! for a result in f32.

use candle_core::{DType, Result, Tensor};

use super::launch::{Argument, Grid, Kernel, fresh, launch};
use crate::kernels::precision::Precision;

/// `tensor` as an operand in `precision`: itself, or a copy rounded to bf16.
pub(crate) fn operand(tensor: &Tensor, precision: Precision) -> Result<Tensor> {
    let tensor = tensor.detach().contiguous()?;
    match precision {
        Precision::F32 => Ok(tensor),
        Precision::Bf16 => {
            let (elements, device) = (tensor.elem_count(), tensor.device());
            let narrow = fresh(tensor.dims(), DType::BF16, device)?;
            let arguments = [Argument::Read(&tensor), Argument::Size(elements), Argument::Write(&narrow)];
            let kernel = Kernel { source: "codes", name: "rounded" };
            launch(device, kernel, Grid::elements(elements)?, &arguments)?;
            Ok(narrow)
        }
        Precision::Int8 | Precision::Int8x2 => {
            candle_core::bail!("products of whole numbers are computed on the CPU only")
        }
    }
}

/// left [m, k] · right [k, n] in f32 [m, n]. Both are f32 or both bf16, and each is stored by rows or, transposed, by
/// columns.
pub(crate) fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let target = fresh(&[left.dim(0)?, right.dim(1)?], DType::F32, left.device())?;
    product_into(left, right, &target)?;
    Ok(target)
}

/// As [`product`], into `target`, which is f32 and contiguous and which nobody else reads or writes meanwhile.
pub(crate) fn product_into(left: &Tensor, right: &Tensor, target: &Tensor) -> Result<()> {
    let ((m, k), (inner, n)) = (left.dims2()?, right.dims2()?);
    let types_fit = left.dtype() == right.dtype() && matches!(left.dtype(), DType::F32 | DType::BF16);
    if inner != k || target.dims() != [m, n] || !types_fit || target.dtype() != DType::F32 {
        candle_core::bail!(
            "a product of {:?} {:?} and {:?} {:?} into {:?} {:?}",
            left.dtype(),
            left.dims(),
            right.dtype(),
            right.dims(),
            target.dtype(),
            target.dims()
        );
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    let call = Call::of(left, right)?;
    #[cfg(feature = "cuda")]
    if let candle_core::Device::Cuda(device) = left.device() {
        return card::multiply(device, &call, (left, right, target));
    }
    #[cfg(test)]
    super::emulated::count_product();
    // Without a GPU, the numbers of cuBLAS' definition are computed by candle. Operands of bf16 are exact in f32.
    let _ = call;
    let made = left.to_dtype(DType::F32)?.matmul(&right.to_dtype(DType::F32)?)?;
    target.flatten_all()?.slice_set(&made.flatten_all()?, 0, 0)
}

/// An operand as cuBLAS takes it: a matrix by columns, which may be transposed before the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side {
    transposed: bool,
    /// The elements from one column to the next.
    leading: i32,
}

/// The call of cuBLAS for a product of matrices that are stored by rows. Seen by columns, a matrix by rows is its
/// transpose, so the call computes rightᵀ · leftᵀ, which is targetᵀ: right is the first operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    rows: i32,
    columns: i32,
    inner: i32,
    first: Side,
    second: Side,
    target_leading: i32,
}

impl Call {
    fn of(left: &Tensor, right: &Tensor) -> Result<Self> {
        let ((m, k), n) = (left.dims2()?, right.dim(1)?);
        Ok(Self {
            rows: size(n)?,
            columns: size(m)?,
            inner: size(k)?,
            first: Side::of(right)?,
            second: Side::of(left)?,
            target_leading: size(n)?,
        })
    }
}

impl Side {
    fn of(tensor: &Tensor) -> Result<Self> {
        let ((rows, columns), strides) = (tensor.dims2()?, tensor.stride());
        // The stride of a dimension of one element says nothing.
        let by_rows = strides[1] == 1 || columns == 1;
        let by_columns = strides[0] == 1 || rows == 1;
        if by_rows && (rows == 1 || strides[0] >= columns) {
            let leading = if rows == 1 { columns } else { strides[0] };
            Ok(Self { transposed: false, leading: size(leading)? })
        } else if by_columns && (columns == 1 || strides[1] >= rows) {
            let leading = if columns == 1 { rows } else { strides[1] };
            Ok(Self { transposed: true, leading: size(leading)? })
        } else {
            candle_core::bail!("cuBLAS takes no matrix {:?} with strides {strides:?}", tensor.dims())
        }
    }
}

fn size(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| {
        candle_core::Error::msg(format!(
            "cuBLAS takes no matrix with {size} rows or columns: make the batch smaller"
        ))
    })
}

#[cfg(feature = "cuda")]
mod card {
    use candle_core::cuda_backend::CudaDevice;
    use candle_core::cuda_backend::cudarc::cublas::{result, sys};
    use candle_core::{DType, Error, Result, Tensor};

    use super::super::launch::{address, address_of_first};
    use super::{Call, Side};

    pub(super) fn multiply(
        device: &CudaDevice,
        call: &Call,
        (left, right, target): (&Tensor, &Tensor, &Tensor),
    ) -> Result<()> {
        let stream = device.cuda_stream();
        let operation = |side: Side| match side.transposed {
            false => sys::cublasOperation_t::CUBLAS_OP_N,
            true => sys::cublasOperation_t::CUBLAS_OP_T,
        };
        let number = match left.dtype() {
            DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
            _ => sys::cudaDataType_t::CUDA_R_32F,
        };
        let (one, zero) = (1f32, 0f32);
        let addresses =
            (address_of_first(right, &stream)?, address_of_first(left, &stream)?, address(target, &stream)?);
        // SAFETY: the addresses are those of live tensors on the card of the handle, whose stream orders their release behind
        // the product. `product_into` has compared types and sizes, and each operand's leading dimension is the stride of its
        // layout, so cuBLAS reads and writes elements of these tensors only. The factors have the type that sums in f32 ask
        // for. Nobody else reads or writes the target, as `product_into` asks.
        unsafe {
            result::gemm_ex(
                *device.cublas_handle().handle(),
                operation(call.first),
                operation(call.second),
                call.rows,
                call.columns,
                call.inner,
                (&raw const one).cast(),
                addresses.0 as *const _,
                number,
                call.first.leading,
                addresses.1 as *const _,
                number,
                call.second.leading,
                (&raw const zero).cast(),
                addresses.2 as *mut _,
                sys::cudaDataType_t::CUDA_R_32F,
                call.target_leading,
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(Error::wrap)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// What the call means by cuBLAS' documentation: the element (i, j) of an operand is at `j · leading + i`, or at
    /// `i · leading + j` if it is transposed.
    fn by_definition(call: &Call, first: &[f32], second: &[f32]) -> Vec<f32> {
        let at = |side: Side, values: &[f32], i: i32, j: i32| {
            let (i, j) = if side.transposed { (j, i) } else { (i, j) };
            values[(j * side.leading + i) as usize]
        };
        let mut target = vec![f32::NAN; (call.columns * call.target_leading) as usize];
        for j in 0..call.columns {
            for i in 0..call.rows {
                let terms =
                    (0..call.inner).map(|l| at(call.first, first, i, l) * at(call.second, second, l, j));
                target[(j * call.target_leading + i) as usize] = terms.sum();
            }
        }
        target
    }

    /// The elements of the memory of a tensor from its first one on.
    fn memory(values: &[f32], tensor: &Tensor) -> Vec<f32> {
        values[tensor.layout().start_offset()..].to_vec()
    }

    #[test]
    fn the_call_of_cublas_means_the_product_of_matrices_by_rows() {
        let number = |i: usize| ((i * 37) % 17) as f32 - 8.0;
        for (m, k, n) in
            [(1, 1, 1), (3, 5, 2), (1, 4, 3), (4, 1, 3), (3, 4, 1), (1, 1, 5), (1, 5, 1), (5, 1, 1)]
        {
            for (left_turned, right_turned, cut) in
                (0..8).map(|bits| (bits & 1 == 1, bits & 2 == 2, bits & 4 == 4))
            {
                // A cut operand is a part of the rows of a larger matrix.
                let rows = |rows: usize, columns: usize, turned: bool| {
                    let (rows, columns) = if turned { (columns, rows) } else { (rows, columns) };
                    let values: Vec<f32> = (0..(rows + 2) * columns).map(number).collect();
                    let tensor = Tensor::from_slice(&values, (rows + 2, columns), &Device::Cpu).unwrap();
                    let tensor = tensor.narrow(0, if cut { 1 } else { 0 }, rows).unwrap();
                    (if turned { tensor.t().unwrap() } else { tensor }, values)
                };
                let ((left, left_values), (right, right_values)) =
                    (rows(m, k, left_turned), rows(k, n, right_turned));
                let call = Call::of(&left, &right).unwrap();
                let found =
                    by_definition(&call, &memory(&right_values, &right), &memory(&left_values, &left));
                let expected = left.matmul(&right).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert_eq!(found, expected, "{m} {k} {n} {left_turned} {right_turned} {cut}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let zeros =
            |rows: usize, columns: usize, dtype| Tensor::zeros((rows, columns), dtype, &Device::Cpu).unwrap();
        let (f32, bf16) = (DType::F32, DType::BF16);
        assert!(product(&zeros(2, 3, f32), &zeros(2, 3, f32)).is_err());
        assert!(product(&zeros(2, 3, f32), &zeros(3, 2, bf16)).is_err());
        assert!(product(&zeros(2, 3, DType::F64), &zeros(3, 2, DType::F64)).is_err());
        assert!(product_into(&zeros(2, 3, f32), &zeros(3, 2, f32), &zeros(2, 3, f32)).is_err());
        let every_other =
            zeros(4, 6, f32).reshape((4, 3, 2)).unwrap().narrow(2, 0, 1).unwrap().squeeze(2).unwrap();
        assert!(product(&every_other, &zeros(3, 2, f32)).is_err());
    }
}
