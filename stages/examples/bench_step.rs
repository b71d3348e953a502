//! Measures full-size training steps and evaluations on synthetic videos. This is the cost of the model alone, without
//! a pipeline.
//!
//! ```text
//! cargo run --release -p framewise-stages --example bench_step -- [--batch 40] [--frames 230] [--steps 5] [--preset paddle|paper]
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{DeviceBatch, Dropout, Model, NextVlad, NextVladConfig, Weights, backward};
use framewise_stages::optim::{Adam, AdamConfig, Moments, Updated};
use framewise_stages::random;

/// The allocator. candle frees and fetches large buffers at every operation, and an allocator that keeps them saves the
/// page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut videos, mut frames, mut steps) = (40, 230, 5);
    let mut config = NextVladConfig::paddle();
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--batch" => videos = value.parse()?,
            "--frames" => frames = value.parse()?,
            "--steps" => steps = value.parse()?,
            "--preset" if value == "paddle" => config = NextVladConfig::paddle(),
            "--preset" if value == "paper" => config = NextVladConfig::paper(),
            _ => return Err(format!("unknown argument {flag} {value}").into()),
        }
    }
    let model = NextVlad::new(config)?;
    let batch = batch(&model, videos, frames)?;
    let labels = Tensor::zeros((videos, model.classes()), DType::F32, &Device::Cpu)?;
    let start = Instant::now();
    let mut weights = Weights::initial(Arc::new(model.clone()), 1, &Device::Cpu, DType::F32)?;
    println!("initial values {:.2} s", start.elapsed().as_secs_f64());
    let adam = Adam::new(AdamConfig::default());
    let mut moments = Moments::zeros(&weights)?;
    let mut recycled = None;
    let mut times = Vec::new();
    for step in 0..steps {
        let cpu = cpu_seconds();
        let mut laps = vec![Instant::now()];
        let forward = model.forward_train(&weights, &batch, &Dropout::Seeded { seed: 1, step, shard: 0 })?;
        let loss = model.loss(&forward.logits, &labels)?.mean_all()?;
        laps.push(Instant::now());
        let gradients = backward(&loss, &weights)?;
        laps.push(Instant::now());
        let Updated { weights: mut next, moments: next_moments, .. } =
            adam.update(&weights, &moments, &gradients, 2e-4, recycled.take())?;
        next.buffers = model.fold_moments(&weights, &[&forward.moments])?;
        recycled =
            Some((std::mem::replace(&mut weights, next), std::mem::replace(&mut moments, next_moments)));
        laps.push(Instant::now());
        let parts: Vec<f64> = laps.windows(2).map(|lap| (lap[1] - lap[0]).as_secs_f64()).collect();
        let total: f64 = parts.iter().sum();
        let (user, system) =
            cpu_seconds().zip(cpu).map_or((0.0, 0.0), |(end, start)| (end.0 - start.0, end.1 - start.1));
        println!(
            "step {step}: {total:.3} s = forward {:.3} + backward {:.3} + update {:.3}; processor {user:.2} s, of the kernel {system:.2} s",
            parts[0], parts[1], parts[2]
        );
        times.push(total);
    }
    drop(recycled);
    report("train", videos, times);
    let mut times = Vec::new();
    for _ in 0..steps {
        let start = Instant::now();
        model.forward_eval(&weights, &batch)?;
        times.push(start.elapsed().as_secs_f64());
    }
    report("evaluate", videos, times);
    Ok(())
}

/// The seconds of (user, kernel) time of this process so far, where Linux tells them. On a shared machine, this is the
/// steadier measure.
fn cpu_seconds() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name in parentheses, the state is field 3. utime and stime are fields 14 and 15, in hundredths of a
    // second.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |field: usize| fields.get(field - 3)?.parse().ok().map(|ticks: f64| ticks / 100.0);
    Some((seconds(14)?, seconds(15)?))
}

/// Videos of `mean` frames, give or take a third, with random bytes.
fn batch(model: &NextVlad, videos: usize, mean: usize) -> Result<DeviceBatch, Box<dyn Error>> {
    use rand::RngCore;
    let mut rng = random::stream(1, "bench", &[]);
    let third = (mean / 3) as u64;
    let length = |rng: &mut _| mean + random::below(rng, 2 * third + 1) as usize - third as usize;
    let lengths: Vec<usize> =
        (0..videos).map(|_| length(&mut rng).clamp(1, model.config.max_frames)).collect();
    let frames: usize = lengths.iter().sum();
    println!("{videos} videos, {frames} frames");
    let mut rows = |size: usize| {
        let mut bytes = vec![0; frames * size];
        rng.fill_bytes(&mut bytes);
        Tensor::from_vec(bytes, (frames, size), &Device::Cpu)
    };
    Ok(DeviceBatch { rgb: rows(model.rgb_size())?, audio: rows(model.audio_size())?, lengths })
}

/// The median time of all runs but the first, which warms up.
fn report(what: &str, videos: usize, mut times: Vec<f64>) {
    if times.len() > 1 {
        times.remove(0);
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!("{what}: {:.2} videos/s (median of {}, {median:.3} s)", videos as f64 / median, times.len());
}
