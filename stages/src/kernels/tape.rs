//! Values with a hand-written gradient, on candle's tape.
//!
//! Law: the value moves in, the closure moves in, and nothing is copied.

use std::sync::Mutex;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, InplaceOp1, Layout, Result, Shape, Storage,
    Tensor,
};

/// A function from (the node's value, its gradient, both contiguous) to the gradients of its arguments, in their order.
/// `None` stands for an argument that needs no gradient, or whose gradient went to
/// [`crate::kernels::deposits::deposit`].
pub(crate) type Backward = Box<dyn Fn(&Tensor, &Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

struct Node {
    name: &'static str,
    value: Mutex<Option<(Storage, Shape)>>,
    backward: Backward,
}

impl Node {
    fn take(&self) -> Result<(CpuStorage, Shape)> {
        match self.take_any()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => candle_core::bail!("{}: the value lies elsewhere than the arguments", self.name),
        }
    }

    fn take_cuda(&self) -> Result<(CudaStorage, Shape)> {
        match self.take_any()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => candle_core::bail!("{}: the value lies elsewhere than the arguments", self.name),
        }
    }

    fn take_any(&self) -> Result<(Storage, Shape)> {
        let value = self.value.lock().ok().and_then(|mut value| value.take());
        value.ok_or_else(|| candle_core::Error::msg(format!("{}: the value was taken before", self.name)))
    }

    fn gradients<const N: usize>(&self, value: &Tensor, gradient: &Tensor) -> Result<[Option<Tensor>; N]> {
        let gradients = (self.backward)(value, &gradient.contiguous()?)?;
        gradients.try_into().map_err(|found: Vec<_>| {
            candle_core::Error::msg(format!("{}: {} gradients for {N} arguments", self.name, found.len()))
        })
    }
}

impl CustomOp1 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }

    fn bwd(&self, _: &Tensor, value: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let [first] = self.gradients(value, gradient)?;
        Ok(first)
    }
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        value: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [first, second] = self.gradients(value, gradient)?;
        Ok((first, second))
    }
}

impl CustomOp3 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take_cuda()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        value: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [first, second, third] = self.gradients(value, gradient)?;
        Ok((first, second, third))
    }
}

/// Puts `value` on the tape of its one to three `arguments`, which lie on its device. The closure handles any further
/// arguments. This works on the CPU and on NVIDIA GPUs.
///
/// `value` gives away its storage. It must be contiguous, and nobody else may share its storage. That includes the
/// closure, which is handed the value again instead.
pub(crate) fn attach(
    name: &'static str,
    value: Tensor,
    arguments: &[&Tensor],
    backward: Backward,
) -> Result<Tensor> {
    let shape = value.shape().clone();
    let node = Node { name, value: Mutex::new(Some((take(value)?, shape))), backward };
    match arguments {
        [one] => one.apply_op1(node),
        [one, two] => one.apply_op2(two, node),
        [one, two, three] => one.apply_op3(two, three, node),
        _ => candle_core::bail!("{name}: {} arguments on the tape, expected 1 to 3", arguments.len()),
    }
}

/// Takes the storage out of a tensor on the CPU that nobody shares.
pub(crate) fn into_storage(tensor: Tensor) -> Result<CpuStorage> {
    match take(tensor)? {
        Storage::Cpu(storage) => Ok(storage),
        _ => candle_core::bail!("take: the tensor is not on the CPU"),
    }
}

/// Takes the storage out of a tensor that nobody shares.
fn take(tensor: Tensor) -> Result<Storage> {
    struct Take(Mutex<Option<Storage>>);

    impl Take {
        fn put(&self, storage: Storage) -> Result<()> {
            self.0.lock().map_err(|_| candle_core::Error::msg("take: poisoned"))?.replace(storage);
            Ok(())
        }
    }

    impl InplaceOp1 for Take {
        fn name(&self) -> &'static str {
            "take"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            check(layout, storage.as_slice_len())?;
            self.put(Storage::Cpu(std::mem::replace(storage, CpuStorage::U8(Vec::new()))))
        }

        #[cfg(feature = "cuda")]
        fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
            use candle_core::cuda_backend::CudaStorageSlice;
            let length = match &storage.slice {
                CudaStorageSlice::F32(values) => {
                    candle_core::cuda_backend::cudarc::driver::DeviceSlice::len(values)
                }
                // Nodes on a GPU are of this type. Any other type fails the comparison.
                _ => usize::MAX,
            };
            check(layout, length)?;
            let device = storage.device.clone();
            // The driver may refuse to allocate nothing, so one byte takes the place.
            // SAFETY: nobody reads the byte, because the tensor that holds it is dropped by `take`.
            let nothing = unsafe { device.alloc::<u8>(1) }?;
            let left = CudaStorage { slice: CudaStorageSlice::U8(nothing), device };
            self.put(Storage::Cuda(std::mem::replace(storage, left)))
        }
    }

    let take = Take(Mutex::new(None));
    tensor.inplace_op1(&take)?;
    let taken = take.0.into_inner().ok().flatten();
    taken.ok_or_else(|| candle_core::Error::msg("take: no storage"))
}

/// Refuses a view of a part of a storage of `length` elements.
fn check(layout: &Layout, length: usize) -> Result<()> {
    if layout.contiguous_offsets() != Some((0, length)) {
        candle_core::bail!("only a tensor that owns all of its storage can give it away");
    }
    Ok(())
}

/// The number of elements, whatever their type.
trait Length {
    fn as_slice_len(&self) -> usize;
}

impl Length for CpuStorage {
    fn as_slice_len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            // Nodes are only of these two types. Any other type fails the comparison above.
            _ => usize::MAX,
        }
    }
}
