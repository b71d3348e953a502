//! The fuzz target for the loader of graphs. The input is a TOML text over the real stage types. Behind a NUL byte
//! follows any number of `--set`s, one on each line.

use std::path::Path;

use framewise_pipeline::graph::{self, Override};

use crate::counting::peak;

/// Asserts the laws of loading for this text.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (text, sets) = text.split_once('\0').unwrap_or((&text, ""));
    let sets: Vec<Override> = sets.lines().filter_map(|line| line.parse().ok()).collect();
    let registry = framewise_stages::registry();
    // The graph lies in a directory that does not exist, so that no text reads a file by chance.
    let path = Path::new("/no/such/directory/fuzz.toml");
    let used = peak(|| match graph::load_str(path, text, &registry, &sets) {
        Ok(loaded) => {
            let rendered = graph::render(&loaded.graph);
            let again = graph::load_str(path, &rendered, &registry, &[]);
            let again = again.unwrap_or_else(|errors| panic!("{rendered}\n{}", errors.render(false)));
            assert_eq!(graph::render(&again.graph), rendered, "a rendered graph is itself");
            graph::dot(&loaded.graph);
            graph::mermaid(&loaded.graph);
            graph::svg(&loaded.graph);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(!errors.render(data.len().is_multiple_of(2)).is_empty());
        }
    });
    // Messages quote the lines that they are about, each line at most once in each message.
    assert!(used <= (8 << 20) + 4096 * data.len(), "{used} bytes for a text of {}", data.len());
}
