//! `shuffle`: a bounded buffer from which videos leave in random order.
//!
//! Laws: the order is a function of (seed, epoch) and the input's order. Nothing crosses the end of an epoch.
//!
//! An example with `buffer = 3` and input 1 2 3 4 5: the buffer fills to {1 2 3}. When 4 arrives, one of {1 2 3} leaves
//! and 4 takes its place. The same happens when 5 arrives. At the mark, the three videos that are left leave in random
//! order.

use framewise_pipeline::prelude::*;
use rand_chacha::ChaCha8Rng;

use crate::payload::{Lazy, Video};
use crate::random;
use crate::run_state::resume::Start;

/// The stage type `shuffle`.
pub(crate) struct Shuffle {
    seed: u64,
    /// The epoch whose videos are in the buffer.
    epoch: u64,
    random: ChaCha8Rng,
    buffer: Vec<Lazy<Video>>,
    size: usize,
}

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of videos that are held back. A buffer as large as the data set shuffles perfectly. A full-size video
    /// takes 260 KB.
    #[key(range = 1..=1 << 32, default = 1024, unit = "videos")]
    buffer: usize,
}

impl TransformType for Shuffle {
    const NAME: &'static str = "shuffle";
    const DOC: &'static str = "Shuffles videos within a buffer. The order depends only on the seed, the epoch and the order \
                               of the input; the buffer is emptied at the end of each epoch, so that every epoch holds \
                               every video once.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        (
            InputPort::of::<Lazy<Video>>("examples"),
            OutputPort::of::<Lazy<Video>>("examples", 64).shaped_like("examples"),
        )
    }

    fn estimate(config: &Config, _site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let flow = flows.of("examples");
        let held = flow.items.unwrap_or(u64::MAX).min(config.buffer as u64);
        let bytes = flow.bytes.map(|bytes| bytes.saturating_mul(held));
        Some(Estimate::default().holds("the buffer", bytes).sends("examples", flow))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn new(config: Config, context: &StageContext) -> Result<Self, Failure> {
        let epoch = Start::of(context)?.epoch;
        Ok(Self {
            seed: context.seed,
            epoch,
            random: random::stream(context.seed, "shuffle", &[epoch]),
            buffer: Vec::new(),
            size: config.buffer,
        })
    }
}

impl Transform for Shuffle {
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

impl Shuffle {
    fn empty(&mut self, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        // This is the shuffle of Fisher and Yates from the back: the video at the drawn place leaves, and the last one
        // takes its place.
        while !self.buffer.is_empty() {
            let place = random::below(&mut self.random, self.buffer.len() as u64) as usize;
            out.emit(self.buffer.swap_remove(place))?;
        }
        Ok(())
    }
}
