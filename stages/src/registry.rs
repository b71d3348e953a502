//! The table of stage types. It is kept by hand, in the order in which data flow.

use framewise_pipeline::Registry;

use crate::evaluation::evaluate::Evaluate;
use crate::evaluation::load_weights::LoadWeights;
use crate::evaluation::metrics::MetricsStage;
use crate::evaluation::predict::Predict;
use crate::evaluation::top_k::TopK;
use crate::model_kit::kind::MODELS;
use crate::sinks::checkpoint::CheckpointStage;
use crate::sinks::rankings::{CsvWriter, JsonlWriter};
use crate::sinks::report::Report;
use crate::sinks::tfrecord_writer::TfrecordWriter;
use crate::sources::synthetic_videos::SyntheticSource;
use crate::sources::tfrecord_reader::TfrecordReader;
use crate::training::all_reduce::AllReduce;
use crate::training::backward::Backward;
use crate::training::forward::ModelForward;
use crate::training::loss::Loss;
use crate::training::optimizer::Optimizer;
use crate::transforms::batch::BatchVideos;
use crate::transforms::decode_frames::Yt8mDecode;
use crate::transforms::decode_video::Yt8mVideoDecode;
use crate::transforms::mean_pool::MeanPool;
use crate::transforms::shard::Shard;
use crate::transforms::shuffle::Shuffle;

/// Every stage type of this crate; the models' forward stages are those of the table of models.
pub fn registry() -> Registry {
    let registry = Registry::new()
        .stage::<TfrecordReader>()
        .stage::<SyntheticSource>()
        .stage::<Yt8mDecode>()
        .stage::<Yt8mVideoDecode>()
        .stage::<MeanPool>()
        .stage::<Shuffle>()
        .stage::<BatchVideos>()
        .stage::<Shard>()
        .stage::<LoadWeights>();
    MODELS
        .iter()
        .fold(registry, |registry, kind| registry.with(ModelForward(kind)))
        .stage::<Loss>()
        .stage::<Backward>()
        .stage::<AllReduce>()
        .stage::<Optimizer>()
        .stage::<Evaluate>()
        .stage::<CheckpointStage>()
        .stage::<Predict>()
        .stage::<MetricsStage>()
        .stage::<Report>()
        .stage::<TopK>()
        .stage::<CsvWriter>()
        .stage::<JsonlWriter>()
        .stage::<TfrecordWriter>()
}
