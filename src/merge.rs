//! `framewise merge`, which makes the results of a run of what its ranks left.
//!
//! Laws: nothing is written before the parts of all ranks are known to be complete and of one run. Merging again writes the same.

use std::path::{Path, PathBuf};

use console::Term;
use framewise_pipeline::graph::{self, ResolvedGraph};
use framewise_pipeline::stage::key::KeyKind;
use framewise_pipeline::{ErrorKind, Failure, Registry};
use framewise_stages::{io as files, merge_parts, read_failure};
use serde_json::Value;

use crate::cli::{Format, MergeArgs};
use crate::exit::{self, UsageError};
use crate::job::Rank;
use crate::observe::view::StageView;
use crate::run::{Ended, GRAPH, Lock, RANKS, RESULTS, RunResult, is_locked, part};
use crate::text::plural;
use crate::{graphs, paths, terminal};

/// Merges the parts below `args.run`, writes the results there and prints them as a run does.
///
/// # Errors
/// `NotFound` for a part that is missing, and `Data` for one that failed or does not fit the others; each is named.
/// `CannotWrite` for a result that cannot be written.
pub(crate) fn merge(args: &MergeArgs, registry: &Registry) -> anyhow::Result<u8> {
    let parts = Parts::read(&args.run)?;
    let first = parts.first();
    let resolved = read(&first.path.join(GRAPH))?;
    check_agree(&parts.parts, &resolved)?;
    let graph = load(&first.path.join(GRAPH), &resolved, registry)?;
    let shares_stdout = paths::named(&graph, registry)
        .any(|(_, _, kind, text)| kind == KeyKind::OutputPath && files::is_standard_output(Path::new(text)));
    if shares_stdout && args.format == Format::Json {
        let why = "a stage writes to standard output, where the JSON of the result would stand too; leave --format json out";
        return Err(UsageError(why.to_owned()).into());
    }
    let _lock = Lock::take(&args.run)?;
    let directories: Vec<PathBuf> = parts.parts.iter().map(|part| part.path.clone()).collect();
    let merged = merge_parts(&directories, &args.run, &resolved)?;
    for (stage, text) in &merged.messages {
        terminal::say(&terminal::printable(&format!("{stage}: {text}")));
    }
    let result = RunResult {
        graph: graph.name.clone(),
        run_dir: Some(args.run.display().to_string()),
        examples: merged.results.get("videos").map_or(0, |videos| *videos as u64),
        wall_seconds: parts.parts.iter().map(Part::wall_seconds).fold(0.0, f64::max),
        results: merged.results,
        stages: stages(&parts.parts)?,
        ..RunResult::done()
    };
    files::write_file(&args.run.join(GRAPH), resolved.as_bytes()).map_err(Failure::from)?;
    files::write_file(&args.run.join(RESULTS), result.to_json().as_bytes()).map_err(Failure::from)?;
    let text = match args.format {
        Format::Json => result.to_json(),
        Format::Text => {
            let shown_on = if shares_stdout { Term::stderr() } else { Term::stdout() };
            let ended = Ended { result: &result, graph: &graph, resumed: false, go_on: None };
            ended.text(terminal::width(&shown_on))
        }
    };
    if shares_stdout {
        terminal::say(text.trim_end_matches('\n'));
    } else {
        terminal::print(&text)?;
    }
    Ok(exit::OK)
}

/// The part of a rank.
struct Part {
    path: PathBuf,
    /// The result of the rank.
    result: Value,
}

/// The parts of all ranks, in their order. There is at least one.
struct Parts {
    parts: Vec<Part>,
}

impl Part {
    fn wall_seconds(&self) -> f64 {
        self.result["wall_seconds"].as_f64().unwrap_or_default()
    }

    fn version(&self) -> &str {
        self.result["framewise"].as_str().unwrap_or_default()
    }
}

impl Parts {
    /// Reads the results of the ranks below `run`.
    ///
    /// # Errors
    /// `NotFound` without parts, and for parts that are missing. `Data` for parts that are not complete. All are named.
    fn read(run: &Path) -> Result<Self, Failure> {
        let folder = run.join(RANKS);
        let nothing = || {
            let text = format!("there are no parts of ranks in {}", folder.display());
            Failure::new(ErrorKind::NotFound, text)
        };
        let numbers = numbers(&folder).map_err(|e| read_failure(&folder, &e));
        let numbers = numbers.map_err(|e| Failure::new(e.kind, format!("{}: {e}", nothing())))?;
        let results = numbers.iter().map(|rank| (*rank, result(&part(run, *rank)))).collect::<Vec<_>>();
        // The ranks that say how many there are agree, or the first one that does not is named below.
        let said = results.iter().find_map(|(_, result)| result["ranks"].as_u64());
        let highest = numbers.last().ok_or_else(nothing)?;
        let said = said.and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= Rank::MOST);
        let size = said.unwrap_or(highest.saturating_add(1).min(Rank::MOST));
        let (mut parts, mut problems, mut kind) = (Vec::new(), Vec::new(), None);
        for (rank, result) in &results {
            let path = part(run, *rank);
            if let Some(why) = incomplete(&path, result, *rank, size) {
                kind.get_or_insert(ErrorKind::Data);
                problems.push(format!("rank {rank}: {}: {why}", path.display()));
            } else {
                parts.push(Part { path, result: result.clone() });
            }
        }
        let missing: Vec<String> =
            (0..size).filter(|rank| !numbers.contains(rank)).map(|rank| rank.to_string()).collect();
        if let Some(first) = missing.first() {
            kind.get_or_insert(ErrorKind::NotFound);
            let (which, them) = match missing.len() {
                1 => (format!("rank {first}"), "it"),
                _ => (format!("ranks {}", missing.join(", ")), "them"),
            };
            problems.push(format!("{which} of {size}: {} holds no part of {them}", folder.display()));
        }
        match kind {
            None => Ok(Self { parts }),
            Some(kind) => {
                let count = plural(problems.len() as u64, "problem");
                let text = format!("the parts cannot be merged, {count}:\n  {}", problems.join("\n  "));
                Err(Failure::new(kind, text))
            }
        }
    }

    fn first(&self) -> &Part {
        &self.parts[0]
    }
}

