//! Laws: if two keys write to one file, or one writes to a file that another reads, that is an error with both places,
//! whatever links lie on the way. An address passes only where the registry opens its scheme.

use crate::fixture::{errors, graph, load_with};

/// A graph of two stages with these lines.
fn two(first: &str, second: &str) -> String {
    format!("[stages.a]\ntype = \"keeper\"\n{first}\n[stages.b]\ntype = \"keeper\"\n{second}\n")
}

#[test]
fn two_writers_of_one_path() {
    for (first, second) in [
        ("file = \"x\"", "file = \"y/../x\""),
        ("file = \"/nowhere/x\"", "file = \"/nowhere/./x\""),
        ("directory = \"/nowhere/x\"", "directory = \"/nowhere/x\""),
        ("directory = \"/nowhere/x\"", "file = \"/nowhere/x\""),
        ("file = \"-\"", "file = \"-\""),
    ] {
        let shown = errors(&two(first, second));
        assert_eq!(shown.matches("error:").count(), 1, "{shown}");
        let key = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        let message =
            format!("`{}` of stage `a` and `{}` of stage `b` both write to", key(first), key(second));
        // The later of two keys is marked, and the earlier one is shown with it.
        for part in [&message[..], "g.toml:6:", "3 │", "6 │", "help: give each its own file"] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
    }
    for (first, second) in [
        ("file = \"x\"", "file = \"y\""),
        // One path lies in the run directory, and the other does not.
        ("file = \"x\"", "file = \"/x\""),
        ("directory = \"/nowhere/x\"", "file = \"/nowhere/x/y\""),
        ("reads = \"/nowhere/x\"", "reads = \"/nowhere/x\""),
        ("directory = \"/nowhere/x\"", ""),
    ] {
        graph(&two(first, second));
    }
}

#[test]
fn an_input_that_would_be_overwritten() {
    for reads in ["/nowhere/x", "@/nowhere/x"] {
        let text = two("file = \"/nowhere/a/../x\"", &format!("reads = [\"/nowhere/z\", \"{reads}\"]"));
        let shown = errors(&text);
        assert_eq!(shown.matches("error:").count(), 1, "{shown}");
        for part in
            ["`file` of stage `a` would overwrite", "which `reads` of stage `b` reads", "g.toml:3:", "6 │"]
        {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
    }
}

#[test]
fn a_path_from_the_command_line_is_compared_too() {
    let text = two("file = \"/nowhere/x\"", "");
    let shown =
        load_with(&text, &["stages.b.file=/nowhere/x"]).map(|_| ()).expect_err("a mistake").render(false);
    assert!(shown.contains("both write to") && shown.contains("--set"), "{shown}");
    // The path is relative to the working directory, unless it is the name of standard output.
    let loaded = load_with(&two("", ""), &["stages.a.file=-", "stages.b.file=./-"]).expect("no mistakes");
    let file = |stage: usize| loaded.graph.stages[stage].settings.text("file").to_owned();
    assert_eq!(file(0), "-");
    assert!(file(1).starts_with('/') && file(1).ends_with("/-"), "{}", file(1));
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_shared() {
    let folder = tempfile::tempdir().expect("a directory");
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("real"), "").expect("a file");
    for (link, target) in [("link", "real"), ("null", "/dev/null"), ("sub", ".")] {
        std::os::unix::fs::symlink(target, at(link)).expect("a link");
    }
    let write = |first: &str, second: &str| {
        two(&format!("file = {:?}", at(first)), &format!("file = {:?}", at(second)))
    };
    let shown = errors(&write("real", "link"));
    assert!(shown.contains("both write to"), "{shown}");
    // The path lies below a linked directory. The file is there in one case and not in the other.
    errors(&write("real", "sub/real"));
    errors(&write("none", "sub/none"));
    graph(&write("null", "null"));
}

#[test]
fn addresses_need_a_registry_that_opens_them() {
    graph(&two("reads = [\"s3://bucket/x\", \"@S3://bucket/list\"]", "file = \"s3://bucket/y\""));
    for (line, key) in [
        ("reads = [\"a\", \"gs://bucket/*\"]", "reads"),
        ("reads = \"@gs://bucket/list\"", "reads"),
        ("file = \"gs://bucket/x\"", "file"),
        ("directory = \"gs://bucket/x\"", "directory"),
    ] {
        let shown = errors(&two("", line));
        assert_eq!(shown.matches("error:").count(), 1, "{shown}");
        for part in
            [&format!("`{key}` of stage `b` is \"gs://bucket/")[..], "does not open `gs://` addresses", "6"]
        {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
    }
}
