//! Laws of the video-level models as whole graphs: the pipeline equals a plain loop over the same model, bit for bit,
//! and is close to a model written out in f64. Pooling in the graph and pooling in files give the same. Devices,
//! capacities and workers change nothing.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use framewise_stages::model::{
    DeviceBatch, Dropout, Logistic, LogisticConfig, MixtureConfig, MixtureOfExperts, Model, Weights, backward,
};
use framewise_stages::optim::{Adam, AdamConfig, Moments, Updated, reduce};
use framewise_stages::payload::{Example, Rows};
use framewise_stages::random;
use framewise_stages::store;

use crate::support::cli::{Desk, Said, graph};
use crate::support::run::{checkpoint_bytes, load, root, run_named, set, vowels};

const SEED: u64 = 1000;
const BATCH: usize = 30;
const CLASSES: usize = 9;

/// A video with the mean of its dequantised frames: first the visual features, then those of the audio.
#[derive(Clone)]
struct Mean {
    label: u32,
    features: Vec<f32>,
}

/// The videos of a bundled file, averaged one frame after another.
fn means(split: &str) -> Vec<Mean> {
    let mean_of = |video: Example| {
        let mean = |codes: &Rows, column: usize| {
            let sum: f64 = codes.iter().map(|row| f64::from(row[column])).sum();
            (sum / video.frames as f64 * (4.0 / 255.0) + (4.0 / 512.0 - 2.0)) as f32
        };
        let columns = (0..12).map(|c| mean(&video.rgb, c)).chain((0..12).map(|c| mean(&video.audio, c)));
        Mean { label: video.labels[0], features: columns.collect() }
    };
    vowels(split).into_iter().map(mean_of).collect()
}

/// The order of an epoch when the buffer holds the whole data set.
fn shuffled(videos: &[Mean], epoch: u64) -> Vec<Mean> {
    let mut rng = random::stream(SEED, "shuffle", &[epoch]);
    let (mut buffer, mut order) = (videos.to_vec(), Vec::new());
    while !buffer.is_empty() {
        let place = random::below(&mut rng, buffer.len() as u64) as usize;
        order.push(buffer.swap_remove(place));
    }
    order
}

fn logistic() -> Arc<dyn Model> {
    let config =
        LogisticConfig { rgb_size: 12, audio_size: 12, classes: CLASSES, ..LogisticConfig::default() };
    Arc::new(Logistic::new(config).unwrap())
}

fn mixture() -> Arc<dyn Model> {
    let config = MixtureConfig { rgb_size: 12, audio_size: 12, classes: CLASSES, ..MixtureConfig::default() };
    Arc::new(MixtureOfExperts::new(config).unwrap())
}

fn device_batch(videos: &[Mean]) -> (DeviceBatch, Tensor) {
    let part = |from: usize| {
        let rows: Vec<f32> = videos.iter().flat_map(|v| v.features[from..from + 12].to_vec()).collect();
        Tensor::from_vec(rows, (videos.len(), 12), &Device::Cpu).unwrap()
    };
    let mut labels = vec![0f32; videos.len() * CLASSES];
    videos.iter().enumerate().for_each(|(row, v)| labels[row * CLASSES + v.label as usize] = 1.0);
    let labels = Tensor::from_vec(labels, (videos.len(), CLASSES), &Device::Cpu).unwrap();
    (DeviceBatch { rgb: part(0), audio: part(12), lengths: vec![1; videos.len()] }, labels)
}

/// Two epochs of quickstart-video in two shards, without stages, with the crate's model and optimizer.
fn plain_loop(model: &Arc<dyn Model>, l2_parameters: &[&str]) -> (Weights, Moments) {
    let l2_parameters = l2_parameters.iter().map(|name| (*name).to_owned()).collect();
    let adam = Adam::new(AdamConfig { l2: 1e-8, l2_parameters, ..AdamConfig::default() });
    let mut weights = Weights::initial(model.clone(), SEED, &Device::Cpu, DType::F32).unwrap();
    let mut moments = Moments::zeros(&weights).unwrap();
    let videos = means("train");
    for epoch in 0..2 {
        for batch in shuffled(&videos, epoch).chunks_exact(BATCH) {
            let shards = batch.chunks(BATCH / 2).map(|videos| {
                let (batch, labels) = device_batch(videos);
                let forward = model.forward_train(&weights, &batch, &Dropout::Off).unwrap();
                let loss = model.loss(&forward.logits, &labels).unwrap().mean_all().unwrap();
                (backward(&loss, &weights).unwrap(), videos.len())
            });
            let shards: Vec<_> = shards.collect();
            let gradients = reduce(&shards.iter().map(|(g, n)| (g, *n)).collect::<Vec<_>>()).unwrap();
            Updated { weights, moments, .. } =
                adam.update(&weights, &moments, &gradients, 0.05, None).unwrap();
        }
    }
    (weights, moments)
}

