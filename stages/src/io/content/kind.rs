//! The kinds of files that are known, in words, and what to do with a file of each.

use crate::io::packing::Packing;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A file of TFRecords that is not compressed.
    Records,
    /// A compressed file of a kind that the record reader unpacks: GZIP, ZLIB or Zstandard.
    Packed(Packing),
    /// A file that is compressed by bzip2.
    Bzip2,
    /// A file that is compressed by xz.
    Xz,
    /// A file that is compressed by LZ4.
    Lz4,
    /// A 7z archive.
    SevenZip,
    /// A ZIP archive of anything.
    Zip,
    /// A tar archive.
    Tar,
    /// numpy's `.npz`.
    Npz,
    /// numpy's `.npy`.
    Npy,
    /// A checkpoint that PyTorch's `torch.save` wrote: a ZIP archive with a pickle inside, or in the old form a pickle.
    PyTorch,
    /// Any other Python pickle, such as PaddlePaddle's `.pdparams`.
    Pickle,
    /// A `.safetensors` file.
    Safetensors,
    /// An HDF5 file, such as Keras writes.
    Hdf5,
    /// A Parquet table.
    Parquet,
    /// A `tf.train.SequenceExample` by itself, without a record around it.
    SequenceExample,
    /// A `tf.train.Example` by itself, without a record around it.
    Example,
    /// The small text that Git LFS leaves in place of a file that was not fetched.
    LfsPointer,
    /// Text in UTF-16.
    Utf16,
    /// A web page.
    Html,
    /// An XML document.
    Xml,
    /// JSON.
    Json,
    /// Lines that name files of records.
    FileList,
    /// A table of values between commas, semicolons or tabs.
    Table,
    /// Text in UTF-8 of no kind above.
    Text,
}

impl Content {
    /// The kind in words, with its article.
    pub fn what(self) -> &'static str {
        match self {
            Self::Records => "a TFRecord file",
            Self::Packed(Packing::Gzip) => "a GZIP file",
            Self::Packed(Packing::Zlib) => "a ZLIB stream",
            Self::Packed(Packing::Zstd) => "a Zstandard file",
            Self::Bzip2 => "a bzip2 file",
            Self::Xz => "an xz file",
            Self::Lz4 => "an LZ4 file",
            Self::SevenZip => "a 7z archive",
            Self::Zip => "a ZIP archive",
            Self::Tar => "a tar archive",
            Self::Npz => "an archive of numpy arrays (.npz)",
            Self::Npy => "a numpy array (.npy)",
            Self::PyTorch => "a PyTorch checkpoint (.pt)",
            Self::Pickle => "a Python pickle",
            Self::Safetensors => "a file of tensors (safetensors)",
            Self::Hdf5 => "an HDF5 file",
            Self::Parquet => "a Parquet table",
            Self::SequenceExample => "a single tf.train.SequenceExample without the framing of a TFRecord",
            Self::Example => "a single tf.train.Example without the framing of a TFRecord",
            Self::LfsPointer => "a Git LFS pointer, which stands for a file that was not fetched",
            Self::Utf16 => "a text in UTF-16",
            Self::Html => "an HTML page",
            Self::Xml => "an XML document",
            Self::Json => "a JSON text",
            Self::FileList => "a list of files",
            Self::Table => "a table in text form (CSV)",
            Self::Text => "a text",
        }
    }

    /// Words that say what to do with such a file where records were expected.
    pub fn advice_for_records(self) -> Option<&'static str> {
        Some(match self {
            Self::Records | Self::Packed(_) | Self::Utf16 | Self::Text => return None,
            Self::Bzip2 | Self::Xz | Self::Lz4 | Self::SevenZip | Self::Zip | Self::Tar => {
                "unpack it first; of compressed files, those of GZIP, ZLIB and Zstandard are read as they are"
            }
            Self::Npz | Self::Pickle | Self::Safetensors => {
                "if it holds weights, name it to the stage type load_weights instead"
            }
            Self::Npy | Self::PyTorch | Self::Hdf5 | Self::Parquet | Self::Json | Self::Table => {
                "videos are read from TFRecords of tf.train.SequenceExample or tf.train.Example messages"
            }
            Self::SequenceExample | Self::Example => {
                "write it with a TFRecord writer such as tf.io.TFRecordWriter, which gives each record a length and a CRC"
            }
            Self::LfsPointer => "fetch the file with `git lfs pull`",
            Self::Html | Self::Xml => "a download that failed leaves such a page; fetch the file again",
            Self::FileList => "write `@` before its path to read the files that it lists",
        })
    }

    /// Words that say what to do with such a file where weights were expected.
    pub fn advice_for_weights(self) -> Option<&'static str> {
        Some(match self {
            Self::PyTorch => {
                "save its state_dict with safetensors.torch.save_file, and `framewise import` reads that file"
            }
            Self::Npy | Self::Hdf5 => {
                "save its arrays by name with numpy.savez, and `framewise import` reads that file"
            }
            Self::Packed(_) | Self::Bzip2 | Self::Xz | Self::Lz4 | Self::SevenZip | Self::Zip | Self::Tar => {
                "unpack it first"
            }
            Self::Records | Self::SequenceExample | Self::Example => {
                "records of videos are read by the stage type tfrecord_reader"
            }
            Self::LfsPointer => "fetch the file with `git lfs pull`",
            Self::Html | Self::Xml => "a download that failed leaves such a page; fetch the file again",
            _ => return None,
        })
    }
}
