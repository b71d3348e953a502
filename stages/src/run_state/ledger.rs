//! The ledger: the files that a run's sources read, and the records that its stages rejected. This is the part of the
//! cursor that no step carries.
//!
//! Law: what is stored at a place in the data depends only on that place, and never on how far stages have read ahead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use framewise_pipeline::{Failure, StageContext};

use crate::io;
use crate::run_state::resume::{RejectedRecords, Resume};
use crate::tfrecord::{Reason, RecordError};
use crate::words::plural;

/// The ledger of a run, which all of its stages share.
pub(crate) struct Ledger {
    state: Mutex<State>,
}

/// The records of each file that are known to be bad.
pub(crate) type Known = BTreeMap<PathBuf, BTreeMap<u64, Reason>>;

/// A stage, a file, and the index of a record in the file.
pub(crate) type Key = (String, PathBuf, u64);

#[derive(Default)]
struct State {
    sources: BTreeMap<String, Vec<SourceFile>>,
    rejected: BTreeMap<Key, Entry>,
    /// The records that were rejected according to the checkpoint. They move to `rejected` when all sources are known.
    stored: Vec<RejectedRecords>,
}

struct SourceFile {
    path: PathBuf,
    name: String,
    bytes: u64,
}

/// A rejected record.
#[derive(Clone, Copy)]
struct Entry {
    reason: Reason,
    /// The epoch in which it was rejected first.
    epoch: u64,
    /// The record's position in that epoch. `None` if it was rejected before the checkpoint.
    position: Option<u64>,
}

impl Ledger {
    /// The ledger of this run.
    ///
    /// # Errors
    /// The errors of [`Resume::cursor`].
    pub(crate) fn of(context: &StageContext) -> Result<Arc<Self>, Failure> {
        let stored = match context.resources.get::<Resume>() {
            Some(resume) => resume.cursor()?.rejected,
            None => Vec::new(),
        };
        let state = Mutex::new(State { stored, ..State::default() });
        Ok(context.resources.get_or_insert_with(|| Self { state }))
    }

    /// Notes the files of a source, in their order.
    ///
    /// # Errors
    /// `Config` (exit code 78) if the checkpoint from which the run is resumed was made with other files.
    pub(crate) fn add_source(&self, context: &StageContext, files: &[PathBuf]) -> Result<(), Failure> {
        let files = files.iter().map(|path| SourceFile {
            path: path.clone(),
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            // A file that cannot be read is reported when it is opened.
            bytes: io::kind_and_length(path).map_or(0, |(_, length)| length),
        });
        let files: Vec<_> = files.collect();
        if let Some(resume) = context.resources.get::<Resume>() {
            let cursor = resume.cursor()?;
            check_files(cursor.sources.get(&*context.stage).map_or(&[], Vec::as_slice), &files)?;
        }
        self.lock().sources.insert(context.stage.to_string(), files);
        Ok(())
    }

    /// The records that `stage` is known to have rejected before the run began.
    ///
    /// # Errors
    /// `Config` if the checkpoint names a source that the graph does not have.
    pub(crate) fn known(&self, stage: &str) -> Result<Known, Failure> {
        self.known_where(|key| key.0 == stage)
    }

    /// The records that any other stage is known to have rejected before the run began.
    ///
    /// # Errors
    /// The errors of [`Ledger::known`].
    pub(crate) fn known_to_others(&self, stage: &str) -> Result<Known, Failure> {
        self.known_where(|key| key.0 != stage)
    }

    fn known_where(&self, wanted: impl Fn(&Key) -> bool) -> Result<Known, Failure> {
        let state = self.resolved()?;
        let mut known = Known::new();
        for (key, entry) in state.rejected.iter().filter(|(key, e)| e.position.is_none() && wanted(key)) {
            known.entry(key.1.clone()).or_default().insert(key.2, entry.reason);
        }
        Ok(known)
    }

    /// The records that `stage` rejected before `epoch`, once for each epoch since the first one. `epoch` is that of
    /// the checkpoint, or the one after it.
    ///
    /// # Errors
    /// The errors of [`Ledger::known`].
    pub(crate) fn rejected_before(&self, stage: &str, epoch: u64) -> Result<Vec<(Reason, u64)>, Failure> {
        let state = self.resolved()?;
        let known = state.rejected.iter().filter(|(key, entry)| key.0 == stage && entry.position.is_none());
        Ok(known.map(|(_, entry)| (entry.reason, epoch.saturating_sub(entry.epoch))).collect())
    }