/// Runs graphs/quickstart-video.toml with the binary. The model is chosen in the way that the head of the file
/// describes.
fn quickstart(model: &str, run_dir: &Path, sets: &[&str]) {
    let (graph, run_dir) = (graph("quickstart-video.toml"), run_dir.display().to_string());
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["run", &graph, "--run-dir", &run_dir].into_iter().chain(sets).collect();
    Said::of(Desk::new().command(&args).env("YT8M_MODEL", model).output().unwrap()).expect(0);
}

#[test]
fn the_pipeline_equals_the_plain_loop_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    for (name, model, l2) in [
        ("logistic", logistic(), &["classifier.weight"][..]),
        ("mixture_of_experts", mixture(), &["gates.weight", "experts.weight"]),
    ] {
        let (weights, moments) = plain_loop(&model, l2);
        let run_dir = dir.path().join(name);
        quickstart(name, &run_dir, &["stages.videos.epochs=2", "stages.shard.shards=2"]);
        let checkpoint = store::load(&run_dir).unwrap();
        assert_eq!(checkpoint.step, 18);
        assert_eq!(checkpoint.model, model.describe());
        let bits = |tensor: &Tensor| -> Vec<u32> {
            tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(checkpoint.weights.len(), model.parameters().len());
        for (plain_name, plain) in weights.named_tensors() {
            let found = checkpoint.weights.iter().find(|(name, _)| *name == plain_name).unwrap();
            assert_eq!(bits(&found.1), bits(&plain), "{plain_name}");
        }
        for (spec, plain) in model.parameters().iter().zip(&moments.second) {
            let name = format!("second.{}", spec.name);
            let found = checkpoint.moments.iter().find(|(n, _)| *n == name).unwrap();
            assert_eq!(bits(&found.1), bits(plain), "{name}");
        }
    }
}

/// Logistic regression and Adam in f64, written out: the weights [class][features, bias] after all 60 epochs.
fn plain_f64(videos: &[Mean]) -> Vec<[f64; 25]> {
    let initial = Weights::initial(logistic(), SEED, &Device::Cpu, DType::F32).unwrap();
    let initial = initial.parameters[0].to_vec2::<f32>().unwrap();
    let mut w: Vec<[f64; 25]> = vec![[0.0; 25]; CLASSES];
    for (w, row) in w.iter_mut().zip(initial) {
        w.iter_mut().zip(row).for_each(|(w, v)| *w = f64::from(v));
    }
    let (mut m, mut v) = (w.clone(), w.clone());
    m.iter_mut().chain(&mut v).for_each(|row| *row = [0.0; 25]);
    let mut t = 0;
    for epoch in 0..60 {
        let rate = 0.05
            * if epoch >= 51 {
                0.1
            } else if epoch >= 36 {
                0.3
            } else {
                1.0
            };
        for batch in shuffled(videos, epoch).chunks_exact(BATCH) {
            let mut gradient = vec![[0.0; 25]; CLASSES];
            for video in batch {
                let x = unit(video);
                for (class, gradient) in gradient.iter_mut().enumerate() {
                    let p = 1.0 / (1.0 + (-score(&w[class], &x)).exp());
                    let slope = (p - f64::from(u8::from(video.label as usize == class))) / BATCH as f64;
                    gradient.iter_mut().zip(&x).for_each(|(g, x)| *g += slope * x);
                }
            }
            t += 1;
            for class in 0..CLASSES {
                for i in 0..25 {
                    let decay = if i < 24 { 1e-8 * w[class][i] } else { 0.0 };
                    let g = gradient[class][i] + decay;
                    m[class][i] = 0.9 * m[class][i] + 0.1 * g;
                    v[class][i] = 0.999 * v[class][i] + 0.001 * g * g;
                    let (mean, square) =
                        (m[class][i] / (1.0 - 0.9f64.powi(t)), v[class][i] / (1.0 - 0.999f64.powi(t)));
                    w[class][i] -= rate * mean / (square.sqrt() + 1e-8);
                }
            }
        }
    }
    w
}

