//! From a document to a resolved graph: named configs, settings, edges, cycles and shapes are settled and checked.

mod advice;
pub(super) mod configs;
pub(super) mod cycles;
pub(super) mod draft;
pub(super) mod edges;
pub(super) mod known;
pub(super) mod outputs;
pub(super) mod settings;
pub(super) mod shapes;
pub(super) mod upstream;
pub(super) mod values;
