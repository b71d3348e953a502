//! Laws: a key that depends on another key has a value only where it applies. Giving it elsewhere is an error. Its
//! default may follow the value of the other key.

use framewise_pipeline::graph::{load_str, render};

use crate::fixture::{errors, graph, load_with, registry};

const PLAIN: &str = "[stages.c]\ntype = \"coffee\"\n";

fn value(text: &str, key: &str) -> Option<i64> {
    graph(text).stages[0].settings.get(key).and_then(toml::Value::as_integer)
}

#[test]
fn values_and_defaults_follow_the_deciding_key() {
    let rich = format!("{PLAIN}kind = \"rich\"\n");
    assert_eq!((value(PLAIN, "sugar"), value(PLAIN, "cups")), (None, Some(1)));
    assert_eq!((value(&rich, "sugar"), value(&rich, "cups")), (Some(3), Some(2)));
    let given = format!("{rich}sugar = 5\ncups = 7\n");
    assert_eq!((value(&given, "sugar"), value(&given, "cups")), (Some(5), Some(7)));
}

#[test]
fn a_key_that_does_not_apply_is_refused_with_both_places() {
    let shown = errors(&format!("{PLAIN}sugar = 5\nkind = \"plain\"\n"));
    assert_eq!(shown.matches("error:").count(), 1, "{shown}");
    for part in
        ["g.toml:3:1", "`sugar` of stage `c` has no effect: its `kind` is \"plain\"", "`rich`", "chosen here"]
    {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    // The default of the other key decides too, and so does `--set`.
    let shown = errors(&format!("{PLAIN}sugar = 5\n"));
    assert!(shown.contains("has no effect: its `kind` is \"plain\""), "{shown}");
    let rich = format!("{PLAIN}kind = \"rich\"\nsugar = 5\n");
    assert!(load_with(&rich, &[]).is_ok());
    let shown = load_with(&rich, &["stages.c.kind=plain"]).map(|_| ()).unwrap_err().render(false);
    assert!(shown.contains("`sugar` of stage `c` has no effect"), "{shown}");
    // A value is checked only where its key applies.
    let shown = errors(&format!("{PLAIN}kind = \"rich\"\nsugar = 50\n"));
    assert!(shown.contains("from 1 to 9") && !shown.contains("no effect"), "{shown}");
}

#[test]
fn a_wrong_deciding_key_is_all_that_is_said() {
    let shown = errors(&format!("{PLAIN}kind = \"ritch\"\nsugar = 5\n"));
    assert_eq!(shown.matches("error:").count(), 1, "{shown}");
    assert!(shown.contains("did you mean `rich`"), "{shown}");
}

#[test]
fn in_a_config_a_key_must_apply_to_some_stage() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.toml"), "sugar = 5\n").unwrap();
    let uses = format!("[use]\nc = \"{}\"\n", dir.path().join("c.toml").display());
    let stage = |name: &str, kind: &str| {
        format!("[stages.{name}]\ntype = \"coffee\"\nconfig = \"c\"\nkind = \"{kind}\"\n")
    };
    let shown = errors(&format!("{uses}{}", stage("c", "plain")));
    assert!(shown.contains("the key `sugar` has no effect"), "{shown}");
    let both = format!("{uses}{}{}", stage("c", "plain"), stage("d", "rich"));
    let stages = graph(&both).stages;
    let sugar = |index: usize| stages[index].settings.get("sugar").and_then(toml::Value::as_integer);
    assert_eq!((sugar(0), sugar(1)), (None, Some(5)));
}

#[test]
fn what_is_rendered_loads_again() {
    for text in [PLAIN.to_owned(), format!("{PLAIN}kind = \"rich\"\n")] {
        let rendered = render(&graph(&text));
        assert_eq!(rendered.contains("sugar"), text.contains("rich"));
        let again = load_str(std::path::Path::new("r.toml"), &rendered, &registry(), &[]);
        assert_eq!(render(&again.unwrap_or_else(|e| panic!("{}", e.render(false))).graph), rendered);
    }
}
