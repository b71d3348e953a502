//! The rules of the architecture, each a function from imports to what breaks it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::imports::{Import, module_of};
use super::source::Source;

/// Floors of a crate, the lowest first: the folders and files that lie right below its source directory. A file may
/// import from its own floor and from lower ones.
pub(crate) type Floors<'a> = &'a [&'a [&'a str]];

/// Every arrow up, and every folder or file that stands on no floor. The crate's root and its unit tests stand
/// on top of all.
pub(crate) fn arrows_up(floors: Floors<'_>, directory: &str, imports: &BTreeSet<Import>) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut floor = |file: &str| {
        let module = module_of(file, directory);
        let is_test = module.iter().any(|name| name == "tests");
        let Some(name) = module.first().filter(|_| !is_test) else { return Some(floors.len()) };
        let floor = floors.iter().position(|names| names.contains(&name.as_str()));
        if floor.is_none() {
            found
                .insert(format!("`{name}` of {directory} stands on no floor: add it to the table of floors"));
        }
        floor
    };
    let mut up = Vec::new();
    for import in imports {
        if let (Some(from), Some(to)) = (floor(&import.from), floor(&import.to))
            && from < to
        {
            up.push(format!("{import}, which is an arrow up"));
        }
    }
    found.into_iter().chain(up).collect()
}

/// Every import of a file of `stages` by another.
pub(crate) fn stages_that_import_stages(stages: &BTreeSet<&str>, imports: &BTreeSet<Import>) -> Vec<String> {
    let is_stage = |file: &str| stages.contains(file);
    let between = imports.iter().filter(|import| is_stage(&import.from) && is_stage(&import.to));
    between.map(|import| format!("{import}, and both are stages")).collect()
}

/// The circles of imports. Where circles share their files, only the shortest one is reported. So each line that must
/// go stands out.
pub(crate) fn circles(imports: &BTreeSet<Import>) -> Vec<String> {
    let mut of_file: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in imports {
        of_file.entry(&import.from).or_default().push(import);
    }
    let mut circles: Vec<Vec<&Import>> = Vec::new();
    for import in imports {
        if let Some(back) = way(&of_file, &import.to, &import.from) {
            circles.push(std::iter::once(import).chain(back).collect());
        }
    }
    circles.sort_by_key(Vec::len);
    let mut told: Vec<BTreeSet<&str>> = Vec::new();
    let mut found = Vec::new();
    for circle in circles {
        let files: BTreeSet<&str> = circle.iter().map(|import| import.from.as_str()).collect();
        if told.iter().all(|told| !told.is_subset(&files)) {
            let lines: Vec<String> = circle.iter().map(|import| format!("  {import}")).collect();
            found.push(format!("a circle:\n{}", lines.join("\n")));
            told.push(files);
        }
    }
    found
}

/// The imports of a shortest way from one file to another, if there is any.
fn way<'i>(of_file: &BTreeMap<&str, Vec<&'i Import>>, from: &str, to: &str) -> Option<Vec<&'i Import>> {
    // The import by which each file was reached.
    let mut reached: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    while let Some(file) = next.pop_front() {
        for &import in of_file.get(file).into_iter().flatten() {
            if import.to == from || reached.contains_key(import.to.as_str()) {
                continue;
            }
            reached.insert(&import.to, import);
            next.push_back(&import.to);
        }
        if let Some(&last) = reached.get(to) {
            let steps =
                std::iter::successors(Some(last), |import| reached.get(import.from.as_str()).copied());
            let mut way: Vec<&Import> = steps.collect();
            way.reverse();
            return Some(way);
        }
    }
    None
}

/// The crates that a manifest depends on, for any target and for tests.
pub(crate) fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flatten().filter_map(|(_, target)| target.as_table());
    let tables = std::iter::once(manifest).chain(tables);
    let kinds = tables.flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    let mut crates = BTreeSet::new();
    for (name, dependency) in kinds.flatten() {
        crates.insert(name.clone());
        // A dependency may be renamed.
        crates.extend(dependency.get("package").and_then(toml::Value::as_str).map(str::to_owned));
    }
    crates
}

/// The first names of all paths of a file, with a line of each.
pub(crate) fn crates_named(source: &Source) -> BTreeMap<String, usize> {
    let mut named = BTreeMap::new();
    for of in source.uses.iter().map(|used| &used.of).chain(&source.mentions) {
        if let Some(first) = of.path.first() {
            named.entry(first.clone()).or_insert(of.line);
        }
    }
    named
}

/// Whether a crate's name begins with one of these, whichever way it is written.
pub(crate) fn is_one_of(name: &str, beginnings: &[&str]) -> bool {
    let name = name.replace('-', "_");
    beginnings.iter().any(|beginning| name.starts_with(beginning))
}
