//! Laws of ranks that mpirun starts: they write what one process writes, byte for byte, on any number of ranks and of devices on
//! each, also when a run is resumed on another number; and when one of them is lost, all end within ten seconds and name it.
//!
//! These tests need the feature `mpi` and the program `mpirun`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::child::{end_within, wait_until};
use crate::support::cli::{Desk, Said, graph};
use crate::support::run::checkpoint_bytes;

/// The most time that a run of this file takes.
const LIMIT: Duration = Duration::from_secs(60);

/// `mpirun` with as many ranks as `commands` tells, each with its own arguments of `framewise`.
fn mpirun(desk: &Desk, commands: &[(usize, Vec<String>)]) -> Command {
    let mut command = Command::new("mpirun");
    command.current_dir(desk.path("")).args(["--oversubscribe", "--bind-to", "none"]);
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.env("RAYON_NUM_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (index, (ranks, args)) in commands.iter().enumerate() {
        if index > 0 {
            command.arg(":");
        }
        command.args(["-np", &ranks.to_string(), env!("CARGO_BIN_EXE_framewise")]).args(args);
    }
    command
}

fn run(desk: &Desk, ranks: usize, args: &[String]) -> Said {
    end_within(LIMIT, mpirun(desk, &[(ranks, args.to_vec())]).spawn().unwrap())
}

/// The arguments of a training of the quickstart in four shards.
fn training(run_dir: &str, overrides: &[&str]) -> Vec<String> {
    let set = [
        "stages.batch.size=53",
        "stages.batch.drop_last=false",
        "stages.shard.shards=4",
        "stages.evaluate.every_epochs=1",
        "stages.checkpoint.every_epochs=1",
    ];
    let mut args = vec!["run".to_owned(), graph("quickstart.toml"), "--no-progress".to_owned()];
    args.extend(["--run-dir".to_owned(), run_dir.to_owned()]);
    args.extend(set.iter().chain(overrides).flat_map(|set| ["--set".to_owned(), (*set).to_owned()]));
    args
}

fn alone(desk: &Desk, args: &[String]) -> Said {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    desk.framewise(&args).expect(0)
}

#[test]
fn training_on_any_number_of_ranks_and_devices_writes_the_same_bytes() {
    let desk = Desk::new();
    let one = desk.path("one");
    alone(&desk, &training("one", &["stages.videos.epochs=3"]));
    let two = ["forward", "all_reduce", "optimizer"].map(|s| format!(r#"stages.{s}.devices=["cpu", "cpu"]"#));
    for (ranks, devices) in [(2, 1), (4, 1), (2, 2)] {
        let name = format!("{ranks}x{devices}");
        let more: &[String] = if devices == 2 { &two } else { &[] };
        let more: Vec<&str> =
            std::iter::once("stages.videos.epochs=3").chain(more.iter().map(String::as_str)).collect();
        let said = run(&desk, ranks, &training(&name, &more)).expect(0);
        assert!(checkpoint_bytes(&desk.path(&name)) == checkpoint_bytes(&one), "{name}: {}", said.err);
        assert!(said.err.contains(&format!("rank 0 of {ranks} (from mpirun)")), "{}", said.err);
        // Rank 0 alone speaks of the run.
        assert_eq!(said.out.matches("last checkpoint").count(), 1, "{}", said.out);
        assert!(!desk.path(&format!("{name}/ranks/0001/checkpoints")).exists());
        let stages = std::fs::read_to_string(desk.path(&format!("{name}/stages.json"))).unwrap();
        let stages: serde_json::Value = serde_json::from_str(&stages).unwrap();
        let shown = stages["ranks"].as_array().unwrap();
        assert_eq!(shown.len(), ranks);
        for (rank, shown) in shown.iter().enumerate() {
            assert_eq!(shown["rank"], rank);
            assert!(
                !shown["host"].as_str().unwrap().is_empty() && shown["heard_seconds"].is_number(),
                "{shown}"
            );
        }
    }
}

#[test]
fn a_run_resumes_on_another_number_of_ranks() {
    let desk = Desk::new();
    alone(&desk, &training("whole", &["stages.videos.epochs=4"]));
    run(&desk, 2, &training("cut", &["stages.videos.epochs=2"])).expect(0);
    let resume = |epochs: &str| {
        let mut args = training("cut", &[&format!("stages.videos.epochs={epochs}")]);
        args.retain(|arg| arg != "--run-dir" && arg != "cut");
        args.extend(["--resume".to_owned(), "cut".to_owned()]);
        args
    };
    run(&desk, 4, &resume("3")).expect(0);
    alone(&desk, &resume("4"));
    assert!(checkpoint_bytes(&desk.path("cut")) == checkpoint_bytes(&desk.path("whole")));
}

#[test]
fn predictions_over_ranks_are_those_of_one_process() {
    let desk = Desk::new();
    alone(&desk, &training("trained", &["stages.videos.epochs=2"]));
    let predict = |run_dir: &str| {
        let args = ["run", &graph("quickstart-predict.toml"), "--run-dir", run_dir, "--no-progress", "--set"];
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        args.push(format!("stages.weights.path={}", desk.path("trained").display()));
        args
    };
    alone(&desk, &predict("one"));
    run(&desk, 3, &predict("three")).expect(0);
    for name in ["predictions.csv", "predictions.jsonl"] {
        assert_eq!(desk.read(&format!("three/{name}")), desk.read(&format!("one/{name}")), "{name}");
    }
}

#[test]
fn ranks_that_differ_are_refused_before_the_first_step() {
    let desk = Desk::new();
    let few = run(&desk, 3, &training("few", &["stages.shard.shards=2"]));
    assert_eq!(few.code, Some(78), "{}", few.err);
    assert!(few.err.contains("2 of the 3 shards"), "{}", few.err);
    let (same, other) = (training("other", &[]), training("other", &["stages.batch.size=54"]));
    let said = end_within(LIMIT, mpirun(&desk, &[(1, same), (1, other)]).spawn().unwrap());
    assert_eq!(said.code, Some(78), "{}", said.err);
    assert!(said.err.contains("has another graph than rank"), "{}", said.err);
    assert!(!desk.path("few").exists() && !desk.path("other").exists());

    // The same graph, but its files are others on one of the hosts.
    for (folder, split) in [("a", "train"), ("b", "test")] {
        std::fs::create_dir(desk.path(folder)).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/data/japanese_vowels/{split}.tfrecord"));
        std::fs::copy(source, desk.path(&format!("{folder}/videos.tfrecord"))).unwrap();
    }
    let args = training("files", &["stages.videos.files=[\"/proc/self/cwd/videos.tfrecord\"]"]);
    let mut command = mpirun(&desk, &[]);
    for (index, folder) in ["a", "b"].into_iter().enumerate() {
        if index > 0 {
            command.arg(":");
        }
        command
            .arg("-wdir")
            .arg(desk.path(folder))
            .args(["-np", "1", env!("CARGO_BIN_EXE_framewise")])
            .args(&args);
    }
    let said = end_within(LIMIT, command.spawn().unwrap());
    assert_eq!(said.code, Some(78), "{}", said.err);
    assert!(said.err.contains("has other files"), "{}", said.err);
}

fn send_to(process: u32, signal: &str) {
    let _ = Command::new("kill").args(["-s", signal, &process.to_string()]).status().unwrap();
}

/// The processes of a run directory, by rank.
fn processes(run_dir: &str) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let read = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        let rank = environment.split('\0').find_map(|line| line.strip_prefix("OMPI_COMM_WORLD_RANK="));
        if let Some(rank) = rank.filter(|_| command.contains(run_dir) && !command.starts_with("mpirun")) {
            found.push((rank.parse().unwrap(), pid));
        }
    }
    found
}

