//! The graph format: what it accepts, what it says of mistakes, how it is written and drawn.

mod accepted;
mod compare;
mod connections;
mod dependent_keys;
mod drawing;
mod fixture;
mod hostile;
mod mistakes;
mod precedence;
mod syntax;
