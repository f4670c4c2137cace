//! What the documents say of codes and metrics is what the programs have.
#![allow(missing_docs)]

mod common;

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

fn explained() -> BTreeSet<String> {
    let ran = common::ctl(&["explain", "-o", "json"]).ok();
    let codes = ran.json()["codes"].as_array().unwrap().clone();
    codes.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_health_code_is_explained_and_no_other() {
    let digits = |c: char| c.is_ascii_digit();
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
    let of_health = |code: &String| code.starts_with("DWCP-H");
    assert_eq!(explained().into_iter().filter(of_health).collect::<BTreeSet<_>>(), given);
}

/// The sources of everything that is shipped, and the documents.
fn all_words(directory: &Path, out: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_words(&path, out);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "md") {
            out.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn no_code_is_named_anywhere_that_is_not_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all = std::fs::read_to_string(root.join("README.md")).unwrap();
    for place in [
        "docs",
        "dwcp-core/src",
        "dwcp-tcp/src",
        "dwcp-rdma/src",
        "dwcp-hybrid/src",
        "dwcp-ctl/src",
    ] {
        all_words(&root.join(place), &mut all);
    }
    let explained = explained();
    for kind in ["DWCP-C", "DWCP-H"] {
        let named = words(&all, kind, |c| c.is_ascii_digit());
        // `DWCP-C…` and `DWCP-H{code}` name none.
        for code in named.iter().filter(|code| code.len() == kind.len() + 3) {
            assert!(explained.contains(code), "{code} is explained nowhere");
        }
    }
    for other in words(&all, "DWCP-", |c| c.is_ascii_uppercase()) {
        let known = ["DWCP-", "DWCP-C", "DWCP-H", "DWCP-EXPORTER"];
        assert!(
            known.contains(&other.as_str()),
            "{other}: a kind of codes that `explain` does not know"
        );
    }
}

#[test]
fn the_list_of_codes_is_as_the_program_gives_it() {
    let given = common::ctl(&["explain", "--markdown"]).ok().stdout;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    if std::env::var_os("DWCP_BLESS").is_some() {
        std::fs::write(&path, &given).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == given, "docs/errors.md is old; run the test with DWCP_BLESS=1");
}

#[test]
fn a_code_is_explained_and_a_wrong_one_is_corrected() {
    for code in ["DWCP-C012", "c012", "dwcp-c012"] {
        let ran = common::ctl(&["explain", code]).ok();
        assert!(ran.stdout.starts_with("DWCP-C012: unknown key\n"), "{ran:#?}");
    }
    let wrong = common::ctl(&["explain", "DWCP-H02"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("did you mean DWCP-H0"), "{wrong:#?}");
    let wrong = common::ctl(&["explain", "everything"]);
    assert!(wrong.code == 2 && wrong.stderr.contains("lists all"), "{wrong:#?}");
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
