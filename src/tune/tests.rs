//! Law: on graphs whose limits are planted, what the search keeps reaches at least 95 % of the best setting found by trying
//! all. The stages sleep, so neither depends on how busy the machine is.

use framewise_pipeline::engine::diagnosis::Edit;

use super::edits::{self, CAPACITY, WORKERS};
use super::search::{Search, Tuned, mean};
use crate::trial::{Trial, gauge, planted};

/// The seconds of a measurement.
const SLICE: f64 = 1.5;
/// More items than any measurement passes.
const ENDLESS: u64 = 1 << 40;

fn tuned(text: &str, cores: usize) -> anyhow::Result<Tuned> {
    let registry = planted::registry();
    let trial = Trial::of(&planted::graph(text), &registry, |_| true)?;
    let search = Search { registry: &registry, seconds: SLICE * 10.0, cores, tell: &|_| {} };
    Ok(search.run(trial)?.expect("nobody interrupts it"))
}

/// The rate with these edits.
fn rate(text: &str, edits: &[Edit]) -> f64 {
    let registry = planted::registry();
    let mut trial = Trial::of(&planted::graph(text), &registry, |_| true).unwrap();
    edits.iter().for_each(|edit| edits::apply(trial.graph_mut(), edit));
    let (monitor, _) = trial.run_for(&registry, SLICE).unwrap();
    let (service, stage) = (monitor.service().unwrap(), gauge(trial.graph()).unwrap());
    service.window.stages[stage].items_in as f64 / service.window.seconds
}

fn edit(stage: &str, key: &'static str, value: u64) -> Edit {
    Edit { stage: stage.to_owned(), key, value }
}

#[track_caller]
fn assert_near_the_best(text: &str, all: impl Iterator<Item = Edit>) {
    let found = tuned(text, 8).unwrap();
    let kept: Vec<_> = found.kept().map(|tried| tried.edit.clone()).collect();
    assert!(!kept.is_empty(), "{found:#?}");
    let best = all.map(|edit| rate(text, &[edit])).fold(0.0, f64::max);
    let reached = rate(text, &kept);
    assert!(reached >= 0.95 * best, "{reached} of {best} items/s with {kept:?}: {found:#?}");
    assert!(mean(&found.after) > 1.05 * mean(&found.before), "{found:#?}");
}

#[test]
fn a_slow_stage_gets_the_workers_that_it_can_use() {
    let text = planted::chain(ENDLESS, [3000, 10_000, 1000], 1, 4);
    assert_near_the_best(&text, (1..=8).map(|workers| edit("decode", WORKERS, workers)));
}

#[test]
fn an_uneven_source_gets_the_room_that_it_can_use() {
    let text = planted::chain(ENDLESS, [4000, 4000, 0], 8, 1);
    assert_near_the_best(&text, [1, 2, 4, 8, 16, 32].into_iter().map(|room| edit("videos", CAPACITY, room)));
}

#[test]
fn nothing_is_kept_where_nothing_helps() {
    let text = planted::chain(ENDLESS, [8000, 1000, 1000], 1, 4);
    let found = tuned(&text, 8).unwrap();
    assert!(found.tried.is_empty() && found.end.contains("`videos`"), "{found:#?}");
}

#[test]
fn there_are_never_more_threads_than_cores() {
    let text = planted::chain(ENDLESS, [1000, 8000, 1000], 1, 4);
    let found = tuned(&text, 2).unwrap();
    let workers: Vec<_> = found.kept().map(|tried| tried.edit.value).collect();
    assert!(workers == [2], "{found:#?}");
    let alone = tuned(&text, 1).unwrap();
    assert!(alone.tried.is_empty() && alone.end.contains("more threads than cores"), "{alone:#?}");
}

#[test]
fn there_is_never_more_room_than_memory() {
    let text = planted::chain(ENDLESS, [4000, 4000, 0], 8, 1);
    // An item has 1000 bytes.
    let some = text.replace("seed = 1", "seed = 1\nmemory = \"4000B\"");
    let found = tuned(&some, 8).unwrap();
    assert!(found.tried.iter().all(|tried| tried.edit.value <= 4), "{found:#?}");
    let none = text.replace("seed = 1", "seed = 1\nmemory = \"1000B\"");
    let found = tuned(&none, 8).unwrap();
    assert!(found.tried.is_empty() && found.end.contains("would not fit into `memory`"), "{found:#?}");
}

#[test]
fn a_graph_that_ends_too_early_says_so() {
    let error = tuned(&planted::chain(20, [0, 0, 0], 1, 4), 8).unwrap_err().to_string();
    assert!(error.contains("the graph ended after") && error.contains("more data or more epochs"), "{error}");
}