/// The features of length one, and a 1 for the bias.
fn unit(video: &Mean) -> Vec<f64> {
    let length = video.features.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    video.features.iter().map(|x| f64::from(*x) / length).chain([1.0]).collect()
}

fn score(w: &[f64; 25], x: &[f64]) -> f64 {
    w.iter().zip(x).map(|(w, x)| w * x).sum()
}

#[test]
fn the_quickstart_learns_what_a_loop_in_f64_learns() {
    let dir = tempfile::tempdir().unwrap();
    let results = run_named("quickstart-video.toml", &[], dir.path()).results;
    let w = plain_f64(&means("train"));
    let test = means("test");
    let best = |video: &&Mean| {
        let x = unit(video);
        (0..CLASSES).max_by(|a, b| score(&w[*a], &x).total_cmp(&score(&w[*b], &x))).unwrap()
    };
    let hits = test.iter().filter(|video| best(video) == video.label as usize).count();
    assert_eq!(test.len(), 370);
    assert!(hits >= 360, "{hits} of 370 by the plain loop");
    assert_eq!(results["hit_at_1"], hits as f64 / 370.0);

    let checkpoint = store::load(dir.path()).unwrap();
    let found = checkpoint.weights.iter().find(|(name, _)| name == "classifier.weight").unwrap();
    for (found, plain) in found.1.to_vec2::<f32>().unwrap().iter().zip(&w) {
        for (found, plain) in found.iter().zip(plain) {
            // The difference is that of 540 steps with f32 rounding.
            assert!((f64::from(*found) - plain).abs() < 1e-4 * plain.abs().max(1.0), "{found} {plain}");
        }
    }
}

#[test]
fn a_mixture_of_experts_learns_too() {
    let dir = tempfile::tempdir().unwrap();
    quickstart("mixture_of_experts", dir.path(), &["stages.videos.epochs=20"]);
    let checkpoint = store::load(dir.path()).unwrap();
    assert!(checkpoint.metrics["hit_at_1"] >= 0.96, "{:?}", checkpoint.metrics);
}

#[test]
fn devices_capacities_and_workers_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = None;
    for (count, capacity, workers) in [(1, 1, 1), (2, 3, 3), (4, 8, 2)] {
        let devices = vec![r#""cpu""#; count].join(", ");
        let mut overrides =
            set(&["stages.videos.epochs=3", "stages.evaluate.every_epochs=3", "stages.shard.shards=4"]);
        overrides.extend(
            ["forward", "all_reduce", "optimizer"].map(|stage| format!("stages.{stage}.devices=[{devices}]")),
        );
        overrides.extend(
            ["videos", "decode", "pool", "shuffle", "batch", "shard", "forward", "loss"]
                .map(|stage| format!("stages.{stage}.capacity={capacity}")),
        );
        overrides.push(format!("stages.decode.workers={workers}"));
        let run_dir = dir.path().join(count.to_string());
        let outcome = run_named("quickstart-video.toml", &overrides, &run_dir);
        let result = (checkpoint_bytes(&run_dir), format!("{:?}", outcome.results));
        assert_eq!(outcome.results["steps"], 27.0);
        let first = first.get_or_insert_with(|| result.clone());
        assert!(*first == result, "{count} devices, capacity {capacity}: the result differs");
    }
}

