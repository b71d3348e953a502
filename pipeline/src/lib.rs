//! A dataflow engine: typed stages joined by bounded channels, declared as a TOML graph.
//!
//! The crate knows nothing of tensors, records or machine learning. Its modules, each above the ones before it:
//!
//! - [`edge`]: what joins two stages: packets, payloads, channels, ports, meters;
//! - [`stage`]: what a stage is: how a type describes itself (keys, ports), is built and runs;
//! - [`graph`]: the TOML file, its resolution and every check that needs no data;
//! - [`engine`]: wiring and running a resolved graph, one thread a stage;
//! - [`testing`]: graphs in code, for tests of the engine and of stages.
//!
//! Laws:
//!
//! - Every channel is bounded.
//! - Order is kept.
//! - `End` comes behind everything that was sent, and only from a stage that returned `Ok`.
//! - The first failure stops everything, and nothing is committed after it.

// What the derive macros write names this crate.
extern crate self as framewise_pipeline;

pub mod edge;
pub mod engine;
pub mod graph;
pub mod stage;
pub mod testing;

pub use edge::error::{ErrorKind, Failure, StageError};
pub use edge::packet::{Mark, Packet};
pub use edge::payload::{Dim, Payload, PayloadType, TensorType};
pub use edge::port::{Input, Output};
pub use edge::stop::StopToken;
pub use stage::Stage;
pub use stage::closure::transform_fn;
pub use stage::component::{CheckContext, Component, Registry, Site, StageContext};
pub use stage::config::{KeyWord, Keys};
pub use stage::context::{Observer, Resources, Results};
pub use stage::estimate::{Estimate, Flow, Flows, Part, Taken};
pub use stage::key::{Choice, GLOB_CHARACTERS, KeyKind, KeySpec, is_glob};
pub use stage::ports::{InputPort, OutputPort, Ports, Wiring};
pub use stage::prelude;
pub use stage::settings::Settings;
pub use stage::survey::{InnerChange, InnerGraph, Survey, Write};
pub use stage::transform::{Emitter, Transform};
pub use stage::typed::{StageType, TransformType};
pub use stage::upstream::{Remark, Upstream};
