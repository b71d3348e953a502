//! From the text of files to a document: what was written, with the place of every value.
//!
//! Nothing here knows stage types; [`resolve`](super::resolve) does.

pub(super) mod document;
pub(super) mod files;
pub(super) mod loading;
pub(super) mod overrides;
pub(super) mod paths;
pub(super) mod quantities;
mod repair;
mod repeated;
pub(super) mod syntax;
pub(super) mod variables;
