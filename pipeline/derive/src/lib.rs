//! The derive macros of `framewise-pipeline`, which re-exports them: `Keys` and `KeyWord`.
//!
//! A stage's configuration is a struct whose documented fields are the keys of the stage. `Keys` makes both the table
//! of keys and the reading of their values from these fields, so that the two cannot disagree. The attributes are
//! documented at the traits in `framewise_pipeline::stage::config`.

mod attributes;
mod field;
mod keys;
mod kind;
mod words;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct the configuration of a stage: see the trait `framewise_pipeline::Keys`.
#[proc_macro_derive(Keys, attributes(key))]
pub fn derive_keys(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    keys::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an enum the value of a key, one word a variant: see the trait `framewise_pipeline::KeyWord`.
#[proc_macro_derive(KeyWord)]
pub fn derive_key_word(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    words::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}
