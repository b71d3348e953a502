//! The laws of stored files: round trips, equal bytes, every damage named, nothing under a final name but whole.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use tempfile::TempDir;

use super::*;

fn tensor(length: usize, shape: &[usize], seed: u32) -> Tensor {
    let values: Vec<f32> = (0..length as u32)
        .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761)) as f32 / 1e7 - 200.0)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn checkpoint(step: u64) -> Checkpoint {
    let seed = step as u32;
    let named = |name: &str, tensor: Tensor| (name.to_owned(), tensor);
    Checkpoint {
        step,
        epoch: 2,
        samples: 1 << 54 | 1,
        updates: step + 3,
        seed: u64::MAX - 1,
        cursor: json!({"file": "train0001.tfrecord", "record": 17, "nested": [1, {"z": null, "a": 0.1}]}),
        model: json!({"clusters": 128, "drop_rate": 0.5}),
        graph: format!("[graph]\nname = \"test ü\" # step {step}\n"),
        weights: vec![
            named("rgb.expand.weight", tensor(700 * 301, &[700, 301], seed)),
            named("classifier.bias", tensor(7, &[7], seed + 1)),
            named("audio.assign_norm.running_var", tensor(4, &[4], seed + 2)),
            named("empty", tensor(0, &[0, 5], 0)),
            named("scalar", tensor(1, &[], 3)),
        ],
        moments: vec![
            named("second.rgb.expand.weight", tensor(700 * 301, &[700, 301], seed + 4)),
            named("first.rgb.expand.weight", tensor(700 * 301, &[700, 301], seed + 5)),
        ],
        metrics: BTreeMap::from([("loss".to_owned(), 1.0 / 3.0), ("map".to_owned(), f64::NAN)]),
    }
}

fn bits(tensors: &[(String, Tensor)]) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let mut bits: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            (name.clone(), tensor.dims().to_vec(), values.iter().map(|value| value.to_bits()).collect())
        })
        .collect();
    bits.sort();
    bits
}

fn assert_equal(got: &Checkpoint, expected: &Checkpoint) {
    assert_eq!(bits(&got.weights), bits(&expected.weights));
    assert_eq!(bits(&got.moments), bits(&expected.moments));
    let rest = |c: &Checkpoint| {
        let metrics: Vec<_> = c.metrics.iter().map(|(name, value)| (name.clone(), value.to_bits())).collect();
        let numbers = [c.step, c.epoch, c.samples, c.updates, c.seed];
        (numbers, c.cursor.clone(), c.model.clone(), c.graph.clone(), metrics)
    };
    assert_eq!(rest(got), rest(expected));
}

/// Name → bytes of every file in a directory.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    names(directory).into_iter().map(|name| (name.clone(), fs::read(directory.join(name)).unwrap())).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn metric(name: &str, value: f64) -> BTreeMap<String, f64> {
    BTreeMap::from([(name.to_owned(), value)])
}

/// A directory of small checkpoints with these steps.
fn saved(steps: &[u64]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for &step in steps {
        let mut small = checkpoint(step);
        small.weights.truncate(0);
        small.moments.truncate(0);
        save(directory.path(), &small).unwrap();
    }
    directory
}

#[test]
fn round_trip() {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = directory.path().join("run/checkpoints");
    let original = checkpoint(540);
    let path = save(&checkpoints, &original).unwrap();
    assert_eq!(path, checkpoints.join("step-00000540"));
    assert_eq!(names(&checkpoints), ["step-00000540"]);
    assert_eq!(names(&path), ["graph.toml", "manifest.json", "moments.safetensors", "weights.safetensors"]);
    // The checkpoint, the directory of checkpoints, the run.
    for place in [path.as_path(), checkpoints.as_path(), checkpoints.parent().unwrap()] {
        let loaded = load(place).unwrap();
        assert_equal(&loaded, &original);
        assert_eq!(bits(&load_weights(place).unwrap()), bits(&original.weights));
        assert!(loaded.weights.is_sorted_by(|a, b| a.0 < b.0));
    }
    assert_eq!(bits(&load_weights(&path.join("weights.safetensors")).unwrap()), bits(&original.weights));
    assert_eq!(verify(&path).unwrap().len(), 3);
    assert!(matches!(load(&directory.path().join("nowhere")), Err(StoreError::Missing { .. })));
    assert!(matches!(load(directory.path()), Err(StoreError::Missing { .. })));
    assert!(matches!(load(&path.join("graph.toml")), Err(StoreError::Format { .. })));
}

