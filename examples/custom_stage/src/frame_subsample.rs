//! `frame_subsample`: keeps every n-th frame of a video.

use framewise_pipeline::prelude::*;
use framewise_stages::payload::{Lazy, Video};

/// The keys of the stage, as a graph gives them.
#[derive(Clone, Copy, Keys)]
pub struct Config {
    /// One frame of so many is kept.
    #[key(range = 1..=1 << 20, default = 2, unit = "frames")]
    every: usize,
    /// Frames before the first one that is kept. A video that is not longer keeps its last frame.
    #[key(range = 0..=1 << 20, default = 0, unit = "frames")]
    offset: usize,
}

/// The stage type.
pub struct FrameSubsample {
    config: Config,
}

impl TransformType for FrameSubsample {
    const NAME: &'static str = "frame_subsample";
    const DOC: &'static str = "Keeps every n-th frame of each video, so that a training step costs less. Ids and labels \
                               stay as they are.";
    type Config = Config;

    fn ports(_config: &Config) -> (InputPort, OutputPort) {
        // The name of a dimension stands for any size. Videos without frames have no tensor `rgb`, so `check` refuses them.
        let frames = vec![Dim::Named("frames"), Dim::Named("rgb_size")];
        let wanted = PayloadType::of::<Video>().tensor("rgb", "u8", frames);
        (
            InputPort::new::<Lazy<Video>>("examples", wanted),
            OutputPort::of::<Lazy<Video>>("examples", 64).shaped_like("examples"),
        )
    }

    fn new(config: Config, _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self { config })
    }
}

impl Transform for FrameSubsample {
    type In = Lazy<Video>;
    type Out = Lazy<Video>;

    fn process(&mut self, video: Lazy<Video>, out: &mut Emitter<'_, Lazy<Video>>) -> Result<(), StageError> {
        // A run that goes on from a checkpoint passes the videos that it has used up without reading them: the work is
        // done when somebody reads the video.
        let config = self.config;
        out.emit(video.map(move |video| config.subsample(video))?)
    }
}

impl Config {
    fn subsample(self, video: Video) -> Result<Video, Failure> {
        let Video::Frames(mut example) = video else {
            return Err(Failure::internal("frame_subsample was sent a video without frames"));
        };
        let first = self.offset.min(example.frames - 1);
        let kept = (first..example.frames).step_by(self.every);
        example.rgb = example.rgb.select(kept.clone());
        example.audio = example.audio.select(kept);
        example.frames = example.rgb.len();
        Ok(Video::Frames(example))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, mpsc};

    use framewise_pipeline::engine::Status;
    use framewise_pipeline::testing::{GraphBuilder, items};
    use framewise_stages::payload::{Deferred, Example, Origin, Rows};

    use super::*;

    /// A video whose frame `i` has the features [i, 100 + i] and the audio feature [200 + i].
    fn video(id: &str, frames: u8) -> Video {
        Video::Frames(Example {
            id: id.to_owned(),
            labels: vec![3],
            frames: frames.into(),
            rgb: Rows::packed((0..frames).flat_map(|i| [i, 100 + i]).collect::<Vec<_>>(), frames.into()),
            audio: Rows::packed((0..frames).map(|i| 200 + i).collect::<Vec<_>>(), frames.into()),
            origin: origin(),
        })
    }

    fn origin() -> Origin {
        Origin { file: Arc::from(Path::new("videos.tfrecord")), record: 0, byte: 0 }
    }

    /// Runs the stage on a video of seven frames, one of a single frame behind the end of an epoch, and one that is not
    /// read yet; what comes out as lines.
    fn outcome(config: Config) -> Vec<String> {
        let mut graph = GraphBuilder::new();
        graph.source("videos", |mut output: Output<Lazy<Video>>| {
            output.send(Lazy::ready(0, video("seven", 7)))?;
            output.mark(Mark::EpochEnd { epoch: 0 })?;
            output.send(Lazy::ready(1, video("one", 1)))?;
            let unread = Deferred { origin: origin(), load: Arc::new(|_| Ok(video("unread", 4))), bytes: 0 };
            output.send(Lazy::deferred(2, unread))
        });
        graph.typed::<FrameSubsample>("subsample", config);
        let (lines, received) = mpsc::channel();
        graph.sink("collect", move |mut input: Input<Lazy<Video>>| {
            loop {
                let line = match input.recv()? {
                    Packet::Item(video) => {
                        let Video::Frames(example) = video.load()? else {
                            unreachable!("no video of means is sent")
                        };
                        let Example { id, labels, frames, rgb, audio, .. } = example;
                        format!("{id} {labels:?} {frames}: {:?} {:?}", rgb.to_vec(), audio.to_vec())
                    }
                    Packet::Mark(_) => "end of epoch".to_owned(),
                    Packet::End => return Ok(()),
                };
                lines.send(line).expect("the test waits for the lines");
            }
        });
        graph.edge("videos.output", "subsample.examples", items(1));
        graph.edge("subsample.examples", "collect.input", items(1));
        assert!(matches!(graph.run().status, Status::Done));
        received.iter().collect()
    }

    #[test]
    fn every_third_frame_from_the_second_on() {
        let expected = [
            "seven [3] 2: [1, 101, 4, 104] [201, 204]",
            "end of epoch",
            "one [3] 1: [0, 100] [200]",
            "unread [3] 1: [1, 101] [201]",
        ];
        assert_eq!(outcome(Config { every: 3, offset: 1 }), expected);
    }

    #[test]
    fn with_every_frame_nothing_changes() {
        let lines = outcome(Config { every: 1, offset: 0 });
        assert_eq!(lines[2], "one [3] 1: [0, 100] [200]");
        assert_eq!(lines[3], "unread [3] 4: [0, 100, 1, 101, 2, 102, 3, 103] [200, 201, 202, 203]");
    }
}
