//! Environment variables in texts: `${VAR}`, `${VAR:-default}` and `${VAR:?message}`. `$${` stands for `${`.
//!
//! Law: the value of a variable is not expanded again, and all expansions of a graph together stay small.

use std::ffi::OsString;

/// The most bytes that all expansions of one graph may add.
const MOST_BYTES: usize = 16 << 20;

/// The environment variables, with a count of the bytes that they added so far.
pub(crate) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<OsString>,
    added: usize,
}

/// The reason why a text cannot be expanded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unexpandable {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    /// The reference as it is written, such as `${DATA`, by which it is found in the source.
    pub(crate) reference: String,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { lookup, added: 0 }
    }

    /// The text with every reference replaced.
    pub(crate) fn expand(&mut self, text: &str) -> Result<String, Unexpandable> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if let Some(after) = rest.strip_prefix("$${") {
                out.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let Some(end) = after.find('}') else {
                    return Err(
                        fail("a `${` is never closed with `}`", rest).help("`$${` stands for a plain `${`")
                    );
                };
                let value = self.value(&after[..end])?;
                self.added = self.added.saturating_add(value.len());
                if self.added > MOST_BYTES {
                    return Err(fail("the variables of this graph hold too much text", &rest[..end + 2]));
                }
                out.push_str(&value);
                rest = &after[end + 1..];
            } else {
                out.push('$');
                rest = &rest[1..];
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, reference: &str) -> Result<String, Unexpandable> {
        let written = format!("${{{reference}}}");
        let end =
            reference.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(reference.len());
        let (name, operator) = reference.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(fail(&format!("`{written}` does not name an environment variable"), &written)
                .help("write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`; `$${` for a plain `${`"));
        }
        let value = match (self.lookup)(name).map(OsString::into_string) {
            Some(Ok(value)) => Some(value),
            Some(Err(_)) => {
                return Err(fail(&format!("the environment variable `{name}` is not UTF-8 text"), &written));
            }
            None => None,
        };
        let filled = value.clone().filter(|v| !v.is_empty());
        match (operator.get(..2).unwrap_or(operator), value) {
            ("", Some(value)) => Ok(value),
            ("", None) => Err(fail(&format!("the environment variable `{name}` is not set"), &written)
                .help(format!("set it, or give a default: `${{{name}:-…}}`"))),
            (":-", _) => Ok(filled.unwrap_or_else(|| operator[2..].to_owned())),
            (":?", _) => filled.ok_or_else(|| {
                let message = operator[2..].trim();
                let message = if message.is_empty() { "it must be set" } else { message };
                fail(&format!("the environment variable `{name}` is not set: {message}"), &written)
            }),
            _ => Err(fail(&format!("`{written}` cannot be understood"), &written)
                .help("write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`")),
        }
    }
}

/// The variables of a text that are not set and have a default in it, each with that default.
pub(crate) fn defaulted(text: &str, lookup: &dyn Fn(&str) -> Option<OsString>) -> Vec<(String, String)> {
    let references = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
    let with_defaults = references.filter_map(|(reference, _)| reference.split_once(":-"));
    let unset = with_defaults.filter(|(name, _)| lookup(name).is_none_or(|value| value.is_empty()));
    unset.map(|(name, default)| (name.to_owned(), default.to_owned())).collect()
}

/// The inverse of [`Variables::expand`] for a text without references.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn fail(message: &str, reference: &str) -> Unexpandable {
    Unexpandable { message: message.to_owned(), help: None, reference: reference.to_owned() }
}

impl Unexpandable {
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "DATA" => Some(OsString::from("/data")),
            "EMPTY" => Some(OsString::new()),
            "LOOP" => Some(OsString::from("${DATA}")),
            _ => None,
        };
        Variables::new(&lookup).expand(text).map_err(|e| e.message)
    }

    #[test]
    fn forms() {
        assert_eq!(expand("${DATA}/a${DATA}"), Ok("/data/a/data".into()));
        assert_eq!(expand("${NO:-x y}"), Ok("x y".into()));
        assert_eq!(expand("${EMPTY:-x}"), Ok("x".into()));
        assert_eq!(expand("a${EMPTY}b"), Ok("ab".into()));
        assert_eq!(expand("${DATA:-x}${DATA:?y}"), Ok("/data/data".into()));
        assert_eq!(expand("${LOOP}"), Ok("${DATA}".into()));
        assert_eq!(expand("$${DATA} $ $5 $"), Ok("${DATA} $ $5 $".into()));
        assert_eq!(expand("$$${DATA}"), Ok("$${DATA}".into()));
    }

    #[test]
    fn mistakes() {
        assert!(expand("${NO}").is_err_and(|m| m.contains("`NO` is not set")));
        assert!(
            expand("${NO:?say where the data are}").is_err_and(|m| m.ends_with("say where the data are"))
        );
        assert!(expand("${EMPTY:?}").is_err_and(|m| m.ends_with("it must be set")));
        assert!(expand("${DATA").is_err_and(|m| m.contains("never closed")));
        for text in ["${}", "${1A}", "${-x}"] {
            assert!(expand(text).is_err_and(|m| m.contains("does not name")), "{text}");
        }
        for text in ["${A B}", "${A:x}", "${A:é}", "${A+b}"] {
            assert!(expand(text).is_err_and(|m| m.contains("cannot be understood")), "{text}");
        }
    }

    #[test]
    fn what_is_escaped_comes_back() {
        for text in ["${A}", "$${A}", "$$${", "a$b", "${${"] {
            assert_eq!(expand(&escape(text)), Ok(text.to_owned()));
        }
    }

    #[test]
    fn unset_variables_with_defaults_are_found() {
        let lookup = |name: &str| (name == "SET").then(|| OsString::from("x"));
        let found = defaulted("\"${A:-../data}/${SET:-y}/${B}/${C:?no}/train*\"", &lookup);
        assert_eq!(found, [("A".to_owned(), "../data".to_owned())]);
        assert_eq!(defaulted("plain", &lookup), []);
    }

    #[test]
    fn total_size_is_bounded() {
        let lookup = |_: &str| Some(OsString::from("x".repeat(1 << 16)));
        let mut variables = Variables::new(&lookup);
        let text = "${X}".repeat(200);
        let failure = (0..10).find_map(|_| variables.expand(&text).err());
        assert!(failure.is_some_and(|e| e.message.contains("too much")));
    }
}
