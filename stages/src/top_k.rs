//! `top_k`: the best classes of each video.

use std::sync::Arc;

use framewise_pipeline::{
    Component, Emitter, Failure, InputPort, KeyKind, KeySpec, OutputPort, PayloadType, Ports, Settings,
    Stage, StageContext, StageError, Transform, Wiring,
};

use crate::payload::{Predictions, Ranked};
use crate::score;

/// The stage type.
pub(crate) struct TopK;

struct Ranking {
    k: usize,
}

impl Component for TopK {
    fn type_name(&self) -> &'static str {
        "top_k"
    }

    fn doc(&self) -> &'static str {
        "Keeps the k best classes of each video, best first; equal scores go by the lower class number."
    }

    fn keys(&self) -> Vec<KeySpec> {
        vec![
            KeySpec::new("k", KeyKind::Integer(1..=1 << 24), "Classes kept of each video.")
                .default(20)
                .unit("classes"),
        ]
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        Ports {
            inputs: vec![InputPort::new::<Predictions>("predictions", PayloadType::of::<Predictions>())],
            outputs: vec![OutputPort::new::<Ranked>("rankings", PayloadType::of::<Ranked>(), 8)],
        }
    }

    fn build(
        &self,
        settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let ranking = Ranking { k: usize::try_from(settings.integer("k")).unwrap_or(usize::MAX) };
        Ok(ranking.between(wiring.input("predictions")?, wiring.output("rankings")?))
    }
}

impl Transform for Ranking {
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
