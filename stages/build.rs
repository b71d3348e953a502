//! Compiles the kernels of GPUs to PTX, with the feature `cuda`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    if let Err(problem) = kernels() {
        println!(
            "cargo::error=the kernels of the GPU in stages/src/kernels/cuda/source were not compiled: {problem}"
        );
    }
}

/// nvcc and the compute capability (`CUDA_COMPUTE_CAP`, or that of the card here) are found as candle's own build finds
/// them.
#[cfg(feature = "cuda")]
fn kernels() -> Result<(), Box<dyn std::error::Error>> {
    let source = "src/kernels/cuda/source";
    println!("cargo::rerun-if-changed={source}");
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    let built = cudaforge::KernelBuilder::new()
        .source_dir(source)
        .watch([format!("{source}/common.cuh")])
        .arg("-std=c++17")
        .arg("-O3")
        // A multiplication and an addition are rounded one after the other, as on the CPU.
        .arg("--fmad=false")
        .build_ptx()?;
    let target = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("ptx.rs");
    Ok(built.write(&target)?)
}
