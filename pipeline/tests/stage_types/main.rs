//! How a stage type is described: its keys from a configuration's fields, and the type from a Rust type or a closure.

mod keys;
mod types;
