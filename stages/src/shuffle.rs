//! `shuffle`: a bounded buffer from which videos leave in random order.
//!
//! Laws: the order is a function of (seed, epoch) and the input's order; nothing crosses the end of an epoch.
//!
//! With `buffer = 3` and input 1 2 3 4 5: the buffer fills to {1 2 3}; 4 arrives, one of {1 2 3} leaves and 4 takes
//! its place; 5 likewise; at the mark the three that are left leave in random order.

use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeyKind, KeySpec, Mark, OutputPort, Ports, Settings, Stage,
    StageContext, StageError, Transform, Wiring,
};
use rand_chacha::ChaCha8Rng;

use crate::payload::{Lazy, Video, any_of};
use crate::random;
use crate::resume::Start;

/// The stage type.
pub(crate) struct Shuffle;

struct Shuffling {
    seed: u64,
    /// The epoch whose videos are in the buffer.
    epoch: u64,
    random: ChaCha8Rng,
    buffer: Vec<Lazy<Video>>,
    size: usize,
}

impl Component for Shuffle {
    fn type_name(&self) -> &'static str {
        "shuffle"
    }

    fn doc(&self) -> &'static str {
        "Shuffles videos within a buffer. The order depends only on the seed, the epoch and the order of the input; the \
         buffer is emptied at the end of each epoch, so that every epoch holds every video once."
    }

    fn keys(&self) -> Vec<KeySpec> {
        let doc = "Videos held back. As large as the data set it shuffles perfectly; full-size videos take 260 KB each.";
        vec![KeySpec::new("buffer", KeyKind::Integer(1..=1 << 32), doc).default(1024).unit("videos")]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<Lazy<Video>>("examples", any_of::<Video>())],
            outputs: vec![
                OutputPort::new::<Lazy<Video>>("examples", any_of::<Video>(), 64).shaped_like("examples"),
            ],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let epoch = Start::of(context)?.epoch;
        let shuffling = Shuffling {
            seed: context.seed,
            epoch,
            random: random::stream(context.seed, "shuffle", &[epoch]),
            buffer: Vec::new(),
            size: usize::try_from(settings.integer("buffer")).unwrap_or(usize::MAX),
        };
        Ok(shuffling.between(wiring.input("examples")?, wiring.output("examples")?))
    }
}

impl Transform for Shuffling {
    type In = Lazy<Video>;
    type Out = Lazy<Video>;

    fn process(
        &mut self,
        example: Lazy<Video>,
        out: &mut Emitter<'_, Lazy<Video>>,
    ) -> Result<(), StageError> {
        if self.buffer.len() < self.size {
            self.buffer.push(example);
            return Ok(());
        }
        let place = random::below(&mut self.random, self.buffer.len() as u64) as usize;
        out.emit(std::mem::replace(&mut self.buffer[place], example))
    }

    fn at_mark(&mut self, mark: Mark, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        let Mark::EpochEnd { epoch } = mark;
        self.empty(out)?;
        self.epoch = epoch + 1;
        self.random = random::stream(self.seed, "shuffle", &[self.epoch]);
        Ok(())
    }

    fn at_end(&mut self, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        self.empty(out)
    }
}

impl Shuffling {
    fn empty(&mut self, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        // Fisher and Yates from the back: the place drawn leaves, the last one takes it.
        while !self.buffer.is_empty() {
            let place = random::below(&mut self.random, self.buffer.len() as u64) as usize;
            out.emit(self.buffer.swap_remove(place))?;
        }
        Ok(())
    }
}
