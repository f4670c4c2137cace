//! What every value of the configuration can do: be read from the tree, describe itself, be left out.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use super::codes;
use super::reader::Reader;
use super::reference::KeyDoc;
use super::spanned::{Node, Scalar, Tree, short};

/// A type that a key's value may have.
pub(crate) trait Setting: Sized + Serialize + JsonSchema {
    /// Whether a key without a value is fine.
    const TAKES_NULL: bool = false;
    /// Reads it; `None` when something was wrong, which has been reported.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
    /// Stands for a value that is required and was missing or wrong, so that all else is read and checked, too.
    /// It never gets out of the loader. Types that are never required need none.
    fn placeholder(reader: &Reader<'_>) -> Option<Self> {
        let _ = reader;
        None
    }
    /// What is accepted, in a few words.
    fn kind() -> String;
    /// Whether it is left out when printed.
    fn is_unset(&self) -> bool {
        false
    }
    /// Adds the keys below `path`.
    fn describe(path: &str, out: &mut Vec<KeyDoc>) {
        let _ = (path, out);
    }
    /// The fix when a key of this type is missing.
    fn help_for_missing(key: &str) -> String {
        format!("add `{key}:` with {}", Self::kind())
    }
}

/// A type of which a key may allow a range only.
pub(crate) trait Ranged {
    /// What the range is about.
    type Bound;
    /// The value, unless it is `auto` or absent.
    fn bounded(&self) -> Option<Self::Bound>;
}

impl Setting for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(Scalar::Bool(value)) => Some(value),
            Some(Scalar::Text(text)) => {
                let help = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "true" | "enabled" => "write true",
                    "no" | "off" | "n" | "false" | "disabled" => "write false",
                    _ => "",
                };
                reader.unexpected_help(node, codes::TYPE, "true or false", help)
            }
            _ => reader.unexpected(node, codes::TYPE, "true or false"),
        }
    }

    fn kind() -> String {
        "true or false".into()
    }
}

/// What to write instead of a text in which a number can be seen; empty when there is none.
fn help_for_number(text: &str) -> String {
    if let Some((number, _)) = text.split_once('#') {
        return match number.trim_end().parse::<u64>() {
            Ok(number) => format!("write a space before the comment: `{number} #`"),
            Err(_) => String::new(),
        };
    }
    let digits = text.replace(['_', ','], "");
    match digits.parse::<u64>() {
        Ok(number) if number.to_string() == text => "delete the quotes".into(),
        Ok(number) => format!("write `{number}`: digits alone, and no zero before them"),
        Err(_) => String::new(),
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                match node.scalar() {
                    Some(Scalar::Unsigned(value)) => match Self::try_from(value) {
                        Ok(value) => Some(value),
                        Err(_) => {
                            let message = format!("`{}` is {value}, outside its range", reader.path());
                            let help = format!("allowed: at most {}", Self::MAX);
                            reader.error(node.at, codes::RANGE, message, &help);
                            None
                        }
                    },
                    Some(Scalar::Text(text)) => {
                        let help = help_for_number(text);
                        reader.unexpected_help(node, codes::TYPE, "a whole number", &help)
                    }
                    _ => reader.unexpected(node, codes::TYPE, "a whole number"),
                }
            }

            fn placeholder(_: &Reader<'_>) -> Option<Self> {
                Some(0)
            }

            fn kind() -> String {
                "a whole number".into()
            }
        }

        impl Ranged for $type {
            type Bound = Self;
            fn bounded(&self) -> Option<Self> {
                Some(*self)
            }
        }
    )*};
}
integers!(u8, u16, u32, u64);

impl Setting for f64 {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(Scalar::Unsigned(value)) => Some(value as Self),
            Some(Scalar::Float(value)) if value.is_finite() => Some(value),
            _ => reader.unexpected(node, codes::TYPE, "a number"),
        }
    }

    fn kind() -> String {
        "a number".into()
    }
}

impl Ranged for f64 {
    type Bound = Self;
    fn bounded(&self) -> Option<Self> {
        Some(*self)
    }
}

impl Setting for String {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match node.scalar() {
            Some(Scalar::Text(text)) if !text.is_empty() && !text.contains(char::is_control) => {
                Some(text.to_owned())
            }
            Some(Scalar::Text(_)) => {
                reader.unexpected(node, codes::TYPE, "a text of one line that is not empty")
            }
            Some(_) => reader.unexpected_help(node, codes::TYPE, "a text", "put it in quotes"),
            None => reader.unexpected(node, codes::TYPE, "a text"),
        }
    }

    fn kind() -> String {
        "a text".into()
    }
}

impl<T: Setting> Setting for Option<T> {
    const TAKES_NULL: bool = true;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.is_null() { Some(None) } else { T::read(node, reader).map(Some) }
    }

    fn kind() -> String {
        T::kind()
    }

    fn is_unset(&self) -> bool {
        self.is_none()
    }
}

impl<T: Ranged> Ranged for Option<T> {
    type Bound = T::Bound;
    fn bounded(&self) -> Option<T::Bound> {
        self.as_ref().and_then(T::bounded)
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.tree {
            Tree::List(items) => Some(reader.items(items)),
            Tree::Scalar { text, .. } if !node.is_null() => {
                let help = if T::kind().starts_with("a mapping") {
                    "begin each item with `- ` on a line of its own".to_owned()
                } else if let Some(item) = text.strip_prefix('-') {
                    format!("write `- {}`, with a space behind the dash", short(item))
                } else {
                    format!("put it in brackets: [\"{}\"]", short(text))
                };
                reader.unexpected_help(node, codes::TYPE, &Self::kind(), &help)
            }
            _ => reader.unexpected(node, codes::TYPE, &Self::kind()),
        }
    }

    fn kind() -> String {
        format!("a list, each item {}", T::kind())
    }

    fn describe(path: &str, out: &mut Vec<KeyDoc>) {
        T::describe(&format!("{path}[]"), out);
    }
}

/// A value that DWCP may choose by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auto<T> {
    /// `auto`.
    #[default]
    Auto,
    /// This value.
    Is(T),
}

impl<T: Clone> Auto<T> {
    /// The value, unless it is `auto`.
    pub fn get(&self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Is(value) => Some(value.clone()),
        }
    }

    /// The value, or `choice` for `auto`.
    pub fn or(&self, choice: T) -> T {
        self.get().unwrap_or(choice)
    }
}

impl<T: Setting> Setting for Auto<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if node.scalar() == Some(Scalar::Text("auto")) {
            return Some(Self::Auto);
        }
        reader.or_auto = true;
        let value = T::read(node, reader).map(Self::Is);
        reader.or_auto = false;
        value
    }

    fn kind() -> String {
        format!("{}, or auto", T::kind())
    }
}

impl<T: Ranged> Ranged for Auto<T> {
    type Bound = T::Bound;
    fn bounded(&self) -> Option<T::Bound> {
        match self {
            Self::Auto => None,
            Self::Is(value) => value.bounded(),
        }
    }
}

impl<T: Serialize> Serialize for Auto<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Is(value) => value.serialize(serializer),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Auto<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Auto{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": "auto" }, value] })
    }
}
