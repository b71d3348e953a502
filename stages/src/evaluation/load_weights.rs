//! `load_weights`: one version of the weights from a checkpoint or a weights file.
//!
//! Law: a tensor that is missing or has another shape is an error that names the tensor and both shapes.

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use framewise_pipeline::prelude::*;

use crate::model_kit::estimates;
use crate::model_kit::keys::ModelKeys;
use crate::model_kit::weights_file::{self, InjectedWeights, WrittenAfter, check_model, checksum, read};
use crate::payload::WeightsVersion;
use crate::run_state::parts::{Note, Part};

/// The stage type `load_weights`.
pub(crate) struct LoadWeights;

struct Loading {
    version: WeightsVersion,
    /// The file of the weights, where a merge compares those of the ranks.
    compared: Option<(Part, PathBuf)>,
    output: Output<WeightsVersion>,
}

#[derive(Keys)]
pub(crate) struct Config {
    /// A checkpoint directory, a directory of checkpoints, a run directory, or a .safetensors file.
    #[key(required)]
    path: PathBuf,
    #[key(flatten)]
    model: ModelKeys,
}

impl StageType for LoadWeights {
    const NAME: &'static str = "load_weights";
    const DOC: &'static str = "Reads the weights of a checkpoint, a run directory (its newest checkpoint) or a .safetensors \
                               file, checks them against the model, and sends them once. Inside an `evaluate` stage it \
                               sends the weights of the training run.";
    type Config = Config;

    fn ports(config: &Config) -> Ports {
        let weights = OutputPort::new::<WeightsVersion>("weights", config.model.weights(), 1);
        Ports { inputs: vec![], outputs: vec![weights] }
    }

    fn check(config: &Config, _context: &CheckContext<'_>) -> Vec<(&'static str, String)> {
        config.model.check()
    }

    fn survey(config: &Config, site: &Site<'_>) -> Survey {
        let mut survey = Survey::default();
        // Inside an evaluation, the weights come from training. A model that cannot be was told by `check`.
        let (Ok(model), false) = (config.model.model(), site.check.is_inner) else { return survey };
        match weights_file::survey(&config.path, &*model, |_| {}) {
            Ok(bytes) => survey.reads(1, bytes),
            Err(failure) => survey.remarks.push(Remark::failure("path", &failure)),
        }
        survey
    }

    fn estimate(config: &Config, site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        let bytes = estimates::numbers(&config.model.weights())?.saturating_mul(estimates::FLOAT_BYTES);
        // Inside an evaluation, the weights are those that the training holds.
        let held = if site.check.is_inner { 0 } else { bytes };
        let flow = Flow {
            items: Some(1),
            exact: true,
            epochs: Some(1),
            bytes: Some(bytes),
            newest_is_held: true,
            ..Flow::default()
        };
        let estimate = Estimate::default().holds("weights", held);
        Some(estimate.counts("parameters", bytes / estimates::FLOAT_BYTES).sends("weights", flow))
    }

    fn divides(_config: &Config, _site: &Site<'_>) -> Result<(), String> {
        Ok(())
    }

    fn build(config: Config, wiring: &mut Wiring, context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        let model = config.model.model()?;
        let injected = context.resources.get::<InjectedWeights>();
        let compared =
            Part::of(context)?.filter(|_| injected.is_none()).map(|part| (part, config.path.clone()));
        let version = match injected {
            Some(injected) => {
                check_model(injected.0.weights.model.name(), &*model)?;
                injected.0.clone()
            }
            None => {
                let weights = read(&config.path, &model, &Device::Cpu)?;
                // The numbers of this run are logged under the step at which the weights were written.
                context.resources.insert(WrittenAfter::of(&config.path)?);
                WeightsVersion { version: 0, weights: Arc::new(weights), replicas: Vec::new() }
            }
        };
        Ok(Box::new(Loading { version, compared, output: wiring.output("weights")? }))
    }
}

impl Stage for Loading {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        if let Some((part, path)) = self.compared {
            let (file, bytes, crc32c) = checksum(&path)?;
            part.note(&Note::Weights { file, bytes, crc32c })?;
        }
        self.output.send(self.version)
    }
}
