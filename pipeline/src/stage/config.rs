//! A stage's configuration as a struct: each documented field is a key.
//!
//! Law: a key is written once. The derive macro [`macro@Keys`] makes both the table of keys and the reading of their
//! values from the fields, so the two cannot disagree.

use std::path::PathBuf;

pub use framewise_derive::{KeyWord, Keys};
#[doc(hidden)]
pub use toml::Value;

use crate::edge::error::Failure;
use crate::stage::key::KeySpec;
use crate::stage::settings::Settings;

/// The configuration of a stage: its keys, and how it is read from a stage's [`Settings`].
///
/// This trait is derived. The name of a field is the name of its key. The doc comment of the field is the documentation
/// of the key, word for word. The type of the field decides the kind of the key:
///
/// | Type | Key |
/// |---|---|
/// | `bool` | `true` or `false` |
/// | `u8` … `u64`, `usize`, `i8` … `i64` | whole number |
/// | `f64` | number |
/// | `String` | text; with `words = ["a", "b"]` one of them |
/// | an enum that derives [`macro@KeyWord`] | one of its variants, in snake case |
/// | `PathBuf` | path; with `output` a file that the stage writes, with `output_directory` a directory that it writes to |
/// | `Vec<String>` | texts; with `paths` file names, globs and file lists |
/// | `Vec<u64>`, `Vec<f64>` | numbers |
/// | `Option<T>` | any of these, unset where the graph does not give it |
///
/// The attribute `#[key(…)]` of a field says the rest:
///
/// - `default = …`: the value where the graph does not give the key. A list is written `[…]`, a path as a text;
/// - `required`: the key must be given. A field that is not an `Option` has a default or is required;
/// - `range = 1..=100`, `0..` or `..=1.0`: the bounds of a number, or of each number in a list;
/// - `unit = "videos"`: the unit of the value;
/// - `free`: the key may change when a run is resumed, see [`KeySpec::free`]. At the struct, it frees every key;
/// - `only_with(KEY, WORDS)`: the key applies only where another key has one of these values, see
///   [`KeySpec::only_with`];
/// - `default_with(KEY, WORDS, VALUE)`: the key has another default where another key has one of these values, see
///   [`KeySpec::default_with`];
/// - `name = "type_of"`: the name of the key, where the field has another name;
/// - `flatten`: the field is itself a configuration, and its keys are taken over. `map = FUNCTION` beside it changes
///   each of these keys, such as `map = |key| key.only_with("model", &["nextvlad"])`;
/// - `skip = VALUE`: the field is not a key and always has this value.
///
/// ```
/// use framewise_pipeline::{KeyWord, Keys, Settings};
///
/// #[derive(Clone, Copy, Debug, PartialEq, KeyWord)]
/// enum Order {
///     AsListed,
///     Random,
/// }
///
/// #[derive(Keys)]
/// struct Config {
///     /// Videos that wait to be drawn.
///     #[key(range = 1..=1 << 24, default = 4096, unit = "videos", free)]
///     buffer: usize,
///     /// The order in which they leave.
///     #[key(default = Order::Random)]
///     order: Order,
/// }
///
/// let keys = Config::keys();
/// assert_eq!((keys[0].name, keys[0].doc), ("buffer", "Videos that wait to be drawn."));
/// let config: Config = Settings::default().parse()?;
/// assert_eq!((config.buffer, config.order), (4096, Order::Random));
/// # Ok::<(), framewise_pipeline::Failure>(())
/// ```
///
/// A default outside its range does not compile, nor does one of another type:
///
/// ```compile_fail,E0080
/// #[derive(framewise_pipeline::Keys)]
/// struct Config {
///     /// Videos that wait to be drawn.
///     #[key(range = 1..=100, default = 4096)]
///     buffer: usize,
/// }
/// ```
///
/// ```compile_fail,E0080
/// #[derive(framewise_pipeline::Keys)]
/// struct Config {
///     /// Factors of the milestones.
///     #[key(range = 0.0..=1.0, default = [0.1, 1.5])]
///     factors: Vec<f64>,
/// }
/// ```
///
/// ```compile_fail,E0080
/// #[derive(framewise_pipeline::Keys)]
/// struct Config {
///     /// A range that the type cannot hold.
///     #[key(range = 0..=300)]
///     level: Option<u8>,
/// }
/// ```
///
/// ```compile_fail,E0308
/// #[derive(framewise_pipeline::Keys)]
/// struct Config {
///     /// Videos that wait to be drawn.
///     #[key(range = 1..=100, default = "many")]
///     buffer: usize,
/// }
/// ```
///
/// Implement the trait by hand where the keys are known only at run time. Examples are the keys of a model that another
/// key names.
pub trait Keys: Sized {
    /// The keys, in the order of the fields.
    fn keys() -> Vec<KeySpec>;

    /// Reads the configuration. A key without a value, or with a value of another kind, gets its default. Where that is
    /// a mistake, `values` notes it.
    fn read(values: &mut Values<'_>) -> Self;

    /// The configuration of a stage that gives no key. A required key gets the least of its values.
    fn defaults() -> Self {
        Self::read(&mut Values::of(&Settings::default()))
    }
}

/// The configuration of a stage without keys.
impl Keys for () {
    fn keys() -> Vec<KeySpec> {
        Vec::new()
    }

