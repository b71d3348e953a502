//! What a source file imports and defines, read from its tokens.
//!
//! The file is not compiled: comments and texts are gone after lexing, and what is left is searched for `use` items,
//! paths and definitions. Paths in the bodies of macros are seen too.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A source file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// The items that the file defines outside of inline modules: functions, types, traits, constants, macros.
    pub(crate) items: BTreeSet<String>,
    /// The modules that the file declares as files of their own, without those that `#[path = "…"]` brings from outside.
    pub(crate) modules: BTreeSet<String>,
    /// The leaves of all `use` trees.
    pub(crate) uses: Vec<Use>,
    /// The paths outside of `use` items.
    pub(crate) mentions: Vec<Mention>,
    /// Every word outside of `use` items.
    pub(crate) words: BTreeSet<String>,
    /// The traits that the file implements, by their last name.
    pub(crate) implements: BTreeSet<String>,
    /// Whether the next `mod` has a `#[path = "…"]`.
    has_path: bool,
}

/// A path as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mention {
    /// The names between the `::`, beginning with `crate`, `self`, `super` or any other name.
    pub(crate) path: Vec<String>,
    /// The inline modules around the path.
    pub(crate) inside: Vec<String>,
    /// The line, from 1.
    pub(crate) line: usize,
}

/// A leaf of a `use` tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    /// What is imported. For a glob this is the module before the `*`.
    pub(crate) of: Mention,
    /// The name of the import in this file. It is `None` for a glob.
    pub(crate) name: Option<String>,
    /// Whether the file hands the name on: `pub use`, `pub(crate) use` and the like.
    pub(crate) public: bool,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// The text is not Rust.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let tokens: TokenStream = text.parse().map_err(|error| format!("{error}"))?;
        let mut source = Self::default();
        source.walk(tokens, &[], true);
        Ok(source)
    }

    /// Looks through tokens. `at_items` says that they are the items of the file or of one of its inline modules.
    fn walk(&mut self, tokens: TokenStream, inside: &[String], at_items: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = match &tokens[at] {
                TokenTree::Group(group) => {
                    self.has_path |= at_items && group.to_string().starts_with("[path =");
                    self.walk(group.stream(), inside, false);
                    at + 1
                }
                TokenTree::Ident(_) => self.word(&tokens, at, inside, at_items),
                TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
            };
        }
    }

    /// Takes what begins with the word at `at` and returns the place after it.
    fn word(&mut self, tokens: &[TokenTree], at: usize, inside: &[String], at_items: bool) -> usize {
        let word = tokens[at].to_string();
        let next = tokens.get(at + 1);
        match word.as_str() {
            // `use<'a>` in a type captures lifetimes.
            "use" if !next.is_some_and(|token| is_punct(token, '<')) => {
                let end = tokens[at..].iter().position(|token| is_punct(token, ';'));
                let end = end.map_or(tokens.len(), |length| at + length);
                let public = at > 0 && is_visibility(tokens, at - 1);
                self.use_tree(&tokens[at + 1..end], &[], inside, public);
                return end + 1;
            }
            "mod" if at_items => match (next, tokens.get(at + 2)) {
                (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) => {
                    let inside = [inside, &[name.to_string()]].concat();
                    self.walk(body.stream(), &inside, true);
                    return at + 3;
                }
                (Some(TokenTree::Ident(name)), _) if inside.is_empty() => {
                    if !std::mem::take(&mut self.has_path) {
                        self.modules.insert(name.to_string());
                    }
                    return at + 2;
                }
                _ => {}
            },
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" => {
                if let (true, true, Some(TokenTree::Ident(name))) = (at_items, inside.is_empty(), next) {
                    self.items.insert(name.to_string());
                }
            }
            "macro_rules" => {
                if let Some(TokenTree::Ident(name)) = tokens.get(at + 2) {
                    self.items.insert(name.to_string());
                }
            }
            "impl" if at_items => self.implementation(&tokens[at + 1..]),
            _ => {}
        }
        self.path(tokens, at, inside)
    }

    /// Takes the path at `at` and returns the place after it.
    fn path(&mut self, tokens: &[TokenTree], at: usize, inside: &[String]) -> usize {
        let continues = at >= 2 && is_path_separator(tokens, at - 2);
        let (mut path, mut end) = (vec![tokens[at].to_string()], at + 1);
        while let (true, Some(TokenTree::Ident(name))) = (is_path_separator(tokens, end), tokens.get(end + 2))
        {
            path.push(name.to_string());
            end += 3;
        }
        self.words.extend(path.iter().cloned());
        // A path that goes on after `>::` or begins with `::` names nothing of this crate.
        if path.len() > 1 && !continues {
            let line = tokens[at].span().start().line;
            self.mentions.push(Mention { path, inside: inside.to_vec(), line });
        }
        end
    }

    /// Takes the part of a `use` tree that follows `prefix`.
    fn use_tree(&mut self, tokens: &[TokenTree], prefix: &[String], inside: &[String], public: bool) {
        let mut path = prefix.to_vec();
        let mut line = 0;
        let mut name = None;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Ident(word) if word == "as" => {
                    name = tokens.get(at + 1).map(ToString::to_string);
                    at += 1;
                }
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
                    for part in tokens.split(|token| is_punct(token, ',')).filter(|part| !part.is_empty()) {
                        self.use_tree(part, &path, inside, public);
                    }
                    return;
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => {
                    let line = token.span().start().line;
                    let of = Mention { path, inside: inside.to_vec(), line };
                    self.uses.push(Use { of, name: None, public });
                    return;
                }
                TokenTree::Group(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            line = token.span().start().line;
            at += 1;
        }
        let name = name.or_else(|| path.last().cloned());
        self.uses.push(Use { of: Mention { path, inside: inside.to_vec(), line }, name, public });
    }

    /// Notes the trait of `impl … Trait for Type {`.
    fn implementation(&mut self, tokens: &[TokenTree]) {
        let end = tokens.iter().position(
            |token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace),
        );
        let head = &tokens[..end.unwrap_or(tokens.len())];
        let Some(place) = head.iter().position(|token| token.to_string() == "for") else { return };
        // The generics of the trait stand in angle brackets behind its name.
        let mut depth = 0;
        for token in head[..place].iter().rev() {
            match token {
                token if is_punct(token, '>') => depth += 1,
                token if is_punct(token, '<') => depth -= 1,
                TokenTree::Ident(name) if depth == 0 => {
                    self.implements.insert(name.to_string());
                    return;
                }
                _ => {}
            }
        }
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Whether `::` stands at `at`.
fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    matches!(
        (tokens.get(at), tokens.get(at + 1)),
        (Some(TokenTree::Punct(first)), Some(TokenTree::Punct(second)))
            if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':'
    )
}

/// Whether `pub` or the group of `pub(…)` stands at `at`.
fn is_visibility(tokens: &[TokenTree], at: usize) -> bool {
    match &tokens[at] {
        TokenTree::Ident(word) => word == "pub",
        TokenTree::Group(group) => {
            group.delimiter() == Delimiter::Parenthesis && at > 0 && tokens[at - 1].to_string() == "pub"
        }
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    }
}
