//! The table of keys and the values that `#[derive(Keys)]` makes of a configuration's fields.

use std::path::PathBuf;

use framewise_pipeline::stage::config::Values;
use framewise_pipeline::{Choice, KeyKind, KeySpec, KeyWord, Keys, Settings};
use toml::Value;

const MODEL: &str = "model";
const LARGEST: i64 = 1 << 24;

#[derive(Clone, Copy, Debug, PartialEq, KeyWord)]
enum Order {
    AsListed,
    Random,
}

/// A fragment that several stages share.
#[derive(Debug, PartialEq, Keys)]
struct Rejects {
    /// How many records
    /// may be bad.
    #[key(default = i64::MAX as u64, unit = "records", free)]
    max_rejected: u64,
}

#[derive(Debug, PartialEq, Keys)]
struct Config {
    /// A switch.
    #[key(default = true)]
    switch: bool,
    /// A size.
    #[key(range = 1..=LARGEST, default = 1 << 10, unit = "videos", free)]
    size: usize,
    /// A count without a bound.
    #[key(range = 1.., required)]
    count: u64,
    /// A small number.
    #[key(required)]
    byte: u8,
    /// A number below zero.
    #[key(range = ..=-1, default = -7)]
    below: i64,
    /// A share.
    #[key(range = 0.0..=1.0, default = 0.25)]
    share: f64,
    /// Any number.
    #[key(default = -1.5)]
    number: f64,
    /// A text.
    #[key(default = "none")]
    text: String,
    /// One of two words.
    #[key(words = ["highest", "lowest"], default = "lowest")]
    best: String,
    /// The order.
    #[key(default = Order::AsListed)]
    order: Order,
    /// An order that must be given.
    #[key(required)]
    second_order: Order,
    /// A directory.
    #[key(default = "here")]
    path: PathBuf,
    /// A file to write.
    #[key(output, required, free)]
    output: PathBuf,
    /// Files to read.
    #[key(paths, required)]
    files: Vec<String>,
    /// Names.
    #[key(default = ["a", "b"], default_with(MODEL, &["small"], ["c"]), default_with(MODEL, &["tiny"], []))]
    names: Vec<String>,
    /// Epochs.
    #[key(range = 1..=9, default = [], unit = "epochs")]
    epochs: Vec<u64>,
    /// Factors.
    #[key(range = 0.0..=2.0, default = [1.0, 0.5])]
    factors: Vec<f64>,
    /// A limit that is unset by default.
    #[key(range = 1.., unit = "batches")]
    limit: Option<u64>,
    /// A file of one model only.
    #[key(only_with(MODEL, &["large", "small"]))]
    weights: Option<PathBuf>,
    /// A width that one model must be told.
    #[key(range = 1..=8, required, only_with(MODEL, &["large"]))]
    width: Option<usize>,
    /// A word of the language.
    #[key(name = "type_of", default = 1)]
    r#type: i32,
    #[key(flatten)]
    rejects: Rejects,
}

fn spec(name: &str) -> KeySpec {
    Config::keys().into_iter().find(|key| key.name == name).expect("the key is there")
}

fn integers(values: &[i64]) -> Value {
    values.iter().copied().map(Value::from).collect::<Vec<_>>().into()
}

fn settings(values: &[(&str, Value)]) -> Settings {
    Settings { values: values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect() }
}

/// The keys that have no default.
fn required() -> Vec<(&'static str, Value)> {
    vec![
        ("count", 3.into()),
        ("byte", 200.into()),
        ("second_order", "random".into()),
        ("output", "out.csv".into()),
        ("files", vec!["*.tfrecord"].into()),
    ]
}