#[test]
fn equal_state_gives_equal_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut shuffled = checkpoint(7);
    shuffled.weights.reverse();
    shuffled.moments.reverse();
    // A view into a larger tensor, not contiguous, with the same values.
    let (name, weight) = shuffled.weights.pop().unwrap();
    assert_eq!(name, "rgb.expand.weight");
    let wide = Tensor::cat(&[&weight, &weight], 1).unwrap().t().unwrap().contiguous().unwrap();
    let view = wide.narrow(0, 301, 301).unwrap().t().unwrap();
    assert!(!view.is_contiguous());
    shuffled.weights.insert(0, (name, view));
    let first = save(one.path(), &checkpoint(7)).unwrap();
    let second = save(two.path(), &shuffled).unwrap();
    assert_eq!(files(&first), files(&second));
}

#[test]
fn the_weights_file_is_what_the_safetensors_crate_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let mut tensors = checkpoint(1).weights;
    for dtype in
        [DType::U8, DType::U32, DType::I64, DType::F16, DType::BF16, DType::F64, DType::I16, DType::I32]
    {
        let values = Tensor::arange(0f32, 100.0, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        tensors.push((format!("{dtype:?}"), values));
    }
    save_weights(&path, &tensors).unwrap();
    let bytes = fs::read(&path).unwrap();
    let expected = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), None).unwrap();
    assert_eq!(bytes, expected);
    let read = load_weights(&path).unwrap();
    assert_eq!(read.len(), tensors.len());
    for (name, tensor) in &tensors {
        let (_, got) = read.iter().find(|(other, _)| other == name).unwrap();
        assert_eq!((got.dtype(), got.dims()), (tensor.dtype(), tensor.dims()));
        let values =
            |t: &Tensor| t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        assert_eq!(values(got), values(tensor), "{name}");
    }
    let twice = [tensors[0].clone(), tensors[0].clone()];
    assert!(matches!(save_weights(&path, &twice), Err(StoreError::Format { .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes, "a failed save leaves the old file");
    assert_eq!(names(directory.path()), ["w.safetensors"]);
}

#[test]
fn every_damaged_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &checkpoint(3)).unwrap();
    record_metrics(directory.path(), 3, &metric("gap", 0.5)).unwrap();
    let original = files(&path);
    assert_eq!(original.len(), 5);
    for (name, bytes) in &original {
        let file = path.join(name);
        // The first bytes (lengths, headers), the middle, the last, and some between.
        let places = (0..24).chain((24..bytes.len()).step_by(bytes.len() / 23 + 1)).chain([bytes.len() - 1]);
        for place in places.filter(|&place| place < bytes.len()) {
            for bit in [0, 5, 7] {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                fs::write(&file, &changed).unwrap();
                for error in [load(&path).unwrap_err(), verify(&path).unwrap_err()] {
                    let StoreError::Damaged { path: whose, file, why } = error else {
                        panic!("{name}: {error}")
                    };
                    assert_eq!((&whose, file.as_str()), (&path, name.as_str()), "byte {place}: {why}");
                }
            }
        }
        for length in [0, 5, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&file, &bytes[..length]).unwrap();
            let error = load(&path).unwrap_err();
            assert!(matches!(&error, StoreError::Damaged { file, .. } if file == name), "{error}");
            assert!(!list(directory.path()).unwrap()[0].is_complete(), "{name} cut to {length}");
        }
        fs::write(&file, [bytes.as_slice(), b"x"].concat()).unwrap();
        assert!(matches!(load(&path), Err(StoreError::Damaged { file, .. }) if file == *name));
        fs::remove_file(&file).unwrap();
        if name == "metrics.json" {
            load(&path).unwrap();
        } else {
            let error = load(&path).unwrap_err();
            assert!(
                matches!(&error, StoreError::Damaged { file, why, .. } if file == name && why == "missing"),
                "{error}"
            );
        }
        fs::write(&file, bytes).unwrap();
    }
    assert_eq!(load(&path).unwrap().metrics["gap"], 0.5);
}

