//! Laws: every file in graphs/ passes `check`. What `render` prints resolves to the same graph.

use framewise_pipeline::graph;
use framewise_stages::registry;

use crate::support::run::{load_path, root};

fn files() -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(root().join("graphs")).unwrap();
    let mut files: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_graph_passes_check() {
    let files = files();
    assert!(files.len() >= 8);
    for file in files {
        load_path(&file, &[]);
    }
}

#[test]
fn a_rendered_graph_resolves_to_itself() {
    for file in files() {
        let text = graph::render(&load_path(&file, &[]));
        // The path lies elsewhere on purpose, because a rendered graph depends on no file beside it.
        let again = graph::load_str(std::path::Path::new("/rendered/graph.toml"), &text, &registry(), &[]);
        let again = again.unwrap_or_else(|errors| panic!("{}", errors.render(false)));
        assert_eq!(graph::render(&again.graph), text, "{}", file.display());
    }
}

#[test]
fn the_presets_have_the_published_numbers_of_parameters() {
    for (model, expected) in [("paddle", 89_088_550u64), ("paper", 88_889_378)] {
        let model = root().join(format!("configs/model/nextvlad-{model}.toml"));
        // The graph that `evaluate` runs takes the model too, because `check` compares the two.
        let graph = crate::support::run::load("train-cpu.toml", &[format!("use.model={}", model.display())]);
        let optimizer = graph.stages.iter().find(|s| s.name == "optimizer").unwrap();
        let weights = &optimizer.ports.outputs[0].payload;
        let elements = weights.tensors.iter().map(|tensor| {
            tensor
                .dims
                .iter()
                .map(|d| if let framewise_pipeline::Dim::Fixed(n) = d { *n } else { 0 })
                .product::<u64>()
        });
        assert_eq!(elements.sum::<u64>(), expected);
    }
}
