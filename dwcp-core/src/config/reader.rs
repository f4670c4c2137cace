//! Walks the spanned tree while the typed configuration is built, and keeps what it finds wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::Path;

use super::codes::{self, Code};
use super::diagnostic::{Diagnostic, Findings, Severity};
use super::keys::Mode;
use super::refused;
use super::setting::{Ranged, Setting};
use super::spanned::{Key, Node, Place, Tree, short};
use super::suggest::nearest;
use super::syntax::with_colon;

/// Where a key was given: the key's place and its value's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) key: Place,
    pub(crate) value: Place,
}

/// Places of every key that the file gives, by dotted path (`peers[0].nodeId`).
pub(crate) type Places = BTreeMap<String, Given>;

/// Dotted paths of what is not as the file says, because what the file says was refused.
#[derive(Debug, Default)]
pub(crate) struct Wrong(BTreeSet<String>);

impl Wrong {
    pub(crate) fn insert(&mut self, path: String) {
        self.0.insert(path);
    }

    /// Whether the value at `path` is made up: it, or something that it is a part of.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let is_part = |end: usize| matches!(path.as_bytes()[end], b'.' | b'[');
        let ends = (1..path.len()).filter(|end| is_part(*end)).chain([path.len()]);
        !self.0.is_empty() && ends.into_iter().any(|end| self.0.contains(&path[..end]))
    }

    /// Whether anything at or below `path` is made up.
    pub(crate) fn touches(&self, path: &str) -> bool {
        let is_below = |wrong: &String| {
            wrong.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        self.holds(path) || self.0.iter().any(is_below)
    }
}

pub(crate) struct Reader<'a> {
    file: &'a str,
    /// Relative paths start here.
    pub(crate) base: Option<&'a Path>,
    /// Defaults depend on it.
    pub(crate) mode: Mode,
    path: String,
    /// `auto` is accepted too, for messages.
    pub(crate) or_auto: bool,
    pub(crate) places: Places,
    /// Keys and list items that were wrong or missing; a default or a placeholder is in their place.
    pub(crate) wrong: Wrong,
    found: &'a mut Findings,
}

/// The longest list that is read.
const MAX_ITEMS: usize = 16_384;

pub(crate) type Entries = [(Key, Node)];

impl<'a> Reader<'a> {
    pub(crate) fn new(
        file: &'a str,
        base: Option<&'a Path>,
        mode: Mode,
        found: &'a mut Findings,
    ) -> Self {
        let places = Places::new();
        let path = String::new();
        let wrong = Wrong::default();
        Self { file, base, mode, path, or_auto: false, places, wrong, found }
    }

    /// Reports an error at `at`.
    pub(crate) fn error(&mut self, at: Place, code: Code, message: impl Into<String>, help: &str) {
        let mut diagnostic = Diagnostic::new(self.file, at, code, message);
        if !help.is_empty() {
            diagnostic = diagnostic.help(help);
        }
        self.push(diagnostic);
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// Reports that `node` should have been something else; silent about nodes refused before.
    pub(crate) fn unexpected<T>(&mut self, node: &Node, code: Code, wanted: &str) -> Option<T> {
        self.unexpected_help(node, code, wanted, "")
    }

    /// As [`unexpected`](Self::unexpected) with a help line of its own.
    pub(crate) fn unexpected_help<T>(
        &mut self,
        node: &Node,
        code: Code,
        wanted: &str,
        help: &str,
    ) -> Option<T> {
        if !node.is_refused() {
            let written = match &node.tree {
                Tree::List(_) => "write one value, without brackets and dashes".to_owned(),
                Tree::Map(_) if wanted.starts_with("a list") => {
                    "begin each item with `- ` on a line of its own".to_owned()
                }
                Tree::Map(_) => "write one value, without keys of its own".to_owned(),
                Tree::Scalar { .. } | Tree::Refused => format!("write {wanted}"),
            };
            let help = if help.is_empty() { &written } else { help };
            let auto = if self.or_auto { ", or auto" } else { "" };
            let message = format!("`{}` wants {wanted}{auto}; this is {}", self.path, node.words());
            self.error(node.at, code, message, help);
        }
        None
    }

    /// The dotted path of what is being read.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The entries of a section; an empty value is an empty section.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node) -> Option<&'n Entries> {
        match &node.tree {
            Tree::Map(entries) => Some(entries),
            _ if node.is_null() => Some(&[]),
            Tree::List(_) => {
                let help = "put `key: value` lines there, without the dashes";
                self.unexpected_help(node, codes::TYPE, "a mapping of keys", help)
            }
            Tree::Scalar { text, .. } => {
                let help = with_colon(text).map_or_else(
                    || "put `key: value` lines below it, further in".to_owned(),
                    |line| format!("write `{line}`, with a space behind the colon"),
                );
                self.unexpected_help(node, codes::TYPE, "a mapping of keys", &help)
            }
            Tree::Refused => None,
        }
    }

