//! Graphs in TOML: this module reads, resolves, checks, compares, writes and draws them.
//!
//! Law: [`load`] reports everything that is wrong at once, and a graph that it returns needs no further check.
//!
//! - `read` turns the text of files, `--set` and the environment into a document that knows the place of every value.
//! - `resolve` makes a [`ResolvedGraph`] of a document: it settles settings, edges, cycles and shapes.
//! - `report` holds the mistakes that were found, and the words for them.
//! - [`compare`], [`render`] and the drawings work on a resolved graph.

mod compare;
mod divides;
mod draw;
mod estimate;
mod load;
mod loaded;
mod read;
mod render;
mod report;
mod resolve;
mod resolved;
mod survey;

pub use compare::{Change, compare};
pub use divides::undivided;
pub use draw::{dot, mermaid, svg};
pub use estimate::GraphEstimate;
pub use load::{load, load_from, load_inner, load_str};
pub use loaded::Loaded;
pub use read::overrides::{Override, OverrideError};
pub use read::paths::{address_scheme, real_path};
pub use render::render;
pub use report::diagnostic::{Diagnostic, Severity};
pub use report::diagnostics::{Diagnostics, Position};
pub use resolved::{ResolvedEdge, ResolvedGraph, ResolvedStage, STALL_TIMEOUT};
pub use survey::GraphSurvey;
