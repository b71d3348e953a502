//! Law: a training run that is killed at any moment, any number of times, and resumed with `--resume`, ends with the
//! bytes and numbers of a run that was never disturbed.
//!
//! The tests send SIGKILL to the binary at moments that are drawn from a seed. `FRAMEWISE_KILLS` sets the number of
//! kills, 50 by default. `FRAMEWISE_KILL_SEED` draws other moments.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use framewise_stages::store;

use crate::support::cli::Desk;
use crate::support::trial;

/// The number of epochs. With nine steps each, they make 23 checkpoints and five evaluations.
const EPOCHS: u64 = 5;

/// The moment at which a session is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// This long after its start: while it starts, resumes, or trains.
    Time(Duration),
    /// This long after it began to write its n-th checkpoint: during the writing, at the renaming, or just after it.
    Writing(usize, Duration),
    /// When it has reported this many steps, which does not depend on the machine's speed.
    Steps(usize),
}

/// Counts of what the kills met. They are printed at the end, and they show that the harness is not blind.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    runs: u64,
    /// Sessions that resumed from a checkpoint.
    resumed: u64,
    /// Kills that came before the first checkpoint.
    before_first: u64,
    /// Kills that left a checkpoint half-written.
    half_written: u64,
    /// Sessions that ended before their moment came.
    too_late: u64,
    /// Refused resumes without a checkpoint.
    refused: u64,
}

/// The random generator SplitMix64, which is seeded and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn moment(&mut self, whole_run: Duration) -> Moment {
        let micros = Duration::from_micros;
        match self.below(8) {
            0..=2 => Moment::Time(micros(self.below(whole_run.as_micros() as u64))),
            3..=5 => Moment::Writing(1 + self.below(6) as usize, micros(self.below(4_000))),
            _ => Moment::Steps(1 + self.below(12) as usize),
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} = {text:?} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn kills_at_any_moment_change_nothing() {
    let kills = number("FRAMEWISE_KILLS", 50);
    let seed = number("FRAMEWISE_KILL_SEED", 1);
    let start = Instant::now();
    let desk = Desk::new();
    trial::write_graphs(&desk, EPOCHS);
    let undisturbed = Instant::now();
    let printed = trial::finish(&desk, "calm", trial::command(&desk, "calm", false).spawn().unwrap());
    let undisturbed = undisturbed.elapsed();
    let expected = trial::results(&desk.path("calm"));
    expected.check_complete();
    assert_eq!(trial::leftovers(&desk.path("calm")), [] as [&Path; 0]);

    let mut random = Random(seed);
    let mut tally = Tally::default();
    while tally.kills < kills {
        tally.runs += 1;
        // There are several kills in a row but fewer than all, so that every run is also finished.
        let wanted = (1 + random.below(12)).min(kills - tally.kills);
        let context = format!("seed {seed}, run {}", tally.runs);
        let last = torment(&desk, wanted, undisturbed, &mut random, &mut tally, &context);
        let run = desk.path("run");
        trial::results(&run).expect(&expected, &context);
        trial::verified_checkpoints(&run);
        trial::whole_lines(&run.join("log.jsonl"), false);
        assert_eq!(trial::leftovers(&run), [] as [&Path; 0], "{context}");
        assert_eq!(last["results"], printed["results"], "{context}: printed results");
        assert_eq!(rejected(&last), rejected(&printed), "{context}: counters of rejected records");
        std::fs::remove_dir_all(&run).unwrap();
    }
    eprintln!(
        "{tally:?} in {:.1?} (undisturbed run: {undisturbed:.1?}, {} steps)",
        start.elapsed(),
        expected.step
    );
    // This tests the harness itself. A few kills may all fall elsewhere, but fifty do not.
    if kills >= 50 {
        assert!(tally.half_written > 0 && tally.before_first > 0 && tally.resumed > 10, "{tally:?}");
    }
}

/// Starts a run, kills it `wanted` times, and then lets it end. Returns what the last session printed.
fn torment(
    desk: &Desk,
    wanted: u64,
    undisturbed: Duration,
    random: &mut Random,
    tally: &mut Tally,
    context: &str,
) -> serde_json::Value {
    let run = desk.path("run");
    let (mut resume, mut killed) = (false, 0);
    loop {
        let drawn = (killed < wanted).then(|| random.moment(undisturbed));
        // Fifty drawn moments may all lie behind the first checkpoint, so the first of them is not left to chance.
        let moment = drawn.map(|moment| if tally.kills == 0 { Moment::Time(Duration::ZERO) } else { moment });
        let mut child = trial::command(desk, "run", resume).spawn().unwrap();
        tally.resumed += u64::from(resume);
        let Some(moment) = moment else { return trial::finish(desk, "run", child) };
        if !kill_at(&mut child, moment, &run) {
            // The kill came too late: the session had come to its end, which must be a good one.
            tally.too_late += 1;
            return trial::finish(desk, "run", child);
        }
        killed += 1;
        tally.kills += 1;
        let context = format!("{context}, kill {killed} at {moment:?}");
        resume = after_kill(desk, &run, random, tally, &context);
    }
}

