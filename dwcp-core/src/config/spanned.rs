//! The tree of a YAML document in which every key and value knows where it stands.

use std::fmt::Write as _;

/// Where something stands in the file: line and column from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Line, from 1.
    pub(crate) line: u32,
    /// Column, from 1, in characters.
    pub(crate) column: u32,
    /// Characters to underline; at least 1.
    pub(crate) width: u32,
}

impl Place {
    /// The first character of the file: for what is missing altogether.
    pub(crate) const START: Self = Self { line: 1, column: 1, width: 1 };
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) at: Place,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) tree: Tree,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    /// Text, and whether it was written without quotes (then it may be a number, a bool or null).
    Scalar { text: String, plain: bool },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file, without duplicates.
    Map(Vec<(Key, Node)>),
    /// Was refused while parsing, with a diagnostic; readers pass over it in silence.
    Refused,
}

/// What a scalar means under the YAML 1.2 rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Text(&'a str),
}

impl Node {
    /// The scalar's meaning; `None` for lists, mappings and refused nodes.
    pub(crate) fn scalar(&self) -> Option<Scalar<'_>> {
        match &self.tree {
            Tree::Scalar { text, plain } => Some(resolve(text, *plain)),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.scalar() == Some(Scalar::Null)
    }

    pub(crate) fn is_refused(&self) -> bool {
        matches!(self.tree, Tree::Refused)
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match &self.tree {
            Tree::Map(entries) => entries.iter().find(|(k, _)| k.text == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value in few words, for messages.
    pub(crate) fn words(&self) -> String {
        match (&self.tree, self.scalar()) {
            (Tree::List(_), _) => "a list".into(),
            (Tree::Map(_), _) => "a mapping".into(),
            (_, Some(Scalar::Null)) => "nothing".into(),
            (_, Some(Scalar::Text(""))) => "an empty text".into(),
            (Tree::Scalar { text, .. }, Some(Scalar::Text(_))) => {
                format!("the text `{}`", short(text))
            }
            (Tree::Scalar { text, .. }, _) => format!("`{}`", short(text)),
            _ => "a refused value".into(),
        }
    }
}

/// At most 40 characters of `text`, on one line.
pub(crate) fn short(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == 40 {
            out.push('…');
            break;
        }
        if c.is_control() {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Reads a scalar as YAML 1.2 does: `yes`, `on` and `0777` are text.
pub(crate) fn resolve(text: &str, plain: bool) -> Scalar<'_> {
    if !plain {
        return Scalar::Text(text);
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "true" | "True" | "TRUE" => return Scalar::Bool(true),
        "false" | "False" | "FALSE" => return Scalar::Bool(false),
        _ => {}
    }
    if let Some(number) = integer(text) {
        return number;
    }
    match float(text) {
        Some(number) if !has_leading_zero(text) => Scalar::Float(number),
        _ => Scalar::Text(text),
    }
}

/// `007`: digits that YAML 1.2 does not read as a number.
fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
}

fn integer(text: &str) -> Option<Scalar<'static>> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, radix)))
        .unwrap_or((digits, 10));
    if digits.starts_with(['+', '-']) || has_leading_zero(text) {
        return None;
    }
    if !is_negative {
        return u64::from_str_radix(digits, radix).ok().map(Scalar::Unsigned);
    }
    i64::from_str_radix(&format!("-{digits}"), radix).ok().map(Scalar::Negative)
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    // One sign is a number's, a second one is not, and what is no number has none at all.
    if text.len() != unsigned.len() && unsigned.starts_with(['+', '-']) {
        return None;
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" if text == unsigned => return Some(f64::NAN),
        _ => {}
    }
    unsigned.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The tree without its places.
#[cfg(feature = "fuzzing")]
pub(crate) fn value(node: &Node) -> serde_yaml::Value {
    use serde_yaml::Value;
    match &node.tree {
        Tree::List(items) => Value::Sequence(items.iter().map(value).collect()),
        Tree::Map(entries) => {
            let entry = |(key, node): &(Key, Node)| (Value::String(key.text.clone()), value(node));
            Value::Mapping(entries.iter().map(entry).collect())
        }
        Tree::Refused => Value::Null,
        Tree::Scalar { .. } => match node.scalar().expect("it is one") {
            Scalar::Null => Value::Null,
            Scalar::Bool(flag) => flag.into(),
            Scalar::Unsigned(number) => number.into(),
            Scalar::Negative(number) => number.into(),
            Scalar::Float(number) => number.into(),
            Scalar::Text(text) => text.into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_yaml_1_1_took_for_bools_are_text() {
        for text in ["yes", "no", "on", "off", "y", "0777", "1_000", "12:30:00", "+-1", "inf"] {
            assert_eq!(resolve(text, true), Scalar::Text(text), "{text}");
        }
    }

    #[test]
    fn numbers_and_nulls() {
        assert_eq!(resolve("0x1F", true), Scalar::Unsigned(31));
        assert_eq!(resolve("-0b101", true), Scalar::Negative(-5));
        assert_eq!(resolve("1e3", true), Scalar::Float(1000.0));
        assert_eq!(resolve("~", true), Scalar::Null);
        assert_eq!(resolve("~", false), Scalar::Text("~"));
        assert_eq!(resolve("18446744073709551615", true), Scalar::Unsigned(u64::MAX));
        assert_eq!(resolve("+.inf", true), Scalar::Float(f64::INFINITY));
        assert_eq!(resolve("-.INF", true), Scalar::Float(f64::NEG_INFINITY));
    }

    #[test]
    fn signs_that_make_no_number_make_text() {
        for text in ["+-.inf", "++.inf", "+-1.5", "--.inf", "+.nan", "-.nan", "+.NaN"] {
            assert_eq!(resolve(text, true), Scalar::Text(text), "{text}");
        }
    }
}
