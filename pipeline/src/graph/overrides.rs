//! Single values given on the command line: `--set stages.batch.size=32`.

use std::str::FromStr;

/// One `--set KEY=VALUE`. It beats what the files say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// `stages.NAME.KEY`, `graph.KEY` or `use.NAME`.
    pub key: String,
    /// A TOML value; what is not valid TOML is taken as a text.
    pub value: String,
}

impl Override {
    /// The text that messages point into.
    pub(crate) fn text(&self) -> String {
        format!("{}={}", self.key, self.value)
    }
}

/// The argument of `--set` has not the form `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form KEY=VALUE, such as `stages.batch.size=32`")]
pub struct OverrideError(String);

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            _ => Err(OverrideError(text.to_owned())),
        }
    }
}