#[test]
fn keys_stand_in_the_order_of_the_fields() {
    let names: Vec<_> = Config::keys().iter().map(|key| key.name).collect();
    let expected = [
        "switch",
        "size",
        "count",
        "byte",
        "below",
        "share",
        "number",
        "text",
        "best",
        "order",
        "second_order",
        "path",
        "output",
        "files",
        "names",
        "epochs",
        "factors",
        "limit",
        "weights",
        "width",
        "type_of",
        "max_rejected",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_type_and_the_attributes_make_the_kind() {
    let expected: [(&str, KeyKind); 19] = [
        ("switch", KeyKind::Bool),
        ("size", KeyKind::Integer(1..=16_777_216)),
        ("count", KeyKind::Integer(1..=i64::MAX)),
        ("byte", KeyKind::Integer(0..=255)),
        ("below", KeyKind::Integer(i64::MIN..=-1)),
        ("share", KeyKind::Float(0.0..=1.0)),
        ("number", KeyKind::Float(f64::MIN..=f64::MAX)),
        ("text", KeyKind::Text),
        ("best", KeyKind::OneOf(&["highest", "lowest"])),
        ("order", KeyKind::OneOf(&["as_listed", "random"])),
        ("path", KeyKind::Path),
        ("output", KeyKind::OutputPath),
        ("files", KeyKind::Paths),
        ("names", KeyKind::Texts),
        ("epochs", KeyKind::Integers(1..=9)),
        ("factors", KeyKind::Floats(0.0..=2.0)),
        ("limit", KeyKind::Integer(1..=i64::MAX)),
        ("weights", KeyKind::Path),
        ("max_rejected", KeyKind::Integer(0..=i64::MAX)),
    ];
    for (name, kind) in expected {
        assert_eq!(spec(name).kind, kind, "{name}");
    }
}

#[test]
fn everything_that_a_key_can_say_reaches_the_table() {
    let size = spec("size");
    assert_eq!((size.doc, size.unit, size.free, size.required), ("A size.", "videos", true, false));
    assert_eq!(size.default, Some(Value::Integer(1024)));
    let rejected = spec("max_rejected");
    assert_eq!(rejected.doc, "How many records may be bad.");
    assert_eq!((rejected.default, rejected.free), (Some(Value::Integer(i64::MAX)), true));

    let output = spec("output");
    assert_eq!((output.required, output.free, output.default), (true, true, None));
    let limit = spec("limit");
    assert_eq!((limit.required, limit.free, limit.default, limit.unit), (false, false, None, "batches"));

    let defaults: [(&str, Value); 8] = [
        ("switch", true.into()),
        ("below", Value::Integer(-7)),
        ("share", 0.25.into()),
        ("best", "lowest".into()),
        ("order", "as_listed".into()),
        ("path", "here".into()),
        ("epochs", integers(&[])),
        ("factors", vec![1.0, 0.5].into()),
    ];
    for (name, default) in defaults {
        assert_eq!(spec(name).default, Some(default), "{name}");
    }

    let names = spec("names");
    assert_eq!(names.default, Some(vec!["a", "b"].into()));
    let choice = |words| Choice { key: "model", words };
    assert_eq!(
        names.defaults_with,
        [(choice(&["small"]), vec!["c"].into()), (choice(&["tiny"]), integers(&[]))]
    );
    assert_eq!(spec("weights").only_with, Some(choice(&["large", "small"])));
    let width = spec("width");
    assert_eq!((width.only_with, width.required), (Some(choice(&["large"])), true));
}

#[test]
fn settings_fill_the_fields() {
    let mut given = required();
    given.extend([
        ("switch", false.into()),
        ("size", 7.into()),
        // A graph may write a whole number for a number.
        ("share", 1.into()),
        ("order", "random".into()),
        ("epochs", integers(&[2, 4])),
        ("limit", 5.into()),
        ("weights", "w".into()),
        ("type_of", Value::Integer(-3)),
        ("max_rejected", 9.into()),
        ("of_another_fragment", 1.into()),
    ]);
    let config: Config = settings(&given).parse().unwrap();
    let expected = Config {
        switch: false,
        size: 7,
        count: 3,
        byte: 200,
        below: -7,
        share: 1.0,
        number: -1.5,
        text: "none".into(),
        best: "lowest".into(),
        order: Order::Random,
        second_order: Order::Random,
        path: "here".into(),
        output: "out.csv".into(),
        files: vec!["*.tfrecord".into()],
        names: vec!["a".into(), "b".into()],
        epochs: vec![2, 4],
        factors: vec![1.0, 0.5],
        limit: Some(5),
        weights: Some("w".into()),
        width: None,
        r#type: -3,
        rejects: Rejects { max_rejected: 9 },
    };
    assert_eq!(config, expected);
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let error = settings(&required()[1..]).parse::<Config>().unwrap_err().to_string();
    assert!(error.contains("the required key `count` has no value"), "{error}");
    let wrong: [(&str, Value); 7] = [
        ("size", "7".into()),
        ("size", Value::Integer(-1)),
        ("byte", 256.into()),
        ("order", "by_name".into()),
        ("names", integers(&[1])),
        ("limit", 0.5.into()),
        ("max_rejected", false.into()),
    ];
    for (key, value) in wrong {
        let mut given = required();
        given.retain(|(other, _)| *other != key);
        given.push((key, value));
        let error = settings(&given).parse::<Config>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{key}`")), "{error}");
    }
}

#[test]
fn a_configuration_can_be_had_of_any_settings() {
    let least = Config::defaults();
    assert_eq!((least.size, least.count, least.byte), (1024, 1, 0));
    assert_eq!((least.second_order, least.output), (Order::AsListed, PathBuf::new()));
    assert_eq!((least.files, least.limit, least.rejects.max_rejected), (vec![], None, i64::MAX as u64));
    let wrong = settings(&[("size", "many".into()), ("share", 0.5.into())]);
    let config: Config = wrong.parse_or_default();
    assert_eq!((config.size, config.share), (1024, 0.5));
}

#[derive(Keys)]
#[key(free)]
struct Writing {
    /// Every n-th step.
    #[key(default = 10)]
    every_steps: u64,
    #[key(flatten, map = |key| key.only_with(MODEL, &["large"]).unit(MODEL))]
    at_run_time: AtRunTime,
    #[key(skip = vec![3, 4])]
    no_key: Vec<u64>,
}

/// Keys that are known at run time only.
struct AtRunTime {
    sum: u64,
}

impl Keys for AtRunTime {
    fn keys() -> Vec<KeySpec> {
        ["first", "second"]
            .map(|name| KeySpec::new(name, KeyKind::at_least(0), "A number.").default(1))
            .into()
    }

    fn read(values: &mut Values<'_>) -> Self {
        Self { sum: Self::keys().iter().map(|key| values.or_default(key.name, || 1u64)).sum() }
    }
}

#[test]
fn keys_written_by_hand_stand_beside_derived_ones_and_all_may_be_free() {
    let keys = Writing::keys();
    assert_eq!(keys.iter().map(|key| key.name).collect::<Vec<_>>(), ["every_steps", "first", "second"]);
    assert!(keys.iter().all(|key| key.free));
    assert_eq!(keys.iter().map(|key| key.unit).collect::<Vec<_>>(), ["", "model", "model"]);
    assert_eq!(keys[2].only_with, Some(Choice { key: "model", words: &["large"] }));
    let writing: Writing = settings(&[("second", 41.into())]).parse().unwrap();
    assert_eq!((writing.every_steps, writing.at_run_time.sum, writing.no_key), (10, 42, vec![3, 4]));
}
