//! The agreement of ranks that make the same steps on the files that they read.

use std::path::PathBuf;

use framewise_pipeline::{Failure, StageContext};

use crate::failure::link_failure;
use crate::run_state::spread;

/// Refuses to begin where another rank that makes the same steps has other files.
pub(super) fn agree_on_files(
    context: &StageContext,
    files: &[PathBuf],
    lengths: &[u64],
) -> Result<(), Failure> {
    let Some(channel) = spread::channel(context)? else { return Ok(()) };
    let listed = |(file, bytes): (&PathBuf, &u64)| {
        format!("{} of {bytes} bytes\n", file.file_name().unwrap_or_default().to_string_lossy())
    };
    let own: String = files.iter().zip(lengths).map(listed).collect();
    let all = channel.all_gather(own.as_bytes());
    let all = all.map_err(|e| link_failure("comparing the files with other ranks", &e))?;
    for (rank, theirs) in all.iter().enumerate() {
        let theirs = String::from_utf8_lossy(theirs);
        if theirs == own {
            continue;
        }
        let mut pairs = own.lines().zip(theirs.lines());
        let difference = match pairs.find(|(own, theirs)| own != theirs) {
            Some((own, theirs)) => format!("it has {theirs} where this rank has {own}"),
            None => {
                format!("it has {} where this rank has {}", theirs.lines().count(), own.lines().count())
            }
        };
        let rank = spread::named(context, rank);
        return Err(Failure::config(format!("{rank} has other files: {difference}")));
    }
    Ok(())
}
