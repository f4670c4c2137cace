//! What docs/operations.md says of codes and metrics is what the programs have.

use std::collections::BTreeSet;
use std::path::Path;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words of `text` that begin with `start` and go on with `is_more`.
fn words(text: &str, start: &str, is_more: impl Fn(char) -> bool) -> BTreeSet<String> {
    text.match_indices(start)
        .map(|(at, _)| {
            let rest = &text[at + start.len()..];
            let end = rest.find(|c: char| !is_more(c)).unwrap_or(rest.len());
            format!("{start}{}", &rest[..end])
        })
        .collect()
}

#[test]
fn every_health_code_is_explained_and_no_other() {
    let digits = |c: char| c.is_ascii_digit();
    let documented = words(&text("../docs/operations.md"), "DWCP-H", digits);
    let source = text("src/node/health.rs");
    let source = &source[..source.find("#[cfg(test)]").expect("tests at the end")];
    let given: BTreeSet<_> = source
        .match_indices("add(")
        .filter_map(|(at, _)| {
            let code = source[at + 4..].trim_start().strip_prefix('"')?.get(..3)?;
            code.chars().all(digits).then(|| format!("DWCP-H{code}"))
        })
        .collect();
    assert!(given.len() >= 8, "{given:?}");
    assert_eq!(documented, given);
}

#[test]
fn every_metric_that_is_named_is_there() {
    let letters = |c: char| c.is_ascii_lowercase() || c == '_';
    let documented = words(&text("../docs/operations.md"), "dwcp_", letters);
    let given = words(&text("src/node/metrics.rs"), "dwcp_", letters);
    assert!(documented.len() >= 10, "{documented:?}");
    for name in &documented {
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(given.contains(family) || given.contains(name), "{name} is no metric");
    }
}
