//! What a stage's file needs: `use framewise_pipeline::prelude::*`.

pub use crate::edge::error::{ErrorKind, Failure, StageError};
pub use crate::edge::packet::{Mark, Packet};
pub use crate::edge::payload::{Dim, Payload, PayloadType};
pub use crate::edge::port::{Input, Output};
pub use crate::stage::Stage;
pub use crate::stage::closure::transform_fn;
pub use crate::stage::component::{CheckContext, Registry, Site, StageContext};
pub use crate::stage::config::{KeyWord, Keys};
pub use crate::stage::context::Level;
pub use crate::stage::estimate::{Estimate, Flow, Flows};
pub use crate::stage::ports::{InputPort, OutputPort, Ports, Wiring};
pub use crate::stage::survey::Survey;
pub use crate::stage::transform::{Emitter, Transform};
pub use crate::stage::typed::{StageType, TransformType};
pub use crate::stage::upstream::{Remark, Upstream};