/// Starts an endless training of three ranks, sends `signal` to rank 1 when some steps are done, and returns what all said and
/// how long it took until the last of them had ended.
fn lose(desk: &Desk, signal: &str) -> (Said, Duration) {
    let name = desk.path(signal).display().to_string();
    let endless =
        ["stages.videos.epochs=1000000", "stages.evaluate.every_epochs=1000", "stages.report.every_steps=5"];
    let child: Child = mpirun(desk, &[(3, training(&name, &endless))]).spawn().unwrap();
    wait_until("some steps are done", || {
        let log = std::fs::read_to_string(desk.path(&format!("{signal}/metrics.jsonl"))).unwrap_or_default();
        log.lines().count() >= 20
    });
    // A sign of life tells the others the step.
    std::thread::sleep(Duration::from_millis(1500));
    let all = processes(&name);
    let (_, victim) = all.iter().find(|(rank, _)| *rank == 1).unwrap();
    send_to(*victim, signal);
    let sent = Instant::now();
    let said = end_within(LIMIT, child);
    let others = || processes(&name).into_iter().filter(|(rank, _)| *rank != 1).count();
    while others() > 0 && sent.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = sent.elapsed();
    send_to(*victim, "KILL");
    (said, took)
}

#[test]
fn a_rank_that_dies_or_hangs_ends_all_within_ten_seconds_with_its_name_and_step() {
    let desk = Desk::new();
    for signal in ["KILL", "STOP"] {
        let (said, took) = lose(&desk, signal);
        assert!(took < Duration::from_secs(10), "{signal}: {took:?}\n{}", said.err);
        assert_ne!(said.code, Some(0), "{signal}");
        let line =
            said.err.lines().find(|line| line.contains("rank 1 (") && line.contains("is lost after step "));
        let line = line.unwrap_or_else(|| panic!("{signal}: {}", said.err));
        let step = line.split("after step ").nth(1).unwrap().split(':').next().unwrap();
        assert!(step.parse::<u64>().unwrap() > 50, "{line}");
    }
}

#[test]
fn a_rank_that_fails_ends_all_and_says_why() {
    let desk = Desk::new();
    let blocked = desk.write("blocked", "");
    // Rank 0 cannot write its checkpoints; rank 1 learns that rank 0 has ended.
    let args = training("failed", &[&format!("stages.checkpoint.path={:?}", blocked.join("checkpoints"))]);
    let begun = Instant::now();
    let said = run(&desk, 2, &args);
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(said.code, Some(73), "{}", said.err);
    assert!(said.err.contains("blocked"), "{}", said.err);
}
