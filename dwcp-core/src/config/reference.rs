//! The list of all keys, from the types: for suggestions, `config show` and docs/config.md.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::Value;

use super::keys::{Config, Mode};
use super::setting::Setting as _;

/// A key, as the types have it.
#[derive(Clone, Debug)]
pub struct KeyDoc {
    /// Its dotted path; `[]` stands for any item.
    pub path: String,
    /// What is accepted.
    pub kind: String,
    /// The default in each mode, in the order of [`Mode::ALL`]; empty for keys without a default.
    pub defaults: Vec<Value>,
    /// The least and the greatest value.
    pub range: Option<(String, String)>,
    /// What it is.
    pub text: String,
}

impl KeyDoc {
    /// Whether it has keys of its own below it.
    fn is_section(&self) -> bool {
        self.kind.starts_with("a mapping with")
    }

    /// The default in words.
    fn default_words(&self) -> String {
        let words = |value: &Value| match value {
            Value::Null => "-".to_owned(),
            Value::String(text) => format!("`{text}`"),
            Value::Array(items) if items.is_empty() => "`[]`".into(),
            Value::Array(_) | Value::Object(_) => "see the samples".into(),
            other => format!("`{other}`"),
        };
        match self.defaults.as_slice() {
            [] => "**required**".into(),
            [first, rest @ ..] if rest.iter().all(|value| value == first) => words(first),
            all => all
                .iter()
                .zip(Mode::ALL)
                .map(|(value, mode)| format!("{} ({})", words(value), mode.name()))
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}

/// All keys, sections before what is in them.
pub fn keys() -> &'static [KeyDoc] {
    static KEYS: OnceLock<Vec<KeyDoc>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = Vec::new();
        Config::describe("", &mut keys);
        inherit_defaults(&mut keys);
        keys
    })
}

/// A section may stand in several places with other defaults in each: what its place gives counts.
fn inherit_defaults(keys: &mut [KeyDoc]) {
    for at in 0..keys.len() {
        let (before, rest) = keys.split_at_mut(at);
        let doc = &mut rest[0];
        let Some((parent, name)) = doc.path.rsplit_once('.') else { continue };
        let Some(parent) = before.iter().find(|other| other.path == parent) else { continue };
        let given = parent.defaults.iter().map(|value| value.get(name).cloned());
        if let Some(given) = given.collect::<Option<Vec<_>>>().filter(|given| !given.is_empty()) {
            doc.defaults = given;
        }
    }
}

/// The path of the one key that is called `key`, wherever it is.
pub(crate) fn path_of_key(key: &str) -> Option<&'static str> {
    let mut found = keys().iter().filter(|doc| doc.path.rsplit('.').next() == Some(key));
    let first = found.next()?;
    found.next().is_none().then_some(first.path.as_str())
}

/// docs/config.md: every key.
pub fn markdown() -> String {
    let mut out = String::from(HEAD);
    out.push_str("\n## At the top\n");
    out.push_str(TABLE);
    for doc in keys().iter().filter(|doc| !doc.path.contains('.') && !doc.is_section()) {
        row(doc, &doc.path, &mut out);
    }
    for doc in keys() {
        let level = if doc.path.contains('.') { "###" } else { "##" };
        if doc.is_section()
            || doc.path == "peers"
            || doc.kind.starts_with("a list, each item a mapping")
        {
            let _ = write!(out, "\n{level} {}\n\n{}\n", doc.path, doc.text);
            if doc.is_section() {
                out.push_str(TABLE);
                children(&doc.path, &mut out);
            } else {
                out.push_str(TABLE);
                children(&format!("{}[]", doc.path), &mut out);
            }
        }
    }
    out.push_str(NOT_OBEYED);
    for gap in super::not_obeyed::gaps() {
        let keys: Vec<_> = gap.keys.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(out, "| {} | {} |", keys.join(", "), gap.instead);
    }
    out.push_str("\nWhat each code of a diagnostic means: [errors.md](errors.md), or `dwcp-ctl explain CODE`.\n");
    out
}

const TABLE: &str = "\n| key | value | default | meaning |\n|---|---|---|---|\n";

const NOT_OBEYED: &str = "
## Not obeyed yet

These keys are valid, and this build does not act on them yet, nor on those below them. A file that sets one
to more than is done gets a hint, DWCP-C081.

| keys | instead |
|---|---|
";

/// The rows of the keys right below `path`.
fn children(path: &str, out: &mut String) {
    for doc in keys() {
        let below = doc.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('.'));
        match below {
            Some(name) if !name.contains('.') && !doc.is_section() => row(doc, name, out),
            _ => {}
        }
    }
}

fn row(doc: &KeyDoc, name: &str, out: &mut String) {
    let range =
        doc.range.as_ref().map_or_else(String::new, |(low, high)| format!("; {low} to {high}"));
    let mut text = doc.text.replace('|', "\\|");
    if super::is_not_obeyed_yet(&doc.path) {
        text.push_str(" **[Not obeyed yet](#not-obeyed-yet).**");
    }
    let _ = writeln!(out, "| `{name}` | {}{range} | {} | {text} |", doc.kind, doc.default_words());
}

const HEAD: &str = "\
# Configuration

*Generated from the types of dwcp-core; `DWCP_BLESS=1 cargo test -p dwcp-core --features config` writes it anew.*

One YAML file configures a node; the daemon reads /etc/dwcp/dwcp-v3.yaml. `dwcp-ctl config init` writes a
commented sample, `dwcp-ctl config validate` checks a file with the daemon's own loader and reports all problems at once.

- Durations are a number and a unit: `100us`, `1ms`, `10s`, `5m`, `24h`.
- Sizes: `512B`, `64KB` (1000 bytes each), `64KiB` (1024 each), up to `TB` and `TiB`.
- Rates: `500Kbps`, `100Mbps`, `10Gbps`. Shares: `0.001` or `0.1%`.
- Addresses: `host:port`; an IPv6 address stands in brackets.
- Relative paths start at the directory of the file.
- Unknown keys are errors. Anchors, aliases, tags, merge keys and several documents are refused.
- At most 1 MiB and 64 levels are read.
";
