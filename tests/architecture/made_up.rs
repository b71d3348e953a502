//! The rules on small crates made for them, in which each rule is broken on purpose.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{Crate, Import};
use super::rules;
use super::source::Source;

/// The imports of a crate with these files below `src`.
fn imports(files: &[(&str, &str)]) -> BTreeSet<Import> {
    made_up(files).imports()
}

fn made_up(files: &[(&str, &str)]) -> Crate {
    let texts: BTreeMap<String, &str> =
        files.iter().map(|(path, text)| (format!("src/{path}"), *text)).collect();
    Crate::new("made_up", "src", |path| Ok(texts.get(path).map(|text| (*text).to_owned()))).unwrap()
}

/// The imports as `from:line to`.
fn short(files: &[(&str, &str)]) -> Vec<String> {
    let short = |path: &str| path.trim_start_matches("src/").to_owned();
    imports(files).iter().map(|i| format!("{}:{} {}", short(&i.from), i.line, short(&i.to))).collect()
}

#[test]
fn a_planted_circle_is_told_with_both_files_and_lines() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "\n\nuse crate::b::B;\npub struct A(B);"),
        ("b.rs", "pub struct B;\nfn f() { crate::a::A::new() }"),
        ("c.rs", "use crate::{a::A, b::B};"),
    ];
    let found = rules::circles(&imports(&files));
    assert_eq!(
        found,
        [
            "a circle:\n  src/a.rs:3 imports src/b.rs (`crate::b::B`)\n  src/b.rs:2 imports src/a.rs (`crate::a::A::new`)"
        ]
    );
}

#[test]
fn a_circle_of_three_files_is_told_once() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use super::c::C; pub struct B;"),
        ("c.rs", "use crate::a::A; pub struct C;"),
    ];
    let found = rules::circles(&imports(&files));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].lines().count(), 4, "{found:?}");
}

#[test]
fn a_circle_through_a_name_that_a_module_hands_on_is_found() {
    let files = [
        ("lib.rs", "mod parts; mod user;"),
        (
            "parts/mod.rs",
            "mod inner;\nmod other;\npub(crate) use inner::{Inner as Renamed, helper};\npub use other::*;",
        ),
        ("parts/inner.rs", "use crate::user::User;\npub struct Inner; pub fn helper() {}"),
        ("parts/other.rs", "pub struct Other;"),
        (
            "user.rs",
            "use crate::parts::{\n    self,\n    Renamed,\n};\npub struct User;\nfn f() -> parts::Other { parts::helper() }",
        ),
    ];
    assert_eq!(
        short(&files),
        ["parts/inner.rs:1 user.rs", "user.rs:3 parts/inner.rs", "user.rs:6 parts/other.rs"]
    );
    assert_eq!(rules::circles(&imports(&files)).len(), 1);
}

#[test]
fn handing_a_name_on_is_no_import_but_using_it_is() {
    let own = ("parts/inner.rs", "use super::Whole;\npub struct Inner(Whole);");
    let files = [
        ("lib.rs", "mod parts;"),
        ("parts/mod.rs", "mod inner;\npub use inner::Inner;\npub struct Whole;"),
        own,
    ];
    assert_eq!(short(&files), ["parts/inner.rs:1 parts/mod.rs"]);

    let whole = "mod inner;\npub use inner::Inner;\npub struct Whole(Option<Box<Inner>>);";
    let files = [("lib.rs", "mod parts;"), ("parts/mod.rs", whole), own];
    assert_eq!(rules::circles(&imports(&files)).len(), 1);
    let whole = "mod inner;\npub struct Whole;\nfn f() { inner::g() }";
    let files = [("lib.rs", "mod parts;"), ("parts/mod.rs", whole), own];
    assert_eq!(rules::circles(&imports(&files)).len(), 1);
}

#[test]
fn what_is_no_import_is_not_taken_for_one() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "//! See [`crate::b::B`].\n\
             // use crate::b::B;\n\
             const TEXT: &str = \"use crate::b::B;\";\n\
             use std::fmt::{self, Debug};\n\
             pub struct A;\n\
             fn f<'a>() -> impl Debug + use<'a> { fmt::Error }\n\
             mod tests { use super::*; fn g() { super::f(); self::h(); crate::a::A } fn h() {} }",
        ),
        ("b.rs", "use crate::a as other; pub struct B; fn f() { <B as other::A>::a() }"),
    ];
    assert_eq!(short(&files), ["b.rs:1 a.rs"]);
}