#[test]
fn a_bare_file_with_a_lying_header_is_refused_before_allocating() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let header = br#"{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,16]}}"#;
    let tera = br#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    for bytes in [
        [&u64::MAX.to_le_bytes(), header.as_slice()].concat(),
        [&(header.len() as u64).to_le_bytes(), header.as_slice(), &[0; 16]].concat(),
        [&(tera.len() as u64).to_le_bytes(), tera.as_slice(), &[0; 16]].concat(),
        b"abc".to_vec(),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = load_weights(&path).unwrap_err();
        assert!(matches!(&error, StoreError::Damaged { file, .. } if file == "w.safetensors"), "{error}");
        assert!(describe(&path).is_err() && verify(&path).is_err());
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let directory = saved(&[1]);
    let manifest = directory.path().join("step-00000001/manifest.json");
    let sealed = sealed::seal(&json!({"format": 2, "other": []}), &manifest).unwrap();
    fs::write(&manifest, sealed).unwrap();
    let error = load(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Format { .. }) && error.to_string().contains("format 2"), "{error}");
}

#[test]
fn latest_is_the_highest_complete_step() {
    let directory = saved(&[9, 10, 100_000_000, 99]);
    let steps = |directory: &Path| -> Vec<u64> { list(directory).unwrap().iter().map(|e| e.step).collect() };
    assert_eq!(steps(directory.path()), [9, 10, 99, 100_000_000]);
    assert_eq!(load(directory.path()).unwrap().step, 100_000_000);
    // Things that are not checkpoints.
    for name in ["step-7", "step-x", "step-00000007.bak", "other"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("step-00000500"), "a file").unwrap();
    assert_eq!(steps(directory.path()), [9, 10, 99, 100_000_000]);
    // The newest loses a file.
    fs::remove_file(directory.path().join("step-100000000/moments.safetensors")).unwrap();
    let found = find(directory.path()).unwrap();
    assert_eq!(found.path, directory.path().join("step-00000099"));
    assert_eq!(found.skipped.len(), 1);
    assert!(found.skipped[0].problem.as_ref().unwrap().to_string().contains("moments.safetensors: missing"));
    // None complete: the newest's problem is told.
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir(empty.path().join("step-00000004")).unwrap();
    let error = load(empty.path()).unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { file, .. } if file == "manifest.json"), "{error}");
    assert!(matches!(load(&empty.path().join("step-00000004")), Err(StoreError::Damaged { .. })));
}

#[test]
fn leftovers_of_a_crash_are_ignored_and_then_cleaned() {
    let directory = saved(&[5]);
    let at = |name: &str| directory.path().join(name);
    let copy = |from: &str, to: &str| {
        fs::create_dir(at(to)).unwrap();
        files(&at(from)).iter().for_each(|(name, bytes)| fs::write(at(to).join(name), bytes).unwrap());
    };
    // Died while writing, after writing all, while pruning, and between the two renames of a replacement.
    fs::create_dir(at(".step-00000006.tmp-1-0")).unwrap();
    fs::write(at(".step-00000006.tmp-1-0/weights.safetensors"), "half").unwrap();
    copy("step-00000005", ".step-00000007.tmp-1-1");
    copy("step-00000005", ".step-00000002.gone-1-2");
    fs::rename(at("step-00000005"), at(".step-00000005.old-1-3")).unwrap();
    fs::write(at(".unrelated"), "mine").unwrap();
    assert!(list(directory.path()).unwrap().is_empty());
    let mut next = checkpoint(8);
    next.weights.clear();
    save(directory.path(), &next).unwrap();
    assert_eq!(names(directory.path()), [".unrelated", "step-00000005", "step-00000008"]);
    assert_eq!(load(&at("step-00000005")).unwrap().step, 5);
}

