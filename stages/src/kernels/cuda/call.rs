//! A call of a kernel: its name, its arguments, and the threads that run it.

use candle_core::{Result, Tensor};

/// The threads of a block that computes one element with each thread.
const THREADS: u32 = 256;

/// The threads of a block that work on one row, and the rows of a block: `LANES` and `SEGMENTS` of source/common.cuh.
const LANES: u32 = 32;
const SEGMENTS: u32 = 8;

/// A kernel: the source that has it, without its extension, and its name there.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(any(test, feature = "cuda")),
    allow(dead_code, reason = "a build without CUDA launches nothing")
)]
pub(super) struct Kernel {
    pub(super) source: &'static str,
    pub(super) name: &'static str,
}

/// An argument of a kernel. The types are those of the parameter of the kernel.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(any(test, feature = "cuda")),
    allow(dead_code, reason = "a build without CUDA launches nothing")
)]
pub(super) enum Argument<'a> {
    /// `const T*`: the elements of a contiguous tensor, which the kernel reads.
    Read(&'a Tensor),
    /// `T*`: the elements of a contiguous tensor, which the kernel writes. Nobody else reads or writes them meanwhile.
    Write(&'a Tensor),
    /// `const float* const*`: the elements of several tensors.
    Reads(&'a [&'a Tensor]),
    /// `float* const*`: as for `Write`.
    Writes(&'a [&'a Tensor]),
    /// `long long`.
    Size(usize),
    /// `unsigned`.
    Word(u32),
    /// `double`.
    Double(f64),
}

/// The blocks of a launch, and the threads of a block, as (x, y).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) blocks: (u32, u32),
    pub(super) threads: (u32, u32),
}

/// The number as a dimension of a launch. A card takes up to 2³¹ − 1 blocks along x and 65535 along y.
fn dimension(count: usize, most: u32) -> Result<u32> {
    match u32::try_from(count) {
        Ok(count) if count <= most => Ok(count),
        _ => candle_core::bail!(
            "a kernel of the GPU would need {count} blocks, and a card takes {most}: make the batch smaller"
        ),
    }
}

impl Grid {
    /// One thread for each of `elements`.
    pub(super) fn elements(elements: usize) -> Result<Self> {
        Self::columns(elements, 1)
    }

    /// One thread for each of `columns`, for each of `parts`.
    pub(super) fn columns(columns: usize, parts: usize) -> Result<Self> {
        let blocks = dimension(columns.div_ceil(THREADS as usize), i32::MAX as u32)?;
        Ok(Self { blocks: (blocks, dimension(parts, 65535)?), threads: (THREADS, 1) })
    }

    /// A segment of a block for each of `rows`.
    pub(super) fn segments(rows: usize) -> Result<Self> {
        let blocks = dimension(rows.div_ceil(SEGMENTS as usize), i32::MAX as u32)?;
        Ok(Self { blocks: (blocks, 1), threads: (LANES, SEGMENTS) })
    }

    /// This many blocks of 256 threads.
    pub(super) fn blocks(blocks: usize) -> Result<Self> {
        Ok(Self { blocks: (dimension(blocks, i32::MAX as u32)?, 1), threads: (THREADS, 1) })
    }

    /// Blocks of 32 columns and `lanes` lanes, for each of `columns` and `parts`.
    pub(super) fn lanes(columns: usize, parts: usize, lanes: u32) -> Result<Self> {
        let blocks = dimension(columns.div_ceil(LANES as usize), i32::MAX as u32)?;
        Ok(Self { blocks: (blocks, dimension(parts, 65535)?), threads: (LANES, lanes) })
    }
}
