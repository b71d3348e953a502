//! Which kind of key a field's type is.

use syn::{Error, GenericArgument, PathArguments, PathSegment, Result, Type};

/// The type of a field, without the `Option` of a key that may be unset.
pub(crate) struct FieldType<'t> {
    pub(crate) optional: bool,
    pub(crate) inner: &'t Type,
    pub(crate) kind: Kind,
}

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Integer,
    Float,
    Text,
    Path,
    /// Any other type. The compiler finds out whether it is an enum that derives `KeyWord`.
    Word,
    /// A list of `Text`, `Path`, `Integer` or `Float`.
    Texts,
    Paths,
    Integers,
    Floats,
}

impl<'t> FieldType<'t> {
    pub(crate) fn of(ty: &'t Type) -> Result<Self> {
        let segment = last_segment(ty)?;
        if segment.ident != "Option" {
            return Ok(Self { optional: false, inner: ty, kind: kind(ty)? });
        }
        let inner = argument(segment)?;
        if last_segment(inner)?.ident == "Option" {
            return Err(Error::new_spanned(ty, "a key is set or not: one `Option` says so"));
        }
        Ok(Self { optional: true, inner, kind: kind(inner)? })
    }

    /// The type of a number, or of each number in a list.
    pub(crate) fn number(&self) -> Result<&'t Type> {
        match self.kind {
            Kind::Integers | Kind::Floats => argument(last_segment(self.inner)?),
            _ => Ok(self.inner),
        }
    }
}

fn kind(ty: &Type) -> Result<Kind> {
    let segment = last_segment(ty)?;
    Ok(match segment.ident.to_string().as_str() {
        "bool" => Kind::Bool,
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => Kind::Integer,
        "f64" => Kind::Float,
        "String" => Kind::Text,
        "PathBuf" => Kind::Path,
        "Vec" => match kind(argument(segment)?)? {
            Kind::Text => Kind::Texts,
            Kind::Path => Kind::Paths,
            Kind::Integer => Kind::Integers,
            Kind::Float => Kind::Floats,
            _ => {
                let message = "a list of a key holds texts (String), paths (PathBuf) or numbers";
                return Err(Error::new_spanned(ty, message));
            }
        },
        name @ ("f32" | "u128" | "i128" | "isize" | "char" | "HashMap" | "BTreeMap" | "str") => {
            let message = format!(
                "a key cannot be a `{name}`: there are bool, whole numbers up to 64 bits, f64, String, PathBuf, lists of \
                 them, and enums that derive KeyWord"
            );
            return Err(Error::new_spanned(ty, message));
        }
        _ => Kind::Word,
    })
}

fn last_segment(ty: &Type) -> Result<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last().ok_or_else(|| unnamed(ty)),
        _ => Err(unnamed(ty)),
    }
}

fn unnamed(ty: &Type) -> Error {
    Error::new_spanned(
        ty,
        "a key's type is a name: bool, a whole number, f64, String, PathBuf, a Vec of them, or an enum that derives KeyWord",
    )
}

fn argument(segment: &PathSegment) -> Result<&Type> {
    if let PathArguments::AngleBracketed(arguments) = &segment.arguments
        && let Some(GenericArgument::Type(ty)) = arguments.args.first()
    {
        return Ok(ty);
    }
    Err(Error::new_spanned(segment, "the type of its values is missing"))
}