#[test]
fn saving_a_step_again_keeps_equal_bytes_and_replaces_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &checkpoint(4)).unwrap();
    record_metrics(directory.path(), 4, &metric("gap", 0.75)).unwrap();
    let before = files(&path);
    assert_eq!(save(directory.path(), &checkpoint(4)).unwrap(), path);
    assert_eq!(files(&path), before);
    // Damage is repaired by saving again.
    fs::write(path.join("graph.toml"), "changed").unwrap();
    save(directory.path(), &checkpoint(4)).unwrap();
    assert_equal(&load(&path).unwrap(), &checkpoint(4));
    let other = Checkpoint { samples: 5, ..checkpoint(4) };
    save(directory.path(), &other).unwrap();
    assert_equal(&load(&path).unwrap(), &other);
    assert_eq!(names(directory.path()), ["step-00000004"]);
}

#[test]
fn metrics_recorded_later_leave_the_manifest_alone() {
    let directory = saved(&[1]);
    let path = directory.path().join("step-00000001");
    let manifest = fs::read(path.join("manifest.json")).unwrap();
    record_metrics(directory.path(), 1, &BTreeMap::from([("gap".to_owned(), 0.1), ("loss".to_owned(), 9.0)]))
        .unwrap();
    record_metrics(directory.path(), 1, &metric("gap", 0.7)).unwrap();
    let metrics = load(&path).unwrap().metrics;
    assert_eq!((metrics["gap"], metrics["loss"]), (0.7, 9.0));
    assert!(metrics["map"].is_nan());
    assert_eq!(fs::read(path.join("manifest.json")).unwrap(), manifest);
    assert_eq!(list(directory.path()).unwrap()[0].metrics["gap"], 0.7);
    assert!(matches!(
        record_metrics(directory.path(), 2, &metric("gap", 0.1)),
        Err(StoreError::Missing { .. })
    ));
}

#[test]
fn pruning_keeps_the_newest_the_best_and_the_damaged() {
    let directory = saved(&[1, 2, 3, 4, 5, 6, 7]);
    let path = directory.path();
    let steps = || -> Vec<u64> { list(path).unwrap().iter().map(|entry| entry.step).collect() };
    for (step, gap) in [(1, 0.3), (2, 0.8), (3, 0.8), (4, f64::NAN), (5, 0.1)] {
        record_metrics(path, step, &metric("gap", gap)).unwrap();
    }
    fs::remove_file(path.join("step-00000001/graph.toml")).unwrap();
    fs::remove_file(path.join("step-00000007/graph.toml")).unwrap();
    assert_eq!(mark_best(path, "gap", true).unwrap(), Some(2));
    assert_eq!(load(&path.join(BEST)).unwrap().step, 2);
    assert_eq!(mark_best(path, "unknown", true).unwrap(), None);
    let removed = prune(path, 2, Some(("gap", false))).unwrap();
    assert_eq!(removed, [3, 4].map(|step| path.join(format!("step-{step:08}"))));
    // 1 and 7 damaged, 5 best (smaller), 6 newest complete, 2 linked as best.
    assert_eq!(steps(), [1, 2, 5, 6, 7]);
    assert_eq!(mark_best(path, "gap", false).unwrap(), Some(5));
    assert_eq!(load(&path.join(BEST)).unwrap().step, 5);
    assert_eq!(prune(path, 0, None).unwrap().len(), 1);
    assert_eq!(steps(), [1, 5, 6, 7]);
    assert_eq!(names(path).iter().filter(|name| name.starts_with('.')).count(), 0);
    // Keeping more than there are removes none.
    assert!(prune(path, 100, None).unwrap().is_empty());
}

