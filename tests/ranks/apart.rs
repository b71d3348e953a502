//! Laws of ranks that exchange nothing: each leaves its part, and `merge` makes of all parts what one process writes, byte for
//! byte. A part that is missing, failed or of another run is named, and then nothing is written.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::cli::{Desk, Said, graph, names};
use crate::support::divided::{predicts, split_vowels};
use crate::support::records::{Damage, Records};
use crate::support::run::root;
use crate::support::trained::trained;

/// A prediction of the test utterances in a few files, with the weights of a short training.
struct Prediction {
    desk: Desk,
    args: Vec<String>,
}

impl Prediction {
    fn new(counts: &[usize]) -> Self {
        let desk = trained();
        let files = split_vowels(&desk.path(""), counts);
        let mut args = vec!["run".to_owned(), "-q".to_owned(), graph("quickstart-predict.toml")];
        for set in predicts(&desk.path("run"), &files) {
            args.extend(["--set".to_owned(), set]);
        }
        Self { desk, args }
    }

    fn with<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        self.args.iter().map(String::as_str).chain(more.iter().copied()).collect()
    }

    /// Runs one rank in the directory `all`.
    fn rank(&self, rank: &str, more: &[&str]) -> Said {
        self.desk.framewise(&self.with(&[&["--run-dir", "all", "--rank", rank], more].concat()))
    }

    fn alone(&self, more: &[&str]) -> Said {
        self.desk.framewise(&self.with(&[&["--run-dir", "alone"], more].concat()))
    }

    fn merge(&self) -> Said {
        self.desk.framewise(&["merge", "all"])
    }

    fn results(&self, directory: &str) -> Value {
        let text = self.desk.read(&format!("{directory}/results.json"));
        serde_json::from_str::<Value>(&text).unwrap()["results"].clone()
    }

    fn check_merged(&self) {
        for name in ["predictions.csv", "predictions.jsonl"] {
            let read = |directory: &str| self.desk.read(&format!("{directory}/{name}"));
            assert!(read("all") == read("alone"), "{name}");
        }
        assert_eq!(self.results("all"), self.results("alone"));
    }
}

#[test]
fn parts_of_ranks_merge_to_what_one_process_writes_however_often() {
    let run = Prediction::new(&[100, 0, 1, 200, 69]);
    run.alone(&[]).expect(0);
    // The ranks run at once, in the one directory.
    let children: Vec<_> = ["0/3", "1/3", "2/3"]
        .iter()
        .map(|rank| run.desk.command(&run.with(&["--run-dir", "all", "--rank", rank])).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(names(&run.desk.path("all")), ["ranks"]);
    let said = run.merge().expect(0);
    assert!(said.out.contains("done in") && said.out.contains("run directory    all"), "{}", said.out);
    assert!(said.err.contains("370 videos written to all/predictions.csv"), "{}", said.err);
    run.check_merged();
    let first = run.desk.read("all/results.json");
    let lines = run.desk.read("all/metrics.jsonl");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let again = run.desk.framewise(&["merge", "all", "--format", "json"]).expect(0);
    assert_eq!(again.out, first);
    assert_eq!(run.desk.read("all/metrics.jsonl"), lines);
    run.check_merged();
    // Each rank read another part, and together they read everything.
    let value: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&value["examples"], &value["stages"][0]["items_out"]), (&370.into(), &370.into()));
    for rank in 0..3 {
        let part: Value =
            serde_json::from_str(&run.desk.read(&format!("all/ranks/000{rank}/results.json"))).unwrap();
        let read = part["stages"][0]["items_out"].as_u64().unwrap();
        assert!(read > 90 && read < 160, "{read}");
        assert_eq!((&part["rank"], &part["ranks"]), (&rank.into(), &3.into()));
    }
    let listed = run.desk.framewise(&["inspect", "all"]);
    assert_ne!(listed.code, Some(70), "{}", listed.err);
}

#[test]
fn a_rank_without_a_record_leaves_an_empty_part() {
    let run = Prediction::new(&[2]);
    run.alone(&[]).expect(0);
    for rank in 0..6 {
        run.rank(&format!("{rank}/6"), &[]).expect(0);
    }
    run.merge().expect(0);
    run.check_merged();
}

