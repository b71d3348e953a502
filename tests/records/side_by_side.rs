//! Law: files that are read side by side give the same as files that are read one after another: the same videos in the
//! same order, the same rejected records in the same lines, the same failure, and the same after a run is resumed.

use std::fs;

use framewise_stages::tfrecord::Compression;

use crate::support::cli::{Desk, copy_graph};
use crate::support::records::{Damage, Records};
use crate::support::resume::{Bench, results};

/// Nine files, plain and packed, of none to forty videos, some of them damaged. Some have records of 20 kB, so that a file
/// comes in several chunks.
fn write_files(desk: &Desk) {
    let of = |file: usize, videos: usize| {
        let frames = if file == 3 { 1000 } else { 4 };
        Records::frame_level(videos).ids(move |video| format!("{file}-{video}")).frames(move |_| frames)
    };
    let files = [
        of(0, 5),
        of(1, 0),
        of(2, 40).gzip(),
        of(3, 40),
        of(4, 7).damage(Damage::DataCrc(2)),
        of(5, 6).damage(Damage::LengthCrc(3)),
        of(6, 9).damage(Damage::Truncated(8)).gzip(),
        of(7, 3).damage(Damage::GarbageAfterGzip).gzip(),
        of(8, 11),
    ];
    for (index, file) in files.iter().enumerate() {
        file.write(&desk.path(&format!("part-{index}.tfrecord")));
    }
    desk.write("copy.toml", &copy_graph("part-*.tfrecord", 16, 4, 10));
}

#[test]
fn order_and_rejected_records_do_not_depend_on_the_number_of_threads() {
    let desk = Desk::new();
    write_files(&desk);
    let mut first = None;
    for workers in [1, 2, 4, 16] {
        let run = format!("run-{workers}");
        let workers = format!("stages.videos.workers={workers}");
        let mut args = vec!["run", "copy.toml", "-q", "--run-dir", &run];
        let sets = [&workers, "stages.videos.epochs=2", "stages.videos.shuffle_files=true"];
        args.extend(sets.iter().chain(&["stages.videos.on_error=skip"]).flat_map(|set| ["--set", *set]));
        // Each run has the same seed.
        args.extend(["--set", "graph.seed=7"]);
        desk.framewise(&args).expect(0);
        let of = |name: &str| fs::read(desk.path(&run).join(name)).unwrap();
        let (videos, rejected) = (of("copy.tfrecord"), of("rejected.jsonl"));
        assert_eq!(
            rejected.iter().filter(|byte| **byte == b'\n').count(),
            4,
            "{}",
            desk.read(&format!("{run}/rejected.jsonl"))
        );
        let first = first.get_or_insert_with(|| (videos.clone(), rejected.clone()));
        assert!(*first == (videos, rejected), "{workers}");
    }
}

#[test]
fn a_bad_record_fails_as_with_one_thread() {
    let desk = Desk::new();
    write_files(&desk);
    let said = [1, 4].map(|workers| {
        let workers = format!("stages.videos.workers={workers}");
        let said =
            desk.framewise(&["run", "copy.toml", "-q", "--run-dir", "run", "--set", &workers]).expect(65);
        fs::remove_dir_all(desk.path("run")).unwrap();
        said.err
    });
    assert!(said[0].contains("part-4.tfrecord: record 2 at byte "), "{}", said[0]);
    assert_eq!(said[0], said[1]);
}

#[test]
fn a_run_over_packed_files_is_resumed_side_by_side() {
    let bench = Bench::with(Compression::Gzip, &["stages.videos.workers=3"]);
    let whole = bench.start("whole", &["stages.videos.workers=1"]);
    for last in [2, 3, 7] {
        let name = format!("cut-{last}");
        bench.start(&name, &[&format!("stages.batch.max_batches={last}")]);
        let resumed = bench.resume(&name, &[]);
        assert_eq!(results(&resumed), results(&whole), "{name}");
        bench.assert_same("whole", &name, &name);
    }
}
