//! Runs a resolved graph.
