//! The order and the names of NeXtVLAD's tensors.
//!
//! Law: the order never changes, because weights files, gradients and Adam's moments hold the tensors in this order.

use std::ops::Index;

use candle_core::{Result, Tensor};

use super::config::{CentersFanIn, NextVladConfig};
use crate::kernels::branch::Branch;
use crate::model::definition::{BufferSpec, Init, ParameterSpec, Weights};

/// The number that is added to the audio features only: half a quantisation step of the reference readers.
pub(super) const AUDIO_OFFSET: f64 = 4.0 / 512.0;

/// One of the two modalities.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Rgb,
    Audio,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Rgb, Self::Audio];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rgb => "rgb",
            Self::Audio => "audio",
        }
    }
}

/// The sizes of one modality.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// F, the features of a frame.
    pub(super) input: usize,
    /// E, the expanded width.
    pub(super) expanded: usize,
    /// G.
    pub(super) groups: usize,
    /// K.
    pub(super) clusters: usize,
    /// D = E / G, the width of a center.
    pub(super) width: usize,
}

impl Sizes {
    pub(super) fn of(config: &NextVladConfig, side: Side) -> Self {
        let (input, groups, clusters) = match side {
            Side::Rgb => (config.rgb_size, config.groups, config.clusters),
            Side::Audio => (config.audio_size, config.audio_groups, config.audio_clusters),
        };
        let expanded = config.expansion * input;
        Self { input, expanded, groups, clusters, width: expanded / groups }
    }

    /// D·K, the width of the modality's descriptor.
    pub(super) fn descriptor(self) -> usize {
        self.width * self.clusters
    }
}

/// The place of a parameter among those of the model.
#[derive(Clone, Copy)]
pub(super) struct Parameter(usize);

/// The place of a buffer among those of the model.
#[derive(Clone, Copy)]
pub(super) struct Buffer(usize);

/// The places of a batch norm's scale and shift and of its running statistics.
pub(super) struct NormLayout {
    pub(super) weight: Parameter,
    pub(super) bias: Parameter,
    pub(super) mean: Buffer,
    pub(super) variance: Buffer,
}

/// The places of one modality's tensors.
pub(super) struct BranchLayout {
    pub(super) side: Side,
    sizes: Sizes,
    expand_weight: Parameter,
    expand_bias: Parameter,
    attention_weight: Parameter,
    attention_bias: Parameter,
    assign_weight: Parameter,
    pub(super) assign_norm: NormLayout,
    centers: Parameter,
    pub(super) vlad_norm: NormLayout,
}

/// The places of the tensors behind both modalities.
pub(super) struct HeadLayout {
    pub(super) hidden: Parameter,
    pub(super) hidden_norm: NormLayout,
    pub(super) gate1: Parameter,
    pub(super) gate1_norm: NormLayout,
    pub(super) gate2: Parameter,
    pub(super) classifier_weight: Parameter,
    pub(super) classifier_bias: Parameter,
}

/// Every tensor of the model, with its name, its shape, the way in which it begins, and its place.
pub(super) struct Layout {
    /// `rgb`, then `audio`.
    pub(super) branches: [BranchLayout; 2],
    pub(super) head: HeadLayout,
    /// The factors of the visual features.
    pub(super) rgb_scale: Buffer,
    /// The parameters in their order.
    pub(super) parameters: Vec<ParameterSpec>,
    /// The buffers in their order: running mean and variance of every batch norm, in the order in which the forward
    /// pass meets them, then `input.rgb_scale`.
    pub(super) buffers: Vec<BufferSpec>,
}

impl Layout {
    /// The layout of a sound configuration.
    pub(super) fn of(config: &NextVladConfig) -> Self {
        let mut specs = Specs::default();
        let branches = Side::BOTH.map(|side| specs.branch(config, side));
        let head = specs.head(config);
        let rgb_scale = specs.buffer("input.rgb_scale".into(), config.rgb_size, 1.0);
        let Specs { parameters, buffers } = specs;
        Self { branches, head, rgb_scale, parameters, buffers }
    }

    /// Refuses weights of another shape than the model's, so that every place finds its tensor.
    pub(super) fn check(&self, weights: &Weights) -> Result<()> {
        let parameters = self.parameters.iter().map(|spec| (&spec.name, &spec.shape));
        let own = parameters.chain(self.buffers.iter().map(|spec| (&spec.name, &spec.shape)));
        let given = weights.parameters.iter().map(|parameter| parameter.dims());
        let given = given.chain(weights.buffers.iter().map(|buffer| buffer.dims()));
        let counts = [weights.parameters.len(), weights.buffers.len()];
        let expected = [self.parameters.len(), self.buffers.len()];
        if counts != expected {
            candle_core::bail!(
                "{counts:?} parameters and buffers in the weights, the model has {expected:?}"
            );
        }
        for ((name, shape), given) in own.zip(given) {
            if shape != given {
                candle_core::bail!("weights hold `{name}` as {given:?}, the model as {shape:?}");
            }
        }
        Ok(())
    }
}

