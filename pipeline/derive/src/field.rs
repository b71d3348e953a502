//! One field of a configuration: its row in the table of keys, the reading of its value, and the checks of its default
//! that the compiler makes.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, Field, Ident, LitStr, Result};

use crate::attributes::{Attributes, Choice, Range, Words, doc};
use crate::kind::{FieldType, Kind};

/// What a field becomes.
pub(crate) struct Expanded {
    /// The key. It is `None` where the field is not a key or holds other keys.
    pub(crate) name: Option<String>,
    /// Statements that push onto `keys`.
    pub(crate) keys: TokenStream,
    /// `field: value`, read from `values`.
    pub(crate) read: TokenStream,
    /// Items that do not compile when a default does not fit.
    pub(crate) checks: TokenStream,
}

/// A field with everything that is known of it.
struct Key<'f> {
    name: String,
    ident: &'f Ident,
    attributes: Attributes,
    ty: FieldType<'f>,
}

pub(crate) fn expand(field: &Field) -> Result<Expanded> {
    let ident = field.ident.as_ref().ok_or_else(|| Error::new_spanned(field, "a key needs a name"))?;
    let attributes = Attributes::of(&field.attrs)?;
    if attributes.flatten.is_some() {
        return flattened(field, ident, &attributes);
    }
    if let Some(value) = &attributes.skip {
        attributes.only(&["skip"], "the field is no key")?;
        let (keys, checks) = (TokenStream::new(), TokenStream::new());
        return Ok(Expanded { name: None, keys, read: quote! { #ident: #value }, checks });
    }
    if attributes.map.is_some() {
        attributes.only(&[], "it changes the keys of a field with `flatten`")?;
    }
    let name = match &attributes.name {
        Some(name) => name.value(),
        None => ident.to_string().trim_start_matches("r#").to_owned(),
    };
    let doc = doc(&field.attrs).ok_or_else(|| {
        let message =
            format!("the key `{name}` has no doc comment: its text is what `framewise stages` prints");
        Error::new_spanned(ident, message)
    })?;
    let key = Key { name, ident, attributes, ty: FieldType::of(&field.ty)? };
    key.check()?;
    Ok(Expanded { keys: key.spec(&doc)?, read: key.read()?, checks: key.checks()?, name: Some(key.name) })
}

/// A field whose type is itself a configuration.
fn flattened(field: &Field, ident: &Ident, attributes: &Attributes) -> Result<Expanded> {
    attributes.only(&["flatten", "map"], "the keys are those of the field's type")?;
    let ty = &field.ty;
    let map = attributes.map.as_ref().map(|map| quote! { .into_iter().map(#map) });
    Ok(Expanded {
        name: None,
        keys: quote! { keys.extend(<#ty as ::framewise_pipeline::Keys>::keys() #map); },
        read: quote! { #ident: <#ty as ::framewise_pipeline::Keys>::read(values) },
        checks: TokenStream::new(),
    })
}

impl Key<'_> {
    /// Whether the attributes and the type go together.
    fn check(&self) -> Result<()> {
        let Attributes { range, default, required, words, paths, only_with, .. } = &self.attributes;
        let Attributes { output, output_directory, .. } = &self.attributes;
        let name = &self.name;
        let error = |span: Span, message: String| Err(Error::new(span, message));
        if let Some(range) = range
            && !matches!(self.ty.kind, Kind::Integer | Kind::Float | Kind::Integers | Kind::Floats)
        {
            return error(range.span, format!("`{name}` is no number, so it has no range"));
        }
        if let Some(words) = words {
            if self.ty.kind != Kind::Text {
                return error(
                    words.span,
                    "words are for a String; an enum that derives KeyWord has its own".into(),
                );
            }
            self.check_word(words)?;
        }
        if let Some(span) = paths
            && self.ty.kind != Kind::Texts
        {
            return error(*span, "`paths` is for a Vec<String> of file names and globs".into());
        }
        if let Some(span) = output
            && self.ty.kind != Kind::Path
        {
            return error(*span, "`output` is for a PathBuf".into());
        }
        if let Some(span) = output_directory
            && (self.ty.kind != Kind::Path || output.is_some())
        {
            return error(*span, "`output_directory` is for a PathBuf, and not beside `output`".into());
        }
        match (default, required) {
            (Some(_), Some(span)) => error(*span, format!("`{name}` has a default, so it is not required")),
            (Some(default), None) if self.ty.optional => error(
                default.span(),
                format!("`{name}` is an Option, unset by default: remove one of the two"),
            ),
            (None, Some(span)) if self.ty.optional && only_with.is_none() => {
                error(*span, format!("`{name}` is required, so it is always set: its type needs no Option"))
            }
            (None, Some(span)) if !self.ty.optional && only_with.is_some() => {
                error(*span, format!("`{name}` does not always apply: make its type an Option"))
            }
            (None, None) if !self.ty.optional => error(
                self.ident.span(),
                format!("the key `{name}` needs `default = …` or `required`, or an Option as its type"),
            ),
            _ => Ok(()),
        }
    }

    fn check_word(&self, words: &Words) -> Result<()> {
        let Some(default) = &self.attributes.default else { return Ok(()) };
        // A default that is no literal is left to the test of the table.
        let Ok(literal) = syn::parse2::<LitStr>(default.clone()) else { return Ok(()) };
        if words.words.iter().any(|word| word.value() == literal.value()) {
            return Ok(());
        }
        let message = format!("the default of `{}` is none of its words", self.name);
        Err(Error::new(literal.span(), message))
    }

    /// Statement that pushes the key's row.
    fn spec(&self, doc: &str) -> Result<TokenStream> {
        let (name, kind) = (&self.name, self.kind()?);
        let mut spec = quote! { ::framewise_pipeline::KeySpec::new(#name, #kind, #doc) };
        if let Some(default) = &self.attributes.default {
            let value = self.value(default)?;
            spec.extend(quote! { .default(#value) });
        }
        for (Choice { key, words }, default) in &self.attributes.defaults_with {
            let value = self.value(default)?;
            spec.extend(quote! { .default_with(#key, #words, #value) });
        }
        if let Some(Choice { key, words }) = &self.attributes.only_with {
            spec.extend(quote! { .only_with(#key, #words) });
        }
        if let Some(unit) = &self.attributes.unit {
            spec.extend(quote! { .unit(#unit) });
        }
        if self.attributes.required.is_some() {
            spec.extend(quote! { .required() });
        }
        if self.attributes.free {
            spec.extend(quote! { .free() });
        }
        Ok(quote! { keys.push(#spec); })
    }

    /// The `KeyKind`.
    fn kind(&self) -> Result<TokenStream> {
        let kind = quote! { ::framewise_pipeline::KeyKind };
        let inner = self.ty.inner;
        Ok(match self.ty.kind {
            Kind::Bool => quote! { #kind::Bool },
            Kind::Text => match &self.attributes.words {
                Some(words) => {
                    let words = &words.words;
                    quote! { #kind::OneOf(&[#(#words),*]) }
                }
                None => quote! { #kind::Text },
            },
            Kind::Path if self.attributes.output.is_some() => quote! { #kind::OutputPath },
            Kind::Path if self.attributes.output_directory.is_some() => quote! { #kind::OutputDirectory },
            Kind::Path => quote! { #kind::Path },
            Kind::Texts if self.attributes.paths.is_none() => quote! { #kind::Texts },
            Kind::Texts | Kind::Paths => quote! { #kind::Paths },
            Kind::Word => quote! { #kind::OneOf(<#inner as ::framewise_pipeline::KeyWord>::WORDS) },
            Kind::Integer | Kind::Integers | Kind::Float | Kind::Floats => {
                let (start, end) = self.bounds()?;
                let variant = match self.ty.kind {
                    Kind::Integer => quote! { Integer },
                    Kind::Integers => quote! { Integers },
                    Kind::Float => quote! { Float },
                    _ => quote! { Floats },
                };
                quote! { #kind::#variant((#start)..=(#end)) }
            }
        })
    }

    /// The bounds of a number. Where no bound is given, it is the bound of the type.
    fn bounds(&self) -> Result<(TokenStream, TokenStream)> {
        let range = self.attributes.range.as_ref();
        let (start, end) = (range.and_then(|r| r.start.clone()), range.and_then(|r| r.end.clone()));
        if matches!(self.ty.kind, Kind::Float | Kind::Floats) {
            return Ok((start.unwrap_or(quote! { f64::MIN }), end.unwrap_or(quote! { f64::MAX })));
        }
        let ty = self.ty.number()?;
        let largest = match quote! { #ty }.to_string().as_str() {
            "u64" | "usize" | "i64" => quote! { i64::MAX },
            _ => quote! { <#ty>::MAX as i64 },
        };
        Ok((start.unwrap_or(quote! { <#ty>::MIN as i64 }), end.unwrap_or(largest)))
    }

    /// A default as a value of the field's type.
    fn typed(&self, default: &TokenStream) -> Result<TokenStream> {
        let (ty, number) = (self.ty.inner, self.ty.number()?);
        Ok(match self.ty.kind {
            Kind::Bool | Kind::Integer | Kind::Float | Kind::Word => quote! {{
                const DEFAULT: #ty = #default;
                DEFAULT
            }},
            Kind::Text | Kind::Path => quote! {{
                const DEFAULT: &str = #default;
                <#ty as ::core::convert::From<&str>>::from(DEFAULT)
            }},
            Kind::Texts | Kind::Paths => quote! {{
                const DEFAULT: &[&str] = &#default;
                DEFAULT.iter().map(|text| ::core::convert::From::from(*text)).collect::<#ty>()
            }},
            Kind::Integers | Kind::Floats => quote! {{
                const DEFAULT: &[#number] = &#default;
                DEFAULT.to_vec()
            }},
        })
    }

    /// A default as a TOML value.
    fn value(&self, default: &TokenStream) -> Result<TokenStream> {
        let (ty, typed) = (self.ty.inner, self.typed(default)?);
        Ok(quote! { <#ty as ::framewise_pipeline::stage::config::KeyValue>::to_value(&#typed) })
    }

    /// `field: value`.
    fn read(&self) -> Result<TokenStream> {
        let Self { name, ident, .. } = self;
        if self.ty.optional {
            return Ok(quote! { #ident: values.optional(#name) });
        }
        if let Some(default) = &self.attributes.default {
            let typed = self.typed(default)?;
            return Ok(quote! { #ident: values.or_default(#name, || #typed) });
        }
        let stand_in = self.stand_in();
        Ok(quote! { #ident: values.required(#name, || #stand_in) })
    }

    /// The value of the field where a required key is missing. The ports of a graph with mistakes are made of such
    /// values.
    fn stand_in(&self) -> TokenStream {
        let ty = self.ty.inner;
        match (self.ty.kind, &self.attributes.range, &self.attributes.words) {
            (Kind::Word, ..) => quote! { <#ty as ::framewise_pipeline::KeyWord>::ALL[0] },
            (Kind::Text, _, Some(words)) => {
                let first = &words.words[0];
                quote! { <#ty as ::core::convert::From<&str>>::from(#first) }
            }
            (Kind::Integer | Kind::Float, Some(Range { start: Some(start), .. }), _) => {
                quote! { (#start) as #ty }
            }
            _ => quote! { <#ty as ::core::default::Default>::default() },
        }
    }

    /// Items that do not compile when the default of a number lies outside its range, or the range outside its type.
    fn checks(&self) -> Result<TokenStream> {
        let (bound, wide, check) = match self.ty.kind {
            Kind::Integer | Kind::Integers => (quote! { i64 }, quote! { i128 }, quote! { whole_number }),
            Kind::Float | Kind::Floats => (quote! { f64 }, quote! { f64 }, quote! { number }),
            _ => return Ok(TokenStream::new()),
        };
        let (start, end) = self.bounds()?;
        let ty = self.ty.number()?;
        let check = quote! { ::framewise_pipeline::stage::config::checks::#check };
        let mut checks = TokenStream::new();
        if let Some(range) = &self.attributes.range {
            let message = format!("the range of the key `{}` is empty or does not fit its type", self.name);
            // The start lies between the least number of the type and the end, the end between the start and the
            // largest.
            checks.extend(quote_spanned! { range.span =>
                const _: () = {
                    const START: #bound = #start;
                    const END: #bound = #end;
                    #check(START as #wide, <#ty>::MIN as #wide, END as #wide, #message);
                    #check(END as #wide, START as #wide, <#ty>::MAX as #wide, #message);
                };
            });
        }
        let defaults = self.attributes.defaults_with.iter().map(|(_, default)| default);
        for default in self.attributes.default.iter().chain(defaults) {
            let message = format!("the default of the key `{}` lies outside its range", self.name);
            let values = match self.ty.kind {
                Kind::Integer | Kind::Float => quote! { [#default] },
                _ => default.clone(),
            };
            // Only the call has the default's place: clippy reads literals by theirs.
            let call = quote_spanned! { default.span() =>
                #check(DEFAULTS[index] as #wide, START as #wide, END as #wide, #message)
            };
            checks.extend(quote! {
                const _: () = {
                    const START: #bound = #start;
                    const END: #bound = #end;
                    const DEFAULTS: &[#ty] = &#values;
                    let mut index = 0;
                    while index < DEFAULTS.len() {
                        #call;
                        index += 1;
                    }
                };
            });
        }
        Ok(checks)
    }
}
