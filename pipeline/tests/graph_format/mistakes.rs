//! Law: every mistake is named with its place and a way out. All mistakes are named in one pass, and none is named
//! twice.

use crate::fixture::{errors, load, load_with};

/// A graph of reader, decoder, batch, model and writer. The cases replace the `{…}` lines.
pub(crate) const LINE: &str = r#"[stages.videos]
type = "reader"
files = "a.tfrecord"
[stages.decode]
type = "decode"
from = "videos"
[stages.batch]
type = "batch"
from = "decode"
size = 32
[stages.model]
type = "model"
from = "batch"
[stages.out]
type = "writer"
from = "model"
path = "out.csv"
"#;

#[test]
fn the_line_is_right() {
    let loaded = load(LINE).expect("no mistakes");
    assert!(loaded.warnings.is_empty());
}

/// Replaces `old` by `new` in the graph, and asserts that exactly one error comes out and that it has these parts.
#[track_caller]
pub(crate) fn one(old: &str, new: &str, parts: &[&str]) {
    assert!(LINE.contains(old), "the case does not fit the graph");
    let text = LINE.replacen(old, new, 1);
    let found = load(&text).map(|_| ()).expect_err("a mistake");
    let shown = found.render(false);
    assert_eq!(found.len(), 1, "{shown}");
    assert_eq!(found.errors(), 1, "{shown}");
    for part in parts {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
}

#[test]
fn missing_type() {
    one(
        "type = \"batch\"",
        "typ = \"batch\"",
        &["g.toml:7:1", "stage `batch` has no `type`", "did you mean `type`?"],
    );
}

#[test]
fn unknown_type() {
    one(
        "\"batch\"\nfrom",
        "\"bacth\"\nfrom",
        &[
            "g.toml:8:8",
            "there is no stage type `bacth`",
            "did you mean `batch`?",
            "`framewise stages` lists all types",
        ],
    );
}

#[test]
fn type_of_wrong_kind() {
    one(
        "\"batch\"\nfrom",
        "7\nfrom",
        &["g.toml:8:8", "`type` of stage `batch` must be a text, not the number 7"],
    );
}

#[test]
fn unknown_key() {
    one(
        "size = 32",
        "sise = 32",
        &[
            "g.toml:10:1",
            "`sise` is not a key of `batch`",
            "did you mean `size`?",
            "`framewise stages batch` lists its keys",
        ],
    );
}

#[test]
fn input_port_written_as_key() {
    one(
        "from = \"batch\"",
        "from = \"batch\"\nweights = \"x\"",
        &["g.toml:14:1", "`weights` is not a key of `model`", "write `from = { weights = \"STAGE\" }`"],
    );
}

#[test]
fn missing_key() {
    one(
        "path = \"out.csv\"",
        "",
        &["g.toml:14:1", "stage `out` lacks the key `path`: a path", "The file to write."],
    );
}

#[test]
fn two_stages_of_one_name() {
    let text = LINE.to_owned() + "[stages.batch]\ntype = \"batch\"\nfrom = \"decode\"\n";
    let found = load(&text).map(|_| ()).expect_err("a mistake");
    let shown = found.render(false);
    assert_eq!(found.len(), 1, "{shown}");
    for part in
        ["g.toml:18:9", "there are two stages named `batch`", "7 │ [stages.batch]", "the first", "the second"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn the_keys_of_a_second_table_are_not_judged_as_keys_of_the_first() {
    // `size` is no key of `writer`, and `nowhere` is no stage. Neither was meant for the first table.
    let seconds = [
        "[stages.out]\ntype = \"batch\"\nfrom = \"decode\"\nsize = 32\n",
        "[stages.out]\nfrom = \"nowhere\"\nhidden = { x = 1, y = 2 }\n",
        "[stages]\nout.from = \"nowhere\"\n",
    ];
    for second in seconds {
        let found = load(&(LINE.to_owned() + second)).map(|_| ()).expect_err("a mistake");
        let shown = found.render(false);
        assert_eq!(found.len(), 1, "{shown}");
        assert!(shown.contains("`out`"), "{shown}");
    }
    // What stands behind the second table in a table of its own is judged.
    let text = LINE.to_owned() + seconds[0] + "[stages.last]\ntype = \"nothing\"\n";
    let found = load(&text).map(|_| ()).expect_err("two mistakes");
    assert_eq!(found.len(), 2, "{}", found.render(false));
}

#[test]
fn key_given_twice() {
    one(
        "size = 32",
        "size = 32\nsize = 64",
        &["g.toml:11:1", "`size` is given twice", "10 │ size = 32", "the first"],
    );
}

#[test]
fn unknown_tables_and_keys_of_the_graph() {
    one(
        "[stages.videos]",
        "[grahp]\n[stages.videos]",
        &["g.toml:1:2", "no table or key `grahp`", "did you mean `graph`?"],
    );
    one("[stages.videos]", "[graph]\nsede = 1\n[stages.videos]", &["g.toml:2:1", "did you mean `seed`?"]);
    one(
        "[stages.videos]",
        "[graph]\nseed = -1\n[stages.videos]",
        &["g.toml:2:8", "a whole number of at least 0, not the number -1"],
    );
    one(
        "[stages.videos]",
        "[graph]\nname = \"a/b\"\n[stages.videos]",
        &["g.toml:2:8", "cannot be the name of a graph"],
    );
    for (value, said) in [
        ("-1", "a time, not the number -1"),
        ("1.5", "a time, not the number 1.5"),
        ("true", "a time, not `true`"),
        ("\"10\"", "a time, not the text \"10\""),
        ("\"ten minutes\"", "\"off\" waits for ever"),
        ("\"9000h\"", "up to a year"),
    ] {
        let lines = format!("[graph]\nstall_timeout = {value}\n[stages.videos]");
        one("[stages.videos]", &lines, &["g.toml:2:17", "`stall_timeout` must be", said]);
    }
    for (value, said) in [
        ("4", "a size, not the number 4"),
        ("\"4GB\"", "B, KiB, MiB, GiB or TiB"),
        ("\"0GiB\"", "a whole number from 1 up"),
        ("\"99999999TiB\"", "a size, not the text"),
        ("[]", "a size, not a list"),
    ] {
        let lines = format!("[graph]\nmemory = {value}\n[stages.videos]");
        one("[stages.videos]", &lines, &["g.toml:2:10", "`memory` must be", said]);
    }
    one("[stages.videos]", "[graph]\nmemry = \"1B\"\n[stages.videos]", &["did you mean `memory`?"]);
    one("[stages.videos]", "stage = 1\n[stages.videos]", &["g.toml:1:1", "did you mean `stages`?"]);
}

#[test]
fn no_stages() {
    let shown = errors("[graph]\nname = \"x\"\n");
    assert!(shown.contains("g.toml:1:1") && shown.contains("the graph has no stages"), "{shown}");
    assert!(errors("").contains("the graph has no stages"));
}

#[test]
fn variables() {
    one(
        "\"a.tfrecord\"",
        "[\"x\", \"b/${FRAMEWISE_NOT_SET}/a\"]",
        &[
            "g.toml:3:18",
            "the environment variable `FRAMEWISE_NOT_SET` is not set",
            "`${FRAMEWISE_NOT_SET:-…}`",
        ],
    );
    one(
        "\"a.tfrecord\"",
        "\"${FRAMEWISE_NOT_SET:?say where the data are}\"",
        &["g.toml:3:10", "say where the data are"],
    );
    one("\"a.tfrecord\"", "\"${\"", &["g.toml:3:10", "never closed"]);
}

#[test]
fn overrides() {
    let one = |set: &str, parts: &[&str]| {
        let found = load_with(LINE, &[set]).map(|_| ()).expect_err("a mistake");
        let shown = found.render(false);
        assert_eq!(found.len(), 1, "{shown}");
        for part in parts {
            assert!(shown.contains(part), "`{part}` is not in\n{shown}");
        }
    };
    one(
        "stages.bach.size=1",
        &["--set:1:8", "`--set stages.bach.size`: there is no stage `bach`", "did you mean `batch`?"],
    );
    one("stages.batch.sise=1", &["--set:1:14", "`sise` is not a key of `batch`", "did you mean `size`?"]);
    one("stages.batch.size=0", &["--set:1:19", "not the number 0"]);
    one("stages.batch.size=many", &["--set:1:19", "not the text \"many\""]);
    one("stages.model.devices=[cpu]", &["--set:1:23", "not TOML"]);
    one("size=1", &["--set:1:1", "nothing has this name", "`stages.STAGE.KEY`"]);
    one("stage.batch.size=1", &["--set:1:1", "did you mean `stages`?"]);
    one("graph.sede=1", &["--set:1:7", "did you mean `seed`?"]);
    one("stages.batch.from=nobody", &["--set:1:19", "there is no stage `nobody`"]);
    one("stages.out.path=${FRAMEWISE_NOT_SET}", &["--set:1:17", "is not set"]);
}

/// Ten kinds of mistakes in one file give ten diagnostics in one pass.
#[test]
fn ten_mistakes_at_once() {
    let text = r#"[graph]
sede = 1
[stages.videos]
type = "reader"
[stages.decode]
type = "decode"
from = "videos"
worker = 2
workers = "two"
[stages.batch]
type = "batch"
from = "decod"
size = 0
[stages.other]
type = "modle"
from = "batch"
[stages.model]
type = "model"
from = "decode"
groups = 3
[stages.a]
type = "relay"
from = "b"
[stages.b]
type = "relay"
from = "a"
[stages.out]
type = "writer"
path = out.csv
from = "model.logit"
"#;
    let found = load(text).map(|_| ()).expect_err("ten mistakes");
    let places: Vec<_> = found.iter().map(|(at, _)| at.map(|p| (p.line, p.column))).collect();
    let wanted = [
        (2, 1),
        (3, 1),
        (8, 1),
        (9, 11),
        (12, 8),
        (13, 8),
        (15, 8),
        (19, 8),
        (20, 10),
        (23, 8),
        (29, 8),
        (30, 8),
    ];
    assert_eq!(places, wanted.map(Some), "{}", found.render(false));
    assert_eq!(found.errors(), 12);
}

#[test]
fn colours_only_where_wanted() {
    let found = load("x = 1\n").map(|_| ()).expect_err("mistakes");
    assert!(found.render(true).contains('\u{1b}'));
    assert!(!found.render(false).contains('\u{1b}'));
    assert_eq!(found.to_string(), found.render(false));
}

#[test]
fn what_users_write_cannot_move_the_cursor() {
    let shown = errors("\"a\u{1b}[2J\" = 1\n[stages.x] # \u{1b}]0;t\u{7}\ntype = \"\\u001b[31m\"\n");
    assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
}