#[test]
fn a_run_that_goes_on_after_any_kind_of_step_is_the_run_that_was_not_interrupted() {
    // mean_pool is handed records that were not read. There are nine steps an epoch, so step 5 lies within an epoch and
    // step 18 at the end of one.
    let dir = tempfile::tempdir().unwrap();
    let overrides = set(&["stages.videos.epochs=4", "stages.shuffle.buffer=50", "stages.decode.workers=3"]);
    let whole = dir.path().join("whole");
    run_named("quickstart-video.toml", &overrides, &whole);
    for step in [5, 18] {
        let part = dir.path().join(format!("part-{step}"));
        let shorter = [overrides.clone(), set(&[&format!("stages.batch.max_batches={step}")])].concat();
        run_named("quickstart-video.toml", &shorter, &part);
        assert!(checkpoint_bytes(&part) != checkpoint_bytes(&whole));

        let directory = store::find(&part).unwrap().path;
        let resources = framewise_pipeline::Resources::default();
        resources
            .insert(framewise_stages::Resume { checkpoint: store::load(&directory).unwrap(), directory });
        let graph = load("quickstart-video.toml", &overrides);
        let options = framewise_pipeline::engine::RunOptions {
            run_dir: Some(part.clone()),
            resolved_text: Arc::from(framewise_pipeline::graph::render(&graph)),
            resources: Arc::new(resources),
            ..Default::default()
        };
        let registry = framewise_stages::registry();
        let outcome = framewise_pipeline::engine::Pipeline::build(&graph, &registry, &options).unwrap().run();
        assert!(outcome.status.error_kind().is_none(), "{:?}", outcome.status);
        assert_eq!(outcome.results["steps"], 36.0);
        assert!(checkpoint_bytes(&part) == checkpoint_bytes(&whole), "after step {step}");
    }
}

/// Makes video-level files from the bundled frame-level ones with graphs/mean-pool.toml.
fn pooled(dir: &Path, split: &str) -> std::path::PathBuf {
    let path = dir.join(format!("{split}-video.tfrecord"));
    let root = root();
    let overrides = [
        format!("use.data={}", root.join("configs/data/japanese-vowels.toml").display()),
        format!(
            "stages.videos.files={}",
            root.join(format!("tests/data/japanese_vowels/{split}.tfrecord")).display()
        ),
        format!("stages.files.path={}", path.display()),
        "stages.files.shards=1".to_owned(),
    ];
    run_named("mean-pool.toml", &overrides, &dir.join(format!("pool-{split}")));
    path
}

#[test]
fn pooled_in_the_graph_or_in_files_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = dir.path().join("data.toml");
    std::fs::write(&sizes, "rgb_size = 12\naudio_size = 12\nclasses = 9\n").unwrap();
    let data = format!("use.data={}", sizes.display());

    let in_graph = dir.path().join("in-graph");
    let trained = run_named("quickstart-video.toml", &set(&["stages.videos.epochs=10"]), &in_graph).results;
    let in_files = dir.path().join("in-files");
    let overrides = [
        data.clone(),
        format!("use.optim={}", root().join("configs/optim/japanese-vowels-video.toml").display()),
        format!("stages.videos.files={}", pooled(dir.path(), "train").display()),
        "stages.videos.epochs=10".to_owned(),
        "stages.decode.workers=3".to_owned(),
        "stages.shuffle.buffer=270".to_owned(),
        "stages.batch.size=30".to_owned(),
        // The graph is for YouTube-8M's sizes.
        "stages.evaluate.every_epochs=0".to_owned(),
    ];
    run_named("train-video.toml", &overrides, &in_files);
    assert!(checkpoint_bytes(&in_graph) == checkpoint_bytes(&in_files));

    let test = format!("stages.videos.files={}", pooled(dir.path(), "test").display());
    let weights = format!("stages.weights.path={}", in_files.display());
    let overrides = [data.clone(), test.clone(), weights.clone(), "stages.batch.size=80".to_owned()];
    let evaluated = run_named("eval-video.toml", &overrides, &dir.path().join("eval")).results;
    for name in ["hit_at_1", "perr", "gap", "map", "loss", "videos"] {
        assert_eq!(evaluated[name].to_bits(), trained[name].to_bits(), "{name}");
    }

    let predictions = dir.path().join("predictions");
    run_named("predict-video.toml", &[data, test, weights], &predictions);
    let csv = std::fs::read_to_string(predictions.join("predictions.csv")).unwrap();
    let labels = means("test");
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows.len(), labels.len());
    let best = |row: &str| row.split_once(',').unwrap().1.split(' ').next().unwrap().parse::<u32>().unwrap();
    let hits = rows.iter().zip(&labels).filter(|(row, video)| best(row) == video.label).count();
    assert_eq!(hits as f64 / 370.0, trained["hit_at_1"]);
}
