//! Laws: an evaluation that fails ends the run, and the state that it was to measure is not lost. A run that is resumed
//! from that state ends as a run in which nothing failed.

use crate::support::cli::{Desk, data, names};
use crate::support::trial::{self, finish, frames, results};

/// A desk with the trial's graphs and data, whose checkpoints are written at the end and on a failure only.
fn desk() -> Desk {
    let desk = Desk::new();
    trial::write_graphs(&desk, 2);
    let train = desk.read("train.toml").replace("every_steps = 2\n", "every_epochs = 0\n");
    desk.write("train.toml", &train);
    desk
}

#[test]
fn the_state_in_hand_is_written_before_a_failed_evaluation_ends_the_run() {
    let desk = desk();
    finish(&desk, "calm", trial::command(&desk, "calm", false).spawn().unwrap());

    let good = frames(&data("japanese_vowels/test.tfrecord"))[..60].to_vec();
    let mut bad = good.clone();
    bad[7][40] ^= 1;
    std::fs::write(desk.path("test.tfrecord"), bad.concat()).unwrap();
    let status = trial::command(&desk, "run", false).status().unwrap();
    let told = desk.read("run.err");
    assert_eq!(status.code(), Some(65), "{told}");
    assert!(told.contains("`evaluate`") && told.contains("in the evaluation's graph"), "{told}");
    assert!(told.contains("record 7") && told.contains("data CRC"), "{told}");
    let steps: Vec<_> =
        names(&desk.path("run/checkpoints")).into_iter().filter(|name| name.starts_with("step-")).collect();
    // 266 good videos in batches of 30 make 9 steps an epoch.
    assert_eq!(steps, ["step-00000009"]);
    desk.framewise(&["inspect", "--verify", "run"]).expect(0);

    std::fs::write(desk.path("test.tfrecord"), good.concat()).unwrap();
    finish(&desk, "run", trial::command(&desk, "run", true).spawn().unwrap());
    results(&desk.path("run")).expect(&results(&desk.path("calm")), "resumed after the failure");
}
