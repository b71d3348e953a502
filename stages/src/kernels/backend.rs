//! The implementation that computes: the choice that a person makes, and the implementation that it leads to on one
//! device.

use candle_core::Device;

/// The choice of the implementation with which a model or an optimizer computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// Fused kernels on the CPU and on NVIDIA GPUs, plain tensor operations on every other device.
    #[default]
    Auto,
    /// Plain tensor operations on every device. They are slow on the CPU; the tests hold the kernels to their numbers.
    Plain,
    /// Works like `Auto`, but NeXtVLAD's assignment is always computed through the product of its weights.
    Folded,
    /// Works like `Auto`, but NeXtVLAD's assignment is never computed through the product of its weights.
    Unfolded,
    /// The kernels of GPUs, emulated on the CPU.
    #[cfg(test)]
    Emulated,
    /// As `Emulated`, and through the product of the assignment's weights.
    #[cfg(test)]
    EmulatedFolded,
}

/// The implementation that computes on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Tensor operations of candle with its own gradients, on any device.
    Plain,
    /// The kernels of [`crate::kernels::cuda`] with their hand-written gradients, on NVIDIA GPUs and in f32.
    FusedCuda,
    /// The kernels of [`crate::kernels::cpu`] with their hand-written gradients, on the CPU.
    FusedCpu,
}

/// Whether the fused assignment multiplies its input with the product of two weight matrices (the fold) or with one
/// after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// The way that takes less arithmetic for the batch in hand.
    BySize,
    /// Always with the product.
    Always,
    /// Always with one matrix after the other.
    Never,
}

impl Backend {
    /// The fastest implementation for `device`.
    pub(crate) fn of(device: &Device) -> Self {
        Kernels::Auto.on(device)
    }
}

impl Kernels {
    /// The implementation that this choice leads to on `device`.
    pub(crate) fn on(self, device: &Device) -> Backend {
        #[cfg(test)]
        if matches!(self, Self::Emulated | Self::EmulatedFolded) {
            return Backend::FusedCuda;
        }
        match device {
            _ if self == Self::Plain => Backend::Plain,
            device if device.is_cpu() => Backend::FusedCpu,
            device if device.is_cuda() => Backend::FusedCuda,
            _ => Backend::Plain,
        }
    }

    /// The way in which the fused assignment of NeXtVLAD is computed under this choice.
    pub(crate) fn fold(self) -> Fold {
        match self {
            Self::Auto | Self::Plain => Fold::BySize,
            Self::Folded => Fold::Always,
            Self::Unfolded => Fold::Never,
            #[cfg(test)]
            Self::Emulated => Fold::Never,
            #[cfg(test)]
            Self::EmulatedFolded => Fold::Always,
        }
    }
}
