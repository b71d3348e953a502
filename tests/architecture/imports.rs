//! Which file of a crate imports which other, through whatever modules a name is handed on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use super::source::{Mention, Source, Use};

/// One file's import of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    /// The file that imports.
    pub(crate) from: String,
    /// The line of the import, from 1.
    pub(crate) line: usize,
    /// The file that defines what is imported.
    pub(crate) to: String,
    /// The path as it is written.
    pub(crate) path: String,
}

impl std::fmt::Display for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} imports {} (`{}`)", self.from, self.line, self.to, self.path)
    }
}

/// The files of one crate.
pub(crate) struct Crate {
    /// The crate's own name, under which it may name itself.
    name: String,
    /// The file of each module; the crate's root is the empty path.
    files: BTreeMap<Vec<String>, String>,
    sources: BTreeMap<String, Source>,
}

/// The number of modules through which a name is followed. After that it counts as defined where it was last found.
const HANDED_ON: usize = 16;

impl Crate {
    /// Reads the crate whose root file lies in `directory` of `root`, with every file that a `mod` declares. File names are
    /// relative to `root`.
    ///
    /// # Errors
    /// A file that cannot be read or is not Rust.
    pub(crate) fn read(name: &str, root: &Path, directory: &str) -> Result<Self, String> {
        Self::new(name, directory, |path| match std::fs::read_to_string(root.join(path)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{path}: {error}")),
        })
    }

    /// A crate from the texts of its files, of which `text` returns `None` for a file that does not exist.
    ///
    /// # Errors
    /// A file that is declared but does not exist, cannot be read or is not Rust.
    pub(crate) fn new(
        name: &str,
        directory: &str,
        text: impl Fn(&str) -> Result<Option<String>, String>,
    ) -> Result<Self, String> {
        let (mut files, mut sources) = (BTreeMap::new(), BTreeMap::new());
        let mut left = vec![Vec::new()];
        while let Some(module) = left.pop() {
            let candidates = files_of(&module, directory);
            let mut found = None;
            for path in &candidates {
                found = text(path)?.map(|text| (path, text));
                if found.is_some() {
                    break;
                }
            }
            let (path, text) =
                found.ok_or_else(|| format!("neither {} is there", candidates.join(" nor ")))?;
            let source = Source::read(&text).map_err(|error| format!("{path}: {error}"))?;
            left.extend(
                source.modules.iter().map(|child| [&module[..], std::slice::from_ref(child)].concat()),
            );
            files.insert(module, path.clone());
            sources.insert(path.clone(), source);
        }
        Ok(Self { name: name.to_owned(), files, sources })
    }

