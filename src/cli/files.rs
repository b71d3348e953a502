//! The arguments of the verbs that read files of data and weights: `inspect` and `import`.

use std::path::PathBuf;

use clap::Args;

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
