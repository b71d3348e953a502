//! Law: a value of the wrong kind, out of its range or against another key is named with its place and with what would do.

use crate::mistakes::one;

#[test]
fn wrong_kinds() {
    let of_batch = |value: &str, parts: &[&str]| one("size = 32", &format!("size = {value}"), parts);
    of_batch(
        "\"32\"",
        &[
            "g.toml:10:8",
            "must be a whole number from 1 to 4096 videos, not the text \"32\"",
            "written without quotes?",
            "the default is 160 videos",
        ],
    );
    of_batch("3.5", &["g.toml:10:8", "not the number 3.5"]);
    of_batch("[1]", &["not a list"]);
    of_batch("{ a = 1 }", &["not a table"]);
    of_batch("2020-01-01", &["not a date"]);
    one("size = 32", "drop_last = 1", &["g.toml:10:13", "must be `true` or `false`, not the number 1"]);
    one(
        "path = \"out.csv\"",
        "path = [\"a\"]",
        &["g.toml:17:8", "`path` of stage `out` must be a path, not a list"],
    );
    one("path", "note = 3\npath", &["g.toml:17:8", "must be a text, not the number 3"]);
    one(
        "files = \"a.tfrecord\"",
        "files = [\"a\", 3]",
        &["g.toml:3:15", "must be a path or a list of paths, not the number 3"],
    );
    one(
        "from = \"batch\"",
        "from = \"batch\"\nlayers = 3",
        &["g.toml:14:10", "must be a list of whole numbers from 1 to 100"],
    );
}

#[test]
fn out_of_range() {
    one(
        "size = 32",
        "size = 0",
        &[
            "g.toml:10:8",
            "must be a whole number from 1 to 4096 videos, not the number 0",
            "out of range",
            "the default is 160 videos",
        ],
    );
    one(
        "from = \"batch\"",
        "from = \"batch\"\ndropout = 1.5",
        &["g.toml:14:11", "a number from 0 to 1, not the number 1.5"],
    );
    one("from = \"batch\"", "from = \"batch\"\ndropout = nan", &["g.toml:14:11", "not the number NaN"]);
    one("from = \"batch\"", "from = \"batch\"\nlayers = [1, 0]", &["g.toml:14:14", "out of range"]);
    one("size = 32", "size = 99999999999999999999", &["g.toml:10:8", "does not fit into 64 bits"]);
    one(
        "size = 32",
        "size = 32\ncapacity = 0",
        &["g.toml:11:12", "a whole number from 1 to 65536, not the number 0"],
    );
}

#[test]
fn not_one_of() {
    one(
        "files = \"a.tfrecord\"",
        "files = \"a.tfrecord\"\norder = \"radnom\"",
        &["g.toml:4:9", "must be one of `file` or `random`, not \"radnom\"", "did you mean `random`?"],
    );
}

#[test]
fn empty_path() {
    one("\"out.csv\"", "\"\"", &["g.toml:17:8", "`path` of stage `out` holds an empty path"]);
}

#[test]
fn keys_that_do_not_go_together() {
    one(
        "from = \"batch\"",
        "from = \"batch\"\ngroups = 3",
        &["g.toml:14:10", "`groups` must divide `hidden`\n", "a detail\n"],
    );
    // The key has its default, so the error points to the stage.
    one(
        "from = \"batch\"",
        "from = \"batch\"\nhidden = 7",
        &["g.toml:11:1", "`groups` must divide `hidden`"],
    );
}

#[test]
fn capacity_of_a_sink() {
    one(
        "path = \"out.csv\"",
        "path = \"out.csv\"\ncapacity = 4",
        &["g.toml:18:1", "`capacity` has no effect: `writer` has no output"],
    );
}
