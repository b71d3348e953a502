//! NeXtVLAD (Lin, Xiao, Fan, ECCV 2018 YouTube-8M workshop), put together from its parts.

use candle_core::{Result, Tensor};

use super::classify::{Classifier, Running, Trace};
use super::norm::{self, Norm};
use super::vlad::{self, Branch, Path, Statistics};
use super::{
    BatchMoments, BufferSpec, CentersFanIn, DeviceBatch, Dropout, DropoutMode, Init, Model, NextVladConfig,
    ParameterSpec, TrainForward, Weights, loss, moments,
};

/// Added to the audio features, and to them alone: half a quantisation step of the reference readers.
const AUDIO_OFFSET: f64 = 4.0 / 512.0;

/// Parameters of one modality, and those of the classifier after both; buffers likewise.
const BRANCH_PARAMETERS: usize = 10;
const BRANCH_BUFFERS: usize = 4;

/// Which implementation computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kernels {
    /// Fused kernels on the CPU, plain operations elsewhere.
    #[default]
    Auto,
    /// Plain tensor operations everywhere: slow on the CPU, there to test the kernels against.
    Plain,
    /// As `Auto`, with the assignment always computed through the product of its weights (see `vlad::fused`).
    Folded,
    /// As `Auto`, with the assignment never computed so.
    Unfolded,
}

/// The model: its configuration and which kernels compute it.
#[derive(Clone, Debug, PartialEq)]
pub struct NextVlad {
    /// Shape and choices; sound, see [`NextVladConfig::check`].
    pub config: NextVladConfig,
    /// Which implementation computes; both give the same numbers up to rounding.
    pub kernels: Kernels,
}

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

/// Sizes of one modality.
struct Sizes {
    input: usize,
    expanded: usize,
    groups: usize,
    clusters: usize,
    width: usize,
}

impl NextVlad {
    /// The model of a configuration; fails with everything [`NextVladConfig::check`] finds.
    pub fn new(config: NextVladConfig) -> Result<Self> {
        let errors = config.check();
        if !errors.is_empty() {
            candle_core::bail!("this NeXtVLAD cannot be: {}", errors.join("; "));
        }
        Ok(Self { config, kernels: Kernels::Auto })
    }

    fn sizes(&self, side: Side) -> Sizes {
        let config = &self.config;
        let (input, groups, clusters) = match side {
            Side::Rgb => (config.rgb_size, config.groups, config.clusters),
            Side::Audio => (config.audio_size, config.audio_groups, config.audio_clusters),
        };
        let expanded = config.expansion * input;
        Sizes { input, expanded, groups, clusters, width: expanded / groups }
    }

    /// ΣDK, the width of the joined descriptors and so of a dropout mask.
    pub fn descriptor_size(&self) -> usize {
        Side::BOTH.map(|side| self.sizes(side)).iter().map(|sizes| sizes.width * sizes.clusters).sum()
    }

    fn fused(&self, batch: &DeviceBatch) -> bool {
        self.kernels != Kernels::Plain && batch.rgb.device().is_cpu()
    }

    fn path(&self, fused: bool) -> Path {
        match (fused, self.kernels) {
            (false, _) => Path::Plain,
            (true, Kernels::Folded) => Path::Fused { fold: Some(true) },
            (true, Kernels::Unfolded) => Path::Fused { fold: Some(false) },
            (true, _) => Path::Fused { fold: None },
        }
    }

    fn branch(&self, side: Side, parameters: &[Tensor]) -> Branch {
        let sizes = self.sizes(side);
        let at = |index: usize| parameters[BRANCH_PARAMETERS * side as usize + index].clone();
        Branch {
            expand_weight: at(0),
            expand_bias: at(1),
            attention_weight: at(2),
            attention_bias: at(3),
            assign_weight: at(4),
            norm_weight: at(5),
            norm_bias: at(6),
            centers: at(7),
            groups: sizes.groups,
            clusters: sizes.clusters,
            epsilon: self.config.norm_epsilon,
        }
    }