    fn read(_values: &mut Values<'_>) -> Self {}
}

/// An enum whose variants are the words that a key may have. This trait is derived: the variant `PerVariable` becomes
/// the word `per_variable`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    note = "a key is a bool, a whole number, f64, String, PathBuf, a Vec of them, or an enum with `#[derive(KeyWord)]`"
)]
pub trait KeyWord: KeyValue + Copy + 'static {
    /// Every variant.
    const ALL: &'static [Self];
    /// The word of each variant, in the same order.
    const WORDS: &'static [&'static str];

    /// The word of this variant.
    fn word(&self) -> &'static str;
}

/// A value that a key may have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    note = "a key is a bool, a whole number, f64, String, PathBuf, a Vec of them, or an enum with `#[derive(KeyWord)]`"
)]
pub trait KeyValue: Sized {
    /// Reads a TOML value. Returns `None` if it has another type or is too large.
    fn from_value(value: &Value) -> Option<Self>;

    /// The TOML value of this value.
    fn to_value(&self) -> Value;
}

/// The values of a stage's keys while a configuration is read from them.
#[derive(Debug)]
pub struct Values<'s> {
    settings: &'s Settings,
    problem: Option<String>,
}

impl<'s> Values<'s> {
    pub(crate) fn of(settings: &'s Settings) -> Self {
        Self { settings, problem: None }
    }

    /// All settings of the stage.
    pub fn settings(&self) -> &'s Settings {
        self.settings
    }

    /// The value of a key that may be unset.
    pub fn optional<T: KeyValue>(&mut self, key: &str) -> Option<T> {
        let value = self.settings.get(key)?;
        let read = T::from_value(value);
        if read.is_none() {
            self.note(format!("`{key}` has the value {value}, which does not fit its type"));
        }
        read
    }

    /// The value of a key that has a default.
    pub fn or_default<T: KeyValue>(&mut self, key: &str, default: impl FnOnce() -> T) -> T {
        self.optional(key).unwrap_or_else(default)
    }

    /// The value of a key that must be given. If it is missing, that is noted, and `stand_in` takes its place.
    pub fn required<T: KeyValue>(&mut self, key: &str, stand_in: impl FnOnce() -> T) -> T {
        if self.settings.get(key).is_none() {
            self.note(format!("the required key `{key}` has no value"));
        }
        self.optional(key).unwrap_or_else(stand_in)
    }

    fn note(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }

    /// The first mistake that was noted, if there is any.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        match self.problem {
            Some(problem) => Err(Failure::internal(format!("settings do not fit their keys: {problem}"))),
            None => Ok(()),
        }
    }
}

impl Settings {
    /// The settings as a typed configuration.
    ///
    /// # Errors
    /// `Internal` when a required key has no value or a value has another type. Resolving a graph rules this out.
    pub fn parse<C: Keys>(&self) -> Result<C, Failure> {
        let mut values = Values::of(self);
        let config = C::read(&mut values);
        values.finish().map(|()| config)
    }

    /// The settings as a typed configuration. This never fails: a value that does not fit is replaced by its default.
    pub fn parse_or_default<C: Keys>(&self) -> C {
        C::read(&mut Values::of(self))
    }
}

impl KeyValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_bool()
    }

    fn to_value(&self) -> Value {
        (*self).into()
    }
}

/// Whole numbers. In TOML they have 64 bits with a sign. A larger number becomes the largest that TOML can hold.
macro_rules! whole_number {
    ($($type:ty)*) => {$(
        impl KeyValue for $type {
            fn from_value(value: &Value) -> Option<Self> {
                value.as_integer().and_then(|n| n.try_into().ok())
            }

            fn to_value(&self) -> Value {
                i64::try_from(*self).unwrap_or(i64::MAX).into()
            }
        }
    )*};
}

whole_number!(u8 u16 u32 u64 i8 i16 i32 i64);

impl KeyValue for usize {
    /// A number that is too large for this machine becomes the largest that fits. Such a size means that there is no
    /// bound.
    fn from_value(value: &Value) -> Option<Self> {
        u64::from_value(value).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn to_value(&self) -> Value {
        i64::try_from(*self).unwrap_or(i64::MAX).into()
    }
}

impl KeyValue for f64 {
    fn from_value(value: &Value) -> Option<Self> {
        // A whole number is accepted for a number, as in the graph.
        value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
    }

    fn to_value(&self) -> Value {
        (*self).into()
    }
}

impl KeyValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }

    fn to_value(&self) -> Value {
        self.as_str().into()
    }
}

impl KeyValue for PathBuf {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_str().map(PathBuf::from)
    }

    fn to_value(&self) -> Value {
        self.to_string_lossy().into_owned().into()
    }
}

impl<T: KeyValue> KeyValue for Vec<T> {
    fn from_value(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_value).collect()
    }

    fn to_value(&self) -> Value {
        Value::Array(self.iter().map(T::to_value).collect())
    }
}

/// What the derive macro calls at compile time: each check fails the compilation with its message.
#[doc(hidden)]
pub mod checks {
    /// Fails unless a whole number lies in a range.
    #[track_caller]
    pub const fn whole_number(value: i128, start: i128, end: i128, message: &str) {
        assert!(start <= value && value <= end, "{}", message);
    }

    /// Fails unless a number lies in a range; NaN lies in none.
    #[track_caller]
    pub const fn number(value: f64, start: f64, end: f64, message: &str) {
        assert!(start <= value && value <= end, "{}", message);
    }
}
