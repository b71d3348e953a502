//! `#[derive(KeyWord)]`: an enum whose variants are the words that a key may be.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "KeyWord is derived for enums: each variant is a word"));
    };
    if data.variants.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a key needs at least one word"));
    }
    let name = &input.ident;
    let (mut variants, mut words) = (Vec::new(), Vec::new());
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            return Err(Error::new_spanned(variant, "a word has no fields"));
        }
        variants.push(&variant.ident);
        words.push(snake_case(&variant.ident.to_string()));
    }
    Ok(quote! {
        #[automatically_derived]
        impl ::framewise_pipeline::KeyWord for #name {
            const ALL: &'static [Self] = &[#(Self::#variants),*];
            const WORDS: &'static [&'static str] = &[#(#words),*];

            fn word(&self) -> &'static str {
                match self {
                    #(Self::#variants => #words,)*
                }
            }
        }

        #[automatically_derived]
        impl ::framewise_pipeline::stage::config::KeyValue for #name {
            fn from_value(value: &::framewise_pipeline::stage::config::Value) -> ::core::option::Option<Self> {
                match value.as_str()? {
                    #(#words => ::core::option::Option::Some(Self::#variants),)*
                    _ => ::core::option::Option::None,
                }
            }

            fn to_value(&self) -> ::framewise_pipeline::stage::config::Value {
                ::core::convert::Into::into(::framewise_pipeline::KeyWord::word(self))
            }
        }
    })
}

/// `AfterCorrection` as `after_correction`, as serde's `rename_all = "snake_case"` writes it.
fn snake_case(name: &str) -> String {
    let mut word = String::new();
    for (index, letter) in name.char_indices() {
        if index > 0 && letter.is_uppercase() {
            word.push('_');
        }
        word.extend(letter.to_lowercase());
    }
    word
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn variants_become_words_in_snake_case() {
        for (name, word) in
            [("Off", "off"), ("PerVariable", "per_variable"), ("L2", "l2"), ("NextVlad", "next_vlad")]
        {
            assert_eq!(snake_case(name), word);
        }
    }

    #[test]
    fn only_enums_of_bare_variants_are_words() {
        let cases: [(DeriveInput, &str); 3] = [
            (
                parse_quote!(
                    struct Mode;
                ),
                "KeyWord is derived for enums",
            ),
            (
                parse_quote!(
                    enum Mode {}
                ),
                "a key needs at least one word",
            ),
            (
                parse_quote!(
                    enum Mode {
                        Clip { norm: f64 },
                    }
                ),
                "a word has no fields",
            ),
        ];
        for (input, message) in cases {
            let error = expand(&input).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