    fn classifier(&self, parameters: &[Tensor]) -> Classifier {
        let at = |index: usize| parameters[2 * BRANCH_PARAMETERS + index].clone();
        Classifier {
            hidden: at(0),
            hidden_norm: (at(1), at(2)),
            gate1: at(3),
            gate1_norm: (at(4), at(5)),
            gate2: at(6),
            weight: at(7),
            bias: at(8),
            epsilon: self.config.norm_epsilon,
        }
    }

    /// Refuses weights of another shape than this model's, so that what follows may index them.
    fn check(&self, weights: &Weights, batch: &DeviceBatch) -> Result<()> {
        batch.check(self.config.rgb_size, self.config.audio_size)?;
        let longest = batch.lengths.iter().copied().max().unwrap_or(0);
        if longest > self.config.max_frames {
            candle_core::bail!("a video of {longest} frames; the model takes {}", self.config.max_frames);
        }
        let own = self.parameters().into_iter().map(|spec| (spec.name, spec.shape));
        let own = own.chain(self.buffers().into_iter().map(|spec| (spec.name, spec.shape)));
        let given = weights.parameters.iter().map(|parameter| parameter.dims());
        let given = given.chain(weights.buffers.iter().map(|buffer| buffer.dims()));
        let count = weights.parameters.len() + weights.buffers.len();
        let expected = 2 * (BRANCH_PARAMETERS + BRANCH_BUFFERS) + 9 + 5;
        if count != expected {
            candle_core::bail!("{count} tensors of weights, the model has {expected}");
        }
        for ((name, shape), given) in own.zip(given) {
            if shape != given {
                candle_core::bail!("weights hold `{name}` as {given:?}, the model as {shape:?}");
            }
        }
        Ok(())
    }

    /// Features [N, F] of one modality.
    pub(super) fn features(&self, side: Side, weights: &Weights, batch: &DeviceBatch) -> Result<Tensor> {
        let dtype = weights.buffers[0].dtype();
        let fused = self.fused(batch);
        match side {
            Side::Rgb => {
                let scale = &weights.buffers[2 * BRANCH_BUFFERS + 4];
                vlad::dequantize(&batch.rgb, 0.0, Some(scale), dtype, fused)
            }
            Side::Audio => vlad::dequantize(&batch.audio, AUDIO_OFFSET, None, dtype, fused),
        }
    }

