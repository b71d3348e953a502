//! Tests of what the macro says about mistakes. Tests in `pipeline/tests` show that its output means what the fields
//! say.

use quote::ToTokens;
use syn::parse_quote;

use super::*;

/// All messages of the errors, in the order of the fields.
fn errors(input: &DeriveInput) -> Vec<String> {
    let error = expand(input).expect_err("the input has a mistake");
    error.into_iter().map(|error| error.to_string()).collect()
}

#[test]
fn a_field_with_a_mistake_is_named() {
    let cases: [(DeriveInput, &str); 22] = [
        (
            parse_quote!(
                struct C {
                    #[key(default = 1)]
                    size: usize,
                }
            ),
            "the key `size` has no doc comment",
        ),
        (
            parse_quote!(
                struct C {
                    #[doc = " "]
                    #[key(default = 1)]
                    size: usize,
                }
            ),
            "the key `size` has no doc comment",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    size: usize,
                }
            ),
            "the key `size` needs `default = …` or `required`",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(default = 1)]
                    size: Option<usize>,
                }
            ),
            "`size` is an Option",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(required)]
                    size: Option<usize>,
                }
            ),
            "its type needs no Option",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(required, default = 1)]
                    size: usize,
                }
            ),
            "so it is not required",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(required, only_with("m", &["a"]))]
                    size: usize,
                }
            ),
            "does not always apply",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(range = 1..9, default = 1)]
                    size: usize,
                }
            ),
            "write `..=`",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(range = 5, default = 5)]
                    size: usize,
                }
            ),
            "a range is written",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(range = 1..=2, required)]
                    name: String,
                }
            ),
            "`name` is no number",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(words = ["a"], default = "b")]
                    mode: String,
                }
            ),
            "none of its words",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(words = [], required)]
                    mode: String,
                }
            ),
            "at least one word",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(words = ["a"], required)]
                    mode: u64,
                }
            ),
            "words are for a String",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(output, required)]
                    path: String,
                }
            ),
            "`output` is for a PathBuf",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(paths, required)]
                    path: String,
                }
            ),
            "`paths` is for a Vec<String>",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(requird)]
                    size: usize,
                }
            ),
            "there is no such attribute of a key",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(free, free)]
                    size: Option<usize>,
                }
            ),
            "`free` stands twice",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(required)]
                    rate: f32,
                }
            ),
            "a key cannot be a `f32`",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(required)]
                    rates: Vec<bool>,
                }
            ),
            "a list of a key holds",
        ),
        (
            parse_quote!(
                struct C {
                    #[key(flatten, free)]
                    rejects: Rejects,
                }
            ),
            "`free` has no effect here",
        ),
        (
            parse_quote!(
                struct C {
                    #[key(skip = 1, default = 1)]
                    latent: usize,
                }
            ),
            "`default` has no effect here: the field is no key",
        ),
        (
            parse_quote!(
                struct C {
                    /** D. */
                    #[key(map = KeySpec::free)]
                    latent: Option<usize>,
                }
            ),
            "`map` has no effect here",
        ),
    ];
    for (input, message) in cases {
        let found = errors(&input);
        assert!(
            matches!(&*found, [one] if one.contains(message)),
            "{found:?} for {}",
            input.to_token_stream()
        );
    }
}

#[test]
fn all_mistakes_of_a_struct_come_at_once() {
    let input = parse_quote! {
        struct Config {
            #[key(default = 1)]
            first: usize,
            /// Fine.
            #[key(default = 1)]
            second: usize,
            /// Has no default.
            third: usize,
            /// Has another's name.
            #[key(name = "second")]
            fourth: Option<usize>,
        }
    };
    let found = errors(&input);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[2].contains("two fields are the key `second`"), "{found:?}");
}

#[test]
fn other_items_have_no_keys() {
    for (input, message) in [
        (
            parse_quote!(
                enum Mode {
                    Train,
                }
            ),
            "Keys is derived for structs",
        ),
        (
            parse_quote!(
                struct Size(usize);
            ),
            "with named fields",
        ),
        (
            parse_quote!(
                #[key(unit = "s")]
                struct Config {}
            ),
            "at the struct stands only `free`",
        ),
    ] {
        let found = errors(&input);
        assert!(matches!(&*found, [one] if one.contains(message)), "{found:?}");
    }
}
