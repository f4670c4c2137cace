//! From a file to a checked configuration, with everything that is wrong with it.

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::codes;
use super::diagnostic::{Colour, Diagnostic, Findings, Lines};
use super::keys::{Config, Mode};
use super::parse::{MAX_BYTES, parse};
use super::reader::{Places, Reader};
use super::rules;
use super::setting::Setting as _;
use super::spanned::{Node, Place, Scalar, Tree};
use super::suggest::nearest;

/// What came of a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration with everything filled in; `None` when there is an error.
    pub config: Option<Config>,
    /// All that was found, by place.
    pub diagnostics: Vec<Diagnostic>,
    /// The text, for [`Diagnostic::render`]; empty when it could not be read.
    pub source: String,
    pub(crate) places: Places,
    file: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The file does not give it.
    Default,
    /// The file, at this line.
    File {
        /// The file, as the caller named it.
        file: String,
        /// The line, from 1.
        line: u32,
    },
}

/// One value of the effective configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effective {
    /// Its dotted path, `peers[0].nodeId`.
    pub path: String,
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub source: Source,
}

/// Loads the file at `path`. Relative paths in it start at its directory. Only this file is read: what it
/// names is looked at by [`check_environment`](super::check_environment).
pub fn load_file(path: impl AsRef<Path>) -> Loaded {
    let path = path.as_ref();
    let name = path.display().to_string();
    let bytes = match read_limited(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = format!("cannot read {name}: {error}");
            let help = match error.kind() {
                ErrorKind::NotFound => "`dwcp-ctl config init` writes a commented sample",
                ErrorKind::PermissionDenied => "let this user read it, and enter its directory",
                ErrorKind::IsADirectory => "name a file in it",
                _ => "name a file that can be read",
            };
            let diagnostic =
                Diagnostic::new(&name, Place::START, codes::UNREADABLE, message).help(help);
            return Loaded::failed(&name, String::new(), vec![diagnostic]);
        }
    };
    load_bytes(&name, &bytes, path.parent())
}

/// One byte more than is allowed, so that a longer file is noticed and not read whole.
fn read_limited(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Loads `text`, calling it `name` in diagnostics. Relative paths in it stay relative.
pub fn load_str(name: &str, text: &str) -> Loaded {
    load(name, text, None)
}

/// Loads bytes that ought to be UTF-8; relative paths start at `base`.
pub fn load_bytes(name: &str, bytes: &[u8], base: Option<&Path>) -> Loaded {
    match std::str::from_utf8(bytes) {
        Ok(text) => load(name, text, base),
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = good.matches('\n').count() as u32 + 1;
            let column = good.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
            let place = Place { line, column, width: 1 };
            let message = format!("byte {} is not UTF-8", error.valid_up_to());
            let help = match bytes {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this is UTF-16: save the file as UTF-8",
                _ => "save the file as UTF-8, or delete the character",
            };
            let diagnostic = Diagnostic::new(name, place, codes::NOT_UTF8, message).help(help);
            let source = String::from_utf8_lossy(bytes).into_owned();
            Loaded::failed(name, source, vec![diagnostic])
        }
    }
}

fn load(name: &str, text: &str, base: Option<&Path>) -> Loaded {
    let mut found = Findings::default();
    let root = parse(name, text, &mut found);
    let (config, places) = match root {
        Some(root) if !found.errors().iter().any(is_fatal) => build(name, &root, base, &mut found),
        Some(_) => (None, Places::new()),
        None => {
            if found.is_empty() {
                found.push(empty(name, Place::START, "the file is empty"));
            }
            (None, Places::new())
        }
    };
    finish(name, text, config, places, found)
}

/// Errors after which the tree means nothing.
fn is_fatal(diagnostic: &Diagnostic) -> bool {
    [codes::SYNTAX.0, codes::TOO_DEEP.0, codes::DOCUMENTS.0, codes::TOO_MANY_VALUES.0]
        .contains(&diagnostic.code)
}

fn empty(name: &str, at: Place, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(name, at, codes::NOT_A_MAPPING, message)
        .help("begin with `mode: datacenter`, `internet` or `hybrid`; `dwcp-ctl config init` writes a sample")
}

