//! `framewise diff`: what differs between two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use framewise_pipeline::{ErrorKind, Failure};
use serde_json::json;
use toml::{Table, Value};

use super::past::Past;
use crate::cli::{DiffArgs, Format};
use crate::exit;
use crate::run::RUNS;
use crate::table::{Column, fitted};
use crate::terminal::{self, printable};
use crate::text::{count, number, wrap};

/// The columns of the numbers.
const COLUMNS: [Column; 4] = [
    Column::names("", 0),
    Column::numbers("first", 0),
    Column::numbers("second", 0),
    Column::numbers("change", 1),
];

/// The two values of a key, each `None` where the run does not have it.
struct Differs<T> {
    key: String,
    first: Option<T>,
    second: Option<T>,
}

/// Shows what differs between two runs: their graphs, seeds, versions and numbers.
///
/// # Errors
/// `NotFound` where there is no such run. `Data` for a directory that holds no run.
pub(crate) fn diff(args: &DiffArgs) -> anyhow::Result<u8> {
    let (first, second) = (find(&args.first)?, find(&args.second)?);
    let settings = settings(&first, &second);
    let numbers = numbers(&first, &second);
    let text = match args.format {
        Format::Json => to_json(&first, &second, &settings, &numbers),
        Format::Text => {
            let width = terminal::width(&console::Term::stdout());
            printable(&to_text(&first, &second, &settings, &numbers, width)).into_owned()
        }
    };
    terminal::print(&text)?;
    Ok(exit::OK)
}

/// The run in this directory, or in the directory of this name below `runs/`.
fn find(path: &Path) -> Result<Past, Failure> {
    let below: PathBuf = Path::new(RUNS).join(path);
    let path = if !path.exists() && below.is_dir() { &below } else { path };
    if !path.exists() {
        let text =
            format!("{}: there is no such run; `framewise runs` lists those below runs/", path.display());
        return Err(Failure::new(ErrorKind::NotFound, text));
    }
    Past::read(path).ok_or_else(|| {
        let text =
            format!("{}: this is not the directory of a run: it has no graph, log or result", path.display());
        Failure::data(text)
    })
}

/// The settings that differ, `None` where the graph of a run cannot be read.
fn settings(first: &Past, second: &Past) -> Option<Vec<Differs<Value>>> {
    let (first, second) = (flat(first.resolved.as_ref()?), flat(second.resolved.as_ref()?));
    let keys: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let differ = keys.into_iter().filter(|key| first.get(*key) != second.get(*key));
    let with_values = |key: &String| Differs {
        key: key.clone(),
        first: first.get(key).cloned(),
        second: second.get(key).cloned(),
    };
    Some(differ.map(with_values).collect())
}

/// The settings of a graph by their keys: `graph.KEY` and `stages.NAME.KEY`.
fn flat(graph: &Table) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for (section, keys) in graph {
        match keys {
            Value::Table(entries) => {
                for (name, value) in entries {
                    match value {
                        Value::Table(keys) if section == "stages" => {
                            out.extend(
                                keys.iter()
                                    .map(|(key, value)| (format!("{section}.{name}.{key}"), value.clone())),
                            );
                        }
                        value => drop(out.insert(format!("{section}.{name}"), value.clone())),
                    }
                }
            }
            value => drop(out.insert(section.clone(), value.clone())),
        }
    }
    out
}

/// The numbers of both runs, also those that are equal.
fn numbers(first: &Past, second: &Past) -> Vec<Differs<f64>> {
    let whole = |n: Option<u64>| n.map(|n| n as f64);
    let own = |run: &Past| [whole(run.steps), whole(run.examples), run.wall_seconds];
    let names = ["steps", "examples", "wall_seconds"].into_iter();
    let mut out: Vec<Differs<f64>> = names
        .zip(own(first).into_iter().zip(own(second)))
        .map(|(key, (first, second))| Differs { key: key.to_owned(), first, second })
        .collect();
    let mut names: Vec<&String> = first.results.keys().chain(second.results.keys()).collect();
    names.sort();
    names.dedup();
    let results = names.into_iter().map(|name| Differs {
        key: format!("results.{name}"),
        first: first.results.get(name).copied(),
        second: second.results.get(name).copied(),
    });
    out.extend(results);
    out
}

