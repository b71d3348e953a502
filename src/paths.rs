//! The files and directories that the keys of a graph's stages name.

use framewise_pipeline::Registry;
use framewise_pipeline::graph::{ResolvedGraph, ResolvedStage};
use framewise_pipeline::stage::key::KeyKind;

/// Every text of a key that names files, with the index of the stage, the key and the kind of the key.
pub(crate) fn named<'g>(
    graph: &'g ResolvedGraph,
    registry: &Registry,
) -> impl Iterator<Item = (usize, &'static str, KeyKind, &'g str)> {
    let keys = |stage: &ResolvedStage| registry.get(&stage.type_name).map(|c| c.keys()).unwrap_or_default();
    graph.stages.iter().enumerate().flat_map(move |(index, stage)| {
        keys(stage).into_iter().flat_map(move |key| {
            let texts: Vec<&str> = match key.kind {
                KeyKind::Path | KeyKind::OutputPath | KeyKind::OutputDirectory => {
                    Some(stage.settings.text(key.name)).filter(|text| !text.is_empty()).into_iter().collect()
                }
                KeyKind::Paths => {
                    let entries = stage.settings.get(key.name).and_then(|value| value.as_array());
                    entries.into_iter().flatten().filter_map(|entry| entry.as_str()).collect()
                }
                _ => Vec::new(),
            };
            texts.into_iter().map(move |text| (index, key.name, key.kind.clone(), text))
        })
    })
}