    /// [`Model::forward_train`], showing intermediate values by their golden names to `trace`.
    pub fn trace_train(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
        trace: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<TrainForward> {
        self.check(weights, batch)?;
        let fused = self.fused(batch);
        let parameters: Vec<Tensor> = weights.parameters.iter().map(|var| var.as_tensor().clone()).collect();
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for side in Side::BOTH {
            let x = self.features(side, weights, batch)?;
            trace(&format!("{}.features", side.name()), &x);
            let branch = self.branch(side, &parameters);
            let padded_rows =
                if self.config.pad_to == 0 { 0 } else { self.config.pad_to * batch.videos() - x.dim(0)? };
            let statistics = Statistics::Batch { padded_rows };
            let (v, assign) = vlad::cluster(&branch, &x, &batch.lengths, &statistics, self.path(fused))?;
            layers.extend(assign);
            let norm = |u: &Tensor| {
                let at = BRANCH_PARAMETERS * side as usize;
                let (weight, bias) = (&parameters[at + 8], &parameters[at + 9]);
                norm::train(u, &Norm { weight, bias, epsilon: self.config.norm_epsilon }, fused)
            };
            let (u, moments) = self.describe(side, &v, fused, trace, norm)?;
            layers.push(moments);
            descriptors.push(u);
        }
        let mut z = Tensor::cat(&descriptors, 1)?;
        let factors =
            dropout.factors(self.config.dropout, self.config.drop_rate, z.dims2()?, z.dtype(), z.device())?;
        if let Some(factors) = factors {
            z = z.mul(&factors)?;
        }
        let (logits, rest) = self.classifier(&parameters).forward(&z, None, fused, trace)?;
        layers.extend(rest);
        Ok(TrainForward { logits, moments: BatchMoments { layers } })
    }

    /// [`Model::forward_eval`], showing intermediate values by their golden names to `trace`.
    pub fn trace_eval(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        trace: &mut dyn FnMut(&str, &Tensor),
    ) -> Result<Tensor> {
        self.check(weights, batch)?;
        let fused = self.fused(batch);
        // Detached, so that no operation records a tape.
        let parameters: Vec<Tensor> = weights.parameters.iter().map(|var| var.as_detached_tensor()).collect();
        let mut descriptors = Vec::new();
        for side in Side::BOTH {
            let x = self.features(side, weights, batch)?;
            trace(&format!("{}.features", side.name()), &x);
            let branch = self.branch(side, &parameters);
            let running = &weights.buffers[BRANCH_BUFFERS * side as usize..];
            let statistics = Statistics::Running { mean: &running[0], variance: &running[1] };
            let (v, _) = vlad::cluster(&branch, &x, &batch.lengths, &statistics, self.path(fused))?;
            let norm = |u: &Tensor| {
                let at = BRANCH_PARAMETERS * side as usize;
                let (weight, bias) = (&parameters[at + 8], &parameters[at + 9]);
                let norm = Norm { weight, bias, epsilon: self.config.norm_epsilon };
                Ok((norm::eval(u, &norm, &running[2], &running[3])?, ()))
            };
            descriptors.push(self.describe(side, &v, fused, trace, norm)?.0);
        }
        let mut z = Tensor::cat(&descriptors, 1)?;
        if self.config.dropout == DropoutMode::DownscaleInEval && self.config.drop_rate > 0.0 {
            z = z.affine(1.0 - self.config.drop_rate, 0.0)?;
        }
        let rest = &weights.buffers[2 * BRANCH_BUFFERS..];
        let running = Running { hidden: (&rest[0], &rest[1]), gate1: (&rest[2], &rest[3]) };
        Ok(self.classifier(&parameters).forward(&z, Some(&running), fused, trace)?.0)
    }

    /// Residuals to descriptor: length one per cluster, then batch norm.
    fn describe<M>(
        &self,
        side: Side,
        v: &Tensor,
        fused: bool,
        trace: Trace,
        norm: impl FnOnce(&Tensor) -> Result<(Tensor, M)>,
    ) -> Result<(Tensor, M)> {
        let u = vlad::normalize(v, self.config.l2_norm, fused)?;
        trace(&format!("{}.vlad_l2", side.name()), &u);
        let (u, moments) = norm(&u)?;
        trace(&format!("{}.vlad_norm", side.name()), &u);
        Ok((u, moments))
    }
}

impl Model for NextVlad {
    fn name(&self) -> &'static str {
        "nextvlad"
    }