fn build(
    name: &str,
    root: &Node,
    base: Option<&Path>,
    found: &mut Findings,
) -> (Option<Config>, Places) {
    if !matches!(root.tree, Tree::Map(_)) {
        if !root.is_refused() {
            let message = format!("a configuration is a mapping of keys; this is {}", root.words());
            found.push(empty(name, root.at, message));
        }
        return (None, Places::new());
    }
    let mode = meant_mode(root);
    let mut reader = Reader::new(name, base, mode.unwrap_or(Mode::Hybrid), found);
    let config = Config::read(root, &mut reader);
    let (places, wrong) = (std::mem::take(&mut reader.places), std::mem::take(&mut reader.wrong));
    // Rules look at what could be read, so that they are reported together with wrong values.
    let config = config.map(|mut config| {
        let whole = rules::Whole { places: &places, wrong: &wrong, is_mode_known: mode.is_some() };
        rules::check(name, &config, &whole, found);
        config.resolve();
        config
    });
    (config, places)
}

/// The mode that the file gives, or the one that it probably means.
fn meant_mode(root: &Node) -> Option<Mode> {
    let Some(Scalar::Text(word)) = root.get("mode").and_then(Node::scalar) else { return None };
    Mode::from_name(word).or_else(|| {
        let near = nearest(word, Mode::ALL.iter().map(|mode| mode.name()))?;
        Mode::from_name(near)
    })
}

fn finish(
    name: &str,
    text: &str,
    config: Option<Config>,
    places: Places,
    found: Findings,
) -> Loaded {
    Loaded {
        config: config.filter(|_| found.errors().is_empty()),
        diagnostics: found.into_shown(name),
        source: text.to_owned(),
        places,
        file: name.to_owned(),
    }
}

impl Loaded {
    fn failed(name: &str, source: String, diagnostics: Vec<Diagnostic>) -> Self {
        Self { config: None, diagnostics, source, places: Places::new(), file: name.to_owned() }
    }

    /// The file as the caller named it.
    pub fn file_name(&self) -> &str {
        &self.file
    }

    /// The place of the key at `path`, or of the nearest above it that the file gives.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        rules::place(&self.places, path)
    }

    /// Adds an error at the key `path`: a file that it names is of no use on this machine.
    pub fn refuse_file(&mut self, path: &str, message: impl Into<String>, help: impl Into<String>) {
        let at = self.place_of(path);
        let diagnostic = Diagnostic::new(&self.file, at, codes::ENV_UNUSABLE, message).help(help);
        self.diagnostics.push(diagnostic);
    }

    /// Whether there is no error; warnings and hints do not count.
    pub fn valid(&self) -> bool {
        self.config.is_some()
    }

    /// All diagnostics as text, with source lines.
    pub fn render(&self, colour: Colour) -> String {
        let mut lines = Lines::new(&self.source);
        let shown: Vec<_> =
            self.diagnostics.iter().map(|d| d.render_line(lines.at(d.line), colour)).collect();
        shown.join("\n")
    }

    /// The result of `config validate` as JSON, `dwcp.config-validate/v1`.
    pub fn to_json(&self) -> Value {
        json!({
            "schema": "dwcp.config-validate/v1",
            "valid": self.valid(),
            "diagnostics": self.diagnostics,
        })
    }

    /// Where the value at `path` comes from.
    pub fn source_of(&self, path: &str) -> Source {
        match self.places.get(path) {
            Some(given) => Source::File { file: self.file.clone(), line: given.key.line },
            None => Source::Default,
        }
    }

    /// Every value of the configuration and where it comes from; empty when there is an error.
    pub fn effective(&self) -> Vec<Effective> {
        let mut out = Vec::new();
        if let Some(value) = self.config.as_ref().and_then(|c| serde_json::to_value(c).ok()) {
            self.walk(String::new(), value, &mut out);
        }
        out
    }

    fn walk(&self, path: String, value: Value, out: &mut Vec<Effective>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    self.walk(super::reader::join(&path, &key), value, out);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (index, value) in items.into_iter().enumerate() {
                    self.walk(format!("{path}[{index}]"), value, out);
                }
            }
            value => {
                let source = self.source_of(&path);
                out.push(Effective { path, value, source });
            }
        }
    }
}
