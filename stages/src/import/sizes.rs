//! The sizes of a NeXtVLAD, taken from the shapes of its tensors.
//!
//! Law: the shapes alone give the sizes. Where shapes disagree, the error names the tensor that does not fit the
//! others.

use std::collections::BTreeMap;

use crate::model::{MAX_SIZE, NextVladConfig};

/// The configuration with the sizes of these tensors. Choices that show in no shape are those of the preset `paddle`.
///
/// # Errors
/// The name of a tensor that is missing, or whose shape no model has, and what is wrong with it.
pub(super) fn sizes(shapes: &BTreeMap<&str, Vec<usize>>) -> Result<NextVladConfig, (&'static str, String)> {
    let size = |name: &'static str, axis: usize| match shapes.get(name).map(Vec::as_slice) {
        Some(shape @ [_, _]) if (1..=MAX_SIZE).contains(&shape[axis]) => Ok(shape[axis]),
        Some(shape) => Err((name, format!("has shape {shape:?}, which is not that of a matrix"))),
        None => Err((name, "is missing".to_owned())),
    };
    let whole = |name: &'static str, larger: usize, smaller: usize| {
        if larger.is_multiple_of(smaller) {
            Ok(larger / smaller)
        } else {
            let shape = &shapes[name];
            Err((name, format!("has shape {shape:?}, and {larger} is not a multiple of {smaller}")))
        }
    };
    let rgb_size = size("rgb.expand.weight", 1)?;
    let hidden = size("hidden.weight", 0)?;
    Ok(NextVladConfig {
        rgb_size,
        audio_size: size("audio.expand.weight", 1)?,
        classes: size("classifier.weight", 0)?,
        clusters: size("rgb.centers", 0)?,
        audio_clusters: size("audio.centers", 0)?,
        groups: size("rgb.attention.weight", 0)?,
        audio_groups: size("audio.attention.weight", 0)?,
        hidden,
        expansion: whole("rgb.expand.weight", size("rgb.expand.weight", 0)?, rgb_size)?,
        gating_reduction: whole("gate1.weight", hidden, size("gate1.weight", 0)?)?,
        ..NextVladConfig::paddle()
    })
}
