//! `top_k`: the best classes of each video.

use std::sync::Arc;

use framewise_pipeline::prelude::*;

use crate::payload::{Predictions, Ranked};
use crate::score;

/// The stage type `top_k`.
pub(crate) struct TopK {
    k: usize,
}

#[derive(Keys)]
pub(crate) struct Config {
    /// The number of classes that are kept of each video.
    #[key(range = 1..=1 << 24, default = 20, unit = "classes")]
    k: usize,
}

impl TransformType for TopK {
    const NAME: &'static str = "top_k";
    const DOC: &'static str =
        "Keeps the k best classes of each video, best first; equal scores go by the lower class number.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        (InputPort::of::<Predictions>("predictions"), OutputPort::of::<Ranked>("rankings", 8))
    }

    fn estimate(config: &Config, site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        let videos = site.upstream.nearest("batch").map(|batch| batch.settings.integer("size"));
        let ranked =
            videos.map(|videos| videos.saturating_mul(config.k as u64 * size_of::<(u32, f32)>() as u64));
        let estimate = Estimate::default().holds("the best classes of a batch", ranked);
        Some(estimate.sends("rankings", flows.of("predictions").of_bytes(ranked)))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn new(config: Config, _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self { k: config.k })
    }
}

impl Transform for TopK {
    type In = Predictions;
    type Out = Ranked;

    fn process(&mut self, batch: Predictions, out: &mut Emitter<'_, Ranked>) -> Result<(), StageError> {
        let rank = |(video, id): (usize, &String)| {
            if let Some(score) = batch.row(video).iter().find(|s| !s.is_finite()) {
                return Err(Failure::data(format!("video \"{id}\" has the score {score}")));
            }
            Ok((id.clone(), score::top_k(batch.row(video), self.k)))
        };
        let videos = batch.ids.iter().enumerate().map(rank).collect::<Result<_, _>>()?;
        out.emit(Ranked { videos: Arc::new(videos) })
    }
}
