//! From the tensors of a file to the weights of a model.
//!
//! Law: every shape is compared before an element is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::error::{ImportError, shown};
use super::names::{Mapping, NameMap};
use super::sizes::sizes;
use super::source::{Format, Source};
use crate::model::{Model, NextVlad, NextVladConfig, Weights};

/// The factors of the visual features. A file without them is complete, and the factors are then 1.
const SCALE: &str = "input.rgb_scale";

/// The options of an import.
#[derive(Debug, Default)]
pub struct Options {
    /// The file of a name map. Without it, a pickle has PaddlePaddle's names and every other file has the model's own
    /// names.
    pub map: Option<PathBuf>,
    /// The model that the tensors must make. Without it, the shapes of the tensors tell the model's sizes.
    pub config: Option<NextVladConfig>,
}

/// A tensor of the model, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The tensor's name in the model.
    pub ours: String,
    /// The tensor's shape in the model.
    pub shape: Vec<usize>,
    /// The tensor of the file that it was made from. `None` for a tensor that was not in the file and is 1 everywhere.
    pub from: Option<Origin>,
}

/// The tensor of a file that a tensor of the model was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The tensor's name in the file.
    pub name: String,
    /// The type of its elements in the file, in words.
    pub dtype: String,
    /// The tensor's shape in the file.
    pub shape: Vec<usize>,
    /// Whether the import reversed its axes.
    pub transposed: bool,
}

/// Imported weights, and what became of each tensor.
#[derive(Debug)]
pub struct Imported {
    /// The format of the file.
    pub format: Format,
    /// The model's configuration, with the sizes of the tensors.
    pub config: NextVladConfig,
    /// The weights in float32, on the CPU.
    pub weights: Weights,
    /// The tensors of the weights, in the order of the model.
    pub rows: Vec<Row>,
    /// The names of everything else in the file.
    pub unused: Vec<String>,
}

/// Reads weights of a NeXtVLAD from a `.pdparams`, `.npz` or `.safetensors` file.
///
/// # Errors
/// The file or the map cannot be read. A tensor is missing, has another shape (the error names both), or has an element
/// that no float32 can represent.
pub fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    take_over(Source::open(path)?, options)
}

/// Reads weights of a NeXtVLAD from a file that is already open, as [`import`] does.
///
/// # Errors
/// The errors of [`import`].
pub fn take_over(mut source: Source, options: &Options) -> Result<Imported, ImportError> {
    let path = source.path.clone();
    let map = match (&options.map, source.format) {
        (Some(map), _) => NameMap::read(map)?,
        (None, Format::Pickle) => NameMap::paddle(&source)?,
        (None, _) => NameMap::identity(&source),
    };
    let refuse = |why: String| ImportError::content(&path, why);
    let found = matches(&source, &map);
    let shapes =
        found.iter().map(|(ours, (mapping, index))| (*ours, here(&source.tensors[*index].shape, mapping)));
    let shapes: BTreeMap<&str, Vec<usize>> = shapes.collect();
    let config = match &options.config {
        Some(config) => config.clone(),
        None => sizes(&shapes).map_err(|(name, why)| refuse(with_map(&map, options, name, &why)))?,
    };
    let model: Arc<dyn Model> = Arc::new(NextVlad::new(config.clone()).map_err(|e| refuse(e.to_string()))?);
    let rows = rows(&source, &map, &found, &model, options).map_err(refuse)?;
    let unused = unused(&source, &found, &rows);

    let mut named = Vec::new();
    for row in &rows {
        let tensor = match found.get(row.ours.as_str()).filter(|_| row.from.is_some()) {
            Some((mapping, index)) => {
                let (transpose, index) = (mapping.transpose, *index);
                let values = source.read(index, transpose)?;
                Tensor::from_vec(values, row.shape.as_slice(), &Device::Cpu)
            }
            None => Tensor::ones(row.shape.as_slice(), DType::F32, &Device::Cpu),
        };
        named.push((row.ours.clone(), tensor.map_err(|e| refuse(e.to_string()))?));
    }
    let format = source.format;
    drop(source);
    let weights =
        Weights::from_named(model, named, &Device::Cpu, DType::F32).map_err(|e| refuse(e.to_string()))?;
    Ok(Imported { format, config, weights, rows, unused })
}

