//! `framewise init`, which writes a project to start from.
//!
//! Laws: the project is either whole or not there. Its files are files of this repository, which are built, checked and
//! run there and which the program carries inside itself.

mod crate_name;
mod templates;
mod write;

use std::path::{Path, PathBuf};

use framewise_pipeline::{ErrorKind, Failure};

use crate::cli::InitArgs;
use crate::exit::{self, UsageError};
use crate::shell;
use crate::terminal::{self, printable};
use crate::text::{Align, plural, table};
use templates::{CUSTOM_STAGE, GRAPHS_ONLY, Template};

/// Writes the project, and prints what was written and the commands to continue with.
///
/// # Errors
/// A usage error when the crate would have no proper name. `NotFound` when `--framewise-path` is not a source of
/// Framewise. `CannotWrite` when the directory already holds something or a file cannot be written.
pub(crate) fn init(args: &InitArgs) -> anyhow::Result<u8> {
    let project = if args.graph_only { Project::of_graphs() } else { Project::of_a_crate(args)? };
    write::write_all(&args.directory, &templates::files(project.templates, &project.replaced))?;
    terminal::print(&printable(&project.report(&args.directory)))?;
    Ok(exit::OK)
}

/// One of the two kinds of projects.
struct Project {
    what: &'static str,
    templates: &'static [Template],
    /// The texts of the templates that are replaced, each with what the project has in its place.
    replaced: Vec<(String, String)>,
    /// The commands to continue with, each split into its words.
    commands: Vec<Vec<String>>,
}

impl Project {
    fn of_graphs() -> Self {
        let renamed = [
            ("quickstart run", "training run"),
            ("quickstart-eval", "eval"),
            ("quickstart-predict", "predict"),
            ("quickstart", "train"),
        ];
        let program = shell::program();
        // From the new directory, a relative path would lead somewhere else.
        let absolute =
            program.contains(std::path::MAIN_SEPARATOR).then(|| std::path::absolute(&program).ok());
        let program = absolute.flatten().map_or(program, |path| path.display().to_string());
        let run = |rest: &str| split(&program, rest);
        Self {
            what: "graphs that train, evaluate and predict",
            templates: GRAPHS_ONLY,
            replaced: renamed.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec(),
            commands: vec![
                run("run graphs/train.toml"),
                run("run graphs/eval.toml --set stages.weights.path=runs/train-1"),
                run("run graphs/predict.toml --set stages.weights.path=runs/train-1"),
            ],
        }
    }

    fn of_a_crate(args: &InitArgs) -> anyhow::Result<Self> {
        let name = match &args.name {
            Some(name) => name.clone(),
            None => crate_name::of_directory(&args.directory)?,
        };
        crate_name::check(&name).map_err(|why| {
            UsageError(format!("`{name}` cannot be the name of a crate: {why}; give another one with --name"))
        })?;
        let source = args.framewise_path.as_deref().map(source).transpose()?;
        let mut replaced = vec![(templates::CRATE.to_owned(), name)];
        for (place, inside) in templates::DEPENDENCIES {
            let dependency = match &source {
                Some(root) => {
                    let path = if inside.is_empty() { root.clone() } else { root.join(inside) };
                    let path = toml::Value::from(path.display().to_string());
                    format!("{{ path = {path} }}")
                }
                None => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
            };
            replaced.push((place.to_owned(), dependency));
        }
        let cargo = |rest: &str| split("cargo", rest);
        Ok(Self {
            what: "a crate with a stage of its own",
            templates: CUSTOM_STAGE,
            replaced,
            commands: vec![
                cargo("test --release"),
                cargo("run --release -- stages frame_subsample"),
                cargo("run --release -- run graphs/train.toml"),
                cargo("run --release -- run graphs/eval.toml --set stages.weights.path=runs/subsampled-1"),
            ],
        })
    }

    /// The report: what was written, and how to continue.
    fn report(&self, directory: &Path) -> String {
        let files = plural(self.templates.len() as u64, "file");
        let mut out = format!("wrote {}: {} ({files})\n\n", directory.display(), self.what);
        let rows = self.templates.iter().map(|file| vec![format!("  {}", file.target), file.what.to_owned()]);
        out += &table(&[Align::Left, Align::Left], &rows.collect::<Vec<_>>());
        out += "\nThese commands go on from here:\n\n";
        if directory != Path::new(".") {
            out += &format!("  {}\n", shell::command(&["cd".to_owned(), directory.display().to_string()]));
        }
        for words in &self.commands {
            out += &format!("  {}\n", shell::command(words));
        }
        out + "\nREADME.md says what to change.\n"
    }
}

fn split(program: &str, rest: &str) -> Vec<String> {
    std::iter::once(program).chain(rest.split(' ')).map(str::to_owned).collect()
}

/// The absolute path of the source of Framewise in `path`.
fn source(path: &Path) -> Result<PathBuf, Failure> {
    let none = |why: String| {
        Failure::new(ErrorKind::NotFound, format!("--framewise-path {}: {why}", path.display()))
    };
    let manifest = path.join("Cargo.toml");
    let text =
        std::fs::read_to_string(&manifest).map_err(|e| none(format!("no Cargo.toml is there: {e}")))?;
    let package =
        text.parse::<toml::Table>().ok().and_then(|table| Some(table.get("package")?.get("name")?.clone()));
    if package.as_ref().and_then(toml::Value::as_str) != Some("framewise") {
        return Err(none("its Cargo.toml is not that of the package `framewise`".to_owned()));
    }
    path.canonicalize().map_err(|e| none(e.to_string()))
}
