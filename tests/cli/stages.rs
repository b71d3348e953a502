//! Tests of `framewise stages`, `check`, `render` and `graph`.

use framewise_stages::registry;
use serde_json::Value;

use crate::support::cli::{Desk, graph, vowels_graph};

#[test]
fn text_and_json_list_the_same_types_in_the_same_order() {
    let desk = Desk::new();
    let text = desk.framewise(&["stages"]).expect(0).out;
    let json = desk.framewise(&["stages", "--format", "json"]).expect(0).out;
    let json: Vec<Value> = serde_json::from_str(&json).unwrap();
    let registry = registry();
    let names: Vec<_> = registry.iter().map(|c| c.type_name()).collect();
    assert_eq!(json.iter().map(|stage| stage["type"].as_str().unwrap()).collect::<Vec<_>>(), names);
    let heads = text.lines().filter(|line| !line.starts_with([' ', '`']) && !line.is_empty());
    assert_eq!(heads.map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(), names);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for stage in &json {
        let summary = stage["summary"].as_str().unwrap();
        assert!(stage["doc"].as_str().unwrap().starts_with(summary) && summary.ends_with('.'), "{stage}");
    }
}

#[test]
fn a_page_tells_every_port_and_every_key_as_the_json_does() {
    let desk = Desk::new();
    for component in registry().iter() {
        let name = component.type_name();
        let page = desk.framewise(&["stages", name]).expect(0).out;
        let json = desk.framewise(&["stages", name, "--format", "json"]).expect(0).out;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["keys"].as_array().unwrap().len(), component.keys().len(), "{name}");
        for key in component.keys() {
            let line = page.lines().find(|line| line.starts_with(&format!("  {}  ", key.name)));
            let line = line.unwrap_or_else(|| panic!("{name}.{}\n{page}", key.name));
            assert!(line.contains(key.unit), "{line}");
            assert_eq!(line.ends_with(", required"), key.required, "{line}");
        }
        for side in ["inputs", "outputs"] {
            for port in json[side].as_array().unwrap() {
                let port = port["name"].as_str().unwrap();
                assert!(
                    page.lines().any(|line| line.trim_start().starts_with(port)),
                    "{name}.{port}\n{page}"
                );
            }
        }
    }
}

#[test]
fn an_unknown_type_is_64_with_the_nearest_name() {
    let desk = Desk::new();
    let said = desk.framewise(&["stages", "optimiser"]).expect(64);
    assert_eq!(said.err, "error: there is no stage type `optimiser`; did you mean `optimizer`?\n");
    let said = desk.framewise(&["stages", "something_else_entirely"]).expect(64);
    assert!(said.err.contains("`framewise stages` lists them"), "{}", said.err);
}

#[test]
fn check_tells_of_every_file() {
    let desk = Desk::new();
    desk.write("good.toml", &vowels_graph());
    desk.write("bad.toml", &vowels_graph().replace("yt8m_decode", "yt8m_decoder").replace("path =", "pth ="));
    let said = desk.framewise(&["check", "good.toml"]).expect(0);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("good.toml: ok (3 stages, 2 edges)\n", ""));
    let said = desk.framewise(&["check", "bad.toml", "good.toml", "nowhere.toml"]).expect(78);
    assert_eq!(said.out, "good.toml: ok (3 stages, 2 edges)\n");
    for words in ["did you mean `yt8m_decode`", "pth", "nowhere.toml"] {
        assert!(said.err.contains(words), "{words}\n{}", said.err);
    }
    desk.framewise(&["check", "good.toml", "nowhere.toml"]).expect(66);
}

#[test]
fn render_applies_changes_and_renders_to_itself() {
    let desk = Desk::new();
    let path = graph("quickstart.toml");
    let first = desk.framewise(&["render", &path, "--set", "stages.batch.size=15"]).expect(0).out;
    assert!(first.contains("size = 15"), "{first}");
    desk.write("again.toml", &first);
    assert_eq!(desk.framewise(&["render", "again.toml"]).expect(0).out, first);
}

#[test]
fn drawings_show_every_stage() {
    let desk = Desk::new();
    desk.write("copy.toml", &vowels_graph());
    for (format, head) in [("mermaid", "flowchart"), ("dot", "digraph"), ("svg", "<svg")] {
        let drawing = desk.framewise(&["graph", "copy.toml", "--format", format]).expect(0).out;
        assert!(drawing.lines().take(3).any(|line| line.contains(head)), "{drawing}");
        assert!(["videos", "decode", "out"].iter().all(|stage| drawing.contains(stage)), "{drawing}");
    }
    let default = desk.framewise(&["graph", "copy.toml"]).expect(0).out;
    assert_eq!(default, desk.framewise(&["graph", "copy.toml", "--format", "mermaid"]).expect(0).out);
}
