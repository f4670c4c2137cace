//! What may lie where, and which words have no place here.

use std::path::Path;

use crate::File;
use crate::source::line_of;

const TOP_LEVEL: [&str; 18] = [
    "Cargo.toml",
    "Cargo.lock",
    "Makefile",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CODEOWNERS",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "dwcp-core",
    "dwcp-tcp",
    "dwcp-rdma",
    "dwcp-hybrid",
    "dwcp-ctl",
    "infra",
    "benches",
    "docs",
];
/// Settings of tools that look for them here only, and what a build leaves.
const TOOLS: [&str; 4] = ["clippy.toml", "deny.toml", "rustfmt.toml", "target"];

/// Calls `visit` for every file below `folder`, without build output, git's own and lock files.
pub(crate) fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("entry"))
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().expect("file type");
        let path = entry.path();
        match &*entry.file_name().to_string_lossy() {
            "target" | ".git" | ".terraform" | "Cargo.lock" => {}
            _ if kind.is_dir() => walk(&path, visit),
            _ if kind.is_file() => visit(&path),
            _ => {}
        }
    }
}

pub(crate) fn strangers(names: &[String]) -> Vec<String> {
    let is_known = |name: &&String| {
        name.starts_with('.')
            || TOP_LEVEL.contains(&name.as_str())
            || TOOLS.contains(&name.as_str())
    };
    let strangers = names.iter().filter(|name| !is_known(name));
    strangers
        .map(|name| format!("{name}: not a top-level part; move it into the part that owns it, or into docs or .ci"))
        .collect()
}

/// Words about how the work was organised, and paths of one machine. Spelt in halves, so that this file passes.
fn forbidden() -> [(String, &'static str); 6] {
    let join = |left: &str, right: &str| format!("{left}{right}");
    [
        (join("issue", " #"), "say what was wrong instead of giving a number"),
        (join("age", "nt"), "name the program, or leave the sentence out"),
        (join("sit", "ting"), "leave the sentence out"),
        (join("/wo", "rk/"), "use a path relative to the repository"),
        (join("/ro", "ot/"), "use $HOME or a path relative to the repository"),
        (join("/fa", "rm/"), "use a path relative to the repository"),
    ]
}

pub(crate) fn foreign_words(file: &File) -> Vec<String> {
    let lower = file.text.to_lowercase();
    let stands_alone = |at: usize, word: &str| {
        let before = lower[..at].chars().next_back().unwrap_or(' ');
        let after = lower[at + word.len()..].chars().next().unwrap_or(' ');
        let joins = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '}');
        // A path or number goes on after the word; a plain word must end, but for a plural.
        let goes_on = word.ends_with(['/', '#']);
        !joins(before) && (goes_on || after == 's' || !joins(after) || after == '.')
    };
    let mut findings = Vec::new();
    for (word, fix) in forbidden() {
        for (at, _) in lower.match_indices(word.as_str()) {
            if stands_alone(at, &word) {
                findings.push(format!("{}:{}: '{word}': {fix}", file.path, line_of(&lower, at)));
            }
        }
    }
    findings
}

#[test]
fn a_stranger_at_the_top_is_found() {
    let names = ["docs", ".ci", "clippy.toml", "scratch"].map(String::from);
    let findings = strangers(&names);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].starts_with("scratch: "));
}

#[test]
fn each_forbidden_word_is_found() {
    for (word, _) in forbidden() {
        let found = foreign_words(&File::new("a.md", &format!("one\nthe {word} 7")));
        assert_eq!(found.len(), 1, "{word}");
        assert!(found[0].starts_with("a.md:2: "), "{found:?}");
        let within = foreign_words(&File::new("a.md", &format!("x{word}7 user-{word}")));
        assert!(within.is_empty(), "{within:?}");
    }
}