/// Kills the program at the moment. Returns `false` if the program had ended by itself.
fn kill_at(child: &mut Child, moment: Moment, run: &Path) -> bool {
    let start = Instant::now();
    let mut begun = unfinished(run);
    let begun_before = begun.len();
    let steps_before = lines(run);
    loop {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        match moment {
            Moment::Time(after) if start.elapsed() >= after => break,
            Moment::Steps(steps) if lines(run) >= steps_before + steps => break,
            Moment::Writing(nth, after) => {
                // Each checkpoint that is being written has a name of its own.
                begun.extend(unfinished(run));
                if begun.len() >= begun_before + nth {
                    std::thread::sleep(after);
                    break;
                }
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_micros(300));
        assert!(start.elapsed() < Duration::from_secs(120), "no end and no {moment:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

/// The names of the checkpoints that are being written.
fn unfinished(run: &Path) -> BTreeSet<std::ffi::OsString> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return BTreeSet::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
    names.filter(|name| name.to_string_lossy().starts_with(".step-")).collect()
}

fn lines(run: &Path) -> usize {
    let bytes = std::fs::read(run.join("metrics.jsonl")).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// Checks what the killed program left. Returns whether there is a checkpoint to resume from; if not, clears the way
/// for a new run.
fn after_kill(desk: &Desk, run: &Path, random: &mut Random, tally: &mut Tally, context: &str) -> bool {
    let steps = trial::verified_checkpoints(run);
    trial::whole_lines(&run.join("log.jsonl"), true);
    trial::whole_lines(&run.join("metrics.jsonl"), true);
    let rejected = trial::whole_lines(&run.join("rejected.jsonl"), true);
    let distinct: BTreeSet<_> = rejected.iter().map(trial::lineage).collect();
    assert_eq!(distinct.len(), rejected.len(), "{context}: a record stands twice in rejected.jsonl");
    let half_written = unfinished(run);
    tally.half_written += u64::from(!half_written.is_empty());
    litter(run, random);
    // A checkpoint that was being replaced has its name back after a resume.
    if !steps.is_empty() || half_written.iter().any(|name| name.to_string_lossy().contains(".old-")) {
        return true;
    }
    tally.before_first += 1;
    if tally.refused == 0 {
        let said = desk.framewise(&["run", "train.toml", "--resume", "run"]).expect(66);
        let place =
            if run.is_dir() { "nothing to resume: no checkpoint in" } else { "cannot resume from run" };
        assert!(said.err.contains(place), "{context}: {}", said.err);
        tally.refused += 1;
    }
    if run.exists() {
        std::fs::remove_dir_all(run).unwrap();
    }
    false
}

/// Leaves half a line and half a file, as a kill within a single write would. A write takes microseconds, which is too
/// short to be met by chance.
fn litter(run: &Path, random: &mut Random) {
    let name =
        ["log.jsonl", "metrics.jsonl", "rejected.jsonl", "graph.resolved.toml"][random.below(4) as usize];
    let path = run.join(name);
    if name.ends_with(".jsonl")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).open(&path)
    {
        file.write_all(b"{\"kind\":\"train\",\"st").unwrap();
    }
    if run.is_dir() {
        std::fs::write(run.join(format!(".{name}.tmp-{}-{}", std::process::id(), random.below(9))), "half")
            .unwrap();
    }
}

/// The counts of rejected records by stage and reason.
fn rejected(result: &serde_json::Value) -> Vec<(String, String)> {
    let stages = result["stages"].as_array().unwrap().iter();
    stages.map(|stage| (stage["name"].to_string(), stage["rejected"].to_string())).collect()
}

/// When the newest checkpoint is damaged on the disk, a run resumes from the newest one that is whole.
#[test]
fn a_damaged_newest_checkpoint_costs_its_steps_and_nothing_else() {
    let desk = Desk::new();
    trial::write_graphs(&desk, 1);
    trial::finish(&desk, "run", trial::command(&desk, "run", false).spawn().unwrap());
    let run = desk.path("run");
    let expected = trial::results(&run);
    let newest = store::find(&run).unwrap().path;
    let weights = newest.join("weights.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    trial::finish(&desk, "run", trial::command(&desk, "run", true).spawn().unwrap());
    trial::results(&run).expect(&expected, "after damage");
    assert!(desk.read("run.err").contains("weights.safetensors"), "{}", desk.read("run.err"));
}