    fn describe(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.name(), "config": self.config })
    }

    fn classes(&self) -> usize {
        self.config.classes
    }

    fn rgb_size(&self) -> usize {
        self.config.rgb_size
    }

    fn audio_size(&self) -> usize {
        self.config.audio_size
    }

    /// `rgb.*`, `audio.*`, then the hidden layer, the gate and the classifier.
    fn parameters(&self) -> Vec<ParameterSpec> {
        // He et al. 2015, with fan_in the input width.
        let normal = |fan_in: usize| Init::Normal { variance: 2.0 / fan_in as f64 };
        let mut specs = Vec::new();
        let mut add = |name: String, shape: &[usize], init: Init| {
            specs.push(ParameterSpec { name, shape: shape.to_vec(), init });
        };
        for side in Side::BOTH {
            let Sizes { input, expanded, groups, clusters, width } = self.sizes(side);
            let centers_fan_in = match self.config.centers_fan_in {
                CentersFanIn::Clusters => clusters,
                CentersFanIn::Width => width,
            };
            let name = |part: &str| format!("{}.{part}", side.name());
            add(name("expand.weight"), &[expanded, input], normal(input));
            add(name("expand.bias"), &[expanded], Init::Zeros);
            add(name("attention.weight"), &[groups, expanded], normal(expanded));
            add(name("attention.bias"), &[groups], Init::Zeros);
            add(name("assign.weight"), &[groups * clusters, expanded], normal(expanded));
            add(name("assign_norm.weight"), &[groups * clusters], Init::Ones);
            add(name("assign_norm.bias"), &[groups * clusters], Init::Zeros);
            add(name("centers"), &[clusters, width], normal(centers_fan_in));
            add(name("vlad_norm.weight"), &[width * clusters], Init::Ones);
            add(name("vlad_norm.bias"), &[width * clusters], Init::Zeros);
        }
        let (hidden, descriptor) = (self.config.hidden, self.descriptor_size());
        let bottleneck = hidden / self.config.gating_reduction;
        add("hidden.weight".into(), &[hidden, descriptor], normal(descriptor));
        add("hidden_norm.weight".into(), &[hidden], Init::Ones);
        add("hidden_norm.bias".into(), &[hidden], Init::Zeros);
        add("gate1.weight".into(), &[bottleneck, hidden], normal(hidden));
        add("gate1_norm.weight".into(), &[bottleneck], Init::Ones);
        add("gate1_norm.bias".into(), &[bottleneck], Init::Zeros);
        add("gate2.weight".into(), &[hidden, bottleneck], normal(bottleneck));
        add("classifier.weight".into(), &[self.config.classes, hidden], normal(hidden));
        add("classifier.bias".into(), &[self.config.classes], Init::Zeros);
        specs
    }

    /// Running mean and variance of every batch norm in the order of [`BatchMoments`], then `input.rgb_scale`.
    fn buffers(&self) -> Vec<BufferSpec> {
        let mut specs = Vec::new();
        let mut add = |norm: String, size: usize| {
            for (part, fill) in [("running_mean", 0.0), ("running_var", 1.0)] {
                specs.push(BufferSpec { name: format!("{norm}.{part}"), shape: vec![size], fill });
            }
        };
        for side in Side::BOTH {
            let sizes = self.sizes(side);
            add(format!("{}.assign_norm", side.name()), sizes.groups * sizes.clusters);
            add(format!("{}.vlad_norm", side.name()), sizes.width * sizes.clusters);
        }
        add("hidden_norm".into(), self.config.hidden);
        add("gate1_norm".into(), self.config.hidden / self.config.gating_reduction);
        let scale =
            BufferSpec { name: "input.rgb_scale".into(), shape: vec![self.config.rgb_size], fill: 1.0 };
        specs.push(scale);
        specs
    }

    fn forward_train(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<TrainForward> {
        self.trace_train(weights, batch, dropout, &mut |_, _| {})
    }

    fn intermediates(
        &self,
        weights: &Weights,
        batch: &DeviceBatch,
        dropout: &Dropout,
    ) -> Result<Vec<(String, Tensor)>> {
        self.intermediates_in_order(weights, batch, dropout)
    }

    fn forward_eval(&self, weights: &Weights, batch: &DeviceBatch) -> Result<Tensor> {
        self.trace_eval(weights, batch, &mut |_, _| {})
    }

    fn loss(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let fused = self.kernels != Kernels::Plain && logits.device().is_cpu();
        loss::loss(logits, labels, self.config.loss, fused)
    }

    fn fold_moments(&self, weights: &Weights, shards: &[&BatchMoments]) -> Result<Vec<Tensor>> {
        moments::fold(&self.config, weights, shards)
    }
}
