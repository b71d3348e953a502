//! The survey of a list of record files: which are missing, and which are something else.

use std::path::Path;

use framewise_pipeline::prelude::*;
use rayon::prelude::*;

use crate::failure::read_failure;
use crate::io::framing::{FOOTER_BYTES, HEADER_BYTES};
use crate::io::patterns::{self, FilesError, Found, FoundFile};
use crate::io::{Kind, missing_directory};
use crate::store::is_checkpoint;
use crate::tfrecord::{ReadError, ReaderOptions, RecordReader, not_videos};

/// Looks up the record files that the list `key` of a stage names. `skips` says whether the stage passes over files
/// that hold no records.
pub(super) fn survey(key: &'static str, names: &[String], skips: bool) -> Survey {
    let mut survey = Survey::default();
    // Patterns were made absolute when the graph was resolved, so the base directory does not matter.
    let found = patterns::look_up(names, Path::new(""));
    survey.reads(found.files.len() as u64, found.files.iter().map(|file| file.length).sum());
    survey.remarks.extend(missing(key, names, &found));
    survey.remarks.extend(unfit(key, names, &found.files, skips));
    let is_empty = |file: &FoundFile| file.kind == Kind::File && file.length == 0;
    if let (true, [first, rest @ ..]) = (found.problems.is_empty(), found.files.as_slice())
        && is_empty(first)
        && rest.iter().all(is_empty)
    {
        let first = first.path.display();
        let text = match rest.len() {
            0 => format!("there is no record to read in {first}: the file is empty"),
            more => format!(
                "there is no record to read in {} files, the first of them {first}: all are empty",
                more + 1
            ),
        };
        survey.remarks.push(Remark::error(key, text).of_kind(ErrorKind::Data));
    }
    survey
}

/// The problems with the names, one remark for each entry of the list.
fn missing(key: &'static str, names: &[String], found: &Found) -> Vec<Remark> {
    let by_entry = found.problems.chunk_by(|a, b| a.0 == b.0);
    let remarks = by_entry.map(|problems| {
        let (entry, first) = &problems[0];
        let texts: Vec<String> = problems.iter().map(|(_, problem)| problem.to_string()).collect();
        let text = match texts.as_slice() {
            [one] => one.clone(),
            all => format!("{} problems with {}:\n{}", all.len(), names[*entry], all.join("\n")),
        };
        // `check` reports an empty list, so the entry is there.
        let failure = Failure::new(ErrorKind::NotFound, text);
        let remark = Remark::failure(key, &failure).at_entry(*entry);
        match hint(first) {
            Some(hint) => remark.hint(hint),
            None => remark,
        }
    });
    remarks.collect()
}

/// What to do about a name.
fn hint(problem: &FilesError) -> Option<String> {
    let path = match problem {
        FilesError::NotAFile { path, .. } if is_checkpoint(path) => {
            return Some(format!(
                "{} holds checkpoints; the stage type load_weights reads those",
                path.display()
            ));
        }
        FilesError::NotAFile { path, .. } if path.is_dir() => {
            return Some(format!("name the files in it: {}", path.join("*.tfrecord").display()));
        }
        FilesError::NoMatch { pattern, base, .. } => base.join(pattern),
        FilesError::Unreadable { path, .. } => path.clone(),
        _ => return None,
    };
    missing_directory(&path).map(|directory| format!("there is no directory {}", directory.display()))
}

/// The files that hold no videos, one remark for each entry of the list.
fn unfit(key: &'static str, names: &[String], files: &[FoundFile], skips: bool) -> Vec<Remark> {
    // A stream would lose its first bytes.
    let readable: Vec<&FoundFile> = files.iter().filter(|file| file.kind == Kind::File).collect();
    let looked_at: Vec<_> = readable.par_iter().map(|file| not_videos(&file.path)).collect();
    let unfit = readable.into_iter().zip(looked_at).filter_map(|(file, found)| match found {
        Ok(None) => None,
        Ok(Some(what)) => Some((file, ErrorKind::Data, format!("{}: {what}", file.path.display()))),
        Err(ReadError::Io { path, source }) => {
            let failure = read_failure(&path, &source);
            Some((file, failure.kind, failure.to_string()))
        }
        // Everything else is about a record, and a bad record has its own treatment.
        Err(ReadError::Bad(_)) => None,
    });
    let unfit: Vec<_> = unfit.collect();
    let by_entry = unfit.chunk_by(|a, b| a.0.pattern == b.0.pattern);
    let remarks = by_entry.map(|files| {
        let (file, kind, text) = &files[0];
        let text = match files {
            [_] => text.clone(),
            all => {
                let texts: Vec<&str> = all.iter().map(|(_, _, text)| text.as_str()).collect();
                format!(
                    "{} files of {} hold no videos:\n{}",
                    all.len(),
                    names[file.pattern],
                    texts.join("\n")
                )
            }
        };
        let remark = Remark::failure(key, &Failure::new(*kind, text)).at_entry(file.pattern);
        if skips { remark.as_warning() } else { remark }
    });
    remarks.collect()
}

