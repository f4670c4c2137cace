//! The room `fuzz`: every stored input goes through its target again. `make fuzz` looks for new ones.
#![allow(missing_docs)]

mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use targets::TARGETS;

fn stored(kind: &str, target: &str) -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(kind).join(target);
    let Ok(files) = fs::read_dir(place) else { return Vec::new() };
    let mut files: Vec<_> = files.map(|file| file.expect("readable").path()).collect();
    files.sort();
    files
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let (corpus, crashes) = (stored("corpus", name), stored("crashes", name));
    assert!(corpus.len() >= 5, "{name} has a corpus of {} inputs", corpus.len());
    for file in corpus.iter().chain(&crashes) {
        let bytes = fs::read(file).expect("readable");
        // Whose turn it is, should it panic.
        println!("{}", file.display());
        target(&bytes);
    }
    println!(
        "{name}: {} inputs, {} of them once crashed",
        corpus.len() + crashes.len(),
        crashes.len()
    );
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(#[test] fn $target() { replay(stringify!($target)); })*

        #[test]
        fn every_target_is_replayed() {
            let names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, [$(stringify!($target)),*]);
        }
    };
}

replays!(cli command config control frames hello http records resume session zstd);
