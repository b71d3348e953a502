//! Trial runs: a graph runs for a while in a temporary directory, to be measured.
//!
//! Law: nothing is written to a file or directory that the graph names. Every output that a key of a stage names is
//! replaced by one in the temporary directory, which is removed in the end. A graph in which that is not possible is
//! refused.

#[cfg(test)]
pub(crate) mod planted;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use framewise_pipeline::engine::monitor::Monitor;
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{Loaded, ResolvedGraph, render};
use framewise_pipeline::stage::key::KeyKind;
use framewise_pipeline::{Failure, Registry, StopToken};
use tempfile::TempDir;
use toml::Value;

use crate::exit::cannot_write;
use crate::paths;

/// A graph whose outputs lie in a temporary directory.
pub(crate) struct Trial {
    graph: ResolvedGraph,
    directory: TempDir,
}

/// How a trial run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The caller had seen enough.
    Enough,
    /// Every stage reached its end.
    ByItself,
    /// The user interrupted it.
    Interrupted,
}

/// How often the caller of a trial run is asked whether it has seen enough.
const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Trial {
    /// Takes a graph with the graphs that its stages run, as far as the stages are `needed`.
    ///
    /// # Errors
    /// `Config` when a graph that a stage runs writes to a file. `CannotWrite` when there is no temporary directory.
    pub(crate) fn of(
        loaded: &Loaded,
        registry: &Registry,
        needed: impl Fn(usize) -> bool,
    ) -> Result<Self, Failure> {
        for (stage, inner) in loaded.inner(registry).iter().filter(|(stage, _)| needed(*stage)) {
            if let Some((writer, key, path)) = outputs(&inner.graph, registry).into_iter().next() {
                let name = &loaded.graph.stages[*stage].name;
                return Err(Failure::config(format!(
                    "the graph `{}`, which stage `{name}` runs, writes {path} (`{key}` of its stage `{}`), and a trial \
                     run must write nothing of yours: let `{name}` name a graph that writes no file",
                    inner.graph.name, inner.graph.stages[writer].name
                )));
            }
        }
        let directory = tempfile::Builder::new().prefix("framewise-trial-").tempdir();
        let directory = directory.map_err(|error| cannot_write(&std::env::temp_dir(), &error))?;
        let mut graph = loaded.graph.clone();
        for (index, (stage, key, path)) in outputs(&graph, registry).into_iter().enumerate() {
            // The name is kept, because its ending may say in what form is written.
            let name = Path::new(&path).file_name().map_or_else(|| "out".into(), |name| name.to_owned());
            let parent = directory.path().join("outputs").join(index.to_string());
            std::fs::create_dir_all(&parent).map_err(|error| cannot_write(&parent, &error))?;
            let replaced = parent.join(name).to_string_lossy().into_owned();
            graph.stages[stage].settings.values.insert(key.to_owned(), Value::String(replaced));
        }
        Ok(Self { graph, directory })
    }

    /// The graph.
    pub(crate) fn graph(&self) -> &ResolvedGraph {
        &self.graph
    }

    /// The graph, which may be changed before a run. Whatever takes its place must name the outputs of this one.
    pub(crate) fn graph_mut(&mut self) -> &mut ResolvedGraph {
        &mut self.graph
    }

    /// Runs the graph until `enough` says so, the graph ends or the user interrupts it.
    ///
    /// # Errors
    /// The failure of a stage, or of building it.
    pub(crate) fn run(
        &self,
        registry: &Registry,
        mut enough: impl FnMut(&Monitor) -> bool,
    ) -> anyhow::Result<(Monitor, Ended)> {
        let run_dir = tempfile::Builder::new().prefix("run-").tempdir_in(self.directory.path());
        let run_dir = run_dir.map_err(|error| cannot_write(self.directory.path(), &error))?;
        let stop = StopToken::new();
        let options = RunOptions {
            run_dir: Some(run_dir.path().to_owned()),
            resolved_text: Arc::from(render(&self.graph)),
            stop: stop.clone(),
            ..RunOptions::default()
        };
        let asked = interrupts()?;
        let pipeline = Pipeline::build(&self.graph, registry, &options)?;
        let monitor = pipeline.monitor();
        let (sender, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("trial".into());
        thread.spawn(move || sender.send(pipeline.run())).context("cannot start a thread")?;
        let mut why = Ended::ByItself;
        let outcome = loop {
            match ended.recv_timeout(LOOK_EVERY) {
                Ok(outcome) => break outcome,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(Failure::internal("the run ended without an outcome").into());
                }
            }
            if why == Ended::ByItself {
                if asked.load(Ordering::Relaxed) {
                    why = Ended::Interrupted;
                } else if enough(&monitor) {
                    why = Ended::Enough;
                }
                if why != Ended::ByItself {
                    stop.trip();
                }
            }
        };
        match outcome.status {
            Status::Failed(error) => Err(error.into()),
            _ => Ok((outcome.monitor, why)),
        }
    }

    /// Runs the graph for so many seconds, or to its end.
    ///
    /// # Errors
    /// As [`Trial::run`].
    pub(crate) fn run_for(&self, registry: &Registry, seconds: f64) -> anyhow::Result<(Monitor, Ended)> {
        let begin = Instant::now();
        self.run(registry, |_| begin.elapsed().as_secs_f64() >= seconds)
    }
}