/// The tensors of one version of the weights that [`Layout::check`] accepted, fetched by their places.
pub(super) struct Fetch<'a> {
    /// The parameters, with their tape in training and without it in evaluation.
    pub(super) parameters: Vec<Tensor>,
    pub(super) buffers: &'a [Tensor],
}

impl Index<Parameter> for Fetch<'_> {
    type Output = Tensor;

    fn index(&self, place: Parameter) -> &Tensor {
        &self.parameters[place.0]
    }
}

impl Index<Buffer> for Fetch<'_> {
    type Output = Tensor;

    fn index(&self, place: Buffer) -> &Tensor {
        &self.buffers[place.0]
    }
}

impl BranchLayout {
    /// The parameters that cluster this modality's frames.
    pub(super) fn branch(&self, tensors: &Fetch, epsilon: f64) -> Branch {
        let at = |place: Parameter| tensors[place].clone();
        Branch {
            expand_weight: at(self.expand_weight),
            expand_bias: at(self.expand_bias),
            attention_weight: at(self.attention_weight),
            attention_bias: at(self.attention_bias),
            assign_weight: at(self.assign_weight),
            norm_weight: at(self.assign_norm.weight),
            norm_bias: at(self.assign_norm.bias),
            centers: at(self.centers),
            groups: self.sizes.groups,
            clusters: self.sizes.clusters,
            epsilon,
        }
    }
}

/// A builder of the layout, with the tensors so far. Every method adds tensors in the order of its body, and returns
/// their places.
#[derive(Default)]
struct Specs {
    parameters: Vec<ParameterSpec>,
    buffers: Vec<BufferSpec>,
}

impl Specs {
    fn parameter(&mut self, name: String, shape: &[usize], init: Init) -> Parameter {
        self.parameters.push(ParameterSpec { name, shape: shape.to_vec(), init });
        Parameter(self.parameters.len() - 1)
    }

    fn buffer(&mut self, name: String, size: usize, fill: f32) -> Buffer {
        self.buffers.push(BufferSpec { name, shape: vec![size], fill });
        Buffer(self.buffers.len() - 1)
    }

    fn norm(&mut self, name: &str, size: usize) -> NormLayout {
        NormLayout {
            weight: self.parameter(format!("{name}.weight"), &[size], Init::Ones),
            bias: self.parameter(format!("{name}.bias"), &[size], Init::Zeros),
            mean: self.buffer(format!("{name}.running_mean"), size, 0.0),
            variance: self.buffer(format!("{name}.running_var"), size, 1.0),
        }
    }

    fn branch(&mut self, config: &NextVladConfig, side: Side) -> BranchLayout {
        let sizes = Sizes::of(config, side);
        let Sizes { input, expanded, groups, clusters, width } = sizes;
        let centers_fan_in = match config.centers_fan_in {
            CentersFanIn::Clusters => clusters,
            CentersFanIn::Width => width,
        };
        let name = |part: &str| format!("{}.{part}", side.name());
        BranchLayout {
            side,
            sizes,
            expand_weight: self.parameter(name("expand.weight"), &[expanded, input], normal(input)),
            expand_bias: self.parameter(name("expand.bias"), &[expanded], Init::Zeros),
            attention_weight: self.parameter(name("attention.weight"), &[groups, expanded], normal(expanded)),
            attention_bias: self.parameter(name("attention.bias"), &[groups], Init::Zeros),
            assign_weight: self.parameter(
                name("assign.weight"),
                &[groups * clusters, expanded],
                normal(expanded),
            ),
            assign_norm: self.norm(&name("assign_norm"), groups * clusters),
            centers: self.parameter(name("centers"), &[clusters, width], normal(centers_fan_in)),
            vlad_norm: self.norm(&name("vlad_norm"), sizes.descriptor()),
        }
    }

    fn head(&mut self, config: &NextVladConfig) -> HeadLayout {
        let (hidden, classes) = (config.hidden, config.classes);
        let descriptor = Side::BOTH.map(|side| Sizes::of(config, side).descriptor()).iter().sum();
        let bottleneck = hidden / config.gating_reduction;
        HeadLayout {
            hidden: self.parameter("hidden.weight".into(), &[hidden, descriptor], normal(descriptor)),
            hidden_norm: self.norm("hidden_norm", hidden),
            gate1: self.parameter("gate1.weight".into(), &[bottleneck, hidden], normal(hidden)),
            gate1_norm: self.norm("gate1_norm", bottleneck),
            gate2: self.parameter("gate2.weight".into(), &[hidden, bottleneck], normal(bottleneck)),
            classifier_weight: self.parameter("classifier.weight".into(), &[classes, hidden], normal(hidden)),
            classifier_bias: self.parameter("classifier.bias".into(), &[classes], Init::Zeros),
        }
    }
}

/// The initial values of He et al. 2015, where `fan_in` is the input width.
fn normal(fan_in: usize) -> Init {
    Init::Normal { variance: 2.0 / fan_in as f64 }
}
