//! A dataflow engine: typed stages joined by bounded channels, declared as a TOML graph.
//!
//! The crate knows nothing of tensors, records or machine learning. It offers
//!
//! - [`graph`]: the TOML file, its resolution and every check that needs no data;
//! - [`component`]: how a stage type describes itself (keys, ports) and is built;
//! - [`stage`] and [`transform`]: the two tiers in which a stage is written;
//! - [`port`]: the metered, stoppable ends of a channel that a running stage holds;
//! - [`engine`]: wiring and running a resolved graph, one thread a stage;
//! - [`testing`]: graphs in code, for tests of the engine and of stages.
//!
//! Its laws: every channel is bounded; order is kept; `End` comes behind everything that was sent, and only
//! from a stage that returned `Ok`; the first failure stops everything and nothing is committed after it.

pub mod budget;
pub mod channel;
pub mod component;
pub mod context;
pub mod engine;
pub mod error;
pub mod graph;
pub mod key;
pub mod meter;
pub mod monitor;
pub mod packet;
pub mod payload;
pub mod port;
mod sampler;
pub mod stage;
pub mod stop;
pub mod testing;
pub mod transform;
pub mod watchdog;

pub use component::{Component, InputPort, OutputPort, Ports, Registry, Settings, Wiring};
pub use context::{Observer, Resources, Results, StageContext};
pub use error::{ErrorKind, Failure, StageError};
pub use key::{Choice, KeyKind, KeySpec};
pub use packet::{Mark, Packet};
pub use payload::{Dim, Payload, PayloadType, TensorType};
pub use port::{Input, Output};
pub use stage::Stage;
pub use stop::StopToken;
pub use transform::{Emitter, Transform};