/// For each tensor's name in the model: what the map says about it, and its index in the file.
type Found<'a> = BTreeMap<&'a str, (&'a Mapping, usize)>;

fn matches<'a>(source: &Source, map: &'a NameMap) -> Found<'a> {
    let mut places = BTreeMap::new();
    // A tensor's own name goes before the name of its parameter, and the first of two equal names goes before the
    // second.
    for (index, tensor) in source.tensors.iter().enumerate() {
        places.entry(tensor.name.as_str()).or_insert(index);
    }
    for (index, tensor) in source.tensors.iter().enumerate() {
        if let Some(parameter) = &tensor.parameter {
            places.entry(parameter).or_insert(index);
        }
    }
    let entry = |mapping: &'a Mapping| {
        let index = places.get(mapping.theirs.as_str())?;
        Some((mapping.ours.as_str(), (mapping, *index)))
    };
    map.entries.iter().filter_map(entry).collect()
}

/// The shape that a tensor of the file has after the mapping.
fn here(theirs: &[usize], mapping: &Mapping) -> Vec<usize> {
    let mut shape: Vec<usize> =
        theirs.iter().copied().filter(|size| !mapping.squeeze || *size != 1).collect();
    if mapping.transpose {
        shape.reverse();
    }
    shape
}

/// The tensors of the model, each with the tensor of the file that it is made from.
fn rows(
    source: &Source,
    map: &NameMap,
    found: &Found<'_>,
    model: &Arc<dyn Model>,
    options: &Options,
) -> Result<Vec<Row>, String> {
    let parameters = model.parameters().into_iter().map(|spec| (spec.name, spec.shape));
    let buffers = model.buffers().into_iter().map(|spec| (spec.name, spec.shape));
    let wanted: Vec<(String, Vec<usize>)> = parameters.chain(buffers).collect();
    if options.map.is_some() {
        let known: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(mapping) = map.entries.iter().find(|mapping| !known.contains(mapping.ours.as_str())) {
            return Err(format!("the map makes `{}`, which the model does not have", shown(&mapping.ours)));
        }
    }
    let mut rows = Vec::new();
    for (ours, shape) in wanted {
        let Some((mapping, index)) = found.get(ours.as_str()) else {
            let asked = options.map.is_some() && map.entries.iter().any(|mapping| mapping.ours == SCALE);
            if ours == SCALE && !asked {
                rows.push(Row { ours, shape, from: None });
                continue;
            }
            return Err(with_map(map, options, &ours, &format!("{shape:?} is missing")));
        };
        let tensor = &source.tensors[*index];
        let made = here(&tensor.shape, mapping);
        if made != shape {
            return Err(format!(
                "tensor `{}` has shape {:?}, which makes {made:?}; the model's `{ours}` is {shape:?}",
                shown(&tensor.name),
                tensor.shape
            ));
        }
        let from = Origin {
            name: tensor.name.clone(),
            dtype: tensor.dtype.to_string(),
            shape: tensor.shape.clone(),
            transposed: mapping.transpose,
        };
        rows.push(Row { ours, shape, from: Some(from) });
    }
    Ok(rows)
}

/// A message about a tensor of the model that also gives the name under which it was looked for in the file.
fn with_map(map: &NameMap, options: &Options, ours: &str, why: &str) -> String {
    let there = match map.entries.iter().find(|mapping| mapping.ours == ours) {
        Some(mapping) if mapping.theirs != ours => format!(" (`{}` in the file)", shown(&mapping.theirs)),
        Some(_) => String::new(),
        None if options.map.is_some() => " (the map does not make it)".to_owned(),
        None => " (a file with names other than Framewise's needs --map)".to_owned(),
    };
    format!("tensor `{ours}` {why}{there}")
}

fn unused(source: &Source, found: &Found<'_>, rows: &[Row]) -> Vec<String> {
    let used: BTreeSet<usize> = rows
        .iter()
        .filter_map(|row| {
            found.get(row.ours.as_str()).filter(|_| row.from.is_some()).map(|(_, index)| *index)
        })
        .collect();
    let tensors = source.tensors.iter().enumerate().filter(|(index, _)| !used.contains(index));
    let tensors =
        tensors.map(|(_, tensor)| format!("{} {} {:?}", shown(&tensor.name), tensor.dtype, tensor.shape));
    tensors.chain(source.others.iter().map(|name| shown(name))).collect()
}