/// The number of records of a list of files.
pub(super) struct Counted {
    /// The records of all files.
    pub(super) records: u64,
    /// Whether all of them were counted. Otherwise `records` follows from the size of the files that were not.
    pub(super) exact: bool,
    /// The mean bytes of a record.
    pub(super) mean_bytes: u64,
}

/// The most records that are counted by their headers. A million takes a few seconds on a local disk.
const MOST_COUNTED: u64 = 1 << 20;

/// Counts the records of the files that `names` names by their headers, up to [`MOST_COUNTED`] of them. `None` where a
/// file is missing, is a stream or is compressed, because then only reading all of it would tell.
pub(super) fn count(names: &[String], options: &ReaderOptions) -> Option<Counted> {
    let found = patterns::look_up(names, Path::new(""));
    let all: u64 = found.files.iter().map(|file| file.length).sum();
    if !found.problems.is_empty() || found.files.iter().any(|file| file.kind != Kind::File) {
        return None;
    }
    let (mut records, mut passed) = (0_u64, 0_u64);
    for file in &found.files {
        let mut reader =
            RecordReader::open(&file.path, options.clone()).ok().filter(RecordReader::can_seek)?;
        // A file that is damaged ends here as it does for the stage.
        records += reader.skip(MOST_COUNTED - records).unwrap_or_else(|_| reader.origin().record);
        passed += reader.origin().byte;
        if records >= MOST_COUNTED {
            break;
        }
    }
    let framing = records * (HEADER_BYTES + FOOTER_BYTES) as u64;
    let mean_bytes = passed.saturating_sub(framing).checked_div(records)?;
    let exact = records < MOST_COUNTED;
    if !exact {
        records = (records as f64 * all as f64 / passed as f64) as u64;
    }
    Some(Counted { records, exact, mean_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, bytes: &[u8]) -> String {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn record() -> Vec<u8> {
        let compression = crate::tfrecord::Compression::None;
        let mut writer = crate::tfrecord::RecordWriter::new("memory", Vec::new(), compression);
        writer.write(b"payload").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn every_missing_name_is_told_at_its_entry_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let good = write(at, "good.tfrecord", &record());
        let list = write(at, "list.txt", b"good.tfrecord\n\ngone-1\ngone-2\n");
        let names =
            [format!("@{list}"), format!("{}/none/x*", at.display()), format!("{}/gone-3", at.display())];
        let survey = survey("files", &names, false);
        assert_eq!((survey.files, survey.bytes), (1, record().len() as u64), "{good}");
        let shown = format!("{:?}", survey.remarks);
        assert_eq!(survey.remarks.len(), 3, "{shown}");
        for part in [
            "2 problems with",
            "gone-1 (named by line 3 of",
            "gone-2 (named by line 4 of",
            "no file matches",
            "there is no directory",
            "gone-3: No such file or directory\"",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("os error"), "{shown}");
    }

    #[test]
    fn files_that_are_something_else_are_told_for_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let names = [
            write(at, "weights", b"\x02\0\0\0\0\0\0\0{}"),
            write(at, "text", b"epoch,loss\n1,0.5\n2,0.4\n"),
            write(at, "good", &record()),
            write(at, "zero", b""),
        ];
        for (skips, is_error) in [(false, true), (true, false)] {
            let survey = survey("files", &names, skips);
            let shown = format!("{:?}", survey.remarks);
            assert_eq!(survey.remarks.len(), 2, "{shown}");
            assert!(shown.contains("a file of tensors (safetensors)"), "{shown}");
            assert!(shown.contains("a table in text form (CSV)"), "{shown}");
            assert_eq!(shown.matches(&format!("is_error: {is_error}")).count(), 2, "{shown}");
        }
        let survey = survey("files", &names[3..], false);
        assert!(format!("{:?}", survey.remarks).contains("zero: the file is empty"), "{:?}", survey.remarks);
    }
}
