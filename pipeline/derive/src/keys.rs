//! `#[derive(Keys)]`: a struct whose documented fields are the keys of a stage.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::field;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "Keys is derived for structs: each field is a key"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "Keys is derived for structs with named fields; a stage without keys has `type Config = ()`",
        ));
    };
    let mut fields_expanded = Vec::new();
    let mut errors: Option<Error> = None;
    let mut combine = |error: Error| match &mut errors {
        Some(errors) => errors.combine(error),
        None => errors = Some(error),
    };
    let mut names = Vec::new();
    for field in &fields.named {
        match field::expand(field) {
            Ok(expanded) => {
                if let Some(name) = &expanded.name {
                    if names.contains(name) {
                        combine(Error::new_spanned(field, format!("two fields are the key `{name}`")));
                    }
                    names.push(name.clone());
                }
                fields_expanded.push(expanded);
            }
            Err(error) => combine(error),
        }
    }
    let free = all_free(input)?;
    if let Some(errors) = errors {
        return Err(errors);
    }
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    let rows = fields_expanded.iter().map(|field| &field.keys);
    let reads = fields_expanded.iter().map(|field| &field.read);
    let checks = fields_expanded.iter().map(|field| &field.checks);
    let result = if free {
        quote! { keys.into_iter().map(::framewise_pipeline::KeySpec::free).collect() }
    } else {
        quote! { keys }
    };
    Ok(quote! {
        #(#checks)*

        #[automatically_derived]
        impl #generics ::framewise_pipeline::Keys for #name #arguments #bounds {
            fn keys() -> ::std::vec::Vec<::framewise_pipeline::KeySpec> {
                let mut keys = ::std::vec::Vec::new();
                #(#rows)*
                #result
            }

            fn read(values: &mut ::framewise_pipeline::stage::config::Values<'_>) -> Self {
                Self { #(#reads),* }
            }
        }
    })
}

/// Whether `#[key(free)]` stands at the struct.
fn all_free(input: &DeriveInput) -> Result<bool> {
    let mut free = false;
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("key")) {
        attribute.parse_nested_meta(|meta| {
            free = meta.path.is_ident("free");
            if free {
                Ok(())
            } else {
                Err(meta.error("at the struct stands only `free`, for all of its keys"))
            }
        })?;
    }
    Ok(free)
}

#[cfg(test)]
mod tests;
