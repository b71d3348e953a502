//! Loops compiled for the widest vectors of the processor.
//!
//! The program is compiled for every processor of its family, so the compiler uses short vectors in ordinary loops. Here
//! it compiles a loop two more times, for AVX2 and for AVX-512, and the processor decides at run time which one is run.
//!
//! Law: all give the same bits. The compiler never joins a multiplication and an addition into one rounding, and never
//! changes the order of floating-point sums, whatever instructions it may use.

/// Runs `body`, which should be a closure marked `#[inline(always)]` or short enough to be inlined.
#[inline]
pub(crate) fn widest<R>(body: impl FnOnce() -> R) -> R {
    // An interpreter of Rust's own intermediate code (Miri) has no such instructions.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        // SAFETY: the processor has all features that the function is compiled for.
        return unsafe { by_avx512(body) };
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { by_avx2(body) };
    }
    body()
}

/// Runs `body` in a function that is compiled for AVX-512.
///
/// # Safety
/// The processor has AVX512F, AVX512BW, AVX512DQ and AVX512VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn by_avx512<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Runs `body` in a function that is compiled for AVX2.
///
/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn by_avx2<R>(body: impl FnOnce() -> R) -> R {
    body()
}
