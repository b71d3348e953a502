//! What a file of another system holds, which `framewise import` makes weights of.

use std::path::Path;

use framewise_pipeline::Failure;
use framewise_stages::import::Source;

use super::{Report, read_failure};
use crate::import::failure;
use crate::text::{Align, bytes, count, plural, table};

/// Lists the arrays; `verify` reads the elements of all that could be weights.
///
/// # Errors
/// It cannot be read, or is damaged.
pub(crate) fn describe(path: &Path, verify: bool) -> Result<Report, Failure> {
    let size = std::fs::metadata(path).map_err(|e| read_failure(path, &e))?.len();
    let mut source = Source::open(path).map_err(failure)?;
    let mut report = Report::new(source.format.what());
    report.fact("size", bytes(size));
    let elements = |shape: &[usize]| shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size as u64));
    let total = source.tensors.iter().try_fold(0u64, |n, tensor| n.checked_add(elements(&tensor.shape)?));
    report.fact("elements", total.map_or("more than can be counted".to_owned(), count));
    report.fact("for a run", format!("framewise import {} WEIGHTS.safetensors", path.display()));
    if verify {
        let floats: Vec<usize> =
            (0..source.tensors.len()).filter(|i| source.tensors[*i].dtype.is_float()).collect();
        for index in &floats {
            source.read(*index, false).map_err(failure)?;
        }
        report.fact("verified", format!("every element of {}", plural(floats.len() as u64, "tensor")));
    }
    report.details += &format!("  {}\n", plural(source.tensors.len() as u64, "tensor"));
    let rows = source.tensors.iter().map(|tensor| {
        let number = elements(&tensor.shape).map_or(String::new(), count);
        vec![format!("    {}", tensor.name), tensor.dtype.to_string(), format!("{:?}", tensor.shape), number]
    });
    report.details +=
        &table(&[Align::Left, Align::Left, Align::Left, Align::Right], &rows.collect::<Vec<_>>());
    for other in &source.others {
        report.details += &format!("    {other}  (no array)\n");
    }
    Ok(report)
}
