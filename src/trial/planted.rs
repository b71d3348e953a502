//! Stage types whose work is sleep, so that what limits a graph of them is planted, and does not depend on how many others
//! share the machine. What one sleep takes too long, the next ones take less.

use std::time::Duration;

use framewise_pipeline::Site;
use framewise_pipeline::graph::{Loaded, load_str};
use framewise_pipeline::prelude::*;
use framewise_pipeline::testing::Sleeper;

/// The table of the stage types of this file.
pub(crate) fn registry() -> Registry {
    Registry::new().stage::<Source>().stage::<Work>().stage::<Sink>()
}

/// A graph of these types.
pub(crate) fn graph(text: &str) -> Loaded {
    load_str(std::path::Path::new("planted.toml"), text, &registry(), &[])
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

/// A graph videos → decode → out of `items` items, with the microseconds that each stage sleeps for an item. The source
/// sleeps `burst` times as long before every `burst`-th item, and not for the others.
pub(crate) fn chain(items: u64, [videos, decode, out]: [u64; 3], burst: u64, capacity: u64) -> String {
    format!(
        "[graph]\nseed = 1\n\n\
         [stages.videos]\ntype = \"source\"\nitems = {items}\nsleep = {videos}\nburst = {burst}\ncapacity = {capacity}\n\n\
         [stages.decode]\ntype = \"work\"\nfrom = \"videos\"\nsleep = {decode}\ncapacity = 4\n\n\
         [stages.out]\ntype = \"sink\"\nfrom = \"decode\"\nsleep = {out}\n"
    )
}

#[derive(Clone)]
pub(crate) struct Item;

impl Payload for Item {
    const NAME: &'static str = "items";

    fn byte_len(&self) -> usize {
        1000
    }
}

struct Source;

#[derive(Keys)]
struct SourceConfig {
    /// The items.
    #[key(range = 1.., default = 1000)]
    items: u64,
    /// The microseconds for an item.
    #[key(range = 0.., default = 0)]
    sleep: u64,
    /// The number of items for which the source sleeps at once.
    #[key(range = 1.., default = 1)]
    burst: u64,
}

impl StageType for Source {
    const NAME: &'static str = "source";
    const DOC: &'static str = "Sends items.";
    type Config = SourceConfig;

    fn ports(_config: &SourceConfig) -> Ports {
        Ports { inputs: vec![], outputs: vec![OutputPort::of::<Item>("items", 4)] }
    }

    fn estimate(config: &SourceConfig, _site: &Site<'_>, _flows: &Flows) -> Option<Estimate> {
        let (items, epochs) = (Some(config.items), Some(1));
        let flow = Flow { items, exact: true, epochs, bytes: Some(1000), ..Flow::default() };
        Some(Estimate::default().holds("an item", 1000).sends("items", flow))
    }

    fn build(
        config: SourceConfig,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let output = wiring.output("items")?;
        Ok(Box::new(Sending { config, output }))
    }
}

struct Sending {
    config: SourceConfig,
    output: Output<Item>,
}

impl Stage for Sending {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let mut sleeper = Sleeper::default();
        for index in 0..self.config.items {
            if index.is_multiple_of(self.config.burst) {
                sleeper.sleep(Duration::from_micros(self.config.sleep * self.config.burst));
            }
            self.output.send(Item)?;
        }
        Ok(())
    }
}

struct Work {
    config: WorkConfig,
    sleeper: Sleeper,
}

#[derive(Keys)]
struct WorkConfig {
    /// The microseconds for an item.
    #[key(range = 0.., default = 0)]
    sleep: u64,
    /// The threads that share the items.
    #[key(range = 1..=64, default = 1)]
    workers: u64,
}

impl TransformType for Work {
    const NAME: &'static str = "work";
    const DOC: &'static str = "Works on items.";
    type Config = WorkConfig;

    fn ports(_config: &WorkConfig) -> (InputPort, OutputPort) {
        (InputPort::of::<Item>("items"), OutputPort::of::<Item>("items", 4))
    }

    fn estimate(_config: &WorkConfig, _site: &Site<'_>, flows: &Flows) -> Option<Estimate> {
        Some(Estimate::default().sends("items", flows.of("items")))
    }

    fn new(config: WorkConfig, _context: &StageContext) -> Result<Self, Failure> {
        Ok(Self { config, sleeper: Sleeper::default() })
    }
}

impl Transform for Work {
    type In = Item;
    type Out = Item;

    fn process(&mut self, item: Item, out: &mut Emitter<'_, Item>) -> Result<(), StageError> {
        // This is what workers that share the items bring.
        self.sleeper.sleep(Duration::from_micros(self.config.sleep / self.config.workers));
        out.emit(item)
    }
}

/// A sink whose estimate is not told.
struct Sink;

#[derive(Keys)]
struct SinkConfig {
    /// The microseconds for an item.
    #[key(range = 0.., default = 0)]
    sleep: u64,
    /// A file that is written at once.
    #[key(output)]
    path: Option<std::path::PathBuf>,
}

struct Receiving {
    config: SinkConfig,
    input: Input<Item>,
}

impl StageType for Sink {
    const NAME: &'static str = "sink";
    const DOC: &'static str = "Takes items.";
    type Config = SinkConfig;

    fn ports(_config: &SinkConfig) -> Ports {
        Ports { inputs: vec![InputPort::of::<Item>("items")], outputs: vec![] }
    }

    fn build(
        config: SinkConfig,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        if let Some(path) = &config.path {
            std::fs::write(path, "written by the run").map_err(|e| Failure::cannot_write(e.to_string()))?;
        }
        Ok(Box::new(Receiving { config, input: wiring.input("items")? }))
    }
}

impl Stage for Receiving {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        let mut sleeper = Sleeper::default();
        while let Packet::Item(_) = self.input.recv()? {
            sleeper.sleep(Duration::from_micros(self.config.sleep));
        }
        Ok(())
    }
}