    /// All records that were rejected before the run began, with their reasons.
    ///
    /// # Errors
    /// The errors of [`Ledger::known`].
    pub(crate) fn stored(&self) -> Result<BTreeMap<Key, Reason>, Failure> {
        let state = self.resolved()?;
        let known = state.rejected.iter().filter(|(_, entry)| entry.position.is_none());
        Ok(known.map(|(key, entry)| (key.clone(), entry.reason)).collect())
    }

    /// Notes a rejected record. Returns whether this is the first time in this run.
    pub(crate) fn reject(&self, stage: &str, error: &RecordError, epoch: u64, position: u64) -> bool {
        let key = (stage.to_owned(), error.origin.file.to_path_buf(), error.origin.record);
        let mut state = self.lock();
        let first = !state.rejected.contains_key(&key);
        let entry = Entry { reason: error.reason, epoch, position: Some(position) };
        state.rejected.entry(key).or_insert(entry);
        first
    }

    /// The files of all sources, as (name, bytes).
    pub(crate) fn sources(&self) -> BTreeMap<String, Vec<(String, u64)>> {
        let state = self.lock();
        let names = |files: &Vec<SourceFile>| files.iter().map(|f| (f.name.clone(), f.bytes)).collect();
        state.sources.iter().map(|(source, files)| (source.clone(), names(files))).collect()
    }

    /// The records that were rejected up to a place in `epoch`: before `position`, or in the whole epoch.
    ///
    /// # Errors
    /// The errors of [`Ledger::known`].
    pub(crate) fn rejected(
        &self,
        epoch: u64,
        position: Option<u64>,
    ) -> Result<Vec<RejectedRecords>, Failure> {
        let state = self.resolved()?;
        let mut places = BTreeMap::new();
        for (source, files) in &state.sources {
            places.extend(files.iter().enumerate().map(|(index, f)| (f.path.as_path(), (source, index))));
        }
        // Records are stored by stage, source and the file's index. The path may be another one when the run is
        // resumed.
        let mut groups: BTreeMap<(&str, &str, usize), Vec<_>> = BTreeMap::new();
        for ((stage, file, record), entry) in &state.rejected {
            let before = match entry.position {
                None => true,
                Some(_) if entry.epoch != epoch => entry.epoch < epoch,
                Some(place) => position.is_none_or(|limit| place < limit),
            };
            let Some((source, index)) = places.get(file.as_path()).filter(|_| before) else { continue };
            let group = groups.entry((stage, source, *index)).or_default();
            group.push((*record, entry.reason.as_str().to_owned(), entry.epoch));
        }
        let records = groups.into_iter().map(|((stage, source, file), records)| RejectedRecords {
            stage: stage.to_owned(),
            source: source.to_owned(),
            file,
            records,
        });
        Ok(records.collect())
    }

