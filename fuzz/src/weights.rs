//! The fuzz target for the readers of weights from elsewhere: PaddlePaddle's pickles, numpy's archives, and
//! safetensors.

use std::path::Path;

use framewise_stages::import::{Format, Source};

use crate::counting::peak;
use crate::framing::EXPANSION;

/// The number of tensors that are read of a file. A file of a few kilobytes may name thousands.
const READ: usize = 32;

/// Asserts the laws of reading for this file.
pub fn check(data: &[u8]) {
    let used = peak(|| {
        let Ok(mut source) = Source::from_bytes(Path::new("fuzz"), data.to_vec()) else { return };
        for index in 0..source.tensors.len().min(READ) {
            let elements =
                source.tensors[index].shape.iter().try_fold(1usize, |n, &axis| n.checked_mul(axis));
            for transposed in [false, true] {
                match source.read(index, transposed) {
                    Ok(values) => {
                        assert_eq!(Some(values.len()), elements);
                        assert!(values.iter().all(|value| value.is_finite()));
                    }
                    Err(error) => assert!(error.to_string().starts_with("fuzz: "), "{error}"),
                }
            }
        }
    });
    // The bound allows for a list of the tensors, for the elements of one tensor twice, and for an archive that unpacks
    // to more than its own size.
    let content = match Format::of(data) {
        Some(Format::Npz) => EXPANSION * data.len(),
        _ => data.len(),
    };
    assert!(used <= (1 << 20) + 256 * data.len() + 16 * content, "{used} bytes for a file of {}", data.len());
}
