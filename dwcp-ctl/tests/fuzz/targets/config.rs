//! Any text as a configuration: what the loader reads is what serde_yaml reads, and whatever is said of it has its place in
//! the text.

use dwcp_core::config::{self, Colour};
use serde_yaml::Value;

pub(crate) fn target(data: &[u8]) {
    let loaded = config::load_bytes("fuzzed.yaml", data, None);
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().count() as u32 + 1;
    for found in &loaded.diagnostics {
        assert!(found.line >= 1 && found.column >= 1, "{found:?}");
        assert!(found.line <= lines, "line {} of {lines}: {found:?}", found.line);
        assert!(!found.message.is_empty());
    }
    assert!(loaded.config.is_some() || !loaded.diagnostics.is_empty(), "a refusal has a reason");
    let _ = loaded.render(Colour::Off);
    if let Some(config) = &loaded.config {
        serde_json::to_value(config).expect("a configuration is plain data");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        compare(&without_yaml_1_1(text));
    }
}

/// The text with other characters in the place of those that the archived library takes as YAML 1.1 did: three ends of lines
/// that are none since 1.2, and a question mark that begins a value in brackets, which was the mark of a key.
fn without_yaml_1_1(text: &str) -> String {
    let text = text.replace(['\u{85}', '\u{2028}', '\u{2029}'], "\u{fffd}");
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = rest.next() {
        let begins = is_blank(before) || "[{,".contains(before);
        let is_mark = rest.peek().is_none_or(|next| is_blank(*next));
        out.push(if c == '?' && begins && !is_mark { '.' } else { c });
        before = c;
    }
    out
}

/// The archived library has faults of its own: where it refuses, or takes things for other things, this loader need not.
fn compare(text: &str) {
    // A file that is no mapping is no configuration; of a text of several lines at the root the readers end it differently.
    let Some(ours) = config::tree(text).filter(Value::is_mapping) else { return };
    // It takes a byte order mark for a column of the first key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A text of several lines that the file's end cuts off within its last one: the readers differ in whether that one ends.
    let is_cut_off = !text.ends_with('\n') && text.contains(['|', '>']);
    let Ok(theirs) = serde_yaml::from_str::<Value>(text) else { return };
    if is_cut_off {
        return;
    }
    // A key is text here, whatever it looks like: `-.inf: 1` is no number's value.
    if !has_other_keys(&theirs) {
        assert_eq!(plain(&ours), plain(&theirs), "{text:?}");
    }
}

/// Whether some mapping has keys that are not text.
fn has_other_keys(value: &Value) -> bool {
    match value {
        Value::Sequence(items) => items.iter().any(has_other_keys),
        Value::Mapping(entries) => {
            entries.iter().any(|(key, value)| !key.is_string() || has_other_keys(value))
        }
        Value::Tagged(tagged) => has_other_keys(&tagged.value),
        _ => false,
    }
}

/// A value in a form in which both readers agree on what is equal.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => format!("bool {flag}"),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => format!("integer {number}"),
            (_, Some(number), _) => format!("integer {number}"),
            (.., Some(number)) => format!("float {number:?}"),
            _ => "number".into(),
        },
        Value::String(text) => format!("text {text:?}"),
        Value::Sequence(items) => format!("{:?}", items.iter().map(plain).collect::<Vec<_>>()),
        Value::Mapping(entries) => {
            let entry = |(key, value): (&Value, &Value)| (plain(key), plain(value));
            format!("{:?}", entries.iter().map(entry).collect::<Vec<_>>())
        }
        Value::Tagged(tagged) => format!("tagged {}", plain(&tagged.value)),
    }
}
