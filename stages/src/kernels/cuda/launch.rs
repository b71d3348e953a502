//! The launch of a kernel, and the memory that kernels write.

use candle_core::{DType, Device, Result, Tensor};

pub(super) use super::call::{Argument, Grid, Kernel};

/// Memory for the results of a kernel, which must write every element. The tests' emulator fills it with NaN.
pub(super) fn fresh(shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
    if device.is_cuda() {
        // SAFETY: the elements are read by kernels of the same stream alone, behind the one that writes them all. The tests
        // run each function of this module on memory full of NaN, so that an element that is not written shows.
        return unsafe { Tensor::empty(shape, dtype, device) };
    }
    match dtype {
        DType::F32 | DType::F64 | DType::BF16 => Tensor::full(f64::NAN, shape, device)?.to_dtype(dtype),
        _ => Tensor::zeros(shape, dtype, device),
    }
}

/// Launches `kernel` on `device`, on which all tensors lie. Without blocks, nothing is launched.
///
/// # Errors
/// A tensor is not contiguous, lies elsewhere or has a type that no kernel takes, or the driver refuses the launch. An
/// error of the kernel itself shows in a later operation.
pub(super) fn launch(device: &Device, kernel: Kernel, grid: Grid, arguments: &[Argument]) -> Result<()> {
    if grid.blocks.0 == 0 || grid.blocks.1 == 0 {
        return Ok(());
    }
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return card::launch(device, kernel, grid, arguments);
    }
    #[cfg(test)]
    if device.is_cpu() {
        return super::emulated::launch(kernel, grid, arguments);
    }
    let _ = arguments;
    candle_core::bail!("the kernel {} runs on a GPU only, not on {device:?}", kernel.name)
}

#[cfg(feature = "cuda")]
mod card {
    use candle_core::cuda_backend::cudarc::driver::{CudaStream, DevicePtr, LaunchConfig, PushKernelArg};
    use candle_core::cuda_backend::{CudaDevice, CudaStorageSlice};
    use candle_core::{DType, Error, Result, Storage, Tensor};

    use super::{Argument, Grid, Kernel};

    /// The kernels of each source, as PTX.
    #[allow(unreachable_pub, reason = "the build writes the items")]
    mod ptx {
        include!(concat!(env!("OUT_DIR"), "/ptx.rs"));
    }

    fn ptx_of(source: &str) -> Result<&'static str> {
        Ok(match source {
            "adam" => ptx::ADAM,
            "assign" => ptx::ASSIGN,
            "codes" => ptx::CODES,
            "columns" => ptx::COLUMNS,
            "norm" => ptx::NORM,
            "pool" => ptx::POOL,
            _ => candle_core::bail!("there is no source {source} of kernels"),
        })
    }

    /// The address on the card of the first element of a contiguous tensor.
    pub(in super::super) fn address(tensor: &Tensor, stream: &CudaStream) -> Result<u64> {
        if !tensor.is_contiguous() {
            candle_core::bail!("a kernel of the GPU was given a tensor that is not contiguous");
        }
        address_of_first(tensor, stream)
    }

    /// The address on the card of the first element of a tensor, whatever its strides.
    pub(in super::super) fn address_of_first(tensor: &Tensor, stream: &CudaStream) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else {
            candle_core::bail!("a kernel of the GPU was given a tensor on {:?}", tensor.device());
        };
        // The guards would record events for other streams. There is one stream for each card: see device/mod.rs.
        let base = match &storage.slice {
            CudaStorageSlice::U8(slice) => slice.device_ptr(stream).0,
            CudaStorageSlice::U32(slice) => slice.device_ptr(stream).0,
            CudaStorageSlice::I64(slice) => slice.device_ptr(stream).0,
            CudaStorageSlice::BF16(slice) => slice.device_ptr(stream).0,
            CudaStorageSlice::F32(slice) => slice.device_ptr(stream).0,
            CudaStorageSlice::F64(slice) => slice.device_ptr(stream).0,
            _ => candle_core::bail!("no kernel of the GPU takes {:?}", tensor.dtype()),
        };
        Ok(base + (layout.start_offset() * tensor.dtype().size_in_bytes()) as u64)
    }

    /// A value of an argument, in the form that the driver copies it.
    enum Value {
        Address(u64),
        Size(i64),
        Word(u32),
        Double(f64),
    }

    pub(super) fn launch(
        device: &CudaDevice,
        kernel: Kernel,
        grid: Grid,
        arguments: &[Argument],
    ) -> Result<()> {
        let stream = device.cuda_stream();
        let function = device.get_or_load_custom_func(kernel.name, kernel.source, ptx_of(kernel.source)?)?;
        let table = |tensors: &[&Tensor]| {
            let addresses = tensors.iter().map(|tensor| {
                if tensor.dtype() != DType::F32 {
                    candle_core::bail!("a table of {:?} for a kernel of the GPU", tensor.dtype());
                }
                address(tensor, &stream)
            });
            let addresses = addresses.collect::<Result<Vec<u64>>>()?;
            device.clone_htod(&addresses)
        };
        let mut tables = Vec::new();
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(match *argument {
                Argument::Read(tensor) | Argument::Write(tensor) => Value::Address(address(tensor, &stream)?),
                Argument::Reads(tensors) | Argument::Writes(tensors) => {
                    let table = table(tensors)?;
                    let address = table.device_ptr(&stream).0;
                    tables.push(table);
                    Value::Address(address)
                }
                Argument::Size(size) => Value::Size(i64::try_from(size).map_err(Error::wrap)?),
                Argument::Word(word) => Value::Word(word),
                Argument::Double(double) => Value::Double(double),
            });
        }
        let mut builder = function.builder();
        for value in &values {
            match value {
                Value::Address(address) => builder.arg(address),
                Value::Size(size) => builder.arg(size),
                Value::Word(word) => builder.arg(word),
                Value::Double(double) => builder.arg(double),
            };
        }
        let config = LaunchConfig {
            grid_dim: (grid.blocks.0, grid.blocks.1, 1),
            block_dim: (grid.threads.0, grid.threads.1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: number, order and types of the arguments are those of the kernel: the tests launch each kernel by the same
        // calls in the emulator, which compares them with the kernel's parameters, constness included. The kernels stay
        // within the tensors: the tests run them under the address sanitizer, with buffers of exactly the sizes that the
        // calls give, and no index depends on a value other than these sizes and the tables of this module. The memory
        // lives until the kernel has run: the tensors are borrowed until it is in the stream, and memory is given back in
        // the order of the same stream. What is written is read by nobody else meanwhile, as `Argument::Write` asks.
        unsafe { builder.launch(config) }.map_err(Error::wrap)?;
        // The tables are given back in the order of the stream, too: behind the kernel.
        drop(tables);
        Ok(())
    }
}
#[cfg(feature = "cuda")]
pub(super) use card::{address, address_of_first};
