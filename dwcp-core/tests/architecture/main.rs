//! The architecture, held by tests that read the workspace.
//!
//! Each check is a function from text to findings; a finding names the place and the fix. Beside each check
//! stands a test that shows it can fail.

mod manifests;
mod rust;
mod source;
mod tree;

use std::path::{Path, PathBuf};

/// A file of the workspace: its path from the top, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").into()
}

/// Every text file of the workspace that people write.
fn files() -> Vec<File> {
    let top = top();
    let mut found = Vec::new();
    tree::walk(&top, &mut |path| {
        let name =
            path.strip_prefix(&top).expect("walked from the top").to_string_lossy().into_owned();
        if let Ok(text) = std::fs::read_to_string(path) {
            found.push(File { path: name, text });
        }
    });
    assert!(found.len() > 30, "the walk found only {} files", found.len());
    found
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(top().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn crates_depend_in_one_direction() {
    let manifests: Vec<File> =
        files().into_iter().filter(|file| file.path.ends_with("/Cargo.toml")).collect();
    assert_none(&manifests::wrong_directions(&manifests));
    assert_none(&manifests::versions_outside_the_table(&manifests));
    assert_none(&manifests::renamed(&text_of("Cargo.toml")));
}

#[test]
fn every_dependency_has_a_reason() {
    assert_none(&manifests::without_reason(&text_of("Cargo.toml")));
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    let rooms = text_of(".ci/unsafe-rooms.txt");
    let files = rust_files();
    assert_none(&rust::unsafe_outside(&files, &rooms));
    assert_none(&rust::rooms_without_files(&files, &rooms));
    assert_none(&files.iter().flat_map(rust::unsafe_without_safety).collect::<Vec<_>>());
}

#[test]
fn files_and_functions_are_short() {
    let files = rust_files();
    assert_none(&rust::long_files(&files));
    assert_none(&files.iter().flat_map(rust::long_functions).collect::<Vec<_>>());
}

#[test]
fn the_machine_has_no_clock_socket_or_randomness() {
    assert_none(&rust_files().iter().flat_map(rust::impure_words).collect::<Vec<_>>());
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let names = std::fs::read_dir(top()).expect("the workspace can be listed");
    let names: Vec<String> =
        names.map(|entry| entry.expect("entry").file_name().to_string_lossy().into()).collect();
    assert_none(&tree::strangers(&names));
}

#[test]
fn the_project_speaks_of_itself_alone() {
    assert_none(&files().iter().flat_map(tree::foreign_words).collect::<Vec<_>>());
}
