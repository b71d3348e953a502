//! A stage type from outside this workspace is used wherever a graph may name one, also in the graph that `evaluate` runs.

use std::path::PathBuf;

use framewise_pipeline::Settings;
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph::{self, Diagnostics, Loaded, Override};
use framewise_pipeline::prelude::*;
use framewise_stages::payload::{Lazy, Video, rows_of};
use framewise_stages::registry;

use crate::support::run::root;

/// The stage type `first_videos`, which passes on the first videos that it receives and drops the others.
struct FirstVideos {
    left: u64,
}

#[derive(Keys)]
struct Config {
    /// How many videos pass.
    #[key(range = 1.., required, unit = "videos")]
    videos: u64,
}

impl TransformType for FirstVideos {
    const NAME: &'static str = "first_videos";
    const DOC: &'static str = "Passes on the first videos and drops the others.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        let examples = rows_of::<Video>((12, 12));
        (
            InputPort::new::<Lazy<Video>>("examples", examples.clone()),
            OutputPort::new::<Lazy<Video>>("examples", examples, 8),
        )
    }

    fn new(config: Config, _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self { left: config.videos })
    }
}

impl Transform for FirstVideos {
    type In = Lazy<Video>;
    type Out = Lazy<Video>;

    fn process(&mut self, video: Lazy<Video>, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        if self.left > 0 {
            self.left -= 1;
            out.emit(video)?;
        }
        Ok(())
    }
}

/// A training graph whose `evaluate` runs a graph with a `first_videos` stage, in a directory of its own.
struct Training {
    directory: tempfile::TempDir,
}

impl Training {
    /// `videos` is the text of the stage's key of that name.
    fn new(videos: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(root().join("graphs/quickstart-video-eval.toml")).unwrap();
        let text = text.replace("\"../", &format!("\"{}/", root().display()));
        let inner = text.replace(
            "[stages.pool]\ntype = \"mean_pool\"\nfrom = \"decode\"",
            &format!(
                "[stages.first]\ntype = \"first_videos\"\nfrom = \"decode\"\nvideos = {videos}\n\n\
             [stages.pool]\ntype = \"mean_pool\"\nfrom = \"first\""
            ),
        );
        assert_ne!(inner, text, "the graph has its pool behind its decoder");
        std::fs::write(directory.path().join("inner.toml"), inner).unwrap();
        Self { directory }
    }

    fn load(&self, registry: &Registry) -> Result<Loaded, Diagnostics> {
        let inner = self.directory.path().join("inner.toml");
        let overrides = [
            "stages.videos.epochs=2".to_owned(),
            "stages.evaluate.every_epochs=1".to_owned(),
            format!("stages.evaluate.graph={}", inner.display()),
        ];
        let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
        graph::load(&root().join("graphs/quickstart-video.toml"), registry, &overrides)
    }

    fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }
}

#[test]
fn an_evaluated_graph_runs_with_a_stage_type_of_the_users() {
    let registry = registry().stage::<FirstVideos>();
    let training = Training::new("7");
    let graph = training.load(&registry).unwrap_or_else(|errors| panic!("{}", errors.render(false))).graph;
    std::fs::create_dir(training.run_dir()).unwrap();
    let options = RunOptions { run_dir: Some(training.run_dir()), ..RunOptions::default() };
    let outcome = Pipeline::build(&graph, &registry, &options).unwrap().run();
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    assert_eq!(outcome.results["videos"].to_bits(), 7f64.to_bits(), "{:?}", outcome.results);
}

#[test]
fn an_evaluated_graph_is_checked_with_the_stage_types_of_the_outer_graph() {
    let training = Training::new("7");
    let unknown = training.load(&registry()).unwrap_err().render(false);
    assert!(unknown.contains("there is no stage type `first_videos`"), "{unknown}");

    let wrong = Training::new("0").load(&registry().stage::<FirstVideos>()).unwrap_err().render(false);
    assert!(wrong.contains("`videos` of stage `first` must be"), "{wrong}");
}

#[test]
fn forward_finishes_on_request_only_where_it_trains() {
    let registry = registry();
    let with_mode = |mode: &str| {
        let mut settings = Settings::default();
        settings.values.insert("mode".into(), mode.into());
        settings
    };
    for name in ["nextvlad_forward", "logistic_forward", "mixture_of_experts_forward"] {
        let forward = registry.get(name).unwrap();
        assert!(forward.finishes_on_request(&with_mode("train")), "{name}");
        assert!(!forward.finishes_on_request(&with_mode("evaluate")), "{name}");
    }
    let others = registry.iter().filter(|c| !c.type_name().ends_with("_forward"));
    let finishing: Vec<_> = others.filter(|c| c.finishes_on_request(&with_mode("train"))).collect();
    assert!(finishing.is_empty());
}
