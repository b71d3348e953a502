//! Laws: the error of a bad edge shows both of its ends. A loop without a delayed output is an error.

use crate::fixture::{TRAIN, errors, load};
use crate::mistakes::{LINE, one};

#[test]
fn unknown_upstream() {
    one(
        "from = \"decode\"",
        "from = \"decoder\"",
        &[
            "g.toml:9:8",
            "there is no stage `decoder`",
            "did you mean `decode`?",
            "the stages are: `videos`, `decode`, `batch`, `model` and `out`",
        ],
    );
}

#[test]
fn unknown_ports() {
    one(
        "from = \"decode\"",
        "from = \"decode.exampels\"",
        &["g.toml:9:8", "`decode` has no output port `exampels`", "did you mean `examples`?"],
    );
    one(
        "from = \"batch\"",
        "from = { batches = \"batch\", wieghts = \"batch\" }",
        &[
            "g.toml:13:29",
            "`model` has no input port `wieghts`",
            "did you mean `weights`?",
            "its input ports are: `batches` and `weights`",
        ],
    );
}

#[test]
fn missing_inputs() {
    one(
        "from = \"model\"\n",
        "",
        &[
            "g.toml:14:1",
            "the input port `logits` of stage `out` is not connected",
            "write `from = \"STAGE\"` with a stage that sends `logits`",
        ],
    );
    let text = "[stages.j]\ntype = \"join\"\n[stages.w]\ntype = \"join\"\nfrom = { left = \"w.pairs\" }\n";
    let shown = errors(text);
    assert!(shown.contains("g.toml:1:1"), "{shown}");
    assert!(shown.contains("the input ports `left` and `right` of stage `j` are not connected"), "{shown}");
    assert!(shown.contains("write `from = { left = \"STAGE\", right = \"STAGE\" }`"), "{shown}");
    assert!(shown.contains("g.toml:5:8"), "{shown}");
    assert!(shown.contains("the input port `right` of stage `w` is not connected"), "{shown}");
}

#[test]
fn input_of_a_source_and_output_of_a_sink() {
    one(
        "files = \"a.tfrecord\"",
        "files = \"a.tfrecord\"\nfrom = \"decode\"",
        &["g.toml:4:1", "stage `videos` takes no input: `reader` is a source", "remove `from`"],
    );
    one(
        "from = \"decode\"",
        "from = \"out\"",
        &["g.toml:9:8", "stage `out` has no output: `writer` is a sink", "this stage gives nothing"],
    );
}

#[test]
fn from_of_wrong_kind() {
    one(
        "from = \"batch\"",
        "from = [\"batch\"]",
        &[
            "g.toml:13:8",
            "`from` of stage `model` must be a text or a table, not a list",
            "`from = { batches = \"STAGE\", weights = \"STAGE\" }`",
        ],
    );
    one(
        "from = \"batch\"",
        "from = { batches = 3 }",
        &["g.toml:13:20", "an input port takes", "not the number 3"],
    );
}

#[test]
fn input_connected_twice() {
    one(
        "from = \"batch\"",
        "from = { batches = \"batch\", batches = \"batch\" }",
        &["g.toml:13:29", "the input port `batches` is connected twice", "the first", "the second"],
    );
}

#[test]
fn payloads_that_differ() {
    one(
        "from = \"batch\"",
        "from = \"decode\"",
        &[
            "g.toml:13:8",
            "the payloads differ: `examples` is sent where `batches` is wanted",
            "the input `batches` wants `batches`",
            "4 │ [stages.decode]",
            "the output `examples` sends `examples`",
            "`batches` comes from `batch.batches`",
        ],
    );
    // Two Rust types with one payload name are a mismatch as well.
    one(
        "type = \"batch\"\nfrom = \"decode\"\nsize = 32",
        "type = \"other_batch\"\nfrom = \"decode\"",
        &["g.toml:12:8", "two different types are both called `batches`"],
    );
}

#[test]
fn shapes_that_differ() {
    one(
        "from = \"batch\"",
        "from = \"batch\"\nfeature_size = 512",
        &[
            "g.toml:13:8",
            "tensor `rgb`: u8[frames, 1024] is sent where u8[frames, 512] is wanted",
            "7 │ [stages.batch]",
            "stage `batch` sends this",
            "14 │ feature_size = 512",
            "`feature_size` makes the shape",
            "sent:   batches {labels f32[32, classes], rgb u8[frames, 1024]}",
            "wanted: batches {rgb u8[frames, 512]}",
            "`feature_size` of stage `decode`, which makes the shape, has its default 1024",
        ],
    );
    // A stage between the two ends only carries the tensor on.
    let text = LINE.replace("from = \"batch\"", "from = \"relay\"\nfeature_size = 512")
        + "[stages.relay]\ntype = \"relay\"\nfrom = \"batch\"\n";
    let shown = errors(&text.replace("from = \"videos\"", "from = \"videos\"\nfeature_size = 128"));
    assert!(shown.contains("u8[frames, 128] is sent where u8[frames, 512] is wanted"), "{shown}");
    assert!(shown.contains("7 │ feature_size = 128"), "{shown}");
    assert!(shown.contains("stage `relay` sends this"), "{shown}");
}

#[test]
fn shapes_of_wrong_settings_say_nothing() {
    one("from = \"batch\"", "from = \"batch\"\nfeature_size = 0", &["g.toml:14:16", "out of range"]);
}

#[test]
fn cycles() {
    let ring = |names: &[&str]| {
        let mut text = String::new();
        for (i, name) in names.iter().enumerate() {
            let from = names[(i + names.len() - 1) % names.len()];
            text += &format!("[stages.{name}]\ntype = \"relay\"\nfrom = \"{from}\"\n");
        }
        text
    };
    let shown = errors(&ring(&["a", "b", "c"]));
    assert!(shown.contains("these stages wait for each other: a → b → c → a"), "{shown}");
    assert!(shown.contains("g.toml:3:8"), "{shown}");
    assert!(shown.contains("a cycle must pass through a delayed output"), "{shown}");
    let shown = errors(&ring(&["a"]));
    assert!(shown.contains("g.toml:3:8") && shown.contains("stage `a` feeds itself"), "{shown}");
    // Two cycles give two errors. The stage behind them is in neither.
    let text = ring(&["a", "b"]) + &ring(&["x", "y", "z"]) + "[stages.q]\ntype = \"relay\"\nfrom = \"z\"\n";
    let found = load(&text).map(|_| ()).expect_err("two cycles");
    assert_eq!(found.errors(), 2);
    let shown = found.render(false);
    assert!(shown.contains("a → b → a") && shown.contains("x → y → z → x"), "{shown}");
    // Forward takes what comes from itself, although there is a delayed output that would do.
    let text = TRAIN.replace("from = { batches = \"batch\",", "from = { batches = \"relay\",")
        + "[stages.relay]\ntype = \"relay\"\nfrom = \"relay\"\n";
    assert!(errors(&text).contains("such as `optimizer.weights`"));
}

#[test]
fn a_cycle_through_a_delayed_output_is_fine() {
    assert!(load(TRAIN).is_ok());
}

#[test]
fn output_that_goes_nowhere() {
    let text = LINE.to_owned() + "[stages.spare]\ntype = \"batch\"\nfrom = \"decode\"\n";
    let loaded = load(&text).expect("a warning is no error");
    assert_eq!((loaded.warnings.len(), loaded.warnings.errors()), (1, 0));
    let shown = loaded.warnings.render(false);
    assert!(shown.contains("warning: the output of stage `spare` goes nowhere"), "{shown}");
    assert!(shown.contains("g.toml:18:1"), "{shown}");
}