/// The numbers of the ranks that have a directory in `folder`, ascending.
fn numbers(folder: &Path) -> std::io::Result<Vec<usize>> {
    let names = files::list(folder)?.into_iter().filter(|path| path.is_dir());
    let mut numbers: Vec<usize> = names.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// The result that a rank wrote, or null.
fn result(path: &Path) -> Value {
    let text = files::read_to_string(&path.join(RESULTS)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Why the part of a rank is not complete, if it is not.
fn incomplete(path: &Path, result: &Value, rank: usize, size: usize) -> Option<String> {
    if is_locked(path) {
        return Some("it is still running".to_owned());
    }
    match result["status"].as_str() {
        Some("ok") => {}
        Some("failed") => {
            let why = result["error"]["message"].as_str().unwrap_or_default();
            return Some(format!("it failed: {why}"));
        }
        Some(other) => return Some(format!("it was {other}")),
        None => return Some("it did not come to its end: there is no result".to_owned()),
    }
    let of = |key: &str| result[key].as_u64().and_then(|number| usize::try_from(number).ok());
    match (of("rank"), of("ranks")) {
        (Some(of), Some(all)) if (of, all) == (rank, size) => None,
        (Some(of), Some(all)) => {
            Some(format!("it is the part of rank {of} of {all}, and the others are of {size}"))
        }
        _ => Some("it is not the part of a rank".to_owned()),
    }
}

/// Refuses parts of other graphs or other versions of the program.
fn check_agree(parts: &[Part], resolved: &str) -> Result<(), Failure> {
    let version = parts.first().map_or("", Part::version);
    for part in parts {
        let shown = part.path.display();
        if part.version() != version {
            let theirs = part.version();
            return Err(Failure::data(format!(
                "{shown}: version {theirs} of the program ran, and {version} for rank 0"
            )));
        }
        let theirs = read(&part.path.join(GRAPH))?;
        if theirs == resolved {
            continue;
        }
        let other = theirs.lines().zip(resolved.lines()).find(|(theirs, ours)| theirs != ours);
        let (theirs, ours) = other.unwrap_or(("more or fewer lines", "its own"));
        return Err(Failure::data(format!(
            "{shown}: another graph ran than for rank 0: {theirs}, not {ours}"
        )));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, Failure> {
    files::read_to_string(path).map_err(|e| read_failure(path, &e))
}

fn load(path: &Path, text: &str, registry: &Registry) -> anyhow::Result<ResolvedGraph> {
    match graph::load_str(path, text, registry, &[]) {
        Ok(loaded) => Ok(loaded.graph),
        Err(found) => {
            let why = graphs::first_message(&found);
            Err(Failure::data(format!("{}: this program does not know the graph: {why}", path.display()))
                .into())
        }
    }
}

/// The figures of the stages of all ranks: what they handled in all, and their mean shares of the time.
fn stages(parts: &[Part]) -> anyhow::Result<Vec<StageView>> {
    let mut all: Vec<StageView> = Vec::new();
    for part in parts {
        let stages: Vec<StageView> = serde_json::from_value(part.result["stages"].clone())
            .map_err(|e| Failure::data(format!("{}: {e}", part.path.join(RESULTS).display())))?;
        if all.is_empty() {
            all = stages;
            continue;
        }
        for (sum, stage) in all.iter_mut().zip(stages) {
            sum.items_in += stage.items_in;
            sum.items_out += stage.items_out;
            sum.bytes_in += stage.bytes_in;
            sum.bytes_out += stage.bytes_out;
            sum.items_per_second += stage.items_per_second;
            sum.busy += stage.busy;
            sum.input_wait += stage.input_wait;
            sum.output_wait += stage.output_wait;
            sum.ended += stage.ended;
            for (counts, theirs) in [(&mut sum.rejected, stage.rejected), (&mut sum.counts, stage.counts)] {
                theirs.into_iter().for_each(|(name, n)| *counts.entry(name).or_default() += n);
            }
        }
    }
    let ranks = parts.len() as f64;
    for stage in &mut all {
        for share in [&mut stage.busy, &mut stage.input_wait, &mut stage.output_wait, &mut stage.ended] {
            *share /= ranks;
        }
    }
    Ok(all)
}