#[test]
fn imports_in_inline_modules_and_macros_are_found() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "mod tests {\n    use super::super::b::B;\n}"),
        ("b.rs", "pub struct B;\nfn f() {\n    assert!(crate::a::g());\n}"),
    ];
    assert_eq!(short(&files), ["a.rs:2 b.rs", "b.rs:3 a.rs"]);
}

#[test]
fn a_planted_arrow_up_is_told_and_so_is_a_folder_without_a_floor() {
    let files = [
        ("lib.rs", "mod low; mod high; mod new;\npub use high::file::High;"),
        ("low.rs", "use crate::{\n    high::file::High,\n};\npub struct Low;\nmod tests;"),
        ("high/mod.rs", "pub mod file;"),
        ("high/file.rs", "use crate::low::Low; use crate::new::New; pub struct High;"),
        ("new.rs", "pub struct New;"),
        ("low/tests.rs", "use crate::high::file::High;"),
    ];
    let found = rules::arrows_up(&[&["low"], &["high"]], "src", &imports(&files));
    assert_eq!(
        found,
        [
            "`new` of src stands on no floor: add it to the table of floors",
            "src/low.rs:2 imports src/high/file.rs (`crate::high::file::High`), which is an arrow up",
        ]
    );
    let without = rules::arrows_up(&[&["low", "high", "new"]], "src", &imports(&files));
    assert_eq!(without, Vec::<String>::new());
}

#[test]
fn a_declared_file_that_is_not_there_is_an_error_and_one_that_is_not_declared_is_not_read() {
    let text = |path: &str| Ok((path == "src/main.rs").then(|| "mod a;".to_owned()));
    let error = Crate::new("made_up", "src", text).err().unwrap();
    assert_eq!(error, "neither src/a.rs nor src/a/mod.rs is there");

    let root = "#[path = \"../elsewhere.rs\"]\nmod elsewhere;\nmod a;";
    let files = [("main.rs", root), ("a.rs", ""), ("template.rs", "use crate::a::A; }")];
    assert_eq!(short(&files), Vec::<String>::new());
}

#[test]
fn a_stage_that_imports_a_stage_is_told() {
    let files = [
        ("lib.rs", "mod one; mod two; mod helper;"),
        (
            "one.rs",
            "use crate::helper::help;\nuse crate::two::shared;\nimpl pipeline::Component for One { fn f() {} }",
        ),
        (
            "two.rs",
            "use crate::helper::help; pub fn shared() {} impl<T> Component<T> for Two<T> where T: Copy {}",
        ),
        ("helper.rs", "pub fn help() {} impl Helper for Component { fn f() { for component in two {} } }"),
    ];
    let made_up = made_up(&files);
    let stages = made_up.sources().filter(|(_, source)| source.implements.contains("Component"));
    let stages: BTreeSet<&str> = stages.map(|(file, _)| file).collect();
    assert_eq!(stages.iter().copied().collect::<Vec<_>>(), ["src/one.rs", "src/two.rs"]);
    assert_eq!(
        rules::stages_that_import_stages(&stages, &made_up.imports()),
        ["src/one.rs:2 imports src/two.rs (`crate::two::shared`), and both are stages"]
    );
}

#[test]
fn dependencies_are_found_under_every_heading_and_behind_other_names() {
    let manifest = "[dependencies]\nserde.workspace = true\n[dev-dependencies]\ntensors = { package = \"candle-core\", version = \"1\" }\n\
                    [target.'cfg(unix)'.dependencies]\ntfrecord = \"0.15\"";
    let crates = rules::dependencies(&manifest.parse().unwrap());
    assert_eq!(
        crates.iter().map(String::as_str).collect::<Vec<_>>(),
        ["candle-core", "serde", "tensors", "tfrecord"]
    );
    let wrong: Vec<_> =
        crates.iter().filter(|name| rules::is_one_of(name, &["candle", "tfrecord"])).collect();
    assert_eq!(wrong, ["candle-core", "tfrecord"]);
}

#[test]
fn a_crate_that_a_file_names_is_found_with_its_line() {
    let source = Source::read("use serde::Serialize;\n\nfn f() -> candle_core::Tensor { panic!() }").unwrap();
    let named = rules::crates_named(&source);
    assert_eq!(named.get("candle_core"), Some(&3));
    assert_eq!(named.get("serde"), Some(&1));
}
