//! What joins two stages: packets and their payloads, bounded channels, metered ports, the stop token and errors.
//!
//! Nothing here knows stage types or graphs.

pub mod activity;
pub mod budget;
pub mod channel;
pub(crate) mod cpu;
pub(crate) mod cycle;
pub mod error;
pub mod meter;
pub mod packet;
pub mod payload;
pub mod port;
pub mod probe;
pub mod progress;
pub mod stop;
pub mod trace;