/// The outputs that the keys of a graph's stages name: the index of the stage, the key and the path.
fn outputs(graph: &ResolvedGraph, registry: &Registry) -> Vec<(usize, &'static str, String)> {
    let named = paths::named(graph, registry);
    let outputs =
        named.filter(|(_, _, kind, _)| matches!(kind, KeyKind::OutputPath | KeyKind::OutputDirectory));
    outputs.map(|(stage, key, _, path)| (stage, key, path.to_owned())).collect()
}

/// The flag that Ctrl-C and SIGTERM set, so that a trial run ends and its directory is removed.
///
/// # Errors
/// The operating system refuses a handler.
fn interrupts() -> anyhow::Result<Arc<AtomicBool>> {
    static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(asked) = ASKED.get() {
        return Ok(asked.clone());
    }
    let asked = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, asked.clone()).context("the system refuses a signal handler")?;
    }
    #[cfg(not(unix))]
    {
        let asked = asked.clone();
        ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed))
            .context("the system refuses a signal handler")?;
    }
    Ok(ASKED.get_or_init(|| asked).clone())
}

/// The stage at which the rate of a run is read: the last one in the order of the data that has a single input, because
/// what it takes has passed all the others. Every stage before it that can hold items back is full by then.
pub(crate) fn gauge(graph: &ResolvedGraph) -> Option<usize> {
    let inputs = |stage: usize| graph.edges.iter().filter(|edge| edge.to.0 == stage).count();
    let depth = |stage: usize| {
        // The graph is small, and edges that are not delayed make no cycle.
        let (mut depth, mut now) = (0, vec![stage]);
        while !now.is_empty() && depth <= graph.stages.len() {
            let before = graph.edges.iter().filter(|edge| !edge.delayed && now.contains(&edge.to.0));
            now = before.map(|edge| edge.from.0).collect();
            depth += 1;
        }
        depth
    };
    let single = (0..graph.stages.len()).filter(|&stage| inputs(stage) == 1);
    single.max_by_key(|&stage| (depth(stage), std::cmp::Reverse(stage)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_the_graph_names_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("mine.txt");
        std::fs::write(&mine, "mine").unwrap();
        let text =
            planted::chain(20, [0, 0, 0], 1, 4) + &format!("path = {:?}\n", mine.display().to_string());
        let registry = planted::registry();
        let trial = Trial::of(&planted::graph(&text), &registry, |_| true).unwrap();
        let replaced = trial.graph.stages[2].settings.text("path").to_owned();
        let (monitor, ended) = trial.run_for(&registry, 60.0).unwrap();
        assert_eq!((ended, monitor.read().stages[2].items_in), (Ended::ByItself, 20));
        assert_eq!(std::fs::read_to_string(&replaced).unwrap(), "written by the run");
        assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
        drop(trial);
        assert!(!Path::new(&replaced).exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_is_stopped_when_enough_was_seen() {
        let registry = planted::registry();
        let loaded = planted::graph(&planted::chain(1 << 40, [1000, 0, 0], 1, 4));
        let trial = Trial::of(&loaded, &registry, |_| true).unwrap();
        let (monitor, ended) = trial.run(&registry, |monitor| monitor.read().stages[2].items_in > 5).unwrap();
        assert_eq!(ended, Ended::Enough);
        assert!(monitor.read().stages[2].items_in > 5);
    }
}
