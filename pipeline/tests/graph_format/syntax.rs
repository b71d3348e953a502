//! Law: a syntax error costs its own line and nothing else.

use crate::fixture::{TRAIN, load};

/// Replaces `old` in the training loop, and asserts that these are the only diagnostics, with their places and
/// messages.
#[track_caller]
fn errors(old: &str, new: &str, wanted: &[(&str, &str)]) {
    assert!(TRAIN.contains(old), "the case does not fit the graph");
    let found = load(&TRAIN.replacen(old, new, 1)).map(|_| ()).expect_err("a mistake");
    let shown = found.render(false);
    assert_eq!(found.len(), wanted.len(), "{shown}");
    for ((at, diagnostic), (place, message)) in found.iter().zip(wanted) {
        let at = at.map(|p| format!("{}:{}", p.line, p.column)).unwrap_or_default();
        assert_eq!(at, *place, "{shown}");
        assert!(diagnostic.message().contains(message), "{message}: {shown}");
    }
}

#[test]
fn value_missing_or_malformed() {
    errors("size = 32", "size = ", &[("16:8", "a value is missing")]);
    errors("size = 32", "size = 3z", &[("16:8", "must be quoted")]);
    errors("size = 32", "size = 1 2", &[("16:8", "must be quoted")]);
    errors("size = 32", "size = 32,", &[("16:10", "expected newline")]);
    errors("dropout = 0", "dropout = .5", &[("22:11", "mantissa")]);
    errors("type = \"batch\"", "type = batch", &[("14:8", "must be quoted")]);
    errors("from = \"decode\"", "from = \"decode", &[("15:15", "basic string")]);
}

#[test]
fn key_malformed() {
    errors("size = 32", "size 32", &[("16:6", "expected `=`")]);
    errors("size = 32", "size: 32", &[("16:5", "")]);
    errors("size = 32", "= 32", &[("16:1", "unquoted keys cannot be empty")]);
    errors("size = 32", "si ze = 32", &[("16:4", "expected `=`")]);
    errors("size = 32", "???", &[("16:1", "")]);
}

#[test]
fn header_malformed() {
    errors("[stages.batch]", "[stages.batch", &[("13:14", "expected `]`")]);
    errors("[stages.batch]", "[stages.batch]]", &[("13:15", "expected newline")]);
    errors("[stages.batch]", "[stages.]", &[("13:9", "unquoted keys cannot be empty")]);
    errors("[stages.batch]", "[stages.b@tch]", &[("13:10", "")]);
}

#[test]
fn lists_and_texts_that_never_end() {
    let files = "files = [\"data/train*.tfrecord\", \"@list.txt\", \"s3://bucket/x\"]";
    errors(files, "files = [\"a\",", &[("7:9", "never closed")]);
    errors(files, "files = [\n  \"a\",\n  \"b\"\n", &[("7:9", "never closed")]);
    errors(files, "files = [\n  \"a\",\n  b,\n]", &[("9:3", "must be quoted")]);
    errors(files, "files = [\"a\" \"b\"]", &[("7:14", "missing comma")]);
    errors(files, "files = \"\"\"a", &[("7:9", "never closed")]);
    errors(
        "from = { batches = \"batch\", weights = \"optimizer.weights\" }",
        "from = { batches = \"batch\", weights = \"optimizer.weights\"",
        &[("21:8", "never closed")],
    );
}

#[test]
fn many_at_once() {
    let text = TRAIN
        .replace("size = 32", "size = ")
        .replace("seed = 7", "seed 7")
        .replace("[stages.report]", "[stages.report")
        .replace("capacity = 3", "capacty = 3")
        .replace("from = \"videos\"", "from = [\"videos\"");
    let found = load(&text).map(|_| ()).expect_err("mistakes");
    let lines: Vec<_> = found.iter().filter_map(|(at, _)| at).map(|p| p.line).collect();
    assert_eq!(lines, [3, 11, 16, 17, 28], "{}", found.render(false));
}

#[test]
fn carriage_returns_and_wide_letters() {
    let text = TRAIN.replace("size = 32", "note = \"日本語é\" # é\nsize = 0").replace('\n', "\r\n");
    let found = load(&text).map(|_| ()).expect_err("mistakes");
    let places: Vec<_> = found.iter().filter_map(|(at, _)| at).map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(16, 1), (17, 8)], "{}", found.render(false));
    let text = TRAIN.replace(
        "from = { batches = \"batch\",",
        "from = { \"日本\" = \"x\", batches = \"batch\", \"é\" = 1,",
    );
    let found = load(&text).map(|_| ()).expect_err("mistakes");
    let places: Vec<_> = found.iter().filter_map(|(at, _)| at).map(|p| (p.line, p.column)).collect();
    assert_eq!(places, [(21, 10), (21, 17), (21, 41), (21, 47)], "{}", found.render(false));
}
