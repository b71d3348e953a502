//! An emulator of launches for tests on a machine without a GPU.
//!
//! The sources of the kernels are compiled as C++, with shim.h for the names of CUDA, under the sanitizers for addresses
//! and undefined behaviour. main.cpp runs one launch, and says what it checks.

use std::cell::Cell;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Storage, Tensor};

use super::call::{Argument, Grid, Kernel};

/// The source of the kernels that the emulator itself has.
pub(super) const OWN: &str = "emulated";

/// The compiled emulator. `None` where there is no C++ compiler and the tests may go without.
pub(crate) fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(compile).as_deref()
}

fn compile() -> Option<PathBuf> {
    if let Err(error) = Command::new("c++").arg("--version").output() {
        assert!(std::env::var_os("FRAMEWISE_REQUIRE_CXX").is_none(), "c++: {error}");
        eprintln!(
            "SKIPPED: the kernels of the GPU are emulated with a C++ compiler, and there is none: {error}"
        );
        return None;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/cuda/emulated/main.cpp");
    // The folder stays for as long as the process runs.
    let target = tempfile::tempdir().unwrap().keep().join("emulator");
    let compiled = Command::new("c++")
        .args(["-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror"])
        // As nvcc is told: a multiplication and an addition are rounded one after the other.
        .args(["-ffp-contract=off", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o"])
        .args([&target, &source])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some(target)
}

/// The devices on which tests run the kernels: the CPU for the emulator, and the first GPU if the environment asks for one
/// by `FRAMEWISE_CUDA`.
pub(crate) fn places() -> Vec<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    let asked = || std::env::var_os("FRAMEWISE_CUDA").map(|_| Device::new_cuda_with_stream(0).unwrap());
    program().map(|_| Device::Cpu).into_iter().chain(GPU.get_or_init(asked).clone()).collect()
}

thread_local! {
    /// The launches and the products on this thread so far.
    static COUNTS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Calls `body`, and returns with its result how many kernels were launched and how many products taken meanwhile.
pub(crate) fn counted<R>(body: impl FnOnce() -> R) -> (R, (usize, usize)) {
    let before = COUNTS.get();
    let result = body();
    let after = COUNTS.get();
    (result, (after.0 - before.0, after.1 - before.1))
}

/// Counts a product, which a GPU would leave to cuBLAS.
pub(super) fn count_product() {
    COUNTS.set((COUNTS.get().0, COUNTS.get().1 + 1));
}

/// Runs a launch with tensors on the CPU.
pub(super) fn launch(kernel: Kernel, grid: Grid, arguments: &[Argument]) -> Result<()> {
    let Some(program) = program() else { candle_core::bail!("there is no C++ compiler") };
    check_source(kernel);
    COUNTS.set((COUNTS.get().0 + 1, COUNTS.get().1));
    let mut input = Vec::new();
    let words = |input: &mut Vec<u8>, words: &[u32]| {
        words.iter().for_each(|word| input.extend(word.to_le_bytes()));
    };
    words(&mut input, &[kernel.name.len() as u32]);
    input.extend(kernel.name.as_bytes());
    words(&mut input, &[grid.blocks.0, grid.blocks.1, 1, grid.threads.0, grid.threads.1, 1]);
    words(&mut input, &[arguments.len() as u32]);
    let mut targets: Vec<&Tensor> = Vec::new();
    for argument in arguments {
        match *argument {
            Argument::Size(size) => number(&mut input, 2, (size as i64).to_le_bytes()),
            Argument::Word(word) => number(&mut input, 1, u64::from(word).to_le_bytes()),
            Argument::Double(double) => number(&mut input, 5, double.to_le_bytes()),
            Argument::Read(tensor) => buffers(&mut input, 1, &[tensor])?,
            Argument::Write(tensor) => buffers(&mut input, 2, &[tensor])?,
            Argument::Reads(tensors) => buffers(&mut input, 3, tensors)?,
            Argument::Writes(tensors) => buffers(&mut input, 4, tensors)?,
        }
        match argument {
            Argument::Write(tensor) => targets.push(tensor),
            Argument::Writes(tensors) => targets.extend(*tensors),
            _ => {}
        }
    }
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(candle_core::Error::wrap)?;
    // The emulator reads all before it writes. If it fails before, its message says why, and not the broken pipe.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&input));
    let output = child.wait_with_output().map_err(candle_core::Error::wrap)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        candle_core::bail!("{} with {grid:?}: {text}", kernel.name);
    }
    let mut results = output.stdout.as_slice();
    for target in targets {
        let (own, rest) = results.split_at(target.elem_count() * target.dtype().size_in_bytes());
        results = rest;
        target.inplace_op1(&Fill(Mutex::new(own.to_vec())))?;
    }
    assert!(results.is_empty(), "{} bytes too many", results.len());
    Ok(())
}

/// The emulator has all kernels in one program, and a GPU has those of one source: the kernel must be in that which it names.
fn check_source(kernel: Kernel) {
    if kernel.source == OWN {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/cuda/source");
    let text = std::fs::read_to_string(folder.join(kernel.source).with_extension("cu")).unwrap();
    let declared = format!("extern \"C\" __global__ void {}(", kernel.name);
    assert!(text.contains(&declared), "{kernel:?} is in another source");
}

fn number(input: &mut Vec<u8>, code: u8, bytes: [u8; 8]) {
    input.extend([0, code]);
    input.extend(bytes);
}

fn buffers(input: &mut Vec<u8>, kind: u8, tensors: &[&Tensor]) -> Result<()> {
    let dtype = tensors.first().map_or(DType::F32, |tensor| tensor.dtype());
    let code = match dtype {
        DType::U8 => 0,
        DType::U32 => 1,
        DType::I64 => 2,
        DType::BF16 => 3,
        DType::F32 => 4,
        DType::F64 => 5,
        other => candle_core::bail!("no kernel of the GPU takes {other:?}"),
    };
    input.extend([kind, code]);
    input.extend((tensors.len() as u32).to_le_bytes());
    for tensor in tensors {
        if tensor.dtype() != dtype {
            candle_core::bail!("a table of {dtype:?} and {:?}", tensor.dtype());
        }
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cpu(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            candle_core::bail!("the emulator was given a tensor elsewhere, or one that is not contiguous");
        };
        let bytes: &[u8] = match storage {
            CpuStorage::U8(values) => &values[start..end],
            CpuStorage::U32(values) => bytemuck::cast_slice(&values[start..end]),
            CpuStorage::I64(values) => bytemuck::cast_slice(&values[start..end]),
            CpuStorage::BF16(values) => &values[start..end]
                .iter()
                .flat_map(|value| value.to_bits().to_le_bytes())
                .collect::<Vec<u8>>(),
            CpuStorage::F32(values) => bytemuck::cast_slice(&values[start..end]),
            CpuStorage::F64(values) => bytemuck::cast_slice(&values[start..end]),
            _ => unreachable!("the type was looked at above"),
        };
        input.extend((bytes.len() as u64).to_le_bytes());
        input.extend(bytes);
    }
    Ok(())
}

/// Writes bytes over the elements of a tensor.
struct Fill(Mutex<Vec<u8>>);

impl InplaceOp1 for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let bytes = self.0.lock().unwrap();
        let (start, end) = layout.contiguous_offsets().unwrap();
        match storage {
            CpuStorage::U32(values) => {
                bytemuck::cast_slice_mut(&mut values[start..end]).copy_from_slice(&bytes)
            }
            CpuStorage::F32(values) => {
                bytemuck::cast_slice_mut(&mut values[start..end]).copy_from_slice(&bytes)
            }
            CpuStorage::F64(values) => {
                bytemuck::cast_slice_mut(&mut values[start..end]).copy_from_slice(&bytes)
            }
            CpuStorage::BF16(values) => {
                for (value, bytes) in values[start..end].iter_mut().zip(bytes.chunks_exact(2)) {
                    // A bf16 is the upper half of an f32.
                    let float = f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16);
                    *value = candle_core::WithDType::from_f64(f64::from(float));
                }
            }
            _ => candle_core::bail!("no kernel of the GPU writes this type"),
        }
        Ok(())
    }
}
