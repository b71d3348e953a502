//! The two float types that a model can have.

use candle_core::WithDType;

use super::exp::{exp, quick_exp};

/// `f32` or `f64`.
pub(crate) trait Real: WithDType + Default + std::ops::Neg<Output = Self> {
    /// The exponential, for f32 by [`exp`].
    fn exp(self) -> Self;
    /// The exponential, for f32 by [`quick_exp`].
    fn quick_exp(self) -> Self;
    fn sqrt(self) -> Self;
    fn ln_1p(self) -> Self;
    fn ln(self) -> Self;
    fn abs(self) -> Self;
}

/// Implements [`Real`]. The functions are inlined, because the compiler computes several numbers of a loop at a time only
/// where it sees the bodies of all functions that the loop calls.
macro_rules! real {
    ($float:ty, $exp:path, $quick_exp:path) => {
        impl Real for $float {
            #[inline]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline]
            fn quick_exp(self) -> Self {
                $quick_exp(self)
            }
            #[inline]
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            #[inline]
            fn ln_1p(self) -> Self {
                self.ln_1p()
            }
            #[inline]
            fn ln(self) -> Self {
                self.ln()
            }
            #[inline]
            fn abs(self) -> Self {
                self.abs()
            }
        }
    };
}
real!(f32, exp, quick_exp);
real!(f64, f64::exp, f64::exp);

/// The sigmoid 1 / (1 + e^−x), without overflow on either side.
#[inline(always)]
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    let (numerator, denominator) = if x >= T::zero() { (T::one(), T::one() + e) } else { (e, T::one() + e) };
    numerator / denominator
}

/// Runs `$body` with `$T` standing for the float type of `$dtype`.
macro_rules! for_float {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $T = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => candle_core::bail!("tensors of the model are F32 or F64, not {other:?}"),
        }
    };
}
pub(crate) use for_float;
