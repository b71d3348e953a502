//! The arguments of the verbs that read files of data and weights: `inspect`, `import` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use framewise_stages::model::Precision;

use super::shared::Format;

/// `framewise inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise inspect data/train*.tfrecord
  framewise inspect --verify runs/nextvlad-train-1
  framewise inspect --verify /data/yt8m --format json > verified.json
  framewise inspect configs/model/nextvlad-paddle.toml
  framewise inspect --as-config data/*.tfrecord > configs/data.toml

The content of a file tells its kind; its name does not matter.")]
pub(crate) struct InspectArgs {
    /// TFRecord files (plain or compressed), .safetensors files, checkpoints, run directories, model configurations,
    /// graphs, PaddlePaddle's .pdparams and numpy's .npz files. Directories of data and patterns such as
    /// 'data/*.tfrecord' stand for the files in them
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Read everything: check every CRC and checksum and decode every record; list bad ones and sum them by reason
    #[arg(long)]
    pub(crate) verify: bool,
    /// Print the keys that a graph needs to read these files, as TOML for configs/: sizes, longest video and classes.
    /// Every record is read
    #[arg(long, conflicts_with_all = ["verify", "format"])]
    pub(crate) as_config: bool,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// `framewise import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise import nextvlad.pdparams nextvlad.safetensors
  framewise import nextvlad.pdparams nextvlad.safetensors \\
      --model configs/data/youtube8m.toml --model configs/model/nextvlad-paddle.toml
  framewise import paper.npz paper.safetensors \\
      --map configs/import/nextvlad-tensorflow.toml --eigenvalues eigenvals.npy

Nothing in a file is run, not even a pickle. The graph that uses the weights names the model's other choices: preset \
nextvlad-paddle for PaddlePaddle's weights, nextvlad-paper for the authors'.")]
pub(crate) struct ImportArgs {
    /// A PaddlePaddle parameter file (.pdparams), an .npz or a .safetensors file, which its content tells
    #[arg(value_name = "FROM")]
    pub(crate) from: PathBuf,
    /// The .safetensors file to write; a file that is there is replaced when the new one is complete
    #[arg(value_name = "TO")]
    pub(crate) to: PathBuf,
    /// A map of names, a TOML file: "theirs" = "ours", or "theirs" = { name = "ours", transpose = true, squeeze = true
    /// } [default: PaddlePaddle's names for .pdparams, Framewise's own for other files]
    #[arg(long, value_name = "FILE")]
    pub(crate) map: Option<PathBuf>,
    /// The model that the tensors must make, a TOML file as in configs/model; repeatable, a later one beats an earlier
    /// one [default: the sizes of the tensors]
    #[arg(long, value_name = "CONFIG")]
    pub(crate) model: Vec<PathBuf>,
    /// The .npy file of the YouTube-8M PCA release, for a file that lacks the factors of the visual features
    #[arg(long, value_name = "FILE")]
    pub(crate) eigenvalues: Option<PathBuf>,
}

/// `framewise export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  framewise export runs/nextvlad-train-1 --precision int8
  framewise export runs/nextvlad-train-1/checkpoints/best \\
      --precision int8x2 -o best.safetensors
  framewise export imported.safetensors --precision bf16 \\
      --model configs/data/youtube8m.toml --model configs/model/nextvlad-paddle.toml

A file in int8 or int8x2 serves evaluation and prediction in this precision, with the numbers that the checkpoint gives \
there. A file in bf16 is a weights file like any other, with rounded parameters.")]
pub(crate) struct ExportArgs {
    /// A checkpoint directory, a directory of checkpoints, a run directory (its newest checkpoint), or a .safetensors file
    #[arg(value_name = "RUN|CHECKPOINT")]
    pub(crate) from: PathBuf,
    /// What the weights become: whole numbers of 8 bits, of 16 bits in two planes of 8, or bf16
    #[arg(long, value_enum)]
    pub(crate) precision: Narrow,
    /// The .safetensors file to write [default: NAME-PRECISION.safetensors in the working directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace a file that is there, when the new one is complete
    #[arg(long)]
    pub(crate) force: bool,
    /// The model of a .safetensors file, a TOML file as in configs/model; repeatable, a later one beats an earlier one
    /// [default: the model that the checkpoint tells]
    #[arg(long, value_name = "CONFIG")]
    pub(crate) model: Vec<PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// The precisions that weights are exported in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Narrow {
    /// A quarter of the size in f32
    Int8,
    /// Half of the size, and almost the numbers of f32
    Int8x2,
    /// Half of the size
    Bf16,
}

impl Narrow {
    /// The precision as models know it.
    pub(crate) fn stored(self) -> Precision {
        match self {
            Self::Int8 => Precision::Int8,
            Self::Int8x2 => Precision::Int8x2,
            Self::Bf16 => Precision::Bf16,
        }
    }
}
