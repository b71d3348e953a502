//! The names that cargo accepts for a crate.

use std::path::Path;

use crate::exit::UsageError;

/// The words that cannot be the name of a crate: the words of the language, and the crates that every crate knows.
const TAKEN: &str = "\
    Self abstract alloc as async await become box break const continue core crate do dyn else enum \
    extern false final fn for gen if impl in let loop macro match mod move mut override priv proc_macro \
    pub ref return self static std struct super test trait true try type typeof unsafe unsized use \
    virtual where while yield";

/// The name of a crate in this directory.
///
/// # Errors
/// A usage error when the directory has no name, such as `/`, or has a name that is not text.
pub(super) fn of_directory(directory: &Path) -> Result<String, UsageError> {
    // The directory `.` has a name too. The path of a directory that does not exist yet ends with its name.
    let whole = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let name = whole.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        UsageError(format!("{} has no name for the crate; give one with --name", directory.display()))
    })
}

/// Checks that cargo accepts a name.
///
/// # Errors
/// The reason why cargo would not accept it.
pub(super) fn check(name: &str) -> Result<(), &'static str> {
    let crate_name = name.replace('-', "_");
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err("it does not begin with a letter from a to z");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return Err("it has characters besides letters from a to z, digits, `-` and `_`");
    }
    if name.len() > 64 {
        return Err("it is longer than 64 characters");
    }
    if TAKEN.split(' ').any(|word| word == crate_name) || crate_name == "_" {
        return Err("it is a word of the language or a crate of its standard library");
    }
    if crate_name == "framewise" || crate_name.starts_with("framewise_") {
        return Err("it would be taken for a crate of Framewise");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_would_refuse_are_refused() {
        for good in ["my_stage", "my-stage", "stage2", "_x", "Video"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "2fast",
            "my stage",
            "a.b",
            "ümlaut",
            "fn",
            "test",
            "proc-macro",
            "framewise",
            "framewise-x",
            "-x",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_gives_its_name() {
        assert_eq!(of_directory(Path::new("/nowhere/my_stage/")).unwrap(), "my_stage");
        let here = std::env::current_dir().unwrap();
        assert_eq!(of_directory(Path::new(".")).unwrap(), here.file_name().unwrap().to_str().unwrap());
        assert!(of_directory(Path::new("/")).is_err());
    }
}
