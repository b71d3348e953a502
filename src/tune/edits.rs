//! Edits of a graph: in the resolved graph for a trial run, and in the text of its file, whose comments and layout stay.

use framewise_pipeline::engine::diagnosis::Edit;
use framewise_pipeline::graph::ResolvedGraph;
use toml::Value;
use toml_edit::{DocumentMut, Item};

/// The key of the threads of a stage.
pub(super) const WORKERS: &str = "workers";
/// The key of the items for which the edges behind a stage have room.
pub(super) const CAPACITY: &str = "capacity";
/// The key of the bytes for which the edges behind a stage have room.
pub(super) const CAPACITY_BYTES: &str = "capacity_bytes";

/// Changes a resolved graph.
pub(super) fn apply(graph: &mut ResolvedGraph, edit: &Edit) {
    let Some(index) = graph.stages.iter().position(|stage| stage.name == edit.stage) else { return };
    let value = usize::try_from(edit.value).unwrap_or(usize::MAX);
    for edge in graph.edges.iter_mut().filter(|edge| edge.from.0 == index) {
        match edit.key {
            CAPACITY => edge.limits.items = value,
            CAPACITY_BYTES => edge.limits.bytes = value,
            _ => {}
        }
    }
    if edit.key == WORKERS {
        let value = Value::Integer(i64::try_from(edit.value).unwrap_or(i64::MAX));
        graph.stages[index].settings.values.insert(WORKERS.to_owned(), value);
    }
}

/// The value that an edit replaces in a resolved graph.
pub(super) fn current(graph: &ResolvedGraph, edit: &Edit) -> Option<u64> {
    let index = graph.stages.iter().position(|stage| stage.name == edit.stage)?;
    let mut limits = graph.edges.iter().filter(|edge| edge.from.0 == index).map(|edge| edge.limits);
    match edit.key {
        CAPACITY => limits.next().map(|limits| limits.items as u64),
        CAPACITY_BYTES => limits.next().map(|limits| limits.bytes as u64),
        _ => Some(graph.stages[index].settings.integer(edit.key)),
    }
}

/// The text of a graph with these edits. A key that is there keeps its place and its comment, and a new one stands behind
/// the other keys of its stage.
///
/// # Errors
/// The stage is not in this text, because `--set` adds it.
pub(super) fn applied<'e>(text: &str, edits: impl Iterator<Item = &'e Edit>) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    for edit in edits {
        let stage = document.get_mut("stages").and_then(|stages| stages.get_mut(&edit.stage));
        let missing =
            || format!("there is no stage `{}` in this file: write `{edit}` where it comes from", edit.stage);
        let stage = stage.and_then(Item::as_table_like_mut).ok_or_else(missing)?;
        let mut value = toml_edit::Value::from(i64::try_from(edit.value).unwrap_or(i64::MAX));
        match stage.get_mut(edit.key).and_then(Item::as_value_mut) {
            Some(old) => {
                *value.decor_mut() = old.decor().clone();
                *old = value;
            }
            None => {
                stage.insert(edit.key, Item::Value(value));
            }
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a graph\n\n[stages.videos]   # reads\ntype = \"source\"\ncapacity  =  4   # a few\n\n\
                        # decodes\n[stages.decode]\ntype = 'work'\nfrom = \"videos\"\n\n[stages.out]\ntype = \"sink\"\n";

    fn edit(stage: &str, key: &'static str, value: u64) -> Edit {
        Edit { stage: stage.to_owned(), key, value }
    }

    #[test]
    fn comments_and_layout_stay() {
        let edits = [edit("videos", CAPACITY, 32), edit("decode", WORKERS, 3)];
        let expected = TEXT
            .replace("capacity  =  4   # a few", "capacity  =  32   # a few")
            .replace("from = \"videos\"\n", "from = \"videos\"\nworkers = 3\n");
        assert_eq!(applied(TEXT, edits.iter()).unwrap(), expected);
        let inline = "stages.a = { type = \"work\", workers = 1 } # one\n";
        let expected = inline.replace("workers = 1", "workers = 2");
        assert_eq!(applied(inline, [edit("a", WORKERS, 2)].iter()).unwrap(), expected);
        // The last of several edits of one key counts.
        let twice = [edit("decode", WORKERS, 2), edit("decode", WORKERS, 5)];
        assert!(applied(TEXT, twice.iter()).unwrap().contains("workers = 5\n"));
    }

    #[test]
    fn a_stage_of_set_is_told() {
        let error = applied(TEXT, [edit("more", WORKERS, 2)].iter()).unwrap_err();
        assert!(error.contains("there is no stage `more` in this file"), "{error}");
    }
}
