//! The description of a file of another system, from which `framewise import` makes weights.

use std::path::Path;

use framewise_pipeline::Failure;
use framewise_stages::import::Source;
use framewise_stages::io;
use framewise_stages::read_failure;

use super::report::Report;
use crate::import::failure;
use crate::text::{Align, bytes, count, plural, table};

/// Lists the arrays of a file. With `verify`, the elements of all arrays are read that could be weights.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub(crate) fn describe(path: &Path, verify: bool) -> Result<Report, Failure> {
    let (_, size) = io::kind_and_length(path).map_err(|e| read_failure(path, &e))?;
    let mut source = Source::open(path).map_err(failure)?;
    let mut report = Report::new(source.format.what());
    report.facts.value("size", bytes(size), size);
    let elements = |shape: &[usize]| shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size as u64));
    let total = source.tensors.iter().try_fold(0u64, |n, tensor| n.checked_add(elements(&tensor.shape)?));
    report.facts.value("elements", total.map_or("more than can be counted".to_owned(), count), total);
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
