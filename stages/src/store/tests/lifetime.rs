//! Checkpoints come and go whole: crashes, full disks, the newest, the best, pruning, threads.

use std::path::PathBuf;
use std::process::Command;

use candle_core::DType;

use super::*;

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
fn what_is_set_aside_counts_no_more() {
    let directory = saved(&[1, 2, 3]);
    let path = directory.path();
    record_metrics(path, 3, &metric("gap", 0.9)).unwrap();
    mark_best(path, "gap", true).unwrap();
    let third = path.join("step-00000003");
    assert_eq!(set_aside(&third).unwrap(), path.join("step-00000003.damaged"));
    assert_eq!(names(path), ["step-00000001", "step-00000002", "step-00000003.damaged"]);
    assert_eq!(load(path).unwrap().step, 2);
    // It takes no place among those that are kept, nor is it removed.
    assert_eq!(prune(path, 1, None).unwrap(), [path.join("step-00000001")]);
    // The same step may be written and set aside again; a link to another one stays.
    record_metrics(path, 2, &metric("gap", 0.9)).unwrap();
    mark_best(path, "gap", true).unwrap();
    save(path, &checkpoint(3)).unwrap();
    assert_eq!(set_aside(&third).unwrap(), path.join("step-00000003.damaged-2"));
    let left = ["best", "step-00000002", "step-00000003.damaged", "step-00000003.damaged-2"];
    assert_eq!(names(path), left);
    assert!(set_aside(path).is_err() && set_aside(&third).unwrap_err().is_write_failure());
}

#[test]
fn recovering_brings_back_the_checkpoint_that_a_crash_left_without_a_name() {
    let directory = saved(&[4, 5]);
    let at = |name: &str| directory.path().join(name);
    fs::rename(at("step-00000005"), at(".step-00000005.old-1-3")).unwrap();
    fs::create_dir(at(".step-00000006.tmp-1-0")).unwrap();
    assert_eq!(load(directory.path()).unwrap().step, 4);
    recover(directory.path()).unwrap();
    assert_eq!(names(directory.path()), ["step-00000004", "step-00000005"]);
    assert_eq!(load(directory.path()).unwrap().step, 5);
    recover(&at("nowhere")).unwrap();
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
