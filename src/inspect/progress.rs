//! The progress of reading files, shown on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::targets::Target;
use crate::cli::InspectArgs;
use crate::terminal;

/// A bar that shows the bytes on the disk. It is hidden without `--verify` and without a terminal.
pub(super) fn bar(args: &InspectArgs, targets: &[Target]) -> ProgressBar {
    if !args.verify || !terminal::stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let bytes = |target: &Target| if let Target::Path { bytes, .. } = target { *bytes } else { 0 };
    let total = targets.iter().map(bytes).sum();
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

/// A file's part of the bar. It moves the bar by the bytes that the file has on the disk, however the file is read.
/// When this is dropped, it adds what is left.
pub(super) struct Advance<'a> {
    bar: &'a ProgressBar,
    left: u64,
}

impl<'a> Advance<'a> {
    /// Makes the part for a file of `bytes` bytes of which nothing was read yet.
    pub(super) fn new(bar: &'a ProgressBar, bytes: u64) -> Self {
        Self { bar, left: bytes }
    }

    /// Moves the bar by `bytes`, but at most by what is left.
    pub(super) fn by(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.bar.inc(bytes);
    }
}

impl Drop for Advance<'_> {
    fn drop(&mut self) {
        self.bar.inc(self.left);
    }
}