    /// The files in order, with what was read of them.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(path, source)| (path.as_str(), source))
    }

    /// The first import between each two files.
    ///
    /// A name that a module only hands on (`pub use`) does not count as an import of that module. Whoever uses the name
    /// imports the file that defines it.
    pub(crate) fn imports(&self) -> BTreeSet<Import> {
        let mut imports: BTreeMap<(String, String), Import> = BTreeMap::new();
        for (module, file) in &self.files {
            let source = &self.sources[file];
            let mut add = |target: Option<String>, of: &Mention| {
                if let Some(to) = target.filter(|to| to != file) {
                    let path = of.path.join("::");
                    let key = (file.clone(), to.clone());
                    let import = Import { from: file.clone(), line: of.line, to, path };
                    let first = imports.entry(key).or_insert_with(|| import.clone());
                    if import.line < first.line {
                        *first = import;
                    }
                }
            };
            for used in &source.uses {
                match &used.name {
                    Some(name) if used.public && !source.words.contains(name) => {}
                    Some(_) => add(self.target(module, &used.of), &used.of),
                    None if used.public => {}
                    None => {
                        for target in self.behind_glob(module, used) {
                            add(Some(target), &used.of);
                        }
                    }
                }
            }
            for mention in &source.mentions {
                add(self.target(module, mention), mention);
            }
        }
        imports.into_values().collect()
    }

    /// The file that defines what a path names. It is `None` for a module and for an item of another crate.
    fn target(&self, module: &[String], of: &Mention) -> Option<String> {
        let path = self.absolute(module, of, HANDED_ON)?;
        self.locate(&path, HANDED_ON)
    }

    /// The files whose names `use module::*` brings: the file of the module and the files whose names it hands on.
    fn behind_glob(&self, module: &[String], used: &Use) -> Vec<String> {
        let Some(path) = self.absolute(module, &used.of, HANDED_ON) else { return Vec::new() };
        let Some(file) = self.files.get(&path) else {
            return self.locate(&path, HANDED_ON).into_iter().collect();
        };
        let handed_on = self.sources[file].uses.iter().filter(|used| used.public && used.name.is_some());
        let handed_on = handed_on.filter_map(|used| self.target(&path, &used.of));
        std::iter::once(file.clone()).chain(handed_on).collect()
    }

    /// The path from the root of the crate. It is `None` for an item of another crate.
    fn absolute(&self, module: &[String], of: &Mention, left: usize) -> Option<Vec<String>> {
        let (first, rest) = of.path.split_first()?;
        let here = [module, &of.inside].concat();
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([&here, rest].concat()),
            "super" => {
                let supers = 1 + rest.iter().take_while(|name| *name == "super").count();
                let above = here.get(..here.len().checked_sub(supers)?)?;
                Some([above, &rest[supers - 1..]].concat())
            }
            name if name == self.name => Some(rest.to_vec()),
            name => {
                let child = [module, &[name.to_owned()]].concat();
                if let Some(bound) = self.binding(module, name).filter(|_| left > 0) {
                    let start = self.absolute(module, &bound.of, left - 1)?;
                    return Some([&start, rest].concat());
                }
                self.files.contains_key(&child).then(|| [&child, rest].concat())
            }
        }
    }

    /// The file that defines the item at a path from the crate's root. It is `None` for a module.
    fn locate(&self, path: &[String], left: usize) -> Option<String> {
        let mut module = Vec::new();
        for (index, name) in path.iter().enumerate() {
            let child = [&module[..], std::slice::from_ref(name)].concat();
            let is_last = index + 1 == path.len();
            let is_item = is_last
                && (self.source(&module)?.items.contains(name) || self.binding(&module, name).is_some());
            if self.files.contains_key(&child) && !is_item {
                module = child;
            } else {
                return Some(self.item(&module, name, left).unwrap_or_else(|| self.files[&module].clone()));
            }
        }
        None
    }

    /// The file that defines a name of a module, if it is known.
    fn item(&self, module: &[String], name: &str, left: usize) -> Option<String> {
        let source = self.source(module)?;
        let left = left.checked_sub(1)?;
        if source.items.contains(name) {
            return self.files.get(module).cloned();
        }
        if let Some(bound) = self.binding(module, name) {
            let path = self.absolute(module, &bound.of, left)?;
            return self.locate(&path, left);
        }
        let globs = source.uses.iter().filter(|used| used.name.is_none() && used.of.inside.is_empty());
        globs
            .filter_map(|used| self.absolute(module, &used.of, left))
            .find_map(|path| self.item(&path, name, left))
    }

    /// The `use` that gives a name to a module's file.
    fn binding(&self, module: &[String], name: &str) -> Option<&Use> {
        let uses = &self.source(module)?.uses;
        let named = |used: &&Use| used.name.as_deref() == Some(name) && used.of.path != [name];
        uses.iter().find(|used| named(used) && used.of.inside.is_empty()).or_else(|| uses.iter().find(named))
    }

    fn source(&self, module: &[String]) -> Option<&Source> {
        self.files.get(module).and_then(|file| self.sources.get(file))
    }
}

/// The files that a module may be. Beside a library, the program `main.rs` is a crate of its own, which nothing imports.
fn files_of(module: &[String], directory: &str) -> [String; 2] {
    match module {
        [] => [format!("{directory}/lib.rs"), format!("{directory}/main.rs")],
        names => {
            let path = format!("{directory}/{}", names.join("/"));
            [format!("{path}.rs"), format!("{path}/mod.rs")]
        }
    }
}

/// The module that a file is: `directory/a/b.rs` and `directory/a/b/mod.rs` are both `a::b`.
pub(crate) fn module_of(path: &str, directory: &str) -> Vec<String> {
    let inner = path.strip_prefix(directory).unwrap_or(path).trim_start_matches('/');
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    let is_root = module.len() == 1 && matches!(module[0].as_str(), "lib" | "main");
    if is_root || module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}