#[test]
fn ranks_and_sizes_come_from_the_environment_of_a_launcher() {
    let run = Prediction::new(&[370]);
    run.alone(&[]).expect(0);
    let launch = |rank: usize, variables: &[(&str, &str)]| {
        let mut args = run.with(&["--run-dir", "all"]);
        args.retain(|arg| *arg != "-q");
        let mut command = run.desk.command(&args);
        let rank = rank.to_string();
        command.envs(
            variables.iter().map(|(name, value)| (*name, if *value == "RANK" { &rank } else { *value })),
        );
        Said::of(command.output().unwrap())
    };
    let slurm = [
        ("SLURM_STEP_ID", "2"),
        ("SLURM_STEP_NUM_TASKS", "2"),
        ("SLURM_PROCID", "RANK"),
        ("SLURM_NTASKS", "2"),
    ];
    let torchrun = [("LOCAL_RANK", "0"), ("WORLD_SIZE", "2"), ("RANK", "RANK")];
    for (launcher, variables) in [("Slurm", &slurm[..]), ("torchrun", &torchrun)] {
        for rank in 0..2 {
            let said = launch(rank, variables).expect(0);
            assert!(said.err.contains(&format!("rank {rank} of 2 (from {launcher})")), "{}", said.err);
        }
        run.merge().expect(0);
        run.check_merged();
        std::fs::remove_dir_all(run.desk.path("all")).unwrap();
    }
    // A shell in an allocation is not a step.
    let said = launch(0, &slurm[2..]).expect(0);
    assert!(!said.err.contains("rank 0 of 2"), "{}", said.err);
    assert_eq!(run.results("all"), run.results("alone"));
    std::fs::remove_dir_all(run.desk.path("all")).unwrap();
    let said = launch(0, &[("PMI_RANK", "7"), ("PMI_SIZE", "2")]).expect(78);
    assert!(said.err.contains("PMI_RANK=7"), "{}", said.err);
    assert!(!run.desk.path("all").exists());
}

#[test]
fn what_is_missing_or_failed_is_named_and_nothing_is_written() {
    let run = Prediction::new(&[370]);
    let said = run.merge().expect(66);
    assert!(said.err.contains("there are no parts of ranks in all/ranks"), "{}", said.err);
    run.rank("1/4", &[]).expect(0);
    let said = run.merge().expect(66);
    assert!(said.err.contains("ranks 0, 2, 3 of 4"), "{}", said.err);
    run.rank("0/4", &[]).expect(0);
    // A rank that fails leaves no part that counts.
    let bad = run.desk.path("cut-370/00.tfrecord");
    let good = std::fs::read(&bad).unwrap();
    let mut bytes = good.clone();
    let place = bytes.len() * 5 / 8;
    bytes[place] ^= 1;
    std::fs::write(&bad, bytes).unwrap();
    run.rank("2/4", &[]).expect(65);
    run.rank("3/4", &[]).expect(0);
    let said = run.merge().expect(65);
    assert!(said.err.contains("rank 2: all/ranks/0002: it failed: "), "{}", said.err);
    assert_eq!(names(&run.desk.path("all")), ["ranks"]);
    // A rank whose process was killed left no result.
    std::fs::remove_file(run.desk.path("all/ranks/0003/results.json")).unwrap();
    let said = run.merge().expect(65);
    assert!(said.err.contains("rank 3: all/ranks/0003: it did not come to its end"), "{}", said.err);
    // Both are run again in their places. What is done is not.
    std::fs::write(&bad, good).unwrap();
    run.rank("2/4", &[]).expect(0);
    run.rank("3/4", &[]).expect(0);
    let said = run.rank("3/4", &[]).expect(73);
    assert!(said.err.contains("holds the part of a run that is done"), "{}", said.err);
    run.alone(&[]).expect(0);
    run.merge().expect(0);
    run.check_merged();
    let said = run.rank("3/4", &[]).expect(73);
    assert!(said.err.contains("holds something else than the parts of ranks"), "{}", said.err);
}

#[test]
fn parts_of_different_runs_are_told_apart() {
    let run = Prediction::new(&[200, 170]);
    run.rank("0/2", &[]).expect(0);
    let merged = |why: &str| {
        let said = run.merge().expect(65);
        assert!(said.err.contains(why), "{}", said.err);
        let there = names(&run.desk.path("all"));
        assert!(there.iter().all(|name| [".lock", "ranks"].contains(&name.as_str())), "{there:?}");
        std::fs::remove_dir_all(run.desk.path("all/ranks/0001")).unwrap();
    };
    run.rank("1/2", &["--set", "stages.top_k.k=3"]).expect(0);
    merged("all/ranks/0001: another graph ran than for rank 0: k = 3");
    run.rank("1/3", &[]).expect(0);
    merged("it is the part of rank 1 of 3, and the others are of 2");

    let file = run.desk.path("cut-200-170/01.tfrecord");
    let whole = std::fs::read(&file).unwrap();
    let added = Records::frame_level(1).sizes(12, 12).bytes();
    std::fs::write(&file, [&whole[..], &added].concat()).unwrap();
    run.rank("1/2", &[]).expect(0);
    merged("stage `videos`: it read ");
    std::fs::write(&file, whole).unwrap();

    let weights = run.desk.path("run/checkpoints/step-00000018");
    let aside = run.desk.path("aside");
    std::fs::rename(&weights, &aside).unwrap();
    run.rank("1/2", &[]).expect(0);
    merged("stage `weights`: its weights ");
    std::fs::rename(&aside, &weights).unwrap();

    run.rank("1/2", &[]).expect(0);
    let version = |path: &Path, version: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        let own = env!("CARGO_PKG_VERSION");
        std::fs::write(
            path,
            text.replace(&format!("\"framewise\": \"{own}\""), &format!("\"framewise\": \"{version}\"")),
        )
        .unwrap();
    };
    version(&run.desk.path("all/ranks/0001/results.json"), "9.9.9");
    merged("version 9.9.9 of the program ran");

    run.rank("1/2", &[]).expect(0);
    let part = run.desk.path("all/ranks/0001/parts/csv.part");
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() - 1]).unwrap();
    merged("csv.part has ");
}

