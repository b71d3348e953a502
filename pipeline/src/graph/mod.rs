//! The TOML graph: parsing with spans, resolution and checks.

mod resolved;

pub use resolved::{ResolvedEdge, ResolvedGraph, ResolvedStage};