    /// The state, with what the checkpoint stored. All stages are built by now, so all sources are known.
    fn resolved(&self) -> Result<MutexGuard<'_, State>, Failure> {
        let mut state = self.lock();
        for group in std::mem::take(&mut state.stored) {
            let RejectedRecords { stage, source, file, records } = group;
            let path = state.sources.get(&source).and_then(|files| files.get(file)).map(|f| f.path.clone());
            let path = path.ok_or_else(|| {
                Failure::config(format!(
                    "the checkpoint's run had a source `{source}` with a file number {file}; this graph has not"
                ))
            })?;
            for (record, reason, epoch) in records {
                let reason = Reason::ALL.into_iter().find(|r| r.as_str() == reason).ok_or_else(|| {
                    Failure::data(format!("the checkpoint's cursor names an unknown reason {reason:?}"))
                })?;
                let entry = Entry { reason, epoch, position: None };
                state.rejected.insert((stage.clone(), path.clone(), record), entry);
            }
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses other files than those of the checkpoint's run, because the order of the data would be another one.
fn check_files(stored: &[(String, u64)], files: &[SourceFile]) -> Result<(), Failure> {
    let refuse = |what: String| {
        Err(Failure::config(format!(
            "the files are not those of the checkpoint's run, so it cannot go on: {what}"
        )))
    };
    if stored.len() != files.len() {
        let (now, be) = (files.len() as u64, if files.len() == 1 { "is" } else { "are" });
        return refuse(format!("there {be} now {}, there were {}", plural(now, "file"), stored.len()));
    }
    for (number, ((name, bytes), file)) in stored.iter().zip(files).enumerate() {
        let shown = Path::new(&file.path).display();
        if *name != file.name {
            return refuse(format!("file {number} is {shown}, it was {name}"));
        }
        if *bytes != file.bytes {
            return refuse(format!("{shown} has {} bytes, it had {bytes}", file.bytes));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Origin;

    fn ledger(paths: &[&str]) -> Ledger {
        let files = paths.iter().map(|path| SourceFile { path: path.into(), name: (*path).into(), bytes: 7 });
        let sources = BTreeMap::from([("videos".to_owned(), files.collect())]);
        Ledger { state: Mutex::new(State { sources, ..State::default() }) }
    }

    fn bad(file: &str, record: u64, reason: Reason) -> RecordError {
        let origin = Origin { file: Path::new(file).into(), record, byte: 0 };
        RecordError { origin, id: None, reason, detail: String::new() }
    }

    fn group(stage: &str, file: usize, records: &[(u64, &str, u64)]) -> RejectedRecords {
        let records = records.iter().map(|(record, reason, epoch)| (*record, (*reason).to_owned(), *epoch));
        RejectedRecords { stage: stage.into(), source: "videos".into(), file, records: records.collect() }
    }

    #[test]
    fn what_is_stored_is_cut_at_the_place_and_goes_on_from_there() {
        // The order of the files is that of the list and not of their names. Records do not arrive in the order of
        // their positions.
        let first = ledger(&["b", "a"]);
        assert!(first.reject("videos", &bad("b", 4, Reason::DataCrc), 0, 4));
        assert!(first.reject("decode", &bad("a", 1, Reason::NoFrames), 0, 11));
        assert!(first.reject("decode", &bad("b", 0, Reason::BadProto), 0, 0));
        assert!(!first.reject("decode", &bad("b", 0, Reason::BadProto), 1, 0), "not the first time");
        assert!(first.reject("decode", &bad("a", 5, Reason::NoFrames), 1, 3));
        let cut = first.rejected(0, Some(11)).unwrap();
        assert_eq!(
            cut,
            [group("decode", 0, &[(0, "bad_proto", 0)]), group("videos", 0, &[(4, "data_crc", 0)])]
        );
        assert_eq!(first.rejected(0, Some(0)).unwrap(), []);
        let whole = first.rejected(0, None).unwrap();
        assert_eq!(whole[1], group("decode", 1, &[(1, "no_frames", 0)]));
        assert_eq!(first.rejected(1, Some(3)).unwrap(), whole);
        assert_ne!(first.rejected(1, Some(4)).unwrap(), whole);

        // In another place, the files may have other paths.
        let second = ledger(&["new/b", "new/a"]);
        second.lock().stored = cut.clone();
        assert_eq!(second.rejected(0, Some(0)).unwrap(), cut);
        assert_eq!(second.rejected_before("decode", 3).unwrap(), [(Reason::BadProto, 3)]);
        assert_eq!(second.rejected_before("decode", 0).unwrap(), [(Reason::BadProto, 0)]);
        let known = second.known("decode").unwrap();
        assert_eq!(known[Path::new("new/b")], BTreeMap::from([(0, Reason::BadProto)]));
        assert_eq!(
            second.known_to_others("decode").unwrap()[Path::new("new/b")],
            BTreeMap::from([(4, Reason::DataCrc)])
        );
        assert!(!second.reject("decode", &bad("new/b", 0, Reason::BadProto), 0, 0));
        assert!(second.reject("decode", &bad("new/a", 1, Reason::NoFrames), 0, 11));
        assert_eq!(second.rejected(0, None).unwrap(), whole);
    }

    #[test]
    fn other_files_are_refused_with_the_difference() {
        let files = |names: &[(&str, u64)]| -> Vec<SourceFile> {
            let file = |(name, bytes): &(&str, u64)| SourceFile {
                path: format!("/data/{name}").into(),
                name: (*name).into(),
                bytes: *bytes,
            };
            names.iter().map(file).collect()
        };
        let stored = [("a".to_owned(), 1), ("b".to_owned(), 2)];
        assert!(check_files(&stored, &files(&[("a", 1), ("b", 2)])).is_ok());
        for (found, text) in [
            (&[("a", 1)][..], "there is now 1 file, there were 2"),
            (&[("b", 2), ("a", 1)], "file 0 is /data/b, it was a"),
            (&[("a", 1), ("b", 3)], "/data/b has 3 bytes, it had 2"),
        ] {
            let error = check_files(&stored, &files(found)).unwrap_err();
            assert_eq!(error.kind.exit_code(), 78);
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