fn to_text(
    first: &Past,
    second: &Past,
    settings: &Option<Vec<Differs<Value>>>,
    numbers: &[Differs<f64>],
    width: usize,
) -> String {
    let mut out = format!("first   {}\nsecond  {}\n\n", first.path.display(), second.path.display());
    match settings {
        None => out += &wrap("The graph of a run cannot be read, so the graphs are not compared.", width, 0),
        Some(settings) if settings.is_empty() => out += "The graphs are the same.\n",
        Some(settings) => {
            out += "settings\n";
            settings_of_stages(settings).iter().for_each(|setting| out += &setting_text(setting, width));
        }
    }
    let words = |run: &Past| {
        let version = run.version.clone().unwrap_or_else(|| "?".to_owned());
        [run.graph.clone().unwrap_or_else(|| "?".to_owned()), version, run.status.name().to_owned()]
    };
    let mut rows: Vec<Vec<String>> = ["graph", "framewise", "status"]
        .into_iter()
        .zip(words(first).into_iter().zip(words(second)))
        .map(|(name, (first, second))| vec![name.to_owned(), first, second, String::new()])
        .collect();
    rows.extend(best_row(first, second));
    for Differs { key, first, second } in numbers.iter().filter(|n| n.first.is_some() || n.second.is_some()) {
        let shown = |value: &Option<f64>| value.map_or_else(String::new, |value| figure(key, value));
        let change =
            first.zip(*second).map_or_else(String::new, |(first, second)| change(key, second - first));
        let name = key.strip_prefix("results.").unwrap_or(key);
        rows.push(vec![name.to_owned(), shown(first), shown(second), change]);
    }
    out.push('\n');
    out + &fitted(&COLUMNS, &rows, width)
}

/// The row of the best results, where both runs have one of the same metric.
fn best_row(first: &Past, second: &Past) -> Option<Vec<String>> {
    let (one, other) = first.best.as_ref().zip(second.best.as_ref())?;
    let change = change("results.", other.value - one.value);
    let row = || vec![format!("best {}", one.metric), number(one.value), number(other.value), change];
    (one.metric == other.metric).then(row)
}

/// The settings, where the keys of a stage that only one run has are left out but for its type.
fn settings_of_stages(settings: &[Differs<Value>]) -> Vec<&Differs<Value>> {
    let is_alone = |s: &&Differs<Value>| s.first.is_none() || s.second.is_none();
    let types = settings.iter().filter(is_alone).filter_map(|s| s.key.strip_suffix(".type"));
    let stages: BTreeSet<&str> = types.filter(|stage| stage.starts_with("stages.")).collect();
    let belongs = |key: &str| key.rsplit_once('.').is_some_and(|(stage, _)| stages.contains(stage));
    settings.iter().filter(|s| !belongs(&s.key) || s.key.ends_with(".type")).collect()
}

/// A setting in one line, or in three where one is too long.
fn setting_text(setting: &Differs<Value>, width: usize) -> String {
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "not set".to_owned(), Value::to_string);
    let Differs { key, first, second } = setting;
    let (first, second) = (shown(first), shown(second));
    let line = format!("  {key}: {first} → {second}");
    if line.chars().count() <= width {
        return line + "\n";
    }
    let mut out = format!("  {key}\n");
    for (name, value) in [("first ", first), ("second", second)] {
        let text = wrap(&format!("{name} {value}"), width, 6);
        out += &format!("    {}", text.trim_start());
    }
    out
}

fn figure(key: &str, value: f64) -> String {
    if key.starts_with("results.") || value.fract() != 0.0 {
        return number(value);
    }
    // Counts are not negative, and far below 2^63.
    count(value as u64)
}

fn change(key: &str, value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value > 0.0 => format!("+{}", figure(key, value)),
        value => format!("-{}", figure(key, -value)),
    }
}

fn to_json(
    first: &Past,
    second: &Past,
    settings: &Option<Vec<Differs<Value>>>,
    numbers: &[Differs<f64>],
) -> String {
    let run = |run: &Past| {
        json!({
            "path": run.path.display().to_string(),
            "graph": run.graph,
            "framewise": run.version,
            "status": run.status.name(),
            "best": run.best,
        })
    };
    // A value of TOML that JSON lacks, such as a date, is the text that TOML writes.
    let value = |value: &Value| serde_json::to_value(value).unwrap_or_else(|_| value.to_string().into());
    let settings = settings.as_ref().map(|settings| {
        let one = |s: &Differs<Value>| {
            json!({"key": s.key, "first": s.first.as_ref().map(value), "second": s.second.as_ref().map(value)})
        };
        settings.iter().map(one).collect::<Vec<_>>()
    });
    let numbers: Vec<_> =
        numbers.iter().map(|n| json!({"name": n.key, "first": n.first, "second": n.second})).collect();
    let object =
        json!({"first": run(first), "second": run(second), "settings": settings, "numbers": numbers});
    format!("{object:#}\n")
}
