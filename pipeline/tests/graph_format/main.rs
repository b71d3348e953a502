//! Tests of the graph format: what it accepts, what it says about mistakes, and how graphs are written and drawn.

mod accepted;
mod compare;
mod connections;
mod dependent_keys;
mod drawing;
mod fixture;
mod hostile;
mod mistakes;
mod outputs;
mod precedence;
mod sets;
mod syntax;
mod values;
