//! The output of a writer, of which each rank may have a part.
//!
//! Laws: the parts stand in the output in the order of the ranks. Ranks that can exchange messages send them to rank 0, in
//! pieces of a bounded size, when they are complete; the others leave them for a merge. An output without a video on any rank
//! is an error.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use framewise_pipeline::{Failure, Site, StageContext, StageError};

use super::output_path::{check_output, open_output, output_path};
use crate::failure::{link_failure, write_failure};
use crate::io::{self as files, Output};
use crate::ranks::{Channel, Incoming, Outgoing};
use crate::run_state::parts::{Note, OutputNote, Role, share, while_waiting};

/// The bytes of a part that are sent at once.
const PIECE: usize = 1 << 20;

/// The place of a writer's output.
pub(super) struct Place {
    named: PathBuf,
    path: PathBuf,
    role: Role,
    context: StageContext,
}

/// An output that is being written.
pub(super) struct Divided {
    place: Place,
    sink: Sink,
    bytes: u64,
}

enum Sink {
    Output(Output),
    /// The part of a rank that sends it when it is complete.
    Kept(File),
}

/// Refuses a writer whose videos come in an order that the order of the ranks' parts does not give.
///
/// # Errors
/// The reason, in words that follow the name of the writer.
pub(super) fn refuse_reordered(site: &Site<'_>) -> Result<(), String> {
    if let Some(shuffle) = site.upstream.nearest("shuffle") {
        let name = shuffle.name;
        return Err(format!(
            "the videos come from `{name}`, which mixes the part of each rank by itself: leave it out"
        ));
    }
    let source = site.upstream.nearest("tfrecord_reader");
    if let Some(source) = source.filter(|source| source.settings.integer("epochs") > 1) {
        let name = source.name;
        return Err(format!(
            "each rank would write all epochs of its part one after another: set epochs = 1 in `{name}`"
        ));
    }
    Ok(())
}

impl Place {
    /// The place of the output `named` of this stage. What must not be written is refused.
    ///
    /// # Errors
    /// `CannotWrite`, which names the path and what is there. The errors of [`Role::of`].
    pub(super) fn of(named: &Path, context: &StageContext) -> Result<Self, Failure> {
        let role = Role::of(context)?;
        let path = output_path(named, context);
        if matches!(&role, Role::Alone) || matches!(&role, Role::Linked(channel) if channel.rank() == 0) {
            check_output(&path)?;
        }
        Ok(Self { named: named.to_owned(), path, role, context: context.clone() })
    }

    /// The path of the whole output.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the output begins with what this process writes.
    pub(super) fn is_first(&self) -> bool {
        share(&self.context).rank == 0
    }

    /// Opens the output.
    ///
    /// # Errors
    /// The errors of [`open_output`].
    pub(super) fn open(mut self) -> Result<Divided, StageError> {
        let sink = match &self.role {
            Role::Apart(part) => {
                self.path = part.make()?;
                Sink::Output(files::create(&self.path).map_err(Failure::from)?)
            }
            Role::Linked(channel) if channel.rank() > 0 => {
                let kept = files::scratch(self.context.run_dir.as_deref());
                Sink::Kept(kept.map_err(|e| write_failure(Path::new("a part of the output"), &e))?)
            }
            _ => Sink::Output(open_output(&self.path, &self.context)?),
        };
        Ok(Divided { place: self, sink, bytes: 0 })
    }
}

impl Divided {
    /// The path that messages name.
    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Completes the output, of which this process has written `videos`. `predicted` is the step and the epoch after which
    /// the weights of predictions were written. Returns the videos of all ranks where this process has the whole output.
    ///
    /// # Errors
    /// A failure to write, a rank that is missed, and an output without a video on any of several ranks.
    pub(super) fn finish(
        self,
        videos: u64,
        predicted: Option<(u64, u64)>,
    ) -> Result<Option<u64>, StageError> {
        let Self { place: Place { named, path, role, context }, sink, bytes } = self;
        match (role, sink) {
            (Role::Alone, Sink::Output(file)) => {
                file.commit().map_err(Failure::from)?;
                Ok(Some(videos))
            }
            (Role::Apart(part), Sink::Output(file)) => {
                file.commit().map_err(Failure::from)?;
                part.note(&Note::Output(OutputNote { path: named, videos, bytes, predicted }))?;
                Ok(None)
            }
            (Role::Linked(channel), Sink::Output(mut file)) => {
                let all = while_waiting(&context, || take(&channel, &mut file, &path))?;
                if videos + all == 0 {
                    return Err(
                        Failure::data(format!("there was no video to write to {}", path.display())).into()
                    );
                }
                file.commit().map_err(Failure::from)?;
                Ok(Some(videos + all))
            }
            (Role::Linked(channel), Sink::Kept(file)) => {
                while_waiting(&context, || send(&channel, file, bytes, videos))?;
                Ok(None)
            }
            (_, Sink::Kept(_)) => Err(Failure::internal("a part that nobody takes").into()),
        }
    }
}

impl Write for Divided {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.sink {
            Sink::Output(file) => file.write(bytes)?,
            Sink::Kept(file) => file.write(bytes)?,
        };
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Output(file) => file.flush(),
            Sink::Kept(file) => file.flush(),
        }
    }
}

/// Sends a part to rank 0.
fn send(channel: &Channel, mut file: File, bytes: u64, videos: u64) -> Result<(), Failure> {
    let failed =
        |e: io::Error| Failure::new(framewise_pipeline::ErrorKind::Io, format!("a part of the output: {e}"));
    let post = |bytes: &[u8]| {
        let sent = channel.exchange(&[Outgoing { to: 0, bytes }], &mut []);
        sent.map_err(|e| link_failure("sending a part of the output", &e))
    };
    post(&[bytes.to_le_bytes(), videos.to_le_bytes()].concat())?;
    file.rewind().map_err(failed)?;
    let mut left = bytes;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let piece = &mut piece[..left.min(PIECE as u64) as usize];
        file.read_exact(piece).map_err(failed)?;
        post(piece)?;
        left -= piece.len() as u64;
    }
    Ok(())
}

/// Appends the parts of the other ranks in their order. Returns the number of their videos.
fn take(channel: &Channel, file: &mut Output, path: &Path) -> Result<u64, Failure> {
    let mut videos = 0;
    let mut piece = vec![0; PIECE];
    for from in 1..channel.size() {
        let receive = |bytes: &mut [u8]| {
            let received = channel.exchange(&[], &mut [Incoming { from, bytes }]);
            received.map_err(|e| link_failure("receiving a part of the output", &e))
        };
        let mut head = [[0; 8]; 2];
        receive(head.as_flattened_mut())?;
        let [mut left, theirs] = head.map(u64::from_le_bytes);
        videos += theirs;
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE as u64) as usize];
            receive(piece)?;
            file.write_all(piece).map_err(|e| write_failure(path, &e))?;
            left -= piece.len() as u64;
        }
    }
    Ok(videos)
}
