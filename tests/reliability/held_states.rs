//! Laws: a stage that holds a state, such as a checkpoint that is being written, holds it unchanged. Training continues
//! beside it until the channel is full.

use std::sync::{Arc, Mutex};

use framewise_pipeline::edge::meter::Activity;
use framewise_pipeline::engine::{Pipeline, RunOptions, Status};
use framewise_pipeline::graph;
use framewise_pipeline::testing::{Gate, eventually, stays};
use framewise_pipeline::{
    Component, Failure, InputPort, KeySpec, Packet, PayloadType, Ports, Settings, Stage, StageContext, Wiring,
};
use framewise_stages::payload::TrainState;
use framewise_stages::registry;

use crate::support::run::root;

/// A sink in place of `checkpoint`, which takes the first state and holds it until the gate opens.
struct Holder {
    gate: Gate,
    held: Held,
}

/// The bits of the first state's tensors, once when the state came and once when the gate had opened.
type Held = Arc<Mutex<Vec<Vec<u32>>>>;

impl Component for Holder {
    fn type_name(&self) -> &'static str {
        "holder"
    }

    fn doc(&self) -> &'static str {
        "Holds a state."
    }

    fn keys(&self) -> Vec<KeySpec> {
        Vec::new()
    }

    fn ports(&self, _settings: &Settings) -> Ports {
        let states = InputPort::new::<TrainState>("states", PayloadType::of::<TrainState>());
        Ports { inputs: vec![states], outputs: vec![] }
    }

    fn build(
        &self,
        _settings: &Settings,
        wiring: &mut Wiring,
        _context: &StageContext,
    ) -> Result<Box<dyn Stage>, Failure> {
        let (mut input, gate, held) =
            (wiring.input::<TrainState>("states")?, self.gate.clone(), self.held.clone());
        Ok(framewise_pipeline::testing::stage_fn(move || {
            let mut first = true;
            loop {
                match input.recv()? {
                    Packet::Item(state) if first => {
                        first = false;
                        held.lock().unwrap().push(bits(&state));
                        gate.pass();
                        held.lock().unwrap().push(bits(&state));
                    }
                    Packet::Item(_) | Packet::Mark(_) => {}
                    Packet::End => return Ok(()),
                }
            }
        }))
    }
}

fn bits(state: &TrainState) -> Vec<u32> {
    let weights = state.weights.named_tensors().into_iter().map(|(_, tensor)| tensor);
    let tensors = weights.chain(state.moments.tensors().cloned());
    let values = tensors.flat_map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    values.map(f32::to_bits).collect()
}

#[test]
fn training_goes_on_beside_a_slow_checkpoint_until_the_channel_is_full() {
    const CAPACITY: usize = 3;
    let (gate, held) = (Gate::closed(), Held::default());
    let registry = registry().with(Holder { gate: gate.clone(), held: held.clone() });
    let text = std::fs::read_to_string(root().join("graphs/quickstart.toml")).unwrap();
    let (text, _) = text.split_once("[stages.report]").unwrap();
    let text = format!("{text}[stages.holder]\ntype = \"holder\"\nfrom = \"optimizer.states\"\n");
    let overrides = [
        "stages.batch.max_batches=12".parse().unwrap(),
        format!("stages.optimizer.capacity={CAPACITY}").parse().unwrap(),
    ];
    let path = root().join("graphs/held.toml");
    let loaded = graph::load_str(&path, &text, &registry, &overrides);
    let graph = loaded.unwrap_or_else(|errors| panic!("{}", errors.render(false))).graph;
    let pipeline = Pipeline::build(&graph, &registry, &RunOptions::default()).unwrap();
    let monitor = pipeline.monitor();
    let running = std::thread::spawn(move || pipeline.run());

    let optimizer = monitor.stages().iter().find(|stage| stage.name == "optimizer").unwrap().meter.clone();
    let to_holder = monitor.edges().iter().find(|edge| edge.output == "states").unwrap().gauge.clone();
    // One state is held and the channel is full. The next state has been made and waits, and its weights went ahead.
    let states = 1 + CAPACITY as u64;
    let versions = 1 + states + 1;
    let state = || {
        let taken = held.lock().unwrap().len();
        (taken, to_holder.items(), optimizer.activity(), optimizer.read().items_out)
    };
    let blocked = (1, CAPACITY, Activity::OutputWait, states + versions);
    eventually(blocked, state);
    stays(blocked, state);

    gate.release();
    let outcome = running.join().unwrap();
    assert!(matches!(outcome.status, Status::Done), "{:?}", outcome.status);
    assert_eq!(outcome.results["steps"], 12.0);
    let held = held.lock().unwrap();
    assert!(held[0] == held[1], "the state changed while it was held");
}
