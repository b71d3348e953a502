//! The table of stage types, kept by hand in the order in which data flows.

use framewise_pipeline::Registry;

use crate::all_reduce::AllReduce;
use crate::backward::Backward;
use crate::batch::BatchVideos;
use crate::checkpoint::CheckpointStage;
use crate::decode::Yt8mDecode;
use crate::evaluate::Evaluate;
use crate::forward::ModelForward;
use crate::load_weights::LoadWeights;
use crate::loss::Loss;
use crate::mean_pool::MeanPool;
use crate::metrics::MetricsStage;
use crate::model_kind::ModelKind;
use crate::optimizer::Optimizer;
use crate::predict::Predict;
use crate::reader::TfrecordReader;
use crate::report::Report;
use crate::shard::Shard;
use crate::shuffle::Shuffle;
use crate::synthetic_source::SyntheticSource;
use crate::tfrecord_writer::TfrecordWriter;
use crate::top_k::TopK;
use crate::video_decode::Yt8mVideoDecode;
use crate::writers::{CsvWriter, JsonlWriter};

/// Every stage type of this crate.
pub fn registry() -> Registry {
    Registry::new()
        .with(TfrecordReader)
        .with(SyntheticSource)
        .with(Yt8mDecode)
        .with(Yt8mVideoDecode)
        .with(MeanPool)
        .with(Shuffle)
        .with(BatchVideos)
        .with(Shard)
        .with(LoadWeights)
        .with(ModelForward(ModelKind::NextVlad))
        .with(ModelForward(ModelKind::Logistic))
        .with(ModelForward(ModelKind::MixtureOfExperts))
        .with(Loss)
        .with(Backward)
        .with(AllReduce)
        .with(Optimizer)
        .with(Evaluate)
        .with(CheckpointStage)
        .with(Predict)
        .with(MetricsStage)
        .with(Report)
        .with(TopK)
        .with(CsvWriter)
        .with(JsonlWriter)
        .with(TfrecordWriter)
}
