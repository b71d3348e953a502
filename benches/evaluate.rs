//! The evaluation of full-size batches by NeXtVLAD on the CPU, in every precision, measured in turns.
//!
//! `cargo bench --bench evaluate -- [--batch N] [--frames LOW HIGH] [--runs N] [--only PRECISION]` prints one JSON line for
//! each precision. In all but f32, the first time includes what is worked out once of the weights.

mod common;

use std::sync::Arc;

use candle_core::{DType, Device, Result};
use common::{Options, Summary};
use framewise_stages::model::{Evaluator, Model, NextVlad, NextVladConfig, Weights};

fn main() -> Result<()> {
    let options = Options::parse();
    let (batch, _) = common::batch(&options)?;
    let weights =
        Weights::initial(Arc::new(NextVlad::new(NextVladConfig::paddle())?), 0, &Device::Cpu, DType::F32)?;
    let mut all = Vec::new();
    for precision in options.precisions() {
        let mut model = NextVlad::new(NextVladConfig::paddle())?;
        model.precision = precision;
        all.push((precision, model, None::<Box<dyn Evaluator>>, Summary::default()));
    }
    for run in 0..=options.runs {
        for (_, model, evaluator, summary) in &mut all {
            summary.time(|| {
                if run == 0 {
                    *evaluator = model.evaluator(&weights)?;
                }
                match evaluator {
                    Some(evaluator) => evaluator.logits(&batch),
                    None => model.forward_eval(&weights, &batch),
                }
            })?;
        }
    }
    for (precision, _, _, summary) in &all {
        summary.print("evaluate", &options, *precision);
    }
    Ok(())
}
