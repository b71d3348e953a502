//! Laws: where a file of the run cannot be written, the run ends with exit code 73 and names the file. What was
//! complete before stays as it was. Once there is room, the resumed run comes to the same end. A message that cannot be
//! logged stops nothing.
//!
//! The tests use real file systems: a tmpfs that is full, and one that is read-only. Only root may mount them. Without
//! that right the tests say loudly that they were skipped; with `FRAMEWISE_REQUIRE_MOUNT` set they fail.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use framewise_stages::store;

use crate::support::cli::{Desk, Said, copy_graph, data};
use crate::support::trial;

/// A mounted file system, unmounted when dropped.
struct Mount {
    path: PathBuf,
}

impl Mount {
    fn new(arguments: &[&str], path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let said = Command::new("mount").args(arguments).arg(&path).output();
        let problem = match said {
            Ok(output) if output.status.success() => return Some(Self { path }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(std::env::var_os("FRAMEWISE_REQUIRE_MOUNT").is_none(), "{problem}");
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        // This goes past the capture of the test's output.
        let line = format!("SKIPPED {name}: it needs the right to mount: {problem}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        None
    }

    /// A file system in memory of this many KiB.
    fn tmpfs(path: PathBuf, kib: usize) -> Option<Self> {
        Self::new(&["-t", "tmpfs", "-o", &format!("size={kib}k,mode=700"), "tmpfs"], path)
    }

    /// Makes the directory read-only.
    fn read_only(path: PathBuf) -> Option<Self> {
        let shown = path.display().to_string();
        let mount = Self::new(&["--bind", &shown], path)?;
        let status = Command::new("mount").args(["-o", "remount,bind,ro", &shown]).status().unwrap();
        assert!(status.success());
        assert!(File::create(mount.path.join("probe")).is_err(), "it can still be written");
        Some(mount)
    }

    /// Fills the disk except for `left` bytes.
    fn fill(&self, left: u64) {
        let mut file = File::create(self.path.join("filler")).unwrap();
        let block = [1; 4096];
        while file.write_all(&block).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left) / 4096 * 4096).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A second mount on top, if any, was dropped before.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// 268 good videos in batches of 30.
const EPOCH_STEPS: u64 = 9;
const FULL: &str = "No space left on device";

/// The arguments for a training run of `epochs` epochs in `run`, or for resuming it there.
fn train(desk: &Desk, epochs: u64, place: &str, run: &str, more: &[&str]) -> Said {
    let epochs = format!("stages.videos.epochs={epochs}");
    desk.framewise(&[&["run", "-q", "train.toml", place, run, "--set", &epochs], more].concat())
}

/// What a run of two epochs leaves when nothing is in its way.
fn expected(desk: &Desk) -> trial::Results {
    train(desk, 2, "--run-dir", "calm", &[]).expect(0);
    trial::results(&desk.path("calm"))
}

#[test]
fn a_checkpoint_on_a_full_disk_fails_and_the_one_before_stays() {
    let desk = Desk::new();
    let Some(disk) = Mount::tmpfs(desk.path("disk"), 4096) else { return };
    trial::write_graphs(&desk, 2);
    let expected = expected(&desk);
    train(&desk, 1, "--run-dir", "disk/run", &[]).expect(0);
    let run = desk.path("disk/run");
    let before = trial::verified_checkpoints(&run);
    let newest = store::find(&run).unwrap().path;
    let weights = fs::read(newest.join("weights.safetensors")).unwrap();
    let size = fs::metadata(newest.join("moments.safetensors")).unwrap().len() + weights.len() as u64;

    // There is room for logs but not for a checkpoint, so the run does not begin.
    disk.fill(size / 2);
    let said = train(&desk, 2, "--resume", "disk/run", &[]).expect(73);
    assert!(said.err.contains("will be written, and ") && !said.err.contains(FULL), "{}", said.err);
    assert_eq!(trial::verified_checkpoints(&run), before);
    assert_eq!(fs::read(newest.join("weights.safetensors")).unwrap(), weights);
    assert_eq!(trial::leftovers(&run), [] as [&Path; 0]);

    disk.make_room();
    train(&desk, 2, "--resume", "disk/run", &[]).expect(0);
    trial::results(&run).expect(&expected, "after room was made");
}

#[test]
fn metrics_on_a_full_disk_fail_and_the_run_can_go_on() {
    let desk = Desk::new();
    let Some(disk) = Mount::tmpfs(desk.path("disk"), 2048) else { return };
    trial::write_graphs(&desk, 2);
    let expected = expected(&desk);
    // No checkpoint is due, so that the one which is written is that of the failure.
    let elsewhere = [
        "stages.checkpoint.path=elsewhere",
        "stages.checkpoint.every_steps=0",
        "stages.checkpoint.every_epochs=0",
    ];
    let elsewhere: Vec<&str> = elsewhere.iter().flat_map(|set| ["--set", set]).collect();
    train(&desk, 1, "--run-dir", "disk/run", &elsewhere).expect(0);
    // There is room for the start of a run, but not for the lines of more than a thousand epochs.
    disk.fill(32 << 10);
    let said = train(&desk, 1000, "--resume", "disk/run", &elsewhere).expect(73);
    let is_named = ["metrics.jsonl", "events.out.tfevents"].iter().any(|name| said.err.contains(name));
    assert!(said.err.contains(FULL) && is_named, "{}", said.err);
    let steps: Vec<_> = store::list(&desk.path("elsewhere"))
        .unwrap()
        .iter()
        .map(|entry| {
            store::verify(&entry.path).unwrap();
            entry.step
        })
        .collect();
    let newest = *steps.last().unwrap();
    assert!(newest > EPOCH_STEPS, "the state in hand is written: {steps:?}");
    let written = step_lines(&desk.path("disk/run/metrics.jsonl"));
    // The checkpoint may lag behind the report that failed by five states: one that the optimizer hands on, one in each of
    // the two edges with room for one, one in `evaluate`, and one that `checkpoint` is taking. In the other direction, the
    // optimizer may be two steps ahead of the report.
    let last = *written.last().unwrap();
    assert!(newest + 5 >= last && newest <= last + 3, "{newest} after the line of step {last}");

    disk.make_room();
    // Going back to the end of the first epoch would be another run. The metrics are whole but for the lines that found
    // no room.
    let reached = newest / EPOCH_STEPS + 2;
    train(&desk, reached, "--resume", "disk/run", &elsewhere).expect(0);
    let path = desk.path("disk/run/metrics.jsonl");
    let lost = last.min(newest) + 1..=newest;
    let expected_lines: Vec<_> = (1..=reached * EPOCH_STEPS).filter(|step| !lost.contains(step)).collect();
    assert_eq!(step_lines(&path), expected_lines);
    let lines = trial::whole_lines(&path, false);
    let loss =
        |step: u64| lines.iter().find(|l| l["kind"] == "train" && l["step"] == step).unwrap()["loss"].clone();
    let calm = trial::whole_lines(&desk.path("calm/metrics.jsonl"), false);
    for line in calm.iter().filter(|line| line["kind"] == "train") {
        assert_eq!(line["loss"], loss(line["step"].as_u64().unwrap()));
    }
    assert_eq!(expected.step, 2 * EPOCH_STEPS);
}

/// The steps that have a line in a log of metrics. Its last line may be cut.
fn step_lines(path: &Path) -> Vec<u64> {
    let lines = trial::whole_lines(path, true);
    let trained = lines.iter().filter(|line| line["kind"] == "train");
    trained.map(|line| line["step"].as_u64().unwrap()).collect()
}

#[test]
fn predictions_on_a_full_disk_leave_the_old_ones() {
    let desk = Desk::new();
    let Some(disk) = Mount::tmpfs(desk.path("disk"), 256) else { return };
    trial::write_graphs(&desk, 1);
    train(&desk, 1, "--run-dir", "run", &[]).expect(0);
    let measure = "\n[stages.metrics]\ntype = \"metrics\"\nfrom = \"predict\"\n";
    let write = "\n[stages.top_k]\ntype = \"top_k\"\nfrom = \"predict\"\nk = 9\n\n\
                 [stages.csv]\ntype = \"csv_writer\"\nfrom = \"top_k\"\npath = \"disk/predictions.csv\"\n";
    let graph = desk.read("eval.toml");
    assert!(graph.contains(measure));
    desk.write("predict.toml", &graph.replace(measure, write));
    let target = desk.path("disk/predictions.csv");
    let path = format!("stages.csv.path={}", target.display());
    let predict =
        |run: &str| desk.framewise(&["run", "-q", "predict.toml", "--run-dir", run, "--set", &path]);

    desk.write("disk/predictions.csv", "of yesterday\n");
    disk.fill(0);
    let said = predict("first").expect(73);
    assert!(said.err.contains(FULL) && said.err.contains("predictions.csv"), "{}", said.err);
    assert_eq!(desk.read("disk/predictions.csv"), "of yesterday\n");
    assert_eq!(trial::leftovers(&disk.path), [] as [&Path; 0]);

    disk.make_room();
    predict("second").expect(0);
    // There is room for the header and 60 videos.
    assert_eq!(desk.read("disk/predictions.csv").lines().count(), 61);
}

/// A graph that copies `input.tfrecord`, or another file that is named, to `copy.tfrecord` beside the run directory.
fn write_copy_graph(desk: &Desk, files: &str) {
    let graph = copy_graph(files, 12, 12, 9)
        .replace("\"copy.tfrecord\"", &format!("{:?}", desk.path("copy.tfrecord")));
    let skip = "on_error = \"skip\"\n";
    let graph = graph.replace("from = \"videos\"\n", &format!("from = \"videos\"\n{skip}"));
    desk.write("copy.toml", &graph);
}

#[test]
fn a_rejected_record_that_cannot_be_written_down_ends_the_run() {
    let desk = Desk::new();
    let Some(_disk) = Mount::tmpfs(desk.path("disk"), 64) else { return };
    let garbage = trial::frames(&data("golden/tfrecord/garbage_payload.tfrecord")).swap_remove(1);
    fs::write(desk.path("input.tfrecord"), garbage.repeat(2000)).unwrap();
    write_copy_graph(&desk, "input.tfrecord");
    let said = desk.framewise(&["run", "-q", "copy.toml", "--run-dir", "disk/run"]).expect(73);
    assert!(said.err.contains(FULL) && said.err.contains("rejected.jsonl"), "{}", said.err);
    assert!(!desk.path("copy.tfrecord").exists());
    let lines = trial::whole_lines(&desk.path("disk/run/rejected.jsonl"), true);
    let records: Vec<_> = lines.iter().map(|line| line["record"].as_u64().unwrap()).collect();
    assert!(!records.is_empty());
    assert_eq!(records, (0..records.len() as u64).collect::<Vec<_>>());
    // With room, the run comes to its end, and every record is accounted for.
    desk.framewise(&["run", "-q", "copy.toml", "--run-dir", "run"]).expect(0);
    assert_eq!(trial::whole_lines(&desk.path("run/rejected.jsonl"), false).len(), 2000);
}

#[test]
fn a_message_that_cannot_be_logged_stops_nothing() {
    let desk = Desk::new();
    let Some(_disk) = Mount::tmpfs(desk.path("disk"), 64) else { return };
    // There is a message for each file.
    fs::create_dir(desk.path("many")).unwrap();
    (0..1500).for_each(|n| fs::write(desk.path(&format!("many/{n:04}.tfrecord")), b"").unwrap());
    fs::copy(data("japanese_vowels/train.tfrecord"), desk.path("many/last.tfrecord")).unwrap();
    write_copy_graph(&desk, "many/*.tfrecord");
    let said = desk.framewise(&["run", "copy.toml", "--run-dir", "disk/run"]).expect(0);
    assert!(said.err.contains(FULL) && said.err.contains("messages are no longer logged"), "{}", said.err);
    let copied = trial::frames(&desk.path("copy.tfrecord").display().to_string());
    assert_eq!(copied.len(), 270);
    assert!(!trial::whole_lines(&desk.path("disk/run/log.jsonl"), true).is_empty());
}

#[test]
fn a_checkpoint_directory_that_turned_read_only_is_73_and_stays() {
    let desk = Desk::new();
    trial::write_graphs(&desk, 2);
    train(&desk, 1, "--run-dir", "run", &[]).expect(0);
    let run = desk.path("run");
    let before = trial::verified_checkpoints(&run);
    let Some(mount) = Mount::read_only(run.join("checkpoints")) else { return };
    let said = train(&desk, 2, "--resume", "run", &[]).expect(73);
    assert!(said.err.contains("Read-only file system") && said.err.contains("checkpoints"), "{}", said.err);
    assert_eq!(trial::verified_checkpoints(&run), before);
    drop(mount);
    train(&desk, 2, "--resume", "run", &[]).expect(0);
    trial::results(&run).expect(&expected(&desk), "after it could be written again");
}

#[test]
fn a_run_directory_on_a_read_only_disk_is_73_before_anything_runs() {
    let desk = Desk::new();
    trial::write_graphs(&desk, 1);
    fs::create_dir_all(desk.path("disk/empty")).unwrap();
    let Some(_mount) = Mount::read_only(desk.path("disk")) else { return };
    for run in ["disk/empty", "disk/new/run"] {
        let said = train(&desk, 1, "--run-dir", run, &[]).expect(73);
        assert!(said.err.contains("Read-only file system") && said.err.contains(run), "{}", said.err);
    }
    assert_eq!(fs::read_dir(desk.path("disk/empty")).unwrap().count(), 0);
}