    /// Refuses keys that are not among `known`.
    pub(crate) fn check_keys(&mut self, entries: &Entries, known: &[&str]) {
        for (key, _) in entries.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            if !self.found.wants(Severity::Error) {
                return;
            }
            let path = join(&self.path, &key.text);
            if let Some(reason) = refused::reason(&path) {
                let message =
                    format!("`{}` is not supported by DWCP 3: {}", short(&path), reason.why);
                self.error(key.at, codes::UNSUPPORTED_KEY, message, &reason.help());
                continue;
            }
            let place =
                if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            let message = format!("unknown key `{}`{place}", short(&key.text));
            let help = self.suggestion(&key.text, known, entries);
            self.error(key.at, codes::UNKNOWN_KEY, message, &help);
        }
    }

    fn suggestion(&mut self, key: &str, known: &[&str], entries: &Entries) -> String {
        // `{cert:/c}` is a key without a value.
        if let Some(pair) = with_colon(key).filter(|_| key.contains(':')) {
            return format!("write `{pair}`, with a space behind the colon");
        }
        let here = if self.path.is_empty() { "at the top" } else { "here" };
        if let Some(near) = nearest(key, known.iter().copied()) {
            if let Some((given, _)) = entries.iter().find(|(key, _)| key.text == near) {
                let line = given.at.line;
                return format!("did you mean `{near}`? It is on line {line}, too: delete one");
            }
            // It is not absent, and what it says is not known.
            self.wrong.insert(join(&self.path, near));
            return format!("did you mean `{near}`?");
        }
        if let Some(path) = super::reference::path_of_key(key) {
            return format!("move it: `{key}` belongs at `{path}`");
        }
        format!("delete it; known {here}: {}", known.join(", "))
    }

    /// Reads `key` of a section, or its default when absent. A wrong value is reported and gives the default,
    /// so that reading goes on.
    pub(crate) fn field<T: Setting>(
        &mut self,
        entries: &Entries,
        key: &str,
        default: impl FnOnce() -> T,
    ) -> Option<T> {
        match self.present(entries, key, true) {
            Some(value) => Some(value.unwrap_or_else(default)),
            None => Some(default()),
        }
    }

    /// Reads `key` of a list item, which has no default. One that is wrong or missing is reported, and a
    /// placeholder stands for it.
    pub(crate) fn required<T: Setting>(
        &mut self,
        owner: &Node,
        entries: &Entries,
        key: &str,
    ) -> Option<T> {
        if let Some(value) = self.present(entries, key, false) {
            return value.or_else(|| T::placeholder(self));
        }
        let place =
            if self.path.is_empty() { "the file".into() } else { format!("`{}`", self.path) };
        let width = if self.path.is_empty() { 1 } else { owner.at.width };
        let at = Place { width, ..owner.at };
        self.error(
            at,
            codes::MISSING_KEY,
            format!("{place} has no `{key}`"),
            &T::help_for_missing(key),
        );
        self.wrong.insert(join(&self.path, key));
        T::placeholder(self)
    }

    /// `None`: not given. `Some(None)`: given, wrong and reported.
    fn present<T: Setting>(
        &mut self,
        entries: &Entries,
        key: &str,
        has_default: bool,
    ) -> Option<Option<T>> {
        let (name, node) = entries.iter().find(|(name, _)| name.text == key)?;
        let value = self.within(key, |reader| {
            let at = if node.is_null() { name.at } else { node.at };
            let given = Given { key: name.at, value: at };
            reader.places.insert(reader.path.clone(), given);
            if node.is_null() && !T::TAKES_NULL {
                let message = format!("`{}` has no value", reader.path);
                let or_not = if has_default { ", or delete the line for the default" } else { "" };
                let help = format!("give it {}{or_not}", T::kind());
                reader.error(at, codes::TYPE, message, &help);
                return None;
            }
            reader.or_auto = false;
            T::read(node, reader)
        });
        if value.is_none() {
            self.wrong.insert(join(&self.path, key));
        }
        Some(value)
    }

    /// Reports `value` when it lies outside `low..=high`.
    pub(crate) fn check_range<T: Ranged>(
        &mut self,
        key: &str,
        value: Option<&T>,
        low: &T::Bound,
        high: &T::Bound,
    ) where
        T::Bound: PartialOrd + Display,
    {
        let Some(bounded) = value.and_then(Ranged::bounded) else { return };
        let path = join(&self.path, key);
        let Some(given) = self.places.get(&path).copied() else { return };
        if bounded < *low || bounded > *high {
            let message = format!("`{path}` is {bounded}, outside its range");
            self.error(given.value, codes::RANGE, message, &format!("allowed: {low} to {high}"));
        }
    }

    /// Reads the items of a list. A placeholder stands for an item that is wrong, so that the others keep their
    /// numbers; without one, the list as a whole is wrong.
    pub(crate) fn items<T: Setting>(&mut self, items: &[Node]) -> Vec<T> {
        let mut out = Vec::new();
        if let Some(extra) = items.get(MAX_ITEMS) {
            let message =
                format!("`{}` has {} items; at most {MAX_ITEMS} are read", self.path, items.len());
            self.error(
                extra.at,
                codes::LIST_LENGTH,
                message,
                "delete the others, or name another file",
            );
            self.wrong.insert(self.path.clone());
        }
        for (index, item) in items.iter().take(MAX_ITEMS).enumerate() {
            let length = self.path.len();
            self.path.push_str(&format!("[{index}]"));
            self.places.insert(self.path.clone(), Given { key: item.at, value: item.at });
            let value = T::read(item, self);
            if value.is_none() {
                self.wrong.insert(self.path.clone());
            }
            let value = value.or_else(|| T::placeholder(self));
            self.path.truncate(length);
            match value {
                Some(value) => out.push(value),
                None => self.wrong.insert(self.path.clone()),
            }
        }
        out
    }

    fn within<R>(&mut self, key: &str, run: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        self.path = join(&self.path, key);
        let result = run(self);
        self.path.truncate(length);
        result
    }
}

/// `a.b`, or `b` at the top.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
