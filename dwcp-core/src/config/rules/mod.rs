//! Rules between keys: what says the same thing twice, differently; what cannot work together.

mod gaps;
mod mode;
mod nodes;
mod operation;
mod ports;
mod transport;
mod twice;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::codes::Code;
use super::diagnostic::{Diagnostic, Findings, Severity};
use super::keys::Config;
use super::reader::{Places, Wrong};
use super::spanned::Place;

/// What is known of where the configuration's values come from.
pub(crate) struct Whole<'a> {
    /// Keys that the file gives.
    pub(crate) places: &'a Places,
    /// Keys that the file gives wrong, and that it lacks: their values are made up.
    pub(crate) wrong: &'a Wrong,
    /// Whether the mode is the file's, or what it probably means.
    pub(crate) is_mode_known: bool,
}

/// Adds what the rules find. `config` is as the file gives it, before anything is derived. Nothing is said that
/// follows from a made-up value alone.
pub(crate) fn check(file: &str, config: &Config, whole: &Whole<'_>, found: &mut Findings) {
    let is_named = |index: usize| !whole.wrong.holds(&format!("peers[{index}].nodeId"));
    let listed = config.peers.listed();
    let knows_all = !whole.wrong.holds("peers") && (0..listed.len()).all(is_named);
    let names = || listed.iter().map(|peer| peer.node_id.as_str()).collect();
    let peers = knows_all.then(names);
    let mut rules = Rules { file, config, whole, peers, found, comparisons_left: COMPARISONS_MAX };
    twice::check(&mut rules);
    mode::check(&mut rules);
    operation::check(&mut rules);
    gaps::check(&mut rules);
    transport::check(&mut rules);
    nodes::check(&mut rules);
    ports::check(&mut rules);
}

struct Rules<'a> {
    file: &'a str,
    config: &'a Config,
    whole: &'a Whole<'a>,
    /// The names of the listed peers; `None` while one of them is not known.
    peers: Option<HashSet<&'a str>>,
    found: &'a mut Findings,
    /// Names may be compared so many times more, to guess which one was meant.
    comparisons_left: usize,
}

/// How many comparisons of names one file is worth.
const COMPARISONS_MAX: usize = 10_000;

impl Rules<'_> {
    /// Whether the file gives the key.
    fn gives(&self, path: &str) -> bool {
        self.whole.places.contains_key(path)
    }

    /// Whether another error would not be shown.
    fn is_full(&self) -> bool {
        !self.found.wants(Severity::Error)
    }

    /// Whether a default or a placeholder stands for the value at `path`.
    fn is_made_up(&self, path: &str) -> bool {
        self.whole.wrong.holds(path)
    }

    /// Whether all that is at and below `paths` is as the file gives it, or a default.
    fn is_sound(&self, paths: &[&str]) -> bool {
        !paths.iter().any(|path| self.whole.wrong.touches(path))
    }

    fn place(&self, path: &str) -> Place {
        place(self.whole.places, path)
    }

    fn line(&self, path: &str) -> u32 {
        self.place(path).line
    }

    fn report(
        &mut self,
        severity: Severity,
        path: &str,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if !self.found.wants(severity) || self.is_made_up(path) {
            return;
        }
        let at = self.place(path);
        let diagnostic =
            Diagnostic::new(self.file, at, code, message).help(help).severity(severity);
        self.found.push(diagnostic);
    }

    fn error(
        &mut self,
        path: &str,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report(Severity::Error, path, code, message, help);
    }

    fn warning(
        &mut self,
        path: &str,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report(Severity::Warning, path, code, message, help);
    }

    fn hint(
        &mut self,
        path: &str,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.report(Severity::Hint, path, code, message, help);
    }
}

/// Indices of items that equal an earlier one, with the earlier one's index.
fn duplicates<T: Eq + Hash>(items: impl IntoIterator<Item = T>) -> Vec<(usize, usize)> {
    let mut first = HashMap::new();
    let mut out = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let earlier = *first.entry(item).or_insert(index);
        if earlier != index {
            out.push((index, earlier));
        }
    }
    out
}

/// The place of the value at `path`, or of the nearest key above it that the file gives.
pub(crate) fn place(places: &Places, path: &str) -> Place {
    let mut path = path;
    loop {
        if let Some(given) = places.get(path) {
            return given.value;
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = &path[..end],
            None => return Place::START,
        }
    }
}
