//! What stands in `#[key(…)]` and in the doc comment of a field.

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::meta::ParseNestedMeta;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitStr, Meta, Result, Token};

/// The attributes of one field.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) name: Option<LitStr>,
    pub(crate) range: Option<Range>,
    pub(crate) default: Option<TokenStream>,
    pub(crate) required: Option<Span>,
    pub(crate) unit: Option<LitStr>,
    pub(crate) free: bool,
    pub(crate) words: Option<Words>,
    pub(crate) paths: Option<Span>,
    pub(crate) output: Option<Span>,
    pub(crate) output_directory: Option<Span>,
    pub(crate) only_with: Option<Choice>,
    pub(crate) defaults_with: Vec<(Choice, TokenStream)>,
    pub(crate) flatten: Option<Span>,
    pub(crate) map: Option<TokenStream>,
    pub(crate) skip: Option<TokenStream>,
    /// Names of the attributes given, to find those that do not go together.
    pub(crate) given: Vec<(String, Span)>,
}

/// The bounds of a number, both inclusive. A missing bound is the bound of the type.
pub(crate) struct Range {
    pub(crate) start: Option<TokenStream>,
    pub(crate) end: Option<TokenStream>,
    pub(crate) span: Span,
}

/// The words that a text may be.
pub(crate) struct Words {
    pub(crate) words: Vec<LitStr>,
    pub(crate) span: Span,
}

/// Some values of another key: an expression for the name of that key, and an expression for its words.
pub(crate) struct Choice {
    pub(crate) key: TokenStream,
    pub(crate) words: TokenStream,
}

/// The attributes that `#[key(…)]` of a field may hold, for the message about an unknown attribute.
const KNOWN: &str = "name, range, default, required, unit, free, words, paths, output, output_directory, only_with, \
     default_with, flatten, map, skip";

impl Attributes {
    /// Reads every `#[key(…)]` of a field.
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("key")) {
            attribute.parse_nested_meta(|meta| found.read(&meta))?;
        }
        Ok(found)
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        let span = meta.path.span();
        if name != "default_with" && self.given.iter().any(|(other, _)| *other == name) {
            return Err(Error::new(span, format!("`{name}` stands twice")));
        }
        match name.as_str() {
            "name" => self.name = Some(meta.value()?.parse()?),
            "range" => self.range = Some(Range::parse(meta.value()?, span)?),
            "default" => self.default = Some(expression(meta.value()?)?),
            "required" => self.required = Some(span),
            "unit" => self.unit = Some(meta.value()?.parse()?),
            "free" => self.free = true,
            "words" => self.words = Some(Words::parse(meta.value()?, span)?),
            "paths" => self.paths = Some(span),
            "output" => self.output = Some(span),
            "output_directory" => self.output_directory = Some(span),
            "only_with" => {
                let content;
                syn::parenthesized!(content in meta.input);
                self.only_with = Some(Choice::parse(&content)?);
                end(&content)?;
            }
            "default_with" => {
                let content;
                syn::parenthesized!(content in meta.input);
                let choice = Choice::parse(&content)?;
                content.parse::<Token![,]>()?;
                self.defaults_with.push((choice, expression(&content)?));
                end(&content)?;
            }
            "flatten" => self.flatten = Some(span),
            "map" => self.map = Some(expression(meta.value()?)?),
            "skip" => self.skip = Some(expression(meta.value()?)?),
            _ => {
                return Err(Error::new(
                    span,
                    format!("there is no such attribute of a key; there are {KNOWN}"),
                ));
            }
        }
        self.given.push((name, span));
        Ok(())
    }

    /// Refuses every attribute given besides those of `allowed`.
    pub(crate) fn only(&self, allowed: &[&str], why: &str) -> Result<()> {
        match self.given.iter().find(|(name, _)| !allowed.contains(&name.as_str())) {
            Some((name, span)) => Err(Error::new(*span, format!("`{name}` has no effect here: {why}"))),
            None => Ok(()),
        }
    }
}

impl Range {
    fn parse(input: ParseStream<'_>, span: Span) -> Result<Self> {
        let start = tokens_until(input, |input| input.peek(Token![..]) || input.peek(Token![..=]));
        let inclusive = input.peek(Token![..=]);
        if inclusive {
            input.parse::<Token![..=]>()?;
        } else if input.peek(Token![..]) {
            input.parse::<Token![..]>()?;
        } else {
            return Err(Error::new(span, "a range is written `1..=100`, `1..` or `..=100`"));
        }
        let end = tokens_until(input, |_| false);
        match (start.is_empty(), end.is_empty()) {
            (false, true) if !inclusive => {}
            (_, false) if inclusive => {}
            (_, false) => {
                return Err(Error::new(span, "the end of a key's range belongs to it: write `..=`"));
            }
            _ => return Err(Error::new(span, "a range is written `1..=100`, `1..` or `..=100`")),
        }
        let bound = |tokens: TokenStream| (!tokens.is_empty()).then_some(tokens);
        Ok(Self { start: bound(start), end: bound(end), span })
    }
}

impl Words {
    fn parse(input: ParseStream<'_>, span: Span) -> Result<Self> {
        let content;
        syn::bracketed!(content in input);
        let words = Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?;
        if words.is_empty() {
            return Err(Error::new(span, "a key needs at least one word"));
        }
        Ok(Self { words: words.into_iter().collect(), span })
    }
}

impl Choice {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = expression(input)?;
        input.parse::<Token![,]>()?;
        Ok(Self { key, words: expression(input)? })
    }
}

/// The tokens of an expression, up to the next comma. The compiler reads them where they are used.
fn expression(input: ParseStream<'_>) -> Result<TokenStream> {
    let tokens = tokens_until(input, |_| false);
    if tokens.is_empty() { Err(input.error("expected an expression")) } else { Ok(tokens) }
}

fn tokens_until(input: ParseStream<'_>, stop: impl Fn(ParseStream<'_>) -> bool) -> TokenStream {
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) && !stop(input) {
        match input.parse::<TokenTree>() {
            Ok(token) => tokens.extend([token]),
            Err(_) => break,
        }
    }
    tokens
}

fn end(input: ParseStream<'_>) -> Result<()> {
    if input.peek(Token![,]) {
        input.parse::<Token![,]>()?;
    }
    if input.is_empty() { Ok(()) } else { Err(input.error("expected the end of the attribute")) }
}

/// The text of a doc comment, its lines joined with spaces. It is `None` without a doc comment.
pub(crate) fn doc(attributes: &[Attribute]) -> Option<String> {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> =
        lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join(" "))
}
