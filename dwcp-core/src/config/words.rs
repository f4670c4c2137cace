//! Values that are one of a few words.

/// Makes an enum of words: how each is written, and what it means.
macro_rules! words {
    ($(#[doc = $doc:literal])* pub enum $name:ident {
        $($(#[doc = $word_doc:literal])* $variant:ident $word:literal,)*
    } $(refused { $($other:literal $why:literal,)* })?) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        pub enum $name { $(
            $(#[doc = $word_doc])*
            #[serde(rename = $word)]
            $variant,
        )* }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$variant),*];

            /// The word, as it is written in the file.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// The value written as `word`.
            pub fn from_name(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn read(
                node: &$crate::config::spanned::Node,
                reader: &mut $crate::config::reader::Reader<'_>,
            ) -> Option<Self> {
                const REFUSED: &[(&str, &str)] = &[$($(($other, $why)),*)?];
                let found = $crate::config::words::read(node, reader, &[$($word),*], REFUSED)?;
                Self::from_name(found)
            }

            fn placeholder(reader: &$crate::config::reader::Reader<'_>) -> Option<Self> {
                // The mode is a word, too, and the one that was probably meant is known.
                Self::from_name(reader.mode.name()).or(Self::ALL.first().copied())
            }

            fn kind() -> String {
                $crate::config::words::list(&[$($word),*])
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word),*] })
            }
        }
    };
}
pub(crate) use words;

use super::codes;
use super::reader::Reader;
use super::spanned::{Node, Scalar};
use super::suggest::nearest;

/// `a, b or c`.
pub(crate) fn list(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The word of `words` that the node holds.
pub(crate) fn read(
    node: &Node,
    reader: &mut Reader<'_>,
    words: &[&'static str],
    refused: &[(&str, &str)],
) -> Option<&'static str> {
    let Some(Scalar::Text(text)) = node.scalar() else {
        return reader.unexpected(node, codes::WORD, &list(words));
    };
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Some(word);
    }
    if let Some((_, why)) = refused.iter().find(|(word, _)| *word == text) {
        let message = format!("`{}: {text}` is not supported: {why}", reader.path());
        reader.error(node.at, codes::UNSUPPORTED_VALUE, message, &format!("write {}", list(words)));
        return None;
    }
    let help = nearest(text, words.iter().copied())
        .map_or_else(String::new, |word| format!("did you mean `{word}`?"));
    reader.unexpected_help(node, codes::WORD, &list(words), &help)
}
