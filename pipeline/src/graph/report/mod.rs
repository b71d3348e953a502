//! The mistakes in a graph: diagnostics with their places, how they are shown, and the words for them.

pub(super) mod collect;
pub(super) mod diagnostic;
pub(super) mod diagnostics;
pub(super) mod findings;
pub(super) mod words;