#[test]
fn rejected_records_are_merged_and_bounded_together() {
    let desk = Desk::new();
    let files: Vec<String> = (0..4)
        .map(|n| {
            Records::frame_level(5).damage(Damage::DataCrc(n)).write(&desk.path(&format!("{n}.tfrecord")))
        })
        .collect();
    let text = format!(
        "[graph]\nseed = 1\n[stages.videos]\ntype = \"tfrecord_reader\"\nfiles = {files:?}\non_error = \"skip\"\n\
         max_rejected = 3\n[stages.decode]\ntype = \"yt8m_decode\"\nfrom = \"videos\"\nrgb_size = 16\naudio_size = 4\n\
         classes = 10\n[stages.out]\ntype = \"tfrecord_writer\"\nfrom = \"decode\"\npath = \"-\"\n"
    );
    desk.write("copy.toml", &text);
    let rank = |rank: &str, set: &str, dir: &str| {
        desk.framewise(&["run", "-q", "copy.toml", "--run-dir", dir, "--rank", rank, "--set", set]).expect(0)
    };
    for number in ["0/2", "1/2"] {
        rank(number, "stages.videos.max_rejected=3", "few");
        let said = rank(number, "stages.videos.max_rejected=4", "all");
        // A part does not go to standard output.
        assert!(said.out.is_empty() || said.out.contains("done in"), "{}", said.out);
    }
    let said = desk.framewise(&["merge", "few"]).expect(65);
    assert!(said.err.contains("stage `videos` rejected 4 records on all ranks together"), "{}", said.err);
    assert_eq!(names(&desk.path("few")), [".lock", "ranks"]);
    let merged = desk.command(&["merge", "all"]).output().unwrap();
    assert!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
    let alone = desk.command(&[
        "run",
        "-q",
        "copy.toml",
        "--run-dir",
        "alone",
        "--set",
        "stages.videos.max_rejected=4",
    ]);
    let alone = { alone }.output().unwrap();
    assert!(merged.stdout == alone.stdout && !alone.stdout.is_empty());
    assert_eq!(desk.read("all/rejected.jsonl"), desk.read("alone/rejected.jsonl"));
    let said = desk.framewise(&["merge", "all", "--format", "json"]).expect(64);
    assert!(said.err.contains("standard output"), "{}", said.err);
}

/// The example of a batch script, with a `srun` and a `framewise` that stand in for those of a cluster.
#[test]
fn the_example_of_slurm_runs() {
    use std::os::unix::fs::PermissionsExt as _;

    let run = Prediction::new(&[370]);
    run.alone(&[]).expect(0);
    let bin = run.desk.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let program = |name: &str, text: &str| {
        let path = bin.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program(
        "srun",
        "#!/bin/sh\nfor rank in 0 1 2 3; do\n  SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=$rank \"$@\" || exit 1\ndone\n",
    );
    let sets: Vec<&str> = run.args[3..].iter().map(String::as_str).collect();
    let quoted: Vec<String> = sets.iter().map(|arg| format!("'{arg}'")).collect();
    program(
        "framewise",
        &format!(
            "#!/bin/sh\nif [ \"$1\" = run ]; then exec '{0}' \"$@\" {1}; fi\nexec '{0}' \"$@\"\n",
            env!("CARGO_BIN_EXE_framewise"),
            quoted.join(" ")
        ),
    );
    let script: PathBuf = root().join("examples/cluster/slurm-predict.sh");
    let output = std::process::Command::new("sh")
        .arg(script)
        .current_dir(run.desk.path(""))
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
        .env("SLURM_JOB_ID", "77")
        .env("GRAPH", graph("quickstart-predict.toml"))
        .env("RUN_DIR", "all")
        .output()
        .unwrap();
    Said::of(output).expect(0);
    run.check_merged();
}
