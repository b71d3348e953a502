//! A sink that drops batches.

use framewise_pipeline::prelude::*;
use framewise_stages::payload::Step;

/// A sink that drops batches.
pub(crate) struct Drop;

struct Dropping(Input<Step>);

impl StageType for Drop {
    const NAME: &'static str = "drop";
    const DOC: &'static str = "Drops batches.";
    type Config = ();

    fn ports(_config: &()) -> Ports {
        Ports { inputs: vec![InputPort::of::<Step>("batches")], outputs: vec![] }
    }

    fn build(_config: (), wiring: &mut Wiring, _context: &StageContext) -> Result<Box<dyn Stage>, Failure> {
        Ok(Box::new(Dropping(wiring.input("batches")?)))
    }
}

impl Stage for Dropping {
    fn run(mut self: Box<Self>) -> Result<(), StageError> {
        while !matches!(self.0.recv()?, Packet::End) {}
        Ok(())
    }
}