#[test]
fn a_failing_save_leaves_nothing_under_its_name() {
    let directory = tempfile::tempdir().unwrap();
    // Below a file there can be no directory.
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(save(&file.join("checkpoints"), &checkpoint(1)).unwrap_err().is_write_failure());
    // Fails after the weights were written: a moment that cannot be stored.
    let checkpoints = directory.path().join("checkpoints");
    let mut bad = checkpoint(1);
    let strange = tensor(4, &[4], 0).to_dtype(DType::F8E4M3).unwrap();
    bad.moments.push(("first.strange".to_owned(), strange));
    let error = save(&checkpoints, &bad).unwrap_err();
    assert!(error.to_string().contains("first.strange") && !error.is_write_failure(), "{error}");
    assert!(names(&checkpoints).is_empty());
}

/// A file system of 1 MiB, unmounted on drop. `None` where this process may not mount.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_a_write_failure_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: mounting a small tmpfs is not permitted here; a full disk was not tested");
        return;
    };
    let path: PathBuf = disk.0.path().to_owned();
    let error = save(&path, &checkpoint(1)).unwrap_err();
    assert!(error.is_write_failure() && error.to_string().contains("step-00000001"), "{error}");
    assert!(names(&path).is_empty());
    let target = path.join("w.safetensors");
    let large = [("a".to_owned(), tensor(1 << 20, &[1 << 20], 0))];
    let error = save_weights(&target, &large).unwrap_err();
    assert!(error.is_write_failure() && error.to_string().contains("w.safetensors"), "{error}");
    assert!(names(&path).is_empty());
    // What fits is stored, and a later failure leaves it alone.
    let mut small = checkpoint(1);
    small.weights.truncate(0);
    small.moments.truncate(0);
    save(&path, &small).unwrap();
    save(&path, &checkpoint(2)).unwrap_err();
    assert_eq!(names(&path), ["step-00000001"]);
    assert_eq!(load(&path).unwrap().step, 1);
}

#[test]
fn a_description_tells_without_reading_tensors() {
    let directory = tempfile::tempdir().unwrap();
    let path = save(directory.path(), &checkpoint(540)).unwrap();
    let described = describe(directory.path()).unwrap();
    assert_eq!(described.path, path);
    assert_eq!(described.parameter_count(), 700 * 301 + 7 + 1);
    assert_eq!(described.weights.len(), 5);
    assert_eq!(described.weights[3].name, "rgb.expand.weight");
    assert_eq!(
        (described.weights[3].dtype.as_str(), described.weights[3].shape.as_slice()),
        ("F32", &[700, 301][..])
    );
    assert_eq!(described.moments.len(), 2);
    let info = described.checkpoint.as_ref().unwrap();
    assert_eq!((info.step, info.epoch, info.seed, info.samples), (540, 2, u64::MAX - 1, 1 << 54 | 1));
    assert_eq!(info.graph, checkpoint(540).graph);
    let lengths: u64 = ["weights.safetensors", "moments.safetensors", "graph.toml"]
        .iter()
        .map(|name| fs::metadata(path.join(name)).unwrap().len())
        .sum();
    assert_eq!(described.bytes, lengths);
    serde_json::to_string(&described).unwrap();
    let bare = describe(&path.join("weights.safetensors")).unwrap();
    assert!(bare.checkpoint.is_none() && bare.moments.is_empty());
    assert_eq!(bare.weights, described.weights);
}

#[test]
fn threads_may_save_prune_and_record_at_the_same_time() {
    let directory = saved(&[1]);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let path = directory.path();
            scope.spawn(move || {
                for round in 0..5 {
                    let step = 10 + round * 4 + thread;
                    let mut small = checkpoint(step);
                    small.moments.clear();
                    save(path, &small).unwrap();
                    record_metrics(path, step, &metric("gap", step as f64)).ok();
                    mark_best(path, "gap", true).unwrap();
                    prune(path, 3, None).unwrap();
                }
            });
        }
    });
    let entries = list(directory.path()).unwrap();
    assert!(entries.iter().all(Entry::is_complete) && entries.last().unwrap().step == 29);
    assert!(names(directory.path()).iter().all(|name| !name.starts_with('.')));
}
